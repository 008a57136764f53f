"""Expressions as movements of the face mesh, in canonical units: eye distances of the mean face.

Smile and frown move the corners of the mouth and the cheeks together with the speaking mouth's own shape. Brows are
moved in the picture directly, by smooth fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .face_mesh import Similarity, face_mesh

LEAST_CHANGE = 0.02  # of brows, below which they are left as they are


@dataclass(frozen=True)
class Bump:
    """A movement around a landmark on the image's left and its mirror image, or on one of the face's middle line.

    way: outward, down, away from the viewer. widths: standard deviations across and down.
    """

    landmark: int
    way: tuple[float, float, float]
    widths: tuple[float, float]
    sides: tuple[int, ...] = (0, 1)


SMILE = Bump(61, (0.09, -0.085, 0.05), (0.24, 0.22)), Bump(205, (0.03, -0.06, 0.0), (0.30, 0.25))
FROWN = Bump(61, (0.0, 0.10, 0.0), (0.22, 0.20)), Bump(17, (0.0, -0.025, -0.01), (0.18, 0.12), (0,))
FURROW = Bump(107, (-0.07, 0.06, 0.0), (0.24, 0.17))
BROW = Bump(105, (0.0, -0.10, 0.0), (0.36, 0.17))


def bumps(parts: Sequence[Bump], points: np.ndarray) -> np.ndarray:
    """Movement (n, 3) of canonical points (n, 2 or more) by bumps, on both sides of the face."""
    return np.sum([bump(part, points, side) for part in parts for side in part.sides], axis=0)


def bump(part: Bump, points: np.ndarray, side: int) -> np.ndarray:
    """Movement (n, 3) by one bump on one side: 0 is the image's left."""
    face = face_mesh()
    middle = face.mean[part.landmark if side == 0 else face.pairs[part.landmark], :2]
    away = (np.asarray(points)[..., :2] - middle) / part.widths
    outward = np.array([-1.0 if middle[0] < 0 else 1.0, 1.0, 1.0])
    moved: np.ndarray = np.exp(-0.5 * (away**2).sum(-1))[..., None] * (outward * part.way)
    return moved


@lru_cache(maxsize=1)
def _mesh_bumps() -> np.ndarray:
    """Smile and frown of all mesh points, (2, 468, 3)."""
    mean = face_mesh().mean
    return np.stack([bumps(SMILE, mean), bumps(FROWN, mean)])


def mouth_expression(smile: float, frown: float) -> np.ndarray:
    """Movement of all mesh points, (468, 3)."""
    return np.tensordot((smile, frown), _mesh_bumps(), 1)


class BrowFields:
    """Brows of a portrait: raise of either one, and their drawing together, as fields over a part of its frame.

    ``box``: left, top, right, bottom px of the frame of ``size`` pixels.
    """

    def __init__(self, mesh: np.ndarray, pose: Similarity, flat: np.ndarray, size: int):
        """flat: (2, 3), the affine map from canonical points to the frame."""
        face = face_mesh()
        marks = face.mean[[105, 107, face.pairs[105], face.pairs[107]], :2]
        low, high = marks.min(0) - (1.0, 0.6), marks.max(0) + (1.0, 0.33)
        corners = np.array([(x, y) for x in (low[0], high[0]) for y in (low[1], high[1])]) @ flat[:, :2].T + flat[:, 2]
        left, top = np.clip(np.floor(corners.min(0)), 0, size - 2).astype(int)
        right, bottom = np.clip(np.ceil(corners.max(0)), (left + 2, top + 2), size).astype(int)
        self.box = int(left), int(top), int(right), int(bottom)
        x, y = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
        points = (np.stack([x, y], -1) - flat[:, 2]) @ np.linalg.inv(flat[:, :2]).T
        # Where landmarks say that the portrait's own brows are, not where the mean face has them.
        offset = ((mesh[[105, face.pairs[105]], :2] - flat[:, 2]) @ np.linalg.inv(flat[:, :2]).T).mean(0)
        points = points - (offset - face.mean[[105, face.pairs[105]], :2].mean(0))
        fields = [bump(BROW, points, 0), bump(BROW, points, 1), bumps((FURROW,), points)]
        edge = np.minimum(1, np.minimum(bottom - y - 0.5, y - 0.5 - top) / 4)[..., None]
        self._fields = np.stack([(pose.directions(each)[..., :2] * edge).astype(np.float32) for each in fields])

    def displacement(self, shares: np.ndarray) -> np.ndarray | None:
        """From each pixel of the box to what it shows, (h, w, 2) float32 px; None if nothing changes.

        shares: (3,), -1..1: raise of the left and of the right brow, and how far they are drawn together.
        """
        return -np.tensordot(shares, self._fields, 1) if np.abs(shares).max() > LEAST_CHANGE else None
