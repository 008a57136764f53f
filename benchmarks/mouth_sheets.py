"""Contact sheets of whole heads and of mouths enlarged, for looking at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from diffused_heads.diffused_heads_core.evaluation.metrics.mouths import mouth_squares
from diffused_heads.diffused_heads_core.face.alignment import Placement, crop
from diffused_heads.diffused_heads_core.face.crops import Pyramid

SHOWN = 8  # frames of a clip
MOUTH_SIDE = 1.4  # eye distances
ENLARGED = 3


def shown(count: int) -> list[int]:
    """Frames that are shown, evenly from the first to the last of ``count``."""
    return np.linspace(0, count - 1, min(SHOWN, count)).round().astype(int).tolist()


def heads(frames: Sequence[np.ndarray], placement: Placement, size: int) -> np.ndarray:
    """A row of heads, each (size, size, 3)."""
    return np.concatenate([crop(frames[n], placement, size) for n in shown(len(frames))], 1)


def mouth_rows(rows: Sequence[tuple[Sequence[np.ndarray], np.ndarray]], enlarged: int = ENLARGED) -> np.ndarray:
    """Rows of mouths at ``enlarged`` times the pictures' pixels, all of one size; black without a face.

    rows: frames (T, H, W, 3) and their landmarks (T, 68, 2) px, of pictures of one size.
    """
    squares = [mouth_squares(marks, MOUTH_SIDE) for _, marks in rows]
    sides = [square.side for row in squares for square in row if square is not None]
    size = max(round(enlarged * float(np.median(sides))), 1) if sides else 1
    return np.concatenate([_mouths(frames, row, size) for (frames, _), row in zip(rows, squares)])


def _mouths(frames: Sequence[np.ndarray], squares: list, size: int) -> np.ndarray:
    tiles = []
    for n in shown(len(frames)):
        square = squares[n]
        black = np.zeros((size, size, 3), np.uint8)
        tiles.append(black if square is None else Pyramid(frames[n]).crop(square, size, cv2.BORDER_REPLICATE))
    return np.concatenate(tiles, 1)


def stacked(sheets: Sequence[np.ndarray]) -> np.ndarray:
    """Sheets (h, w, 3) below each other, the narrower ones filled up with black on the right."""
    width = max(sheet.shape[1] for sheet in sheets)
    return np.concatenate([np.pad(sheet, ((0, 0), (0, width - sheet.shape[1]), (0, 0))) for sheet in sheets])
