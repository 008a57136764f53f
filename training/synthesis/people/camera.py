"""What camera and codec do to the pictures: exposure, colour, blur, sharpening, noise and compression, constant within
a clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class CameraSettings:
    """balance: of the colour channels; contrast; lift: of the blacks; vignette: 0..1; blur: pixels in
    a 256-pixel frame; sharpen: strength; noise: deviation in grey levels; quality: of JPEG, 0 for no compression.
    """

    gamma: float
    balance: tuple[float, float, float]
    saturation: float
    contrast: float
    lift: float
    vignette: float
    blur: float
    sharpen: float
    noise: float
    quality: int


def sample_camera(rng: np.random.Generator) -> CameraSettings:
    """Anything from a studio camera to a webcam."""
    poor = rng.random() < 0.35
    compressed = poor or rng.random() < 0.5
    quality = int(rng.integers(*((45, 90) if poor else (85, 97)))) if compressed else 0
    return CameraSettings(
        gamma=float(np.exp(rng.normal(0, 0.10))),
        balance=tuple(np.exp(rng.normal(0, 0.025, 3) * (1, 0.4, 1)).tolist()),
        saturation=float(np.clip(rng.normal(1.0, 0.11), 0.5, 1.3)),
        contrast=float(np.clip(rng.normal(1.04, 0.10), 0.75, 1.35)),
        lift=float(max(rng.normal(0, 0.018), -0.03)),
        vignette=float(rng.uniform(0, 0.3) * (rng.random() < 0.5)),
        blur=float(rng.uniform(0.4, 1.1) if poor else rng.uniform(0.0, 0.5)),
        sharpen=float(rng.uniform(0, 0.9) * (rng.random() < 0.4)),
        noise=float(rng.uniform(1.5, 5.0) if poor else rng.uniform(0.3, 1.8)),
        quality=quality,
    )


class Camera:
    """Applies camera settings to frames of one size; the noise depends on seed and frame number only."""

    def __init__(self, settings: CameraSettings, size: int, seed: int) -> None:
        self.settings, self.size, self.seed = settings, size, seed
        ramp = np.linspace(0, 1, 256)[:, None]
        tone = np.clip(ramp * np.asarray(settings.balance), 0, 1) ** settings.gamma
        tone = settings.lift + (1 - settings.lift) * tone
        tone = 0.5 + (tone - 0.5) * settings.contrast
        self._table = (np.clip(tone, 0, 1) * 255).astype(np.uint8)[:, None, :]
        y, x = (np.mgrid[:size, :size].astype(np.float32) + 0.5) / size - 0.5
        self._vignette = (
            None if settings.vignette < 0.02 else (1 - settings.vignette * 1.6 * (x * x + y * y))[..., None]
        )
        grey = (1 - settings.saturation) * np.array([[0.3, 0.59, 0.11]], np.float32)
        self._mix = np.eye(3, dtype=np.float32) * settings.saturation + grey

    def photograph(self, picture: np.ndarray, number: int) -> np.ndarray:
        """The picture (size, size, 3) uint8 as the camera shows it; number: of the frame."""
        settings, scale = self.settings, self.size / 256
        image = cv2.LUT(picture, self._table)
        if abs(settings.saturation - 1) > 0.02:
            image = cv2.transform(image, self._mix)
        if settings.blur * scale > 0.25:
            image = cv2.GaussianBlur(image, (0, 0), settings.blur * scale)
        if settings.sharpen > 0.05:
            soft = cv2.GaussianBlur(image, (0, 0), 1.0)
            image = cv2.addWeighted(image, 1 + settings.sharpen, soft, -settings.sharpen, 0)
        if self._vignette is not None:
            image = (image * self._vignette).astype(np.uint8)
        if settings.noise > 0.2:
            rng = np.random.default_rng([self.seed, number])
            grain = rng.integers(-128, 128, image.shape, np.int8)  # of deviation 74
            image = np.clip(image + grain.astype(np.float32) * (settings.noise / 74), 0, 255).astype(np.uint8)
        if settings.quality:
            _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, settings.quality])
            image = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        return image
