"""Clothes: a garment with its collar, and what is worn under it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from . import paint
from .head import Head, follow, grid_triangles
from .person import Person
from .piece import Piece, plain_piece, superellipse


def cloth_texture(rng: np.random.Generator, colour: np.ndarray, second: np.ndarray, size: int = 256) -> np.ndarray:
    """Texture (size, size, 3) uint8 of plain, striped, checked or printed cloth."""
    image = np.tile(np.asarray(colour, np.float32), (size, size, 1))
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    kind = rng.random()
    if kind < 0.16:
        stripe = (np.sin(2 * np.pi * y * rng.uniform(8, 40)) > rng.uniform(-0.3, 0.7)).astype(np.float32)
        paint.blend(image, second, stripe)
    elif kind < 0.26:
        check = 0.5 * (np.sin(2 * np.pi * x * 24) > 0.2) + 0.5 * (np.sin(2 * np.pi * y * 18) > 0.2)
        paint.blend(image, second, 0.8 * check.astype(np.float32))
    elif kind < 0.36:
        paint.blend(image, second, (paint.layered(rng, size, (24, 10)) > 0.7).astype(np.float32))
    image *= 1 + 0.05 * paint.noise(rng, size, 1.3)[..., None] + 0.07 * paint.layered(rng, size, (40, 14))[..., None]
    return (np.clip(image, 0.01, 1) * 255).astype(np.uint8)


# Height of the collar's edge at the sides, in front and behind, in cm of the face model; how far it stands off the neck
# in cm; and how much a standing collar widens the garment below it.
NECKLINES = {
    "crew": (-11.2, -13.2, -10.0, 0.35, 0.0),
    "vneck": (-11.3, -17.0, -10.0, 0.35, 0.0),
    "shirt": (-9.6, -13.2, -8.6, 0.7, 1.6),
    "turtleneck": (-8.6, -9.8, -8.0, 0.45, 2.5),
    "hoodie": (-9.8, -13.6, -8.5, 1.3, 1.5),
    "blazer": (-10.2, -18.5, -9.2, 0.5, 0.6),
    "scoop": (-13.0, -16.2, -11.3, 0.3, 0.0),
}


def _edge(neck: tuple, angle: np.ndarray) -> np.ndarray:
    """Height of a collar's edge at angles from the front."""
    side, front, back = neck[:3]
    return side + (np.where(np.abs(angle) < np.pi / 2, front, back) - side) * np.cos(angle) ** 2


def _drop(person: Person) -> float:
    return 0.8 * (1 - person.shoulder)


def covered(head: Head, person: Person) -> np.ndarray:
    """Which of the head's vertices (n,) clothes certainly hide."""
    x, y, z = head.neutral.T
    names = [person.neckline] + (["crew"] if person.neckline == "blazer" else [])
    edge = np.max([_edge(NECKLINES[name], np.arctan2(x, z + 1.0)) for name in names], 0)
    return y < edge - _drop(person) - 1.5


def _garment(
    head: Head, person: Person, neck: tuple, drop: float, grow: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A surface from the collar over the shoulders: points, texture coordinates and triangles."""
    off, wall = neck[3:]
    around, down = 64, 14
    angle = np.linspace(-np.pi, np.pi, around + 1)
    high = _edge(neck, angle) - drop
    rows = []
    skin = _neck(head)
    for k in range(down + 1):
        t = k / down
        low = -24.0 - 6 * t
        fall = t**1.35
        y = high * (1 - fall) + low * fall
        wide = superellipse(angle, 7.0 + 17 * t**0.85, 7.0 + 6.5 * t, 2 + 0.6 * t)
        wide[:, 1] -= 1.8
        sideways = np.maximum(np.hypot(wide[:, 0], 0.6 * wide[:, 1]) - 6.5, 0)
        slope = -10.6 - 3.2 * (1 - person.shoulder) - 0.42 * sideways - 0.03 * np.hypot(*wide.T) ** 1.4
        y = np.minimum(y, np.where(t > 0.2, np.maximum(slope, y - 30), y)) if t > 0.25 else y
        tight = skin(angle, y) + off + grow + 0.8 * min(1, 4 * t) + 0.5 * wall * max(0, 1 - 5 * t) * 0.3
        distance = np.maximum(np.hypot(*wide.T) * min(1.0, t * 2.2), tight)
        rows.append(np.stack([np.sin(angle) * distance, y, np.cos(angle) * distance - 1.0], 1))
    points = np.stack(rows).reshape(-1, 3)
    u, v = np.meshgrid(np.linspace(0, 3, around + 1), np.linspace(0, 1, down + 1))
    return points, np.stack([u, v], -1).reshape(-1, 2), grid_triangles(down, around)


def _neck(head: Head) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function that gives the distance of the neck's skin from its axis (x = 0, z = -1) at angles and heights."""
    rows = np.unique(np.concatenate([head.topology.triangles[part].ravel() for part in ("face", "head")]))
    p = head.neutral[rows]
    p = p[p[:, 1] < -6.5]
    angle, radius = np.arctan2(p[:, 0], p[:, 2] + 1.0), np.hypot(p[:, 0], p[:, 2] + 1.0)
    grid = np.zeros((16, 48), np.float32)
    row = np.clip(((-6.5 - p[:, 1]) / 0.8).astype(int), 0, 15)
    np.maximum.at(grid, (row, ((angle / (2 * np.pi) + 0.5) * 48).astype(int) % 48), radius)
    for _ in range(24):
        empty = grid == 0
        grid[empty] = np.max([np.roll(grid, 1, 1), np.roll(grid, -1, 1), np.vstack([grid[:1], grid[:-1]])], 0)[empty]
    grid = cv2.GaussianBlur(np.hstack([grid[:, -4:], grid, grid[:, :4]]), (0, 0), 0.8)[:, 4:-4]

    def at(angles: np.ndarray, heights: np.ndarray) -> np.ndarray:
        y = np.clip((-6.5 - heights) / 0.8 - 0.5, 0, 14.99)
        x = (angles / (2 * np.pi) + 0.5) * 48 - 0.5
        i, j = y.astype(int), np.floor(x).astype(int)
        fy, fx = y - i, x - j
        a, b = j % 48, (j + 1) % 48
        upper = grid[i, a] * (1 - fx) + grid[i, b] * fx
        lower = grid[i + 1, a] * (1 - fx) + grid[i + 1, b] * fx
        return upper * (1 - fy) + lower * fy

    return at


def cloth_pieces(head: Head, person: Person) -> list[Piece]:
    """The garment, and what is worn under a blazer."""
    rng, pieces = person.stream("cloth"), []
    layers = [(person.neckline, person.cloth, 0.0)]
    if person.neckline == "blazer":
        layers.insert(0, ("shirt" if rng.random() < 0.6 else "crew", person.cloth_second, -0.15))
    for name, colour, grow in layers:
        second = np.asarray(person.cloth_second) if name == person.neckline else np.asarray(colour) * 0.9
        points, uv, triangles = _garment(head, person, NECKLINES[name], _drop(person), grow)
        image = cloth_texture(rng, np.asarray(colour), second)
        image[:10] = (image[:10] * 0.72).astype(np.uint8)  # the hem of the collar
        ease = 0.45 * follow(points) * (points[:, 1] > -15)
        pieces.append(plain_piece(head, points, triangles, uv, image, 0.02, 8.0, ease))
    return pieces
