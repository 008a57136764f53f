"""How far eyes are closed, measured in the picture: the landmarks' lids hardly move when real ones do.

Between the corners of an open eye there is little of the colour of the skin below it; a closed one shows the lid. And
iris and white of an open eye differ from left to right; a lid does not. An eye's corners are (2, 2) px of the picture,
image left first.
"""

from __future__ import annotations

import cv2
import numpy as np

SHAPE = (40, 48)  # rows and columns of an eye's patch
EXTENT = (1.0, 1.2)  # its height and width, in distances of the eye's corners
LEAST_SPREAD = np.array([12.0, 5.0, 5.0], np.float32)  # of skin colours, in L, a, b
QUIET = 0.06  # rise above the usual share of skin that does not count yet
LEAST_RANGE = 0.14  # further rise that counts as a full blink, for a person who does not blink
CONTRAST_SHAPE = (12, 24)  # rows and columns of the patch whose contrast is measured, as wide as the corners are apart
CONTRAST_QUIET = 0.05  # fall below the usual contrast that does not count yet
CONTRAST_RANGE = 0.5  # further fall that counts as a full blink, for a person who does not blink
SIGNS = 3  # numbers of ``lid_signs``


def _grid() -> tuple[np.ndarray, np.ndarray]:
    rows, columns = (np.arange(n) + 0.5 for n in SHAPE)
    return np.meshgrid(EXTENT[1] * (columns / SHAPE[1] - 0.5), EXTENT[0] * (rows / SHAPE[0] - 0.5))


_X, _Y = _grid()  # from the middle of the corners, in their distances
_OPENING = (_X / 0.46) ** 2 + ((_Y + 0.04) / 0.17) ** 2 < 1
_BELOW = (np.abs(_X) < 0.45) & (_Y > 0.28)


def eye_patch(picture: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """An eye and the skin around it, (40, 48, 3) uint8, turned level."""
    across = np.asarray(corners[1], np.float64) - corners[0]
    step = across / SHAPE[1] * EXTENT[1]
    matrix = np.array([[step[0], -step[1], 0.0], [step[1], step[0], 0.0]])
    middle = (np.array(SHAPE[::-1]) - 1) / 2
    matrix[:, 2] = np.mean(corners, 0) - 0.5 - matrix[:, :2] @ middle
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, matrix, SHAPE[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)


def skin_share(patch: np.ndarray) -> float:
    """How much of the opening of an eye's patch has the colour of the skin below it, 0..1."""
    colours = cv2.cvtColor(cv2.GaussianBlur(patch, (3, 3), 0), cv2.COLOR_RGB2LAB).astype(np.float32)
    skin = colours[_BELOW]
    usual = np.median(skin, 0)
    spread = np.maximum(1.5 * np.abs(skin - usual).mean(0), LEAST_SPREAD)
    distance = (((colours[_OPENING] - usual) / spread) ** 2).mean(-1)
    return float(np.exp(-0.5 * distance).mean())


def closure(shares: np.ndarray) -> np.ndarray:
    """Lid closure (T,), 0 open .. 1 shut, from the shares of skin (T, 2) of the left and right eye of one person.

    Relative to the person's usual state, which is taken for open eyes. The eye whose share varies more counts more.
    """
    shares = np.asarray(shares, np.float64)
    rise = np.clip(shares - np.median(shares, 0) - QUIET, 0, None)
    reach = np.maximum(np.percentile(rise, 99, axis=0), LEAST_RANGE)
    return np.clip((rise / reach) @ (reach / reach.sum()), 0, 1)


def eye_contrast(gray: np.ndarray, corners: np.ndarray) -> float:
    """Mean absolute horizontal difference of luminance (H, W) uint8 in an eye, turned level at 24 x 12 px: 0..255.

    Compare it with the same eye, open, only.
    """
    start, end = np.asarray(corners, np.float64)
    across = (end - start) / 2
    down, middle = np.array([-across[1], across[0]]) * 0.55, (start + end) / 2
    rows, columns = CONTRAST_SHAPE
    given = np.array([middle - across - down, middle + across - down, middle - across + down], np.float32)
    matrix = cv2.getAffineTransform(given, np.array([[0, 0], [columns, 0], [0, rows]], np.float32))
    patch = cv2.warpAffine(gray, matrix, (columns, rows), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return float(np.abs(np.diff(patch.astype(np.float32), axis=1)).mean())


def lid_signs(picture: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Signs of closed lids in a picture (H, W, 3) uint8, (3,): share of skin in each eye, and the eyes' mean contrast.

    corners: (2, 2, 2), of the left and of the right eye.
    """
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    shares = [skin_share(eye_patch(picture, eye)) for eye in corners]
    return np.array([*shares, np.mean([eye_contrast(gray, eye) for eye in corners])])


def lid_opening(signs: np.ndarray) -> np.ndarray:
    """How far one person's eyes are open, (T,), 1 as usual .. 0 shut, from ``lid_signs`` of all frames (T, 3).

    The mean of two estimates, by skin and by contrast, each relative to the person's usual state, which is taken for
    open eyes. Either alone finds false blinks or misses some, for different eyes. NaN for frames without signs.
    """
    signs = np.asarray(signs, np.float64)
    known, opening = np.isfinite(signs).all(1), np.full(len(signs), np.nan)
    if known.any():
        contrast = signs[known, 2]
        fall = np.clip(1 - CONTRAST_QUIET - contrast / max(float(np.median(contrast)), 1e-6), 0, None)
        flat = np.clip(fall / max(float(np.percentile(fall, 99)), CONTRAST_RANGE), 0, 1)
        opening[known] = 1 - (closure(signs[known, :2]) + flat) / 2
    return opening
