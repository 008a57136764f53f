"""Square crops of a picture at any place, size and angle, without aliasing.

Positions are picture pixels, the centre of the top-left pixel at (0.5, 0.5); angles are in radians, clockwise in the
image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Square:
    """A square region of a picture: centre and side in pixels, and the angle it is turned by."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) in fractions of the square as picture pixels."""
        cosine, sine = self.side * math.cos(self.angle), self.side * math.sin(self.angle)
        rows = np.array([[cosine, sine], [-sine, cosine]])
        return (np.asarray(points, np.float64) - 0.5) @ rows + (self.x, self.y)

    def to_fractions(self, points: np.ndarray) -> np.ndarray:
        """Picture pixels (..., 2) as fractions of the square."""
        cosine, sine = math.cos(self.angle) / self.side, math.sin(self.angle) / self.side
        rows = np.array([[cosine, -sine], [sine, cosine]])
        return (np.asarray(points, np.float64) - (self.x, self.y)) @ rows + 0.5

    def differs(self, other: Square, part: float) -> bool:
        """Whether the centre or the side differs by more than ``part`` of the side, or the turn by as many radians."""
        moved = max(math.hypot(self.x - other.x, self.y - other.y), abs(self.side - other.side))
        return moved > part * other.side or abs(math.remainder(self.angle - other.angle, math.tau)) > part


class Pyramid:
    """A picture (H, W, 3) uint8 at its size, half of it, a quarter, ...; each level is made when first needed."""

    def __init__(self, picture: np.ndarray) -> None:
        self._levels = [np.ascontiguousarray(picture)]
        self.height, self.width = picture.shape[:2]

    def crop(self, square: Square, size: int, border: int = cv2.BORDER_CONSTANT) -> np.ndarray:
        """The square as (size, size, 3) uint8; outside the picture it is black, or as OpenCV's ``border`` mode says.

        Enlarges by cubic interpolation.
        """
        level = self._level(square.side / size)
        scale = np.array([level.shape[1] / self.width, level.shape[0] / self.height])
        corners = square.to_picture(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])) * scale - 0.5
        steps = (corners[1:] - corners[0]) / size
        matrix = np.column_stack([steps.T, corners[0] + steps.sum(0) / 2])
        flags = (cv2.INTER_CUBIC if square.side < size else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(level, matrix, (size, size), flags=flags, borderMode=border)

    def _level(self, shrink: float) -> np.ndarray:
        """The smallest level that has the detail of a crop ``shrink`` times smaller than the picture."""
        index = max(int(math.log2(max(shrink, 1.0) * 1.1)), 0)
        while len(self._levels) <= index and min(self._levels[-1].shape[:2]) > 1:
            height, width = self._levels[-1].shape[:2]
            half = (max(round(width / 2), 1), max(round(height / 2), 1))
            self._levels.append(cv2.resize(self._levels[-1], half, interpolation=cv2.INTER_AREA))
        return self._levels[min(index, len(self._levels) - 1)]
