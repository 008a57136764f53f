"""Headwear, glasses and beards."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .avatar import Avatar
from .draw import Painter, Patch, at_depth, curve, ellipse, mirrored, mix, on_face, shade
from .face import lowered
from .hair import Hair, _colours, _dome, _edge, _style
from .mouth import CENTRE_Y, HALF_WIDTH


def _below_cap(avatar: Avatar) -> list[Patch]:
    """Hair at the temples below a hat."""
    shape = curve(
        np.array([(0.25, 0.0), (0.274, 0.0), (0.284, -0.1), (0.276, -0.2), (0.22, -0.2), (0.236, -0.09)]), True
    )
    return [Patch(at_depth(x, 0.02), avatar.hair) for x in (shape, mirrored(shape))]


@_style("beanie")
def _beanie(avatar: Avatar) -> Hair:
    dark, plain, bright = _colours(avatar.headwear)
    edge = _edge([(0.292, -0.145), (0.2, -0.16), (0.0, -0.168), (-0.2, -0.16), (-0.292, -0.145)])
    top = _edge([(0.298, -0.215), (0.2, -0.24), (0.0, -0.255), (-0.2, -0.24), (-0.298, -0.215)])
    dome = at_depth(_dome(0.292, -0.425 - 0.02 * avatar.hair_volume, -0.16), -0.03)
    band = np.vstack([edge, top[::-1]])
    ribs = [Patch(np.vstack([edge[k], top[k]]), dark, 0.006) for k in range(2, len(edge) - 2, 2)]
    return Hair(
        (),
        (),
        (*_below_cap(avatar), Patch(np.vstack([dome, top]), plain), Patch(band, mix(plain, bright, 0.5)), *ribs),
        edge,
    )


@_style("cap")
def _baseball(avatar: Avatar) -> Hair:
    dark, plain, bright = _colours(avatar.headwear)
    edge = _edge([(0.284, -0.14), (0.2, -0.18), (0.0, -0.2), (-0.2, -0.18), (-0.284, -0.14)])
    dome = at_depth(_dome(0.284, -0.42, -0.14), -0.03)
    brim = np.array([
        (-0.225, -0.175, 0.14), (-0.12, -0.215, 0.24), (0, -0.225, 0.26), (0.12, -0.215, 0.24),
        (0.225, -0.175, 0.14), (0.15, -0.165, 0.36), (0, -0.16, 0.42), (-0.15, -0.165, 0.36),
    ])  # fmt: skip
    seam = curve(np.array([(0, -0.41, 0.05), (0, -0.33, 0.16), (0, -0.23, 0.25)]))
    button = at_depth(ellipse(0, -0.418, 0.018, 0.01), 0.0)
    sheen = on_face(
        curve(np.array([(-0.2, -0.25), (-0.12, -0.34), (-0.08, -0.34), (-0.14, -0.24)]) * (avatar.light, 1), True)
    )
    return Hair(
        (),
        (),
        (
            *_below_cap(avatar), Patch(button, dark), Patch(np.vstack([dome, edge]), plain), Patch(sheen, bright),
            Patch(seam, dark, 0.006), Patch(curve(brim, True), dark),
        ),
        edge + (0, 0.02, 0),
    )  # fmt: skip


@_style("scarf")
def _scarf(avatar: Avatar) -> Hair:
    dark, plain, bright = _colours(avatar.headwear)
    wrap = np.vstack(
        [
            _dome(0.315, -0.425, 0.05),
            curve(np.array([
                (0.318, 0.14), (0.316, 0.26), (0.325, 0.40), (0.37, 0.5), (0.42, 0.62), (-0.42, 0.62), (-0.37, 0.5),
                (-0.325, 0.40), (-0.316, 0.26), (-0.318, 0.14),
            ])),
        ]
    )  # fmt: skip
    edge = _edge([
        (0.30, 0.2), (0.232, 0.19), (0.24, 0.05), (0.235, -0.09), (0.2, -0.17), (0.12, -0.215), (0.0, -0.23),
        (-0.12, -0.215), (-0.2, -0.17), (-0.235, -0.09), (-0.24, 0.05), (-0.232, 0.19), (-0.30, 0.2),
    ])  # fmt: skip
    edge[:, 2] = np.minimum(edge[:, 2], np.where(edge[:, 1] > -0.05, 0.06, 1))
    hood = Patch(np.vstack([at_depth(_dome(0.318, -0.43, 0.2), -0.03), edge]), plain)
    rim = edge[9:-9]
    s = avatar.hair_side
    folds = [
        Patch(at_depth(curve(np.array([(s * a, 0.30), (s * (a + b) / 2, 0.42), (s * b, 0.5)])), -0.03), dark, 0.008)
        for a, b in ((-0.26, -0.05), (-0.27, 0.10), (-0.28, 0.22))
    ]
    return Hair(
        (), (Patch(at_depth(wrap, -0.05), mix(plain, dark, 0.35)), *folds), (hood, Patch(rim, bright, 0.008)), edge
    )


@lru_cache(maxsize=64)
def glasses(avatar: Avatar) -> tuple[Patch, ...]:
    """Frames, bridge, arms and a glint; empty without glasses."""
    if avatar.glasses == "none":
        return ()
    corner = {"round": 2.0, "square": 5.0, "oval": 2.2, "cat": 3.0}[avatar.glasses]
    rx, ry = {"round": (0.083, 0.083), "square": (0.086, 0.066), "oval": (0.086, 0.058), "cat": (0.088, 0.062)}[
        avatar.glasses
    ]
    angle = np.linspace(0, 2 * np.pi, 29)
    ring = np.column_stack(
        [
            np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / corner) * rx,
            np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / corner) * ry,
        ]
    )
    if avatar.glasses == "cat":
        ring += np.column_stack(
            [np.zeros(29), -0.03 * np.clip(ring[:, 0] / rx, 0, 1) * np.clip(-ring[:, 1] / ry, 0, 1)]
        )
    lens = ring + (0.125, -0.008)
    z, colour, width = 0.262, avatar.glasses_colour, avatar.glasses_width
    bridge = curve(np.array([(-0.125 + rx, -0.016, z), (0, -0.03, z + 0.025), (0.125 - rx, -0.016, z)]))
    arm = np.array([(0.125 + rx * 0.97, -0.03, z), (0.24, -0.035, 0.16), (0.285, -0.03, 0.02)])
    glint = np.array([(-0.03, 0.02, 0), (0.02, -0.04, 0)])
    parts = [
        Patch(arm, shade(colour, -0.2), width),
        Patch(arm * (-1, 1, 1), shade(colour, -0.2), width),
        Patch(bridge, colour, width),
    ]
    for side in (1, -1):
        depth = np.full(29, z) - 0.12 * np.abs(lens[:, 0] / 0.2) ** 3 * 0.6
        parts += [
            Patch(np.column_stack([lens[:, 0] * side, lens[:, 1], depth]), colour, width),
            Patch(
                glint * 0.7 + (0.125 * side + 0.052, 0.022, z - 0.03), mix(avatar.skin, (255, 255, 255), 0.45), 0.005
            ),
        ]
    return tuple(parts)


def _beard_edge(avatar: Avatar) -> np.ndarray:
    top = {"full_beard": 0.02, "short_beard": 0.05}.get(avatar.beard, 0.04)
    return on_face(curve(np.array([
        (0.25, top), (0.228, 0.1), (0.165, 0.158), (0.09, 0.164), (0.0, 0.166), (-0.09, 0.164), (-0.165, 0.158),
        (-0.228, 0.1), (-0.25, top),
    ])))  # fmt: skip


def draw_beard(painter: Painter, avatar: Avatar, drop: float, face: np.ndarray, rim: np.ndarray) -> None:
    """Beard or stubble under the mouth; ``face`` (n, 2) is the drawn outline, ``rim`` its part (k) from right ear to
    left.
    """
    if avatar.beard in ("none", "moustache"):
        return
    colour = mix(avatar.hair, (60, 44, 36), 0.2)
    if avatar.beard == "goatee":
        shape = np.array([
            (0.115, 0.17), (0.122, 0.24), (0.105, 0.315), (0.06, 0.362), (0, 0.372), (-0.06, 0.362),
            (-0.105, 0.315), (-0.122, 0.24), (-0.115, 0.17), (0, 0.158),
        ])  # fmt: skip
        painter.fill(painter.place(lowered(on_face(curve(shape, True), 0.01) * (1, 1, 1), drop)), colour)
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
    """Moustache on the upper lip (7, 3): its middle is raised by ``rise`` frame fractions, its tips follow the corners."""
    if avatar.beard in ("none", "stubble"):
        return
    points = _moustache(avatar).copy()
    tips = np.minimum((points[:, 0] / 0.11) ** 2, 1.0)
    points[:, 0] *= 0.55 + 0.45 * upper[-1, 0] / HALF_WIDTH
    points[:, 1] += 0.004 - rise * (1 - tips) + tips * (upper[-1, 1] - CENTRE_Y + 0.002)
    painter.fill(painter.place(points), shade(mix(avatar.hair, (60, 44, 36), 0.2), -0.06))
