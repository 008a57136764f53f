"""Drawing on a supersampled canvas: smooth curves, colours, and a painter that projects head points.

Frame coordinates are fractions of the square frame. A point at fraction u lies ``u * pixels`` from the image's edge,
so pixel centres lie at half-integers. Head coordinates are those of ``pose.HeadGeometry``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from ....diffused_heads_core.pose import HeadGeometry, rotation_matrix

Colour = tuple[int, int, int]
GEOMETRY = HeadGeometry()
SUPERSAMPLING = 2
_SHIFT = 4  # fractional bits of the coordinates that OpenCV draws


@lru_cache(maxsize=4096)
def mix(a: Colour, b: Colour, t: float) -> Colour:
    """Linear blend of two colours: ``a`` at t=0, ``b`` at t=1."""
    return tuple(round(x + (y - x) * t) for x, y in zip(a, b))


@lru_cache(maxsize=4096)
def tint(colour: Colour, factors: tuple[float, float, float]) -> Colour:
    """Colour with each channel multiplied by its factor and clamped to 0..255."""
    return tuple(int(min(255, max(0, round(c * f)))) for c, f in zip(colour, factors))


def shade(colour: Colour, amount: float) -> Colour:
    """Lighter (amount in 0..1, toward white) or darker (amount in -1..0, toward black) colour."""
    return mix(colour, (255, 255, 255), amount) if amount > 0 else tint(colour, (1 + amount,) * 3)


def smoothstep(x: np.ndarray | float) -> np.ndarray | float:
    """0 below 0, 1 above 1, and between them a cubic whose slope is 0 at both ends."""
    x = min(max(x, 0.0), 1.0) if isinstance(x, float) else np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)


@lru_cache(maxsize=256)
def _spline(count: int, closed: bool, per: int) -> np.ndarray:
    """Matrix (samples, count) of Catmull-Rom weights that turns control points into the curve's points."""
    segments = count if closed else count - 1
    t = np.arange(per)[:, None] / per
    cubic = 0.5 * np.hstack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2])
    rows = np.zeros((segments * per + (not closed), count))
    for segment in range(segments):
        for k in range(4):
            index = segment + k - 1
            index = index % count if closed else min(max(index, 0), count - 1)
            rows[segment * per : (segment + 1) * per, index] += cubic[:, k]
    if not closed:
        rows[-1, -1] = 1.0
    rows.setflags(write=False)
    return rows


def curve(points: np.ndarray, closed: bool = False, per: int = 5) -> np.ndarray:
    """Smooth curve through control points (n, d), with ``per`` samples per segment."""
    return _spline(len(points), closed, per) @ np.asarray(points, np.float64)


def on_face(xy: np.ndarray, lift: float | np.ndarray = 0.0) -> np.ndarray:
    """Head points (n, 3) on the head's ellipsoid above (n, 2) head coordinates, raised by ``lift``."""
    xy = np.asarray(xy, np.float64)
    inside = 1 - (xy[:, 0] / GEOMETRY.radii[0]) ** 2 - (xy[:, 1] / GEOMETRY.radii[1]) ** 2
    depth = GEOMETRY.depth * np.sqrt(np.maximum(inside, 0.0))
    points = np.empty((len(xy), 3))
    points[:, :2], points[:, 2] = xy, depth + lift
    return points


def at_depth(xy: np.ndarray, z: float | np.ndarray) -> np.ndarray:
    """Head points (n, 3) at depth ``z``, from (n, 2) head coordinates."""
    xy = np.asarray(xy, np.float64)
    return np.column_stack([xy, np.broadcast_to(np.asarray(z, np.float64), len(xy))])


def mirrored(points: np.ndarray) -> np.ndarray:
    """Points (n, d) with x negated, in the same order."""
    return np.asarray(points, np.float64) * np.array([-1.0] + [1.0] * (np.shape(points)[1] - 1))


@lru_cache(maxsize=32)
def _circle(count: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.column_stack([np.cos(angle), np.sin(angle)])


@lru_cache(maxsize=32)
def arch(count: int, low: float = 0.0, high: float = np.pi) -> np.ndarray:
    """Sine at ``count`` evenly spaced angles from ``low`` to ``high`` radians, for tapers and bulges; read-only."""
    values = np.sin(np.linspace(low, high, count))
    values.setflags(write=False)
    return values


def ellipse(cx: float, cy: float, rx: float, ry: float, count: int = 16) -> np.ndarray:
    """Points (count, 2) of an ellipse."""
    return _circle(count) * (rx, ry) + (cx, cy)


@dataclass(frozen=True, eq=False)
class Patch:
    """A filled polygon (width 0), or an open line of that width in frame fractions, through head points (n, 3)."""

    points: np.ndarray
    colour: Colour
    width: float = 0.0


class Painter:
    """Paints on one RGB canvas (H, W, 3) uint8, with one head pose (5,) as in ``pose.POSE``."""

    def __init__(self, image: np.ndarray, pose: np.ndarray) -> None:
        self.image, self.scale = image, float(image.shape[0])
        self._origin = np.array([0.5, 0.5])
        pivot, centre = np.asarray(GEOMETRY.pivot), np.asarray(GEOMETRY.centre)
        rotation = rotation_matrix(*pose[:3])
        self._turn = rotation[:2].T.copy()
        self._move = pivot[:2] - self._turn.T @ pivot + centre + pose[3:]
        squash = np.sqrt(np.cos(pose[0]) ** 2 + (GEOMETRY.depth / GEOMETRY.radii[0] * np.sin(pose[0])) ** 2)
        self.silhouette = float(squash / np.cos(pose[0]))

    def place(self, points: np.ndarray) -> np.ndarray:
        """Frame fractions (n, 2) of head points (n, 3)."""
        return points @ self._turn + self._move

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        return np.rint((points * self.scale - self._origin) * (1 << _SHIFT)).astype(np.int32)

    def fill(self, points: np.ndarray, colour: Colour) -> None:
        """Fill a polygon given in frame fractions (n, 2)."""
        cv2.fillPoly(self.image, [self._fixed(points)], colour, cv2.LINE_AA, _SHIFT)

    def line(self, points: np.ndarray, colour: Colour, width: float) -> None:
        """Draw an open line of ``width`` frame fractions; its thickness in pixels is rounded."""
        thickness = max(1, round(width * self.scale))
        cv2.polylines(self.image, [self._fixed(points)], False, colour, thickness, cv2.LINE_AA, _SHIFT)

    def stroke(self, points: np.ndarray, colour: Colour, widths: float | np.ndarray) -> None:
        """Draw a tapering line (n, 2) as a polygon; widths, in frame fractions, may differ from point to point."""
        count, along = len(points), np.empty_like(points)
        along[1:-1] = points[2:] - points[:-2]
        along[0], along[-1] = points[1] - points[0], points[-1] - points[-2]
        reach = widths / (2 * np.sqrt((along * along).sum(1)) + 1e-9)
        border = np.empty((2 * count, 2))
        offset = np.empty_like(points)
        offset[:, 0], offset[:, 1] = -along[:, 1] * reach, along[:, 0] * reach
        np.add(points, offset, out=border[:count])
        np.subtract(points[::-1], offset[::-1], out=border[count:])
        self.fill(border, colour)

    def patches(self, patches: tuple[Patch, ...]) -> None:
        """Draw patches of the head, one after the other."""
        if not patches:
            return
        placed = self.place(np.concatenate([patch.points for patch in patches]))
        start = 0
        for patch in patches:
            points = placed[start : start + len(patch.points)]
            start += len(patch.points)
            if patch.width:
                self.line(points, patch.colour, patch.width)
            else:
                self.fill(points, patch.colour)

    def spot(self, centre: np.ndarray, radius: tuple[float, float], colour: Colour, strength: float) -> None:
        """Blend in a soft elliptic spot of ``strength`` 0..1 around a point in frame fractions."""
        middle = np.asarray(centre) * self.scale - self._origin
        reach = np.asarray(radius) * self.scale
        (left, top), (right, bottom) = self._window(middle - reach, middle + reach)
        x, y = (
            np.exp(-4.5 * ((np.arange(low, high) - middle[k]) / reach[k]) ** 2).astype(np.float32)
            for k, (low, high) in enumerate(((left, right), (top, bottom)))
        )
        region = self.image[top:bottom, left:right]
        alpha = (y * np.float32(strength))[:, None, None] * x[:, None]
        region[:] = region + (np.array(colour, np.float32) - region) * alpha + np.float32(0.5)

    def _window(self, low: np.ndarray, high: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
        """Pixel range (left, top), (right, bottom) that covers a box: within the canvas, at least one pixel."""
        height, width = self.image.shape[:2]
        left, top = min(max(int(low[0]) - 1, 0), width - 1), min(max(int(low[1]) - 1, 0), height - 1)
        return (left, top), (max(min(int(high[0]) + 3, width), left + 1), max(min(int(high[1]) + 3, height), top + 1))

    @contextmanager
    def inside(self, points: np.ndarray) -> Iterator[None]:
        """Clip what is painted in this block to the polygon (n, 2) in frame fractions."""
        pixels = points * self.scale - self._origin
        (left, top), (right, bottom) = self._window(pixels.min(0), pixels.max(0))
        whole, origin = self.image, self._origin
        region = whole[top:bottom, left:right]
        mask = np.zeros(region.shape[:2], np.uint8)
        self.image, self._origin = region.copy(), origin + (left, top)
        cv2.fillPoly(mask, [self._fixed(points)], 255, cv2.LINE_AA, _SHIFT)
        try:
            yield
            weight = mask[..., None].astype(np.uint16)
            region[:] = (self.image * weight + region * (255 - weight) + 127) // 255
        finally:
            self.image, self._origin = whole, origin
