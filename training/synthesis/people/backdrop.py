"""Backdrops of people: walls, rooms, lights and foliage, out of focus."""

from __future__ import annotations

import cv2
import numpy as np

from . import paint
from .person import Person

SIZE = 256  # pixels per side


def _ramp(a: np.ndarray, b: np.ndarray, angle: float) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) / SIZE - 0.5
    t = np.clip(0.5 + x * np.cos(angle) + y * np.sin(angle), 0, 1)[..., None]
    return (a * (1 - t) + b * t).astype(np.float32)


def _boxes(
    image: np.ndarray,
    rng: np.random.Generator,
    count: int,
    colours: list[np.ndarray],
    wide: tuple[float, float],
    high: tuple[float, float],
) -> None:
    for _ in range(count):
        w, h = rng.uniform(*wide) * SIZE, rng.uniform(*high) * SIZE
        x, y = rng.uniform(-0.1, 1.0, 2) * SIZE
        colour = np.clip(colours[int(rng.integers(len(colours)))] * rng.uniform(0.5, 1.35), 0, 1)
        cv2.rectangle(image, (int(x), int(y)), (int(x + w), int(y + h)), colour.tolist(), -1)


def _lights(image: np.ndarray, rng: np.random.Generator, count: int, radius: tuple[float, float]) -> None:
    for _ in range(count):
        layer = np.zeros((SIZE, SIZE), np.uint8)
        r = rng.uniform(*radius) * SIZE
        centre = tuple((rng.uniform(0, 1, 2) * SIZE * 16).astype(int).tolist())
        cv2.circle(layer, centre, int(r * 16), 255, -1, cv2.LINE_AA, 4)
        warm = np.clip(np.array([1.0, 0.8, 0.55]) + rng.normal(0, 0.22, 3), 0.2, 1)
        image += warm.astype(np.float32) * (layer.astype(np.float32) / 255 * rng.uniform(0.08, 0.5))[..., None]


def _foliage(rng: np.random.Generator, walls: list[np.ndarray]) -> np.ndarray:
    leaf = np.array([0.22, 0.36, 0.14]) * rng.uniform(0.6, 1.5) + rng.normal(0, 0.04, 3)
    bright = np.array([0.75, 0.85, 0.62]) * rng.uniform(0.7, 1.15)
    mix = np.clip(0.45 + 0.32 * paint.layered(rng, SIZE, (70, 30, 12, 5)), 0, 1)[..., None]
    image = leaf * (1 - mix) + bright * mix
    return image.astype(np.float32)


def _room(rng: np.random.Generator, walls: list[np.ndarray]) -> np.ndarray:
    image = _ramp(walls[0], walls[0] * 0.75, rng.uniform(0, 6.28))
    if rng.random() < 0.7:
        corner = int(rng.uniform(0.05, 0.95) * SIZE)
        image[:, corner:] *= rng.uniform(0.65, 0.9)
    _boxes(image, rng, int(rng.integers(2, 7)), walls, (0.06, 0.35), (0.08, 0.5))
    if rng.random() < 0.5:
        line = int(rng.uniform(0.65, 0.95) * SIZE)
        image[line:] = image[line:] * 0.4 + walls[2] * 0.5
    return image


def _window(rng: np.random.Generator, walls: list[np.ndarray]) -> np.ndarray:
    image = _ramp(walls[0] * 0.6, walls[0] * 0.4, rng.uniform(0, 6.28))
    x, w = rng.uniform(-0.1, 0.65) * SIZE, rng.uniform(0.3, 0.6) * SIZE
    y, h = rng.uniform(-0.15, 0.25) * SIZE, rng.uniform(0.5, 0.9) * SIZE
    glow = np.clip(np.array([0.9, 0.95, 1.0]) * rng.uniform(0.75, 1.05), 0, 1)
    cv2.rectangle(image, (int(x), int(y)), (int(x + w), int(y + h)), glow.tolist(), -1)
    for k in range(1, 3):
        at = int(x + w * k / 3)
        cv2.line(image, (at, int(y)), (at, int(y + h)), (walls[0] * 0.5).tolist(), 5)
    return image


def _shelf(rng: np.random.Generator, walls: list[np.ndarray]) -> np.ndarray:
    image = _ramp(walls[0] * 0.6, walls[0] * 0.45, 1.57)
    rows = int(rng.integers(3, 6))
    for row in range(rows):
        base, x = int((row + 1) * SIZE / rows), 0.0
        while x < SIZE:
            w, h = rng.uniform(5, 18), rng.uniform(0.45, 0.9) * SIZE / rows
            if rng.random() < 0.88:
                colour = np.clip(walls[int(rng.integers(3))] * rng.uniform(0.4, 1.5) + rng.normal(0, 0.07, 3), 0.02, 1)
                cv2.rectangle(image, (int(x), int(base - h)), (int(x + w), base), colour.tolist(), -1)
            x += w + (rng.random() < 0.1) * 20
        cv2.rectangle(image, (0, base), (SIZE, base + 5), (walls[0] * 0.35).tolist(), -1)
    return image


def _street(rng: np.random.Generator, walls: list[np.ndarray]) -> np.ndarray:
    image = _ramp(np.array([0.80, 0.86, 0.92]), np.array([0.55, 0.55, 0.55]), 1.57)
    _boxes(image, rng, 9, [w * 0.8 for w in walls] + [np.array([0.4, 0.4, 0.42])], (0.12, 0.4), (0.5, 1.0))
    _boxes(image, rng, 16, [np.array([0.75, 0.78, 0.8]), np.array([0.2, 0.2, 0.24])], (0.02, 0.06), (0.03, 0.09))
    return image


def _clutter(rng: np.random.Generator, walls: list[np.ndarray]) -> np.ndarray:
    image = _ramp(walls[0], walls[1], rng.uniform(0, 6.28))
    for _ in range(int(rng.integers(10, 40))):
        colour = np.clip(walls[int(rng.integers(3))] * rng.uniform(0.3, 1.6) + rng.normal(0, 0.08, 3), 0, 1)
        centre = (rng.uniform(0, 1, 2) * SIZE).astype(int).tolist()
        axes = (rng.uniform(0.04, 0.4) * SIZE, rng.uniform(0.04, 0.4) * SIZE)
        cv2.ellipse(image, (centre, axes, float(rng.uniform(0, 180))), colour.tolist(), -1)
    return image


_PLACES = {
    "room": _room,
    "window": _window,
    "shelf": _shelf,
    "foliage": _foliage,
    "street": _street,
    "clutter": _clutter,
}


def paint_backdrop(person: Person) -> np.ndarray:
    """The person's backdrop (SIZE, SIZE, 3) uint8 sRGB, blurred as if out of focus."""
    rng, kind = person.stream("backdrop"), person.backdrop
    walls = [np.asarray(wall, np.float32) for wall in person.walls]
    blur = rng.uniform(1.0, 9.0)
    if kind == "plain":
        image = np.tile(walls[0], (SIZE, SIZE, 1))
    elif kind == "gradient":
        image = _ramp(walls[0], walls[1], rng.uniform(0, 6.28))
    elif kind == "studio":
        glow = paint.disc(SIZE, rng.uniform(0.25, 0.75, 2) * SIZE, (rng.uniform(0.25, 0.6) * SIZE,) * 2)[..., None]
        image = walls[0] * (0.35 + 0.9 * glow)
    elif kind == "bokeh":
        image = _ramp(walls[0] * 0.45, walls[1] * 0.35, rng.uniform(0, 6.28))
        _lights(image, rng, int(rng.integers(12, 45)), (0.02, 0.09))
        blur = rng.uniform(0.6, 2.5)
    else:
        image = _PLACES[kind](rng, walls)
    image = cv2.GaussianBlur(np.clip(image, 0, 1.2).astype(np.float32), (0, 0), blur)
    image *= 1 + 0.05 * paint.noise(rng, SIZE, 80)[..., None]
    if kind in ("plain", "gradient", "studio"):
        image *= 1 + 0.012 * paint.noise(rng, SIZE, 3)[..., None]
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)
