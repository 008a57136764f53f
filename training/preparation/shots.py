"""Where a video cuts from one shot to another."""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 16  # pixels of a thumbnail's side
MAYBE = 8.0  # mean difference of thumbnails, grey levels, from which new faces are looked for
CUT, SURE = 10.0, 45.0  # from which it may be a cut, and is one
TIMES_AROUND = 4.0  # how far a cut stands out of everything just before it, or just after
AROUND = 6  # pictures
FLASH = 0.35  # share of the jump that is left once a flash is over


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """A picture uint8 (H, W, 3) as (SIDE, SIDE, 3) uint8, averaged over areas."""
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference of two thumbnails, grey levels."""
    return float(np.abs(one.astype(np.int16) - other).mean())


def find_cuts(thumbnails: np.ndarray) -> np.ndarray:
    """Positions (k,) of the pictures that begin a new shot, from the thumbnails (T, SIDE, SIDE, 3) of consecutive ones.

    A cut is a difference that is great, or stands out of those around it; a flash, after which the picture is
    again what it was, is none.
    """
    if len(thumbnails) < 2:
        return np.zeros(0, int)
    steps = np.array([difference(a, b) for a, b in zip(thumbnails[:-1], thumbnails[1:])])
    found = [
        at + 1 for at in np.flatnonzero(steps >= CUT) if _stands_out(steps, at) and not _flash(thumbnails, steps, at)
    ]
    return np.array(found, int)


def _stands_out(steps: np.ndarray, at: int) -> bool:
    """A fast motion has fast motion before and after it; a cut need not."""
    sides = steps[max(0, at - AROUND) : at], steps[at + 1 : at + 1 + AROUND]
    quietest = min((float(side.max()) for side in sides if len(side)), default=0.0)
    return steps[at] >= SURE or steps[at] >= TIMES_AROUND * max(quietest, 1.0)


def _flash(thumbnails: np.ndarray, steps: np.ndarray, at: int) -> bool:
    """Whether the pictures one to three after the step, or before it, are as they were on its other side."""
    before, after = max(0, at - 2), min(len(thumbnails), at + 4)
    returns = [difference(thumbnails[at], thumbnails[i]) for i in range(at + 2, after)]
    came = [difference(thumbnails[at + 1], thumbnails[i]) for i in range(before, at)]
    return any(d < FLASH * steps[at] for d in returns + came)
