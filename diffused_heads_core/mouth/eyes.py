"""Lids and irises of a portrait, moved in its own pixels: blinks, squints and glances.

An eye is seen along its own axes: ``u`` from its left to its right corner, 0 to 1, and ``v`` down, both in lengths of
the eye. A lid that moves covers the eye behind it: the skin between brow and lid is stretched over it, from above the
lashes, so that nothing of the eye shines through; the eye itself is not squeezed.
"""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np

from .face_mesh import face_mesh
from .warp import sampled

CORNERS = [33, 133]
UPPER, LOWER = [246, 161, 160, 159, 158, 157, 173], [7, 163, 144, 145, 153, 154, 155]
CREASE, FOLD = [247, 30, 29, 27, 28, 56, 190], [113, 225, 224, 223, 222, 221, 189]
BAG, CHEEK = [25, 110, 24, 23, 22, 26, 112], [31, 228, 229, 230, 231, 232, 233]
AROUND = 0.35  # of the eye's length, beside it, and the space above and below the lines
SAMPLES = 2.0  # rows and columns per pixel of the model's frame
LEAST_CHANGE = 0.02  # of lids and gaze, below which an eye is left alone
LASHES, LOWER_LASHES = 0.08, 0.30  # of the eye's opening, above and below the lids' lines: what shut lids leave out
LASH_SHADE = 0.8  # how far a shut lid's edge has the colour of lashes
DARKEST = 6  # percent of the eye whose colour that is
OVERLAP = 0.06  # of the eye's length by which a shut upper lid lies over the lower one
FOLDS = 0.9  # of the lid's way that the crease above it goes
LOWER_WAY = 0.1  # of the opening that the lower lid comes up in a blink
SQUINT_LOWER, SQUINT_UPPER = 0.35, 0.12  # of the opening, at 1
LOOK = np.array([0.16, 0.12])  # of the eye's length that an iris goes at 1
FOLLOW = 0.35  # of the opening that the upper lid comes down when the eye looks down
IRIS = 0.23  # radius, of the eye's length
WHITE = 0.04  # of the eye's length that stays beside an iris


class EyeWarp:
    """One eye of a portrait; side: 0 the image's left one, 1 the right one.

    picture: uint8, or float in [-1, 1], (F, F, 3), the model's frame, in which mesh (468, 3) px has the lids; it tells
    where the iris is.
    """

    def __init__(self, picture: np.ndarray, mesh: np.ndarray, side: int):
        lines = [mesh[_side(line, side), :2] for line in (CORNERS, FOLD, CREASE, UPPER, LOWER, BAG, CHEEK)]
        ends = lines[0][np.argsort(lines[0][:, 0])]
        self.origin, axis = ends[0], ends[1] - ends[0]
        self.length = max(float(np.linalg.norm(axis)), 1.0)
        self.across = axis / self.length
        self.axes = np.stack([self.across, (-self.across[1], self.across[0])])
        local = [(line - self.origin) @ self.axes.T / self.length for line in lines[1:]]
        columns = max(8, round(SAMPLES * self.length * (1 + 2 * AROUND)))
        self.u = np.linspace(-AROUND, 1 + AROUND, columns)
        corners = np.array([(0.0, 0.0), (1.0, 0.0)])
        local[2:4] = [np.concatenate([each, corners]) for each in local[2:4]]
        fold, crease, upper, lower, bag, cheek = (_line(each, self.u) for each in local)
        self.upper, self.lower = np.minimum(upper, lower), np.maximum(upper, lower)
        thin = 0.02
        self.crease = np.minimum(crease, self.upper - thin)
        self.fold = np.minimum(fold, self.crease - thin)
        self.bag = np.maximum(bag, self.lower + thin)
        self.cheek = np.maximum(cheek, self.bag + thin)
        low, high = float(self.fold.min()) - 0.05, float(self.cheek.max()) + 0.05
        self.v = np.linspace(low, high, max(8, round(SAMPLES * self.length * (high - low))))
        inside = (self.u > 0) & (self.u < 1)
        self.opening = float((self.lower - self.upper)[inside].mean())
        self.iris, self.lash_colour = self._looked_at(picture)

    def _looked_at(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The middle of the iris (u, v), which is what is darkest between the lids, and the darkest colour, 0..1."""
        size = 24
        u, share = np.meshgrid((np.arange(size) + 0.5) / size, (np.arange(size // 2) + 0.5) / (size // 2))
        upper, lower = np.interp(u, self.u, self.upper), np.interp(u, self.u, self.lower)
        v = upper + share * (lower - upper)
        at = (np.stack([u, v], -1) * self.length @ self.axes + self.origin - 0.5).astype(np.float32)
        seen = sampled(np.asarray(picture, np.float32), at, cv2.BORDER_REPLICATE)
        seen = seen / 255 if np.asarray(picture).dtype == np.uint8 else (seen + 1) / 2
        gray = seen @ np.array([0.299, 0.587, 0.114], np.float32)
        darkest = np.median(seen[gray <= np.percentile(gray, DARKEST)], 0)
        dark = np.clip(np.percentile(gray, 45) - gray, 0, None) * (lower - upper) * (np.abs(u - 0.5) < 0.36)
        middle = 0.5 if dark.sum() <= 0 else float((dark * u).sum() / dark.sum())
        middle = float(np.clip(middle, 0.35, 0.65))
        return np.array([middle, np.interp(middle, self.u, (self.upper + self.lower) / 2)]), darkest

    @cached_property
    def frame(self) -> np.ndarray:
        """OpenCV's matrix (2, 3): array indices of the model's frame -> indices of the eye's grid."""
        steps = np.array([self.u[1] - self.u[0], self.v[1] - self.v[0]])
        matrix = self.axes / self.length / steps[:, None]
        start = np.array([self.u[0], self.v[0]]) / steps
        return np.column_stack([matrix, matrix @ (0.5 - self.origin) - start])

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the grid, px of the model's frame."""
        grid = np.array([(u, v) for u in self.u[[0, -1]] for v in self.v[[0, -1]]])
        corners = grid * self.length @ self.axes + self.origin
        (left, top), (right, bottom) = corners.min(0), corners.max(0)
        return float(left), float(top), float(right), float(bottom)

    def layers(self, closure: float, gaze: np.ndarray, squint: float) -> np.ndarray | None:
        """What each node of the grid shows: (rows, columns, 9) float32, or None if nothing changes.

        closure: 0..1; gaze: (2,), -1..1, to the right and down; squint: -1..1. Channels, px of the model's frame: where
        the upper lid's skin, the lower one's and the eye are found from there, (x, y) each, how far the node lies below
        the edge of the upper lid and above that of the lower one, and how dark the lashes of a shut lid are on its
        edge, 0..1. The upper lid hides what is behind it.
        """
        squint = max(squint, 0.0)
        if max(closure, squint, float(np.abs(gaze).max())) < LEAST_CHANGE:
            return None
        opening = np.maximum(self.lower - self.upper, 0)
        shut = min(1.0, closure + (1 - closure) * (SQUINT_UPPER * squint + FOLLOW * max(float(gaze[1]), 0.0)))
        raised = min(1.0, LOWER_WAY * closure + (1 - closure) * SQUINT_LOWER * squint)
        lower = self.lower - raised * opening
        upper = self.upper + shut * (lower - self.upper)
        v, u = self.v[:, None], np.broadcast_to(self.u, (len(self.v), len(self.u)))
        crease = self.crease + FOLDS * (upper - self.upper)
        end = self.upper - LASHES * shut * opening
        start = np.minimum(self.lower + LOWER_LASHES * closure * opening, self.bag - 0.01)
        lid = _through(v, (self.fold, crease, upper), (self.fold, np.minimum(self.crease, end - 0.01), end))
        below = _through(v, (lower, self.bag + 0 * lower, self.cheek), (start, self.bag, self.cheek))
        below = np.where(v < lower, v + start - lower, below)
        shown_u, shown_v = self._looked(u, v, np.asarray(gaze, np.float64))
        edge, ways = self._edge[..., None] * self.length, []
        for source in ((u, lid), (u, below), (shown_u, shown_v)):
            ways.append(edge * np.stack([source[0] - u, source[1] - v], -1) @ self.axes)
        lashes = LASH_SHADE * shut**2 * np.clip(opening / max(self.opening, 1e-6), 0, 1)
        distances = np.stack([v - upper, lower - v - OVERLAP * shut, 0 * v + lashes / self.length], -1)
        return np.concatenate([*ways, self.length * distances], -1).astype(np.float32)

    def _looked(self, u: np.ndarray, v: np.ndarray, gaze: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the eye's points are found that has turned: the iris whole, the white beside it stretched."""
        middle = self.iris[0]
        goal = float(np.clip(middle + LOOK[0] * gaze[0], min(IRIS + WHITE, middle), max(1 - IRIS - WHITE, middle)))
        given = np.array([0.0, goal - IRIS, goal + IRIS, 1.0])
        wanted = np.array([0.0, middle - IRIS, middle + IRIS, 1.0])
        rigid = np.interp(u, given, wanted)
        depth = np.clip((v - self.upper) / np.maximum(self.lower - self.upper, 1e-6), 0, 1)
        share = np.clip(4 * np.minimum(depth, 1 - depth), 0, 1)
        inside = (u > 0) & (u < 1)
        down = LOOK[1] * gaze[1] * np.exp(-(((u - goal) / (1.6 * IRIS)) ** 2)) * share
        down = np.clip(down, -0.24 * (self.lower - self.upper), 0.24 * (self.lower - self.upper))
        return np.where(inside, rigid, u), np.where(inside, v - down, v)

    @cached_property
    def _edge(self) -> np.ndarray:
        """1 inside the grid, 0 at its border."""
        rows, columns = (
            np.clip(np.minimum(np.arange(n), np.arange(n)[::-1]) / 3, 0, 1) for n in (len(self.v), len(self.u))
        )
        return rows[:, None] * columns


def _side(points: list[int], side: int) -> np.ndarray:
    return np.array(points) if side == 0 else face_mesh().pairs[points]


def _line(points: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The height v of a line of points (n, 2) at each u, going on level beyond its ends."""
    order = np.argsort(points[:, 0])
    return np.interp(u, points[order, 0], points[order, 1])


def _through(v: np.ndarray, given: tuple[np.ndarray, ...], wanted: tuple[np.ndarray, ...]) -> np.ndarray:
    """Piecewise linear in v (rows, 1) through knots that each column has, the identity beyond them."""
    found = v + (wanted[0] - given[0])
    found = np.where(v <= given[0], v, found)
    for low, high, start, end in zip(given, given[1:], wanted, wanted[1:]):
        share = np.clip((v - low) / np.maximum(high - low, 1e-6), 0, 1)
        found = np.where(v > low, start + share * (end - start), found)
    return np.where(v > given[-1], v + (wanted[-1] - given[-1]), found)
