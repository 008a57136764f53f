"""Painting into textures: where the features of the face lie in its texture, masks, noise and blending."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from . import gl
from .face_model import FaceModel
from .head import topology, unwrapped

SIZE = 512  # pixels per side of the face's texture; that of the head's back has half as many


@lru_cache(maxsize=4)
def places(model: FaceModel, part: str, size: int) -> np.ndarray:
    """Point of the mean face (size, size, 3) in cm at each texel, top row first; NaN where the texture is unused."""
    rows, uv, triangles = unwrapped(model, part)
    context, program = gl.context(), gl.program("unwrap")
    points = model.neutral[topology(model).used][rows]
    target = context.framebuffer([context.texture((size, size), 4, dtype="f4")])
    array = context.vertex_array(
        program,
        [(context.buffer(np.concatenate([uv, points], 1, dtype=np.float32).tobytes()), "2f 3f", "in_uv", "in_place")],
        context.buffer(np.ascontiguousarray(triangles, np.int32).tobytes()),
    )
    target.use()
    context.enable_only(context.NOTHING)
    target.clear()
    array.render()
    found = np.frombuffer(target.read(components=4, dtype="f4"), np.float32).reshape(size, size, 4)[::-1]
    return np.where(found[..., 3:] > 0.5, found[..., :3], np.nan)


@lru_cache(maxsize=4)
def marks(model: FaceModel, size: int) -> np.ndarray:
    """Pixels (68, 2) of the landmarks in the texture, y down."""
    rows, uv, _ = unwrapped(model, "face")
    first = {int(row): place for row, place in zip(rows[::-1], uv[::-1])}
    wanted = topology(model).row[model.landmarks]
    found = np.array([first.get(int(row), (0.5, 0.5)) for row in wanted])
    return np.stack([found[:, 0], 1 - found[:, 1]], 1) * size


def smooth_line(points: np.ndarray, count: int = 40, closed: bool = False) -> np.ndarray:
    """Points (count, 2) of a Catmull-Rom curve through points (n, 2)."""
    p = np.asarray(points, float)
    before, after = (p[-1:], p[:2]) if closed else (2 * p[:1] - p[1:2], 2 * p[-1:] - p[-2:-1])
    p = np.concatenate([before, p, after])
    t = np.linspace(0, len(p) - 3 - 1e-6, count)
    i, f = t.astype(int), (t % 1)[:, None]
    a, b, c, d = p[i], p[i + 1], p[i + 2], p[i + 3]
    return 0.5 * (2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f**2 + (3 * b - a - 3 * c + d) * f**3)


def filled(size: int, outline: np.ndarray, blur: float = 0.0) -> np.ndarray:
    """Mask (size, size) float32 0..1 of a polygon (n, 2) in pixels, blurred by ``blur`` pixels."""
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round(np.asarray(outline) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return _softened(mask, blur)


def stroked(size: int, lines: list[np.ndarray], width: float, blur: float = 0.0) -> np.ndarray:
    """Mask (size, size) float32 0..1 of open lines; width: in pixels, at least 1; blur: in pixels."""
    mask = np.zeros((size, size), np.uint8)
    points = [np.round(line * 16).astype(np.int32) for line in lines]
    cv2.polylines(mask, points, False, 255, max(1, round(width)), cv2.LINE_AA, 4)
    return _softened(mask, blur)


def _softened(mask: np.ndarray, blur: float) -> np.ndarray:
    mask = mask.astype(np.float32) / 255
    return cv2.GaussianBlur(mask, (0, 0), blur) if blur > 0 else mask


def disc(size: int, centre: np.ndarray, radii: tuple[float, float], angle: float = 0.0) -> np.ndarray:
    """A Gaussian (size, size) float32 of height 1; radii: its deviations in pixels."""
    if not angle:
        across, down = (
            np.exp(-0.5 * ((np.arange(size, dtype=np.float32) + 0.5 - np.float32(c)) / np.float32(r)) ** 2)
            for c, r in zip(centre, radii)
        )
        return np.outer(down, across)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    dx, dy = x + 0.5 - np.float32(centre[0]), y + 0.5 - np.float32(centre[1])
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return np.exp(-0.5 * (((c * dx + s * dy) / radii[0]) ** 2 + ((c * dy - s * dx) / radii[1]) ** 2))


def noise(rng: np.random.Generator, size: int, cell: float) -> np.ndarray:
    """Smooth noise (size, size) float32 of about unit deviation, with features of ``cell`` pixels."""
    count = max(2, int(np.ceil(size / cell)) + 3)
    grid = rng.standard_normal((count, count)).astype(np.float32)
    large = cv2.resize(grid, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC) if cell > 1 else grid
    return large[:size, :size] * 1.25


def layered(rng: np.random.Generator, size: int, cells: tuple[float, ...]) -> np.ndarray:
    """Noise of several scales, of which coarser ones are stronger, with about unit deviation."""
    weights = np.sqrt(np.asarray(cells))
    return sum(w * noise(rng, size, cell) for w, cell in zip(weights, cells)) / np.sqrt((weights**2).sum())


def blend(image: np.ndarray, colour: np.ndarray, mask: np.ndarray) -> None:
    """Blend a colour into an image (h, w, 3) with the weights mask (h, w), in place."""
    box = bounds(mask)
    part = image[box]
    part += (np.asarray(colour, np.float32) - part) * mask[box][..., None]


def bounds(mask: np.ndarray) -> tuple[slice, slice]:
    """The range of rows and columns outside which a mask (h, w) is too small to be visible."""
    seen = mask > 1 / 2048
    found = [np.flatnonzero(seen.any(axis)) for axis in (1, 0)]
    return tuple(slice(int(f[0]), int(f[-1]) + 1) if len(f) else slice(0, 0) for f in found)
