"""Shapes that hair styles and headwear share: tones, outlines and hairlines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .avatar import Avatar
from .draw import Colour, Patch, at_depth, curve, mirrored, mix, on_face, shade, tint

Points = list[tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Hair:
    """Patches behind everything, between clothes and face, and over the face; hairline (n, 3): where hair or headwear
    casts a shadow on the forehead.
    """

    back: tuple[Patch, ...] = ()
    beside: tuple[Patch, ...] = ()
    front: tuple[Patch, ...] = ()
    hairline: np.ndarray | None = None


def tones(colour: Colour) -> tuple[Colour, Colour, Colour]:
    """Dark, plain and bright tone."""
    return tint(colour, (0.74, 0.72, 0.74)), colour, mix(shade(colour, 0.16), (255, 224, 180), 0.12)


def volume(avatar: Avatar) -> float:
    """How much the hair widens the head, in frame fractions; negative for thin hair."""
    return 0.014 * avatar.hair_volume


def dome(width: float, top: float, end: float, count: int = 25) -> np.ndarray:
    """Outline (count, 2) from the left end over the crown to the right end; ``end`` is the y of both ends."""
    angle = np.linspace(np.pi, 0, count)
    sine, cosine = np.sin(angle), np.cos(angle)
    x = width * np.sign(cosine) * np.abs(cosine) ** 0.92
    return np.column_stack([x, end - (end - top) * np.abs(sine) ** 0.86])


def scalloped(line: np.ndarray, bumps: int, depth: float) -> np.ndarray:
    """A line (n, 2) resampled with round bumps on its outer side."""
    t = np.linspace(0, len(line) - 1, bumps * 8 + 1)
    dense = np.column_stack([np.interp(t, np.arange(len(line)), line[:, k]) for k in (0, 1)])
    normal = np.gradient(dense, axis=0)[:, ::-1] * (1, -1)
    normal /= np.maximum(np.hypot(*normal.T)[:, None], 1e-9)
    return dense + normal * depth * np.abs(np.sin(np.linspace(0, bumps * np.pi, len(t))))[:, None]


def hairline(points: Points, side: int = 1) -> np.ndarray:
    """Smooth line (n, 3) on the forehead through points from image right to left (side -1: mirrored)."""
    line = curve(np.array(points, np.float64), per=5)
    return sunk(mirrored(line)[::-1] if side < 0 else line)


def sunk(line: np.ndarray) -> np.ndarray:
    """A line (n, 2) on the face as head points (n, 3) that recede at the temples."""
    placed = on_face(line)
    placed[:, 2] *= np.clip((0.285 - np.abs(line[:, 0])) / 0.07, 0.12, 1)
    return placed


def flattened(line: np.ndarray, depth: float = 0.05) -> np.ndarray:
    """A hairline (n, 3) whose parts beside the face lie at most at ``depth``."""
    line[:, 2] = np.minimum(line[:, 2], np.where(line[:, 1] > -0.05, depth, 1))
    return line


def temples(avatar: Avatar, low: float = -0.01) -> Points:
    """Points of the usual hairline, which ends at the height ``low`` beside the face."""
    y = -0.235 - 0.022 * avatar.hairline
    return [
        (0.268, low), (0.246, low - 0.01), (0.232, -0.09), (0.205, -0.165), (0.12, y + 0.01), (0.0, y),
        (-0.12, y + 0.01), (-0.205, -0.165), (-0.232, -0.09), (-0.246, low - 0.01), (-0.268, low),
    ]  # fmt: skip


def between(outline: np.ndarray, edge: np.ndarray) -> np.ndarray:
    """The area (n, 3) between an outline (n, 2) of the head, at its usual depth, and an edge (n, 3) on the face."""
    return np.vstack([at_depth(outline, -0.03), edge])


def hair_front(
    avatar: Avatar, outline: np.ndarray, edge: np.ndarray, colour: Colour, strands: int = 5
) -> tuple[Patch, ...]:
    """Hair from its outline (n, 2) to the hairline (n, 3), with strands and a sheen."""
    dark, plain, bright = tones(colour)
    parts = [Patch(between(outline, edge), plain)]
    for place in np.linspace(0.2, 0.8, strands) if strands else ():
        start, end = outline[int(place * (len(outline) - 1))], edge[int((1 - place) * (len(edge) - 1))]
        middle = (*(start * 0.45 + end[:2] * 0.55), 0.13)
        strand = np.array([(start[0] * 0.93, start[1] * 0.94, 0.04), middle, end * (1, 1.02, 1)])
        parts.append(Patch(curve(strand, per=4), dark, 0.006))
    if edge[len(edge) // 2, 1] > -0.36:
        sheen = [(-0.19, -0.285), (-0.11, -0.345), (0.0, -0.365), (0.03, -0.352), (-0.07, -0.325), (-0.15, -0.275)]
        parts.append(Patch(at_depth(curve(np.array(sheen) * (avatar.light, 1), True), 0.10), bright))
    return tuple(parts)
