"""The skull as seen from its middle: distance of the skin in every direction, where hair grows, and domes over it."""

from __future__ import annotations

import cv2
import numpy as np

from .head import Head, follow, grid_triangles
from .person import BARE, Person

ACROSS, DOWN = 96, 64  # cells of the grid of distances
CENTRE = np.array([0.0, 3.6, 0.4])  # cm, middle of the skull


class Skull:
    """Distance of a head's skin from CENTRE, in cm, over azimuth (0 at the face, growing to image right) and height."""

    def __init__(self, head: Head) -> None:
        points = [head.neutral[head.topology.triangles[part]].reshape(-1, 3) for part in ("face", "head")]
        triangles = np.concatenate(points).reshape(-1, 3, 3)
        weights = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]], float)
        triangles = triangles[follow(triangles.mean(1)) > 0.6]  # without the shoulders
        samples = np.einsum("kj,fjc->kfc", weights / weights.sum(1, keepdims=True), triangles).reshape(-1, 3)
        self.grid = self._gridded(samples - CENTRE)
        wide = cv2.copyMakeBorder(self.grid, 8, 8, 0, 0, cv2.BORDER_REPLICATE)
        wide = np.concatenate([wide[:, -8:], wide, wide[:, :8]], 1)
        # ``smooth`` has no ears: minima remove them.
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
            up, down = np.vstack([grid[1:], grid[-1:]]), np.vstack([grid[:1], grid[:-1]])
            grid[empty] = np.max([np.roll(grid, 1, 1), np.roll(grid, -1, 1), down, up], 0)[empty]
        return grid

    def radius(self, direction: np.ndarray, ears: bool = False) -> np.ndarray:
        """Distance (n,) of the skin along directions (n, 3): without ears, or of a cloth that covers them."""
        column, row = _cells(direction)
        grid = self.over_ears if ears else self.smooth
        left, top = np.floor(column - 0.5).astype(int), np.clip(np.floor(row - 0.5), 0, DOWN - 2).astype(int)
        fx, fy = column - 0.5 - left, np.clip(row - 0.5 - top, 0, 1)
        a, b = left % ACROSS, (left + 1) % ACROSS
        upper = grid[top, a] * (1 - fx) + grid[top, b] * fx
        lower = grid[top + 1, a] * (1 - fx) + grid[top + 1, b] * fx
        return upper * (1 - fy) + lower * fy

    def pushed(self, points: np.ndarray, clearance: np.ndarray | float) -> np.ndarray:
        """Points (n, 3) moved outwards until they are at least ``clearance`` cm above the skin."""
        away = points - CENTRE
        distance = np.linalg.norm(away, axis=1)
        least = self.radius(away) + clearance
        moved = CENTRE + away * (least / np.maximum(distance, 1e-6))[:, None]
        return np.where((distance < least)[:, None], moved, points)


def _cells(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fractional columns and rows of the grid for directions (n, 3)."""
    azimuth = np.arctan2(direction[:, 0], direction[:, 2])
    height = np.arctan2(direction[:, 1], np.hypot(direction[:, 0], direction[:, 2]))
    return (azimuth / (2 * np.pi) + 0.5) * ACROSS, (0.5 - height / np.pi) * DOWN


def hairline(direction: np.ndarray, height: float, receding: float = 0.0) -> np.ndarray:
    """Height (...) in cm above the hairline of points (..., 3) relative to CENTRE; hair grows where it is positive.

    height: cm by which the line on the forehead is raised; receding: 0..1, how bare the forehead's corners are.
    """
    x, y, z = np.moveaxis(direction, -1, 0)
    around = np.abs(np.degrees(np.arctan2(x, z)))  # degrees: 0 at the middle of the forehead, 180 behind
    corner = 1.6 * receding * np.exp(-(((around - 28) / 14) ** 2))
    marks = np.array([0, 10, 22, 34, 43, 51, 58, 64, 69, 74, 82, 95, 112, 135, 180])
    line = np.array([7.1, 7.25, 7.3, 6.9, 5.9, 5.0, 3.6, 1.6, -0.4, -1.4, 0.6, 2.2, -1.5, -6.0, -7.2])
    lift = np.interp(around, [0, 40, 62, 75], [1.0, 1.0, 0.35, 0.0])
    return y - (np.interp(around, marks, line) + lift * (height + corner))


def line_height(person: Person) -> float:
    """How far the hairline on the forehead is above the average, in cm."""
    return 0.7 * person.hairline


def scalp_mask(points: np.ndarray, person: Person, soft: float = 0.9) -> np.ndarray:
    """How much hair grows, 0..1, at points (..., 3) in cm of the mean face; 0 for NaN. soft: cm of the edge."""
    receding = {"receding": 1.0, "bald": 1.0}.get(person.hair_style, 0.35 if person.masculine else 0.0)
    away = points - CENTRE
    around, rng = np.arctan2(away[..., 0], away[..., 2]), person.stream("hairline")
    turn = np.linspace(-np.pi, np.pi, 1441)
    ragged = sum(rng.normal(0, 0.16) * np.cos(k * turn + rng.uniform(0, 6.28)) for k in (3, 5, 8, 13))
    peak = max(rng.normal(0, 0.5), 0) * np.exp(-((turn / 0.10) ** 2))
    over = hairline(away, line_height(person), receding) + np.interp(around, turn, ragged + peak)
    mask = np.clip(over / soft + 0.5, 0, 1)
    if person.hair_style in BARE:
        crown = np.clip((points[..., 1] - CENTRE[1] - (4.0 if person.hair_style == "bald" else 5.6)) / 2.2, 0, 1)
        mask = mask * (1 - crown)
    return np.nan_to_num(mask).astype(np.float32)


def directions(across: int, down: int, lowest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A dome: unit directions (n, 3) from the pole down to the height ``lowest`` in radians, texture coordinates
    (n, 2), and triangles that face outwards.
    """
    u, v = np.meshgrid(np.linspace(0, 1, across + 1), np.linspace(0, 1, down + 1))
    azimuth, height = (u - 0.5) * 2 * np.pi, np.pi / 2 - v * (np.pi / 2 - lowest)
    d = np.stack([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)], -1)
    return d.reshape(-1, 3), np.stack([u, v], -1).reshape(-1, 2), grid_triangles(down, across)[:, ::-1]
