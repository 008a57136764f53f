"""Detection of the cuts in a video."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

SIDE = 16  # pixels per side of a thumbnail
MAYBE = 8.0  # mean difference of thumbnails, in grey levels, at which new faces are searched for
CUT, SURE = 10.0, 45.0  # least difference of a possible cut, and of a certain one
TIMES_AROUND = 4.0  # how many times a cut's difference exceeds all of those just before it, or all just after it
AROUND = 6  # how many differences before and after are compared
FLASH = 0.35  # share of a step's difference that remains after a flash


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 averaged down to (SIDE, SIDE, 3) uint8."""
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference of two thumbnails, in grey levels."""
    return float(np.abs(one.astype(np.int16) - other).mean())


def find_cuts(thumbnails: np.ndarray) -> np.ndarray:
    """Positions (k,) of the pictures that begin a new shot, from the thumbnails (T, SIDE, SIDE, 3) of all pictures.

    At a cut the difference is large, or much larger than before or after. A flash, after which the picture is as it
    was before, is no cut.
    """
    if len(thumbnails) < 2:
        return np.zeros(0, int)
    steps = np.array([difference(a, b) for a, b in pairwise(thumbnails)])
    candidates = np.flatnonzero(steps >= CUT).tolist()
    found = [at + 1 for at in candidates if _stands_out(steps, at) and not _is_flash(thumbnails, steps, at)]
    return np.array(found, int)


def _stands_out(steps: np.ndarray, at: int) -> bool:
    """Whether a step is much larger than those on one side of it, which it is not during fast motion."""
    sides = steps[max(0, at - AROUND) : at], steps[at + 1 : at + 1 + AROUND]
    quietest = min((float(side.max()) for side in sides if len(side)), default=0.0)
    return steps[at] >= SURE or steps[at] >= TIMES_AROUND * max(quietest, 1.0)


def _is_flash(thumbnails: np.ndarray, steps: np.ndarray, at: int) -> bool:
    """Whether one of the next pictures is as it was before the step, or one of the last as it is after it."""
    before, after = max(0, at - 2), min(len(thumbnails), at + 4)
    returns = [difference(thumbnails[at], thumbnails[i]) for i in range(at + 2, after)]
    came = [difference(thumbnails[at + 1], thumbnails[i]) for i in range(before, at)]
    return any(d < FLASH * steps[at] for d in returns + came)
