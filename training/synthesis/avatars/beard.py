"""Beards, stubble and moustaches."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .avatar import Avatar
from .draw import Colour, Painter, curve, mirrored, mix, on_face, shade
from .face import lowered
from .mouth import CENTRE_Y, HALF_WIDTH


def _colour(avatar: Avatar) -> Colour:
    return mix(avatar.hair, (60, 44, 36), 0.2)


def _beard_edge(avatar: Avatar) -> np.ndarray:
    top = {"full_beard": 0.02, "short_beard": 0.05}.get(avatar.beard, 0.04)
    return on_face(curve(np.array([
        (0.25, top), (0.228, 0.1), (0.165, 0.158), (0.09, 0.164), (0.0, 0.166), (-0.09, 0.164), (-0.165, 0.158),
        (-0.228, 0.1), (-0.25, top),
    ])))  # fmt: skip


def draw_beard(painter: Painter, avatar: Avatar, drop: float, face: np.ndarray, rim: np.ndarray) -> None:
    """Paint a beard or stubble. drop: of the chin; face: outline (n, 2) as drawn; rim: its indices (k,) from the right
    ear to the left.
    """
    if avatar.beard in ("none", "moustache"):
        return
    colour = _colour(avatar)
    if avatar.beard == "goatee":
        shape = np.array([
            (0.115, 0.17), (0.122, 0.24), (0.105, 0.315), (0.06, 0.362), (0, 0.372), (-0.06, 0.362),
            (-0.105, 0.315), (-0.122, 0.24), (-0.115, 0.17), (0, 0.158),
        ])  # fmt: skip
        painter.fill(painter.place(lowered(on_face(curve(shape, True), 0.01), drop)), colour)
        return
    edge = _beard_edge(avatar)
    edge[:, 2] *= np.clip((0.27 - np.abs(edge[:, 0])) / 0.05, 0.15, 1)
    border = face[rim]
    if avatar.beard == "full_beard":
        middle = painter.place(np.array([[0.0, 0.12, 0.05]]))[0]
        grow = 0.14 * np.sin(np.linspace(0, np.pi, len(border)))[:, None] ** 1.5
        border = border + (border - middle) * grow
    tone = mix(avatar.skin, colour, 0.22) if avatar.beard == "stubble" else colour
    painter.fill(np.vstack([border, painter.place(lowered(edge, drop * 0.6))[::-1]]), tone)


@lru_cache(maxsize=64)
def _moustache(avatar: Avatar) -> np.ndarray:
    wide = 0.118 if avatar.beard != "moustache" else 0.105
    half = [(0, 0.158), (0.05, 0.154), (0.09, 0.176), (wide, 0.216), (0.08, 0.204), (0.04, 0.186), (0, 0.186)]
    shape = np.vstack([half, mirrored(np.array(half[1:-1]))[::-1]])
    return on_face(curve(shape, True), 0.03)


def draw_moustache(painter: Painter, avatar: Avatar, upper: np.ndarray, rise: float) -> None:
    """Paint a moustache over the upper lip (7, 3): its middle rises by ``rise`` frame fractions, its tips follow the
    mouth's corners.
    """
    if avatar.beard in ("none", "stubble"):
        return
    points = _moustache(avatar).copy()
    tips = np.minimum((points[:, 0] / 0.11) ** 2, 1.0)
    points[:, 0] *= 0.55 + 0.45 * upper[-1, 0] / HALF_WIDTH
    points[:, 1] += 0.004 - rise * (1 - tips) + tips * (upper[-1, 1] - CENTRE_Y + 0.002)
    painter.fill(painter.place(points), shade(_colour(avatar), -0.06))
