"""Pictures: any file that OpenCV decodes to RGB, upright, with its alpha where it has one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from ..errors import DiffusedHeadsError
from ..files import atomic_path, readable_file
from .picture_bytes import kind_of, refuse_damaged

WRITABLE = {
    ".png": [],
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 95],
    ".bmp": [],
    ".tif": [],
    ".tiff": [],
}
_EXPECTED = "a picture (PNG, JPEG, WebP, BMP or TIFF)"
_opencv_log = getattr(getattr(cv2, "utils", None), "logging", cv2)  # OpenCV 4 has these functions at its top


def load_picture(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a picture as uint8 (H, W, 3) RGB, upright by its EXIF tag; what is transparent becomes white.

    Raises DiffusedHeadsError naming the file: missing, a folder, empty, not a picture, cut short.
    """
    rgb, alpha = load_picture_alpha(path)
    if alpha is None:
        return rgb
    weight = alpha[..., None].astype(np.float32) / 255
    return np.rint(rgb * weight + 255 * (1 - weight)).astype(np.uint8)


def load_picture_alpha(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a picture as uint8 RGB (H, W, 3), not composited, and uint8 alpha (H, W) or None where all is opaque.

    Errors as of load_picture.
    """
    file = readable_file(path, _EXPECTED)
    data = np.fromfile(file, np.uint8)  # cv2.imread cannot open every file name on Windows
    refuse_damaged(file, data.tobytes())
    raw = _decode(file, data, cv2.IMREAD_UNCHANGED)
    if raw.dtype.kind == "f":
        return _from_float(raw)
    upright = _decode(file, data, cv2.IMREAD_COLOR)[..., ::-1]
    if raw.ndim < 3 or raw.shape[2] != 4:
        return np.ascontiguousarray(upright), None
    whole = _oriented_like(raw, upright)[..., [2, 1, 0, 3]]
    whole = np.rint(whole / 257).astype(np.uint8) if whole.dtype == np.uint16 else whole
    rgb, alpha = np.ascontiguousarray(whole[..., :3]), np.ascontiguousarray(whole[..., 3])
    if raw.dtype == np.uint8 and data[:2].tobytes() in (b"II", b"MM"):  # libtiff multiplies colours by alpha
        rgb = np.minimum(np.rint(rgb / np.maximum(alpha, 1)[..., None] * 255.0), 255).astype(np.uint8)
    return rgb, None if alpha.min() == 255 else alpha


def _decode(file: Path, data: np.ndarray, flags: int) -> np.ndarray:
    try:
        with _quiet_opencv():
            image = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise DiffusedHeadsError(
            f"{file}: cannot decode this picture ({error.err or 'damaged or too large'})"
        ) from error
    if image is None or not image.size:
        raise DiffusedHeadsError(f"{file}: expected {_EXPECTED}, found {kind_of(data[:4096].tobytes())}")
    return image


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Without the lines that OpenCV prints of its own about what it cannot decode."""
    level = _opencv_log.getLogLevel()
    _opencv_log.setLogLevel(0)
    try:
        yield
    finally:
        _opencv_log.setLogLevel(level)


def _from_float(raw: np.ndarray) -> tuple[np.ndarray, None]:
    """Float pictures, which hold 0..1, to RGB."""
    image = np.atleast_3d(np.nan_to_num(raw))[..., :3]
    image = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(image[..., ::-1], (*image.shape[:2], 3))), None


def _oriented_like(raw: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Turn the picture as stored as its EXIF tag asks, which OpenCV does for ``rgb`` but not where alpha is kept.

    The turn is the one of the eight that makes the colours agree.
    """
    colours = raw[..., 2::-1].astype(np.float32) / (257 if raw.dtype == np.uint16 else 1)
    best, least = raw, np.inf
    for turns in range(4):
        for mirror in (False, True):
            turned, candidate = (np.rot90(image[:, ::-1] if mirror else image, turns) for image in (colours, raw))
            if turned.shape != rgb.shape:
                continue
            difference = float(np.abs(turned - rgb).mean())
            if difference < least - 1e-3:
                best, least = candidate, difference
            if least < 0.51:  # rounding of 16-bit values
                return best
    return best


def save_picture(path: str | os.PathLike[str], rgb: np.ndarray) -> None:
    """Write uint8 (H, W, 3) RGB, or (H, W, 4) with alpha, in the format that the suffix names; whole or not at all."""
    target = Path(path)
    if target.suffix.lower() not in WRITABLE:
        raise DiffusedHeadsError(
            f"{target}: expected a picture name ending in {', '.join(WRITABLE)}, found {target.suffix or 'no suffix'}"
        )
    _check_rgb(rgb, str(target), (3, 4))
    code = cv2.COLOR_RGB2BGR if rgb.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    with atomic_path(target) as temporary:
        try:
            done, encoded = cv2.imencode(
                target.suffix.lower(), cv2.cvtColor(rgb, code), WRITABLE[target.suffix.lower()]
            )
        except cv2.error as error:
            raise DiffusedHeadsError(f"{target}: cannot encode {rgb.shape} ({error.err})") from error
        if not done:
            raise DiffusedHeadsError(f"{target}: this OpenCV cannot encode {target.suffix}")
        temporary.write_bytes(encoded.tobytes())


def square_crop_resize(rgb: np.ndarray, size: int) -> np.ndarray:
    """The largest square of uint8 (H, W, C), scaled to (size, size, C).

    Centred across; of a tall picture the square lies a quarter of the way down, where portraits have the head.
    """
    if size < 1:
        raise DiffusedHeadsError(f"size={size}, expected 1 or more")
    height, width = rgb.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 4, (width - side) // 2
    square = np.ascontiguousarray(rgb[top : top + side, left : left + side])
    if side == size:
        return square
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if size < side else cv2.INTER_CUBIC)


def _check_rgb(rgb: np.ndarray, name: str, channels: tuple[int, ...]) -> None:
    if rgb.ndim != 3 or rgb.dtype != np.uint8 or rgb.shape[2] not in channels or not rgb.size:
        raise DiffusedHeadsError(f"{name}: expected uint8 (H, W, 3), found {rgb.dtype} {rgb.shape}")
