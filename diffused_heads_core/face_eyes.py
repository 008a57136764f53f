"""How far eyes are closed, seen in the picture: the landmarks' lids hardly move when real ones do.

Between the corners of an open eye there is little of the colour of the skin below it; a closed one shows the lid.
"""
from __future__ import annotations

import cv2
import numpy as np

SHAPE = (40, 48)  # rows and columns of an eye's patch
EXTENT = (1.0, 1.2)  # its height and width, in distances of the eye's corners
LEAST_SPREAD = np.array([12.0, 5.0, 5.0], np.float32)  # L, a, b: no skin counts as more even than this
QUIET = 0.06  # rise above the usual share of skin that is no sign of a lid
LEAST_RANGE = 0.14  # rise beyond that, of a full blink, for a person who does not blink


def _grid() -> tuple[np.ndarray, np.ndarray]:
    rows, columns = (np.arange(n) + 0.5 for n in SHAPE)
    return np.meshgrid(EXTENT[1] * (columns / SHAPE[1] - 0.5), EXTENT[0] * (rows / SHAPE[0] - 0.5))


_X, _Y = _grid()  # from the middle of the corners, in their distances
_OPENING = (_X / 0.46) ** 2 + ((_Y + 0.04) / 0.17) ** 2 < 1
_BELOW = (np.abs(_X) < 0.45) & (_Y > 0.28)


def eye_patch(picture: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """An eye with its skin around it, (40, 48, 3) uint8, level; corners: (2, 2) px of the picture, image left first."""
    across = np.asarray(corners[1], np.float64) - corners[0]
    step = across / SHAPE[1] * EXTENT[1]
    matrix = np.array([[step[0], -step[1], 0.0], [step[1], step[0], 0.0]])
    middle = (np.array(SHAPE[::-1]) - 1) / 2
    matrix[:, 2] = np.mean(corners, 0) - 0.5 - matrix[:, :2] @ middle
    return cv2.warpAffine(picture, matrix, SHAPE[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)


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

    Relative to the person's own open eyes, which are the usual state. Both eyes count by how much they show.
    """
    shares = np.asarray(shares, np.float64)
    rise = np.clip(shares - np.median(shares, 0) - QUIET, 0, None)
    reach = np.maximum(np.percentile(rise, 99, axis=0), LEAST_RANGE)
    return np.clip((rise / reach) @ (reach / reach.sum()), 0, 1)
