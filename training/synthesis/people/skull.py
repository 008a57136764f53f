"""The head as seen from its middle: distance of the skin in every direction, and shells over it."""

from __future__ import annotations

import cv2
import numpy as np

from .head import Head, follow
from .painted_hair import CENTRE

ACROSS, DOWN = 96, 64


class Skull:
    """Radius (DOWN, ACROSS) of a head over azimuth (0 at the face, growing to image right) and height; centimetres."""

    def __init__(self, head: Head) -> None:
        points = [head.neutral[head.topology.triangles[part]].reshape(-1, 3) for part in ("face", "head")]
        triangles = np.concatenate(points).reshape(-1, 3, 3)
        weights = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]], float)
        triangles = triangles[follow(triangles.mean(1)) > 0.6]  # shoulders aside
        samples = np.einsum("kj,fjc->kfc", weights / weights.sum(1, keepdims=True), triangles).reshape(-1, 3)
        self.grid = self._gridded(samples - CENTRE)
        wide = cv2.copyMakeBorder(self.grid, 8, 8, 0, 0, cv2.BORDER_REPLICATE)
        wide = np.concatenate([wide[:, -8:], wide, wide[:, :8]], 1)
        # Ears aside: an opening by a wide window, then softened.
        self.over_ears = cv2.GaussianBlur(cv2.dilate(wide, np.ones((5, 5))), (0, 0), 2.5)[8:-8, 8:-8]
        self.smooth = cv2.GaussianBlur(cv2.erode(wide, np.ones((3, 3))), (0, 0), 1.6)[8:-8, 8:-8]

    @staticmethod
    def _gridded(samples: np.ndarray) -> np.ndarray:
        radius = np.linalg.norm(samples, axis=1)
        column, row = (np.clip(c.astype(int), 0, n - 1) for c, n in zip(_cells(samples), (ACROSS, DOWN)))
        grid = np.zeros((DOWN, ACROSS), np.float32)
        np.maximum.at(grid, (row, column), radius)
        for _ in range(30):
            empty = grid == 0
            if not empty.any():
                break
            grown = np.max(
                [
                    np.roll(grid, 1, 1),
                    np.roll(grid, -1, 1),
                    np.vstack([grid[:1], grid[:-1]]),
                    np.vstack([grid[1:], grid[-1:]]),
                ],
                0,
            )
            grid[empty] = grown[empty]
        return grid

    def radius(self, direction: np.ndarray, ears: bool = False) -> np.ndarray:
        """Distance (n,) of the skin along directions (n, 3), without ears or of a cloth that passes over them."""
        column, row = _cells(direction)
        grid = self.over_ears if ears else self.smooth
        left, top = np.floor(column - 0.5).astype(int), np.clip(np.floor(row - 0.5), 0, DOWN - 2).astype(int)
        fx, fy = column - 0.5 - left, np.clip(row - 0.5 - top, 0, 1)
        a, b = left % ACROSS, (left + 1) % ACROSS
        upper = grid[top, a] * (1 - fx) + grid[top, b] * fx
        lower = grid[top + 1, a] * (1 - fx) + grid[top + 1, b] * fx
        return upper * (1 - fy) + lower * fy

    def pushed(self, points: np.ndarray, clearance: np.ndarray | float) -> np.ndarray:
        """Points (n, 3) moved outwards until they lie ``clearance`` cm over the skin."""
        away = points - CENTRE
        distance = np.linalg.norm(away, axis=1)
        least = self.radius(away) + clearance
        return np.where(
            (distance < least)[:, None], CENTRE + away * (least / np.maximum(distance, 1e-6))[:, None], points
        )


def _cells(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column and row, fractional, of directions (n, 3)."""
    azimuth = np.arctan2(direction[:, 0], direction[:, 2])
    height = np.arctan2(direction[:, 1], np.hypot(direction[:, 0], direction[:, 2]))
    return (azimuth / (2 * np.pi) + 0.5) * ACROSS, (0.5 - height / np.pi) * DOWN


def directions(across: int, down: int, lowest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A dome of unit directions (n, 3) from the pole to the height ``lowest`` (radians), uv (n, 2), triangles facing
    outwards.
    """
    u, v = np.meshgrid(np.linspace(0, 1, across + 1), np.linspace(0, 1, down + 1))
    azimuth, height = (u - 0.5) * 2 * np.pi, np.pi / 2 - v * (np.pi / 2 - lowest)
    d = np.stack([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)], -1).reshape(
        -1, 3
    )
    row = np.arange(down)[:, None] * (across + 1) + np.arange(across)
    corners = np.stack([row, row + 1, row + across + 1, row + 1, row + across + 2, row + across + 1], -1)
    return d, np.stack([u, v], -1).reshape(-1, 2), corners.reshape(-1, 3)[:, [0, 2, 1]].astype(np.int32)
