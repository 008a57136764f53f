"""What does not move with the head: the backdrop and the clothes."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from .avatar import Avatar
from .draw import Colour, Painter, curve, ellipse, mirrored, mix, shade, tint

Shape = tuple[np.ndarray, Colour, float]


@lru_cache(maxsize=16)
def backdrop(avatar: Avatar, pixels: int) -> np.ndarray:
    """Backdrop (pixels, pixels, 3) uint8 of an avatar; the array is shared and read-only."""
    image = _ramp(avatar, pixels)
    painter = Painter(image, np.zeros(5))
    rng = np.random.default_rng(avatar.seed + 1)
    _PATTERNS.get(avatar.backdrop, lambda *_: None)(painter, avatar, rng)
    blur = {"bokeh": 0.012, "shelf": 0.008, "window": 0.006, "plant": 0.006}.get(avatar.backdrop, 0.0) * pixels
    if blur:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    image.setflags(write=False)
    return image


def _ramp(avatar: Avatar, pixels: int) -> np.ndarray:
    first, second = (np.array(c, np.float64) for c in avatar.walls[:2])
    y, x = (np.mgrid[:pixels, :pixels] + 0.5) / pixels
    if avatar.backdrop == "gradient":
        t = np.clip(0.5 + (y - 0.5) * 0.9 + (x - 0.5) * 0.4 * avatar.light, 0, 1)
    elif avatar.backdrop == "radial":
        t = np.clip(np.hypot(x - 0.5, y - 0.42) / 0.72, 0, 1) ** 1.4
    else:
        t, second = y * 0.8, first * 0.9
    return np.rint(first + (second - first) * t[..., None]).astype(np.uint8)


def _box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def _bokeh(painter: Painter, avatar: Avatar, rng: np.random.Generator) -> None:
    for _ in range(16):
        x, y, radius = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.03, 0.12)
        base = avatar.walls[int(rng.integers(1, 3))]
        painter.fill(ellipse(x, y, radius, radius, 32), mix(avatar.walls[0], base, float(rng.uniform(0.25, 0.65))))


def _stripes(painter: Painter, avatar: Avatar, rng: np.random.Generator) -> None:
    slant, step = float(rng.choice([0.0, 0.5, -0.5])), float(rng.uniform(0.07, 0.13))
    colour = mix(avatar.walls[0], avatar.walls[1], 0.3)
    for x in np.arange(-0.6, 1.6, step * 2):
        painter.fill(np.array([(x, -0.02), (x + step, -0.02), (x + step + slant, 1.02), (x + slant, 1.02)]), colour)


def _dots(painter: Painter, avatar: Avatar, rng: np.random.Generator) -> None:
    step, colour = float(rng.uniform(0.09, 0.14)), mix(avatar.walls[0], avatar.walls[1], 0.4)
    for row, y in enumerate(np.arange(0.03, 1.05, step)):
        for x in np.arange(0.02 + (row % 2) * step / 2, 1.05, step):
            painter.fill(ellipse(x, y, step * 0.16, step * 0.16, 14), colour)


def _window(painter: Painter, avatar: Avatar, rng: np.random.Generator) -> None:
    x = float(rng.choice([-0.06, 0.62]))
    painter.fill(_box(x, 0.06, x + 0.44, 0.66), (246, 244, 240))
    for column in (0, 1):
        for row in (0, 1):
            left, top = x + 0.02 + 0.21 * column, 0.08 + 0.29 * row
            painter.fill(
                _box(left, top, left + 0.19, top + 0.27), mix((176, 214, 240), (226, 240, 246), row * 0.6 + 0.1)
            )
    painter.fill(_box(x - 0.03, 0.66, x + 0.47, 0.69), (232, 228, 222))


def _shelf(painter: Painter, avatar: Avatar, rng: np.random.Generator) -> None:
    wood = mix(avatar.walls[2], (120, 84, 58), 0.55)
    for y in (0.24, 0.56, 0.88):
        x = 0.0
        while x < 1:
            width, height = float(rng.uniform(0.025, 0.055)), float(rng.uniform(0.12, 0.2))
            if rng.random() < 0.75:
                book = mix(avatar.walls[int(rng.integers(0, 3))], tuple(int(v) for v in rng.integers(60, 210, 3)), 0.5)
                painter.fill(_box(x, y - height, x + width - 0.006, y), book)
            x += width
        painter.fill(_box(-0.01, y, 1.01, y + 0.025), wood)


def _panel(painter: Painter, avatar: Avatar, rng: np.random.Generator) -> None:
    painter.fill(_box(-0.01, 0.6, 1.01, 1.01), mix(avatar.walls[0], avatar.walls[1], 0.55))
    painter.fill(_box(-0.01, 0.585, 1.01, 0.61), shade(avatar.walls[0], 0.35))


def _horizon(painter: Painter, avatar: Avatar, rng: np.random.Generator) -> None:
    x = np.linspace(-0.02, 1.02, 30)
    for level, amount in ((0.5, 0.25), (0.62, 0.45), (0.76, 0.65)):
        y = level + 0.05 * np.sin(x * rng.uniform(4, 9) + rng.uniform(0, 6))
        painter.fill(
            np.vstack([np.column_stack([x, y]), [(1.02, 1.02), (-0.02, 1.02)]]),
            mix(avatar.walls[0], avatar.walls[2], amount),
        )
    painter.fill(ellipse(float(rng.uniform(0.1, 0.9)), 0.16, 0.07, 0.07, 32), shade(avatar.walls[0], 0.5))


def _frames(painter: Painter, avatar: Avatar, rng: np.random.Generator) -> None:
    for x, y, w, h in (
        (0.03, 0.08, 0.17, 0.22),
        (0.82, 0.12, 0.15, 0.15),
        (0.81, 0.36, 0.17, 0.2),
        (0.06, 0.4, 0.12, 0.14),
    ):
        painter.fill(_box(x, y, x + w, y + h), mix(avatar.walls[0], (60, 50, 46), 0.55))
        painter.fill(_box(x + 0.012, y + 0.012, x + w - 0.012, y + h - 0.012), (244, 240, 232))
        painter.fill(
            ellipse(x + w / 2, y + h / 2, w * 0.25, h * 0.25),
            mix(avatar.walls[1], avatar.walls[2], float(rng.random())),
        )


def _plant(painter: Painter, avatar: Avatar, rng: np.random.Generator) -> None:
    x = 0.1 if rng.random() < 0.5 else 0.9
    for angle in np.linspace(-1.2, 1.2, 9):
        tip = np.array([x + 0.26 * np.sin(angle), 0.78 - 0.42 * np.cos(angle * 0.8) * float(rng.uniform(0.7, 1.1))])
        root, across = np.array([x, 0.8]), np.array([np.cos(angle), np.sin(angle)]) * 0.035
        leaf = curve(np.array([root, (root + tip) / 2 + across, tip, (root + tip) / 2 - across]), True)
        painter.fill(leaf, mix((66, 120, 84), (126, 168, 104), float(rng.random())))
    painter.fill(
        np.array([(x - 0.08, 0.78), (x + 0.08, 0.78), (x + 0.06, 1.02), (x - 0.06, 1.02)]),
        mix(avatar.walls[2], (190, 110, 80), 0.6),
    )


_PATTERNS = {
    "bokeh": _bokeh,
    "stripes": _stripes,
    "dots": _dots,
    "window": _window,
    "shelf": _shelf,
    "panel": _panel,
    "horizon": _horizon,
    "frames": _frames,
    "plant": _plant,
}


def _both_sides(points: list[tuple[float, float]]) -> list[np.ndarray]:
    shape = np.array(points)
    return [shape + (0.5, 0), mirrored(shape) + (0.5, 0)]


@lru_cache(maxsize=64)
def clothes(avatar: Avatar) -> tuple[Shape, ...]:
    """Shapes from back to front: points in frame fractions, colour, and line width (0: filled)."""
    k, cloth = avatar.shoulders, avatar.cloth
    dark, light = tint(cloth, (0.8, 0.78, 0.8)), shade(cloth, 0.14)
    depths = {"vneck": 0.065, "scoop": 0.055, "turtleneck": -0.05, "crew": 0.03, "striped": 0.03}
    deep = depths.get(avatar.collar, 0.045)
    half = [(0, 0.915 + deep), (0.07, 0.908 + deep * 0.75), (0.135, 0.888 + 0.01 * (avatar.collar == "scoop"))]
    if avatar.collar == "vneck":
        half = [(0, 0.985), (0.065, 0.94), (0.135, 0.888)]
    right = np.array([*half, (0.24 * k, 0.918), (0.35 * k, 0.955), (0.43 * k, 1.02)])
    body = np.vstack([right, mirrored(right)[:0:-1]]) + (0.5, 0)
    shapes: list[Shape] = [(body, cloth, 0.0)]
    neckline = np.vstack([mirrored(np.array(half))[:0:-1], half]) + (0.5, 0)
    side = np.array([(0.2 * k, 0.905), (0.35 * k, 0.955), (0.43 * k, 1.02), (0.26 * k, 1.02)]) * (avatar.light, 1)
    shapes.append((side + (0.5, 0), dark, 0.0))
    return (*shapes, *_collar(avatar, neckline, dark, light))


def _collar(avatar: Avatar, neckline: np.ndarray, dark: Colour, light: Colour) -> list[Shape]:
    second = avatar.cloth_second
    if avatar.collar == "shirt":
        flaps = _both_sides([(0.0, 0.965), (0.14, 0.878), (0.175, 0.91), (0.085, 1.0)])
        return [*((flap, light, 0.0) for flap in flaps), (np.array([(0.5, 0.965), (0.5, 1.01)]), dark, 0.007)]
    if avatar.collar == "blazer":
        shirt = np.array([(0.365, 0.888), (0.5, 0.955), (0.635, 0.888), (0.6, 1.02), (0.4, 1.02)])
        flaps = _both_sides([(0.06, 1.02), (0.135, 0.885), (0.2, 0.90), (0.17, 0.96), (0.12, 1.02)])
        return [(shirt, shade(second, 0.55), 0.0), *((flap, dark, 0.0) for flap in flaps)]
    if avatar.collar == "hoodie":
        hood = [(0.0, 0.975), (0.075, 0.945), (0.13, 0.868), (0.19, 0.89), (0.16, 0.965), (0.03, 1.02), (0, 1.02)]
        strings = _both_sides([(0.05, 0.975), (0.055, 1.02)])
        return [
            *((flap, dark, 0.0) for flap in _both_sides(hood)),
            *((line, shade(light, 0.3), 0.008) for line in strings),
        ]
    if avatar.collar == "turtleneck":
        roll = np.array([
            (0.362, 0.9), (0.372, 0.845), (0.44, 0.875), (0.5, 0.882), (0.56, 0.875), (0.628, 0.845), (0.638, 0.9),
            (0.5, 0.945),
        ])  # fmt: skip
        return [(curve(roll, True), light, 0.0)]
    if avatar.collar == "striped":
        across = (-0.365, -0.2, 0, 0.2, 0.365)
        stripe = np.array([(x * avatar.shoulders + 0.5, 0.984 + 0.012 * (x == 0)) for x in across])
        return [(curve(stripe), second, 0.022), (curve(neckline), second, 0.014)]
    return [(curve(neckline), dark if avatar.collar != "scoop" else light, 0.012)]
