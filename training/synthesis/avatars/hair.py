"""Hair and headwear: a registry of styles, each giving head patches behind the head, beside the face and in front."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from .avatar import Avatar
from .draw import Colour, Patch, at_depth, curve, ellipse, mirrored, mix, on_face, shade, tint


@dataclass(frozen=True, eq=False)
class Hair:
    """Patches behind everything, between clothes and face, and over the face; the forehead's shadow line (n, 3)."""

    back: tuple[Patch, ...] = ()
    beside: tuple[Patch, ...] = ()
    front: tuple[Patch, ...] = ()
    hairline: np.ndarray | None = None


STYLES: dict[str, Callable[[Avatar], Hair]] = {}


def _style(name: str) -> Callable[[Callable[[Avatar], Hair]], Callable[[Avatar], Hair]]:
    def register(make: Callable[[Avatar], Hair]) -> Callable[[Avatar], Hair]:
        STYLES[name] = make
        return make

    return register


@lru_cache(maxsize=64)
def hair(avatar: Avatar) -> Hair:
    """Hair of an avatar; raises ValueError on an unknown style."""
    if avatar.hair_style not in STYLES:
        raise ValueError(f"hair_style: expected one of {sorted(STYLES)}, found {avatar.hair_style!r}")
    made = STYLES[avatar.hair_style](avatar)
    if made.hairline is None:
        return made
    over = (made.hairline[:, 1] < -0.05) & (np.abs(made.hairline[:, 0]) < 0.225)
    return replace(made, hairline=made.hairline[over])


def _colours(colour: Colour) -> tuple[Colour, Colour, Colour]:
    """Dark, plain and bright tone."""
    return tint(colour, (0.74, 0.72, 0.74)), colour, mix(shade(colour, 0.16), (255, 224, 180), 0.12)


def _dome(width: float, top: float, end: float, count: int = 25) -> np.ndarray:
    """Outline (n, 2) from the left end over the crown to the right end; ``end`` is the y of the ends."""
    angle = np.linspace(np.pi, 0, count)
    sine, cosine = np.sin(angle), np.cos(angle)
    x = width * np.sign(cosine) * np.abs(cosine) ** 0.92
    return np.column_stack([x, end - (end - top) * np.abs(sine) ** 0.86])


def _scalloped(line: np.ndarray, bumps: int, depth: float) -> np.ndarray:
    """Line (n, 2) resampled with round bumps outward."""
    t = np.linspace(0, len(line) - 1, bumps * 8 + 1)
    dense = np.column_stack([np.interp(t, np.arange(len(line)), line[:, k]) for k in (0, 1)])
    normal = np.gradient(dense, axis=0)[:, ::-1] * (1, -1)
    normal /= np.maximum(np.hypot(*normal.T)[:, None], 1e-9)
    return dense + normal * depth * np.abs(np.sin(np.linspace(0, bumps * np.pi, len(t))))[:, None]


def _edge(points: list[tuple[float, float]], side: int = 1) -> np.ndarray:
    """Smooth hairline (n, 3) through points from image right to left; lies on the forehead, sinks at the temples."""
    line = curve(np.array(points, np.float64), per=5)
    if side < 0:
        line = mirrored(line)[::-1]
    placed = on_face(line)
    placed[:, 2] *= np.clip((0.285 - np.abs(line[:, 0])) / 0.07, 0.12, 1)
    return placed


def _temples(avatar: Avatar, low: float = -0.01) -> list[tuple[float, float]]:
    y = -0.235 - 0.022 * avatar.hairline
    return [
        (0.268, low), (0.246, low - 0.01), (0.232, -0.09), (0.205, -0.165), (0.12, y + 0.01), (0.0, y),
        (-0.12, y + 0.01), (-0.205, -0.165), (-0.232, -0.09), (-0.246, low - 0.01), (-0.268, low),
    ]  # fmt: skip


def _cap(
    avatar: Avatar, dome: np.ndarray, edge: np.ndarray, colour: Colour, z: float = -0.03, strands: int = 5
) -> tuple[Patch, ...]:
    """Hair over the forehead: filled between the dome and the hairline, with a sheen and strands."""
    dark, plain, bright = _colours(colour)
    outer = at_depth(dome, z)
    middle = edge[len(edge) // 2]
    sheen = curve(
        np.array([(-0.19, -0.285), (-0.11, -0.345), (0.0, -0.365), (0.03, -0.352), (-0.07, -0.325), (-0.15, -0.275)])
        * (avatar.light, 1),
        True,
    )
    parts = [Patch(np.vstack([outer, edge]), plain)]
    for place in np.linspace(0.2, 0.8, strands) if strands else ():
        start, end = dome[int(place * (len(dome) - 1))], edge[int((1 - place) * (len(edge) - 1))]
        ridge = np.array(
            [(start[0] * 0.93, start[1] * 0.94, 0.04), (*(start * 0.45 + end[:2] * 0.55), 0.13), end * (1, 1.02, 1)]
        )
        parts.append(Patch(curve(ridge, per=4), dark, 0.006))
    if middle[1] > -0.36:
        parts.append(Patch(at_depth(sheen, 0.10), bright))
    return tuple(parts)


def _volume(avatar: Avatar) -> float:
    return 0.014 * avatar.hair_volume


@_style("short")
def _short(avatar: Avatar) -> Hair:
    v = _volume(avatar)
    edge = _edge(_temples(avatar))
    dome = _dome(0.278 + 0.5 * v, -0.405 - v, -0.01)
    return Hair((), (), _cap(avatar, dome, edge, avatar.hair), edge)


@_style("side_part")
def _side_part(avatar: Avatar) -> Hair:
    v, s = _volume(avatar), avatar.hair_side
    points = [
        (0.268, -0.01), (0.247, -0.02), (0.236, -0.09), (0.22, -0.15), (0.14, -0.185), (0.02, -0.225),
        (-0.09, -0.285), (-0.13, -0.25), (-0.205, -0.17), (-0.234, -0.09), (-0.246, -0.02), (-0.268, -0.01),
    ]  # fmt: skip
    edge = _edge(points, s)
    dome = _dome(0.28 + 0.5 * v, -0.412 - v, -0.01)
    dome[:, 0] += 0.014 * s * np.clip(-dome[:, 1] / 0.4, 0, 1)
    dark = _colours(avatar.hair)[0]
    part = Patch(
        curve(np.array([(-0.095 * s, -0.28, 0.2), (-0.105 * s, -0.33, 0.14), (-0.10 * s, -0.375, 0.06)])), dark, 0.008
    )
    return Hair((), (), (*_cap(avatar, dome, edge, avatar.hair, strands=0), part), edge)


@_style("quiff")
def _quiff(avatar: Avatar) -> Hair:
    v, s = _volume(avatar), avatar.hair_side
    edge = _edge(_temples(avatar))
    dome = curve(
        np.array([
            (-0.272, -0.01), (-0.285, -0.14), (-0.255, -0.29), (-0.20, -0.39), (-0.07, -0.445 - v),
            (0.10, -0.455 - v), (0.21, -0.40), (0.262, -0.29), (0.286, -0.14), (0.272, -0.01),
        ])
        * (s, 1),
        per=4,
    )[::s]  # fmt: skip
    dark, plain, bright = _colours(avatar.hair)
    sides = [
        Patch(np.vstack([at_depth(x * (k, 1), 0.03)]), dark)
        for k in (1, -1)
        for x in [
            curve(
                np.array(
                    [(0.25, -0.01), (0.272, -0.02), (0.284, -0.14), (0.265, -0.25), (0.22, -0.19), (0.236, -0.09)]
                ),
                True,
            )
        ]
    ]
    sweep = [
        Patch(
            curve(np.array([(s * x, -0.245, 0.2), (s * (x + 0.03), -0.32, 0.16), (s * (x + 0.09), -0.40, 0.05)])),
            dark,
            0.007,
        )
        for x in (-0.13, -0.04, 0.05)
    ]
    return Hair((), (), (*_cap(avatar, dome, edge, avatar.hair, strands=0), *sides, *sweep), edge)


@_style("pixie")
def _pixie(avatar: Avatar) -> Hair:
    v, s = _volume(avatar), avatar.hair_side
    points = [
        (0.276, 0.05), (0.252, 0.055), (0.24, -0.04), (0.222, -0.12), (0.15, -0.135), (0.06, -0.155),
        (-0.03, -0.195), (-0.10, -0.26), (-0.19, -0.19), (-0.232, -0.1), (-0.25, 0.04), (-0.276, 0.05),
    ]  # fmt: skip
    edge = _edge(points, s)
    return Hair((), (), _cap(avatar, _dome(0.287 + v, -0.415 - v, 0.05), edge, avatar.hair, strands=4), edge)


@_style("curly")
def _curly(avatar: Avatar) -> Hair:
    v = _volume(avatar)
    y = -0.215 - 0.02 * avatar.hairline
    inner = _scalloped(
        np.array(
            [(-0.25, -0.02), (-0.236, -0.12), (-0.18, -0.19), (0, y), (0.18, -0.19), (0.236, -0.12), (0.25, -0.02)]
        ),
        9,
        -0.022,
    )
    edge = on_face(inner[::-1])
    edge[:, 2] *= np.clip((0.285 - np.abs(edge[:, 0])) / 0.07, 0.12, 1)
    dome = _scalloped(_dome(0.285 + 2 * v, -0.405 - 2 * v, 0.0), 15, 0.026)
    dark, plain, bright = _colours(avatar.hair)
    soft, glow = mix(plain, dark, 0.7), mix(plain, bright, 0.6)
    rng = np.random.default_rng(avatar.seed)
    curls = [
        Patch(
            at_depth(
                ellipse(x, y2, 0.032, 0.028)[3:13], 0.16 * np.sqrt(max(1 - (x / 0.29) ** 2 - (y2 / 0.41) ** 2, 0))
            ),
            tone,
            0.009,
        )
        for x, y2, tone in zip(
            np.tile(np.linspace(-0.2, 0.2, 6), 3) + rng.uniform(-0.02, 0.02, 18),
            np.repeat((-0.365, -0.305, -0.25), 6) + rng.uniform(-0.014, 0.014, 18),
            [soft, glow] * 9,
        )
        if np.hypot(x / 0.27, y2 / 0.4) < 0.98
    ]
    return Hair((), (), (Patch(np.vstack([at_depth(dome, -0.03), edge]), plain), *curls), edge)


@_style("afro")
def _afro(avatar: Avatar) -> Hair:
    grow = 1 + 0.07 * avatar.hair_volume
    dark, plain, bright = _colours(avatar.hair)
    ring = ellipse(0, -0.15, 0.36 * grow, 0.30 * grow, 40)
    back = _scalloped(np.vstack([ring, ring[:1]]), 22, 0.016)
    edge = _edge(_temples(avatar, -0.02))
    dome = _dome(0.31, -0.42, -0.03)
    glow = ellipse(-0.14 * avatar.light, -0.33, 0.13, 0.085)
    return Hair(
        (Patch(at_depth(back, -0.06), plain),),
        (),
        (
            Patch(np.vstack([at_depth(dome, -0.03), edge]), plain),
            Patch(at_depth(glow, -0.02), mix(plain, bright, 0.45)),
        ),
        edge,
    )


def _lock(points: list[tuple[float, float]], z: float, colour: Colour) -> list[Patch]:
    shape = curve(np.array(points, np.float64), True)
    return [Patch(at_depth(shape, z), colour), Patch(at_depth(mirrored(shape), z), colour)]


@_style("bob")
def _bob(avatar: Avatar) -> Hair:
    v, s = _volume(avatar), avatar.hair_side
    dark, plain, _ = _colours(avatar.hair)
    back = np.vstack(
        [
            _dome(0.31 + v, -0.41 - v, 0.05),
            curve(np.array([
                (0.318, 0.12), (0.315, 0.25), (0.27, 0.315), (0, 0.30), (-0.27, 0.315), (-0.315, 0.25),
                (-0.318, 0.12),
            ])),
        ]
    )  # fmt: skip
    points = [
        (0.325, 0.29), (0.232, 0.295), (0.222, 0.12), (0.236, -0.03), (0.20, -0.15), (0.06, -0.235), (-0.06, -0.28),
        (-0.2, -0.15), (-0.236, -0.03), (-0.222, 0.12), (-0.232, 0.295), (-0.325, 0.29),
    ]  # fmt: skip
    edge = _edge(points, s)
    edge[:, 2] = np.minimum(edge[:, 2], np.where(edge[:, 1] > -0.05, 0.05, 1))
    dome = np.vstack([[(-0.328, 0.24)], _dome(0.315 + v, -0.415 - v, 0.08), [(0.328, 0.24)]])
    return Hair((Patch(at_depth(back, -0.08), dark),), (), _cap(avatar, dome, edge, plain, strands=4), edge)


@_style("bangs")
def _bangs(avatar: Avatar) -> Hair:
    v = _volume(avatar)
    dark, plain, _ = _colours(avatar.hair)
    back = np.vstack(
        [
            _dome(0.315 + v, -0.41 - v, 0.1),
            curve(np.array([(0.325, 0.2), (0.315, 0.42), (0.2, 0.47), (-0.2, 0.47), (-0.315, 0.42), (-0.325, 0.2)])),
        ]
    )
    points = [
        (0.322, 0.36), (0.242, 0.37), (0.238, 0.16), (0.243, -0.02), (0.228, -0.115), (0.1, -0.13), (0.0, -0.133),
        (-0.1, -0.13), (-0.228, -0.115), (-0.243, -0.02), (-0.238, 0.16), (-0.242, 0.37), (-0.322, 0.36),
    ]  # fmt: skip
    edge = _edge(points)
    edge[:, 2] = np.minimum(edge[:, 2], np.where(edge[:, 1] > -0.05, 0.05, 1))
    dome = np.vstack([[(-0.328, 0.3)], _dome(0.315 + v, -0.415 - v, 0.1), [(0.328, 0.3)]])
    return Hair((Patch(at_depth(back, -0.08), dark),), (), _cap(avatar, dome, edge, plain, strands=6), edge)


def _long(avatar: Avatar, wave: float) -> Hair:
    v, s = _volume(avatar), avatar.hair_side
    dark, plain, bright = _colours(avatar.hair)
    y = np.linspace(0.02, 0.66, 14)
    side = np.column_stack([0.312 + v + 0.02 * y / 0.66 + wave * np.sin(y * 26), y])
    side[-1] -= (0.03, 0)
    back = np.vstack([_dome(side[0, 0], -0.41 - v, 0.02), side, mirrored(side)[::-1]])
    inner = np.column_stack([0.252 - 0.02 * np.sin(y * 4) + wave * 0.7 * np.sin(y * 26 + 1), y])
    lock = at_depth(np.vstack([side, inner[::-1]]), 0.01)
    strand = at_depth((side[1:-1] + inner[1:-1]) / 2, 0.02)
    locks = [
        patch
        for flip in ((1, 1, 1), (-1, 1, 1))
        for patch in (Patch(lock * flip, plain), Patch(strand * flip, dark, 0.006))
    ]
    points = [
        (0.30, 0.08), (0.25, 0.09), (0.244, 0.0), (0.222, -0.11), (0.15, -0.195), (0.05, -0.255),
        (-0.045 + 0.02 * avatar.hairline, -0.30), (-0.13, -0.22), (-0.222, -0.11), (-0.244, 0.0), (-0.25, 0.09),
        (-0.30, 0.08),
    ]  # fmt: skip
    edge = _edge(points, s)
    cap = _cap(avatar, _dome(side[0, 0] + 0.004, -0.415 - v, 0.08), edge, plain, strands=4)
    return Hair((Patch(at_depth(back, -0.08), dark),), (), (*locks, *cap), edge)


@_style("long_straight")
def _long_straight(avatar: Avatar) -> Hair:
    return _long(avatar, 0.0)


@_style("long_wavy")
def _long_wavy(avatar: Avatar) -> Hair:
    return _long(avatar, 0.013)


@_style("bun")
def _bun(avatar: Avatar) -> Hair:
    dark, plain, bright = _colours(avatar.hair)
    edge = _edge(_temples(avatar, 0.01))
    knot = ellipse(0.02 * avatar.hair_side, -0.42, 0.105, 0.082, 24)
    coil = curve(np.array([(-0.05, -0.43), (0.0, -0.465), (0.06, -0.44), (0.04, -0.41)]))
    back = (
        Patch(at_depth(knot, -0.10), dark),
        Patch(at_depth(knot * (0.9, 1) + (0, -0.004), -0.10), plain),
        Patch(at_depth(coil, -0.1), bright, 0.008),
    )
    return Hair(back, (), _cap(avatar, _dome(0.274, -0.388, 0.0), edge, plain), edge)


@_style("ponytail")
def _ponytail(avatar: Avatar) -> Hair:
    s = avatar.hair_side
    dark, plain, bright = _colours(avatar.hair)
    edge = _edge(_temples(avatar, 0.01))
    tail = curve(
        np.array([
            (0.08, -0.34), (0.24, -0.37), (0.345, -0.24), (0.37, -0.02), (0.385, 0.2), (0.335, 0.37), (0.30, 0.2),
            (0.275, 0.02), (0.2, -0.18),
        ])
        * (s, 1),
        True,
    )  # fmt: skip
    strand = curve(np.array([(0.24, -0.32), (0.315, -0.18), (0.335, 0.03), (0.345, 0.22)]) * (s, 1))
    back = (Patch(at_depth(tail, -0.13), plain), Patch(at_depth(strand, -0.12), dark, 0.008))
    return Hair(back, (), _cap(avatar, _dome(0.274, -0.39, 0.0), edge, plain), edge)


@_style("buzz")
def _buzz(avatar: Avatar) -> Hair:
    edge = _edge(_temples(avatar, -0.02))
    stubble = mix(avatar.skin, avatar.hair, 0.72)
    return Hair((), (), (Patch(np.vstack([at_depth(_dome(0.268, -0.379, -0.02), -0.02), edge]), stubble),), None)


@_style("receding")
def _receding(avatar: Avatar) -> Hair:
    points = [
        (0.272, 0.0), (0.248, -0.01), (0.234, -0.1), (0.205, -0.2), (0.13, -0.315), (0.05, -0.275), (-0.05, -0.275),
        (-0.13, -0.315), (-0.205, -0.2), (-0.234, -0.1), (-0.248, -0.01), (-0.272, 0.0),
    ]  # fmt: skip
    edge = _edge(points)
    return Hair((), (), _cap(avatar, _dome(0.275, -0.392, 0.0), edge, avatar.hair, strands=0)[:1], None)


@_style("bald")
def _bald(avatar: Avatar) -> Hair:
    shine = ellipse(-0.09 * avatar.light, -0.28, 0.06, 0.03)
    return Hair((), (), (Patch(on_face(shine), shade(avatar.skin, 0.3)),), None)
