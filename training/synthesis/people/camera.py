"""What camera and codec do to a clip: exposure, colour, blur, sharpening, noise, compression; the same for the whole
clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Camera:
    """gamma of the tone, balance of the channels, saturation, contrast, lift of the blacks, vignette 0..1, blur in
    pixels of a 256-pixel frame, strength of sharpening, deviation of the noise in grey levels, JPEG quality (0: none).
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


def sample_camera(rng: np.random.Generator) -> Camera:
    """Anything from a studio camera to a webcam."""
    poor = rng.random() < 0.35
    quality = int(rng.integers(45, 90)) if poor else int(rng.integers(85, 97)) if rng.random() < 0.5 else 0
    return Camera(
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


class Lens:
    """Applies one camera to frames of one size; noise follows the frame's number alone."""

    def __init__(self, camera: Camera, size: int, seed: int) -> None:
        self.camera, self.size, self.seed = camera, size, seed
        ramp = np.linspace(0, 1, 256)[:, None]
        tone = np.clip(ramp * np.asarray(camera.balance), 0, 1) ** camera.gamma
        tone = camera.lift + (1 - camera.lift) * tone
        tone = 0.5 + (tone - 0.5) * camera.contrast
        self._table = (np.clip(tone, 0, 1) * 255).astype(np.uint8)[:, None, :]
        y, x = (np.mgrid[:size, :size].astype(np.float32) + 0.5) / size - 0.5
        self._vignette = None if camera.vignette < 0.02 else (1 - camera.vignette * 1.6 * (x * x + y * y))[..., None]
        self._mix = np.eye(3, dtype=np.float32) * camera.saturation + (1 - camera.saturation) * np.array(
            [[0.3, 0.59, 0.11]], np.float32
        )

    def taken(self, picture: np.ndarray, number: int) -> np.ndarray:
        """The picture (size, size, 3) uint8 as the camera gives it."""
        camera, scale = self.camera, self.size / 256
        image = cv2.LUT(picture, self._table)
        if abs(camera.saturation - 1) > 0.02:
            image = cv2.transform(image, self._mix)
        if camera.blur * scale > 0.25:
            image = cv2.GaussianBlur(image, (0, 0), camera.blur * scale)
        if camera.sharpen > 0.05:
            soft = cv2.GaussianBlur(image, (0, 0), 1.0)
            image = cv2.addWeighted(image, 1 + camera.sharpen, soft, -camera.sharpen, 0)
        if self._vignette is not None:
            image = (image * self._vignette).astype(np.uint8)
        if camera.noise > 0.2:
            rng = np.random.default_rng([self.seed, number])
            grain = rng.integers(-128, 128, image.shape, np.int8)  # of deviation 74
            image = np.clip(image + grain.astype(np.float32) * (camera.noise / 74), 0, 255).astype(np.uint8)
        if camera.quality:
            image = cv2.imdecode(
                cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, camera.quality])[1], cv2.IMREAD_COLOR
            )
        return image
