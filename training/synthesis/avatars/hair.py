"""Hair styles, one function each, and the list of them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np

from .avatar import Avatar
from .draw import Patch, at_depth, curve, ellipse, mirrored, mix, on_face, shade
from .hair_shapes import Hair, between, dome, flattened, hair_front, hairline, scalloped, sunk, temples, tones, volume
from .wear import beanie, cap, scarf


@lru_cache(maxsize=64)
def hair(avatar: Avatar) -> Hair:
    """Hair or headwear of an avatar; raises ValueError for an unknown style."""
    if avatar.hair_style not in STYLES:
        raise ValueError(f"hair_style: expected one of {sorted(STYLES)}, found {avatar.hair_style!r}")
    made = STYLES[avatar.hair_style](avatar)
    if made.hairline is None:
        return made
    over_face = (made.hairline[:, 1] < -0.05) & (np.abs(made.hairline[:, 0]) < 0.225)
    return replace(made, hairline=made.hairline[over_face])


def _short(avatar: Avatar) -> Hair:
    v = volume(avatar)
    edge = hairline(temples(avatar))
    return Hair(front=hair_front(avatar, dome(0.278 + 0.5 * v, -0.405 - v, -0.01), edge, avatar.hair), hairline=edge)


def _side_part(avatar: Avatar) -> Hair:
    v, s = volume(avatar), avatar.hair_side
    points = [
        (0.268, -0.01), (0.247, -0.02), (0.236, -0.09), (0.22, -0.15), (0.14, -0.185), (0.02, -0.225),
        (-0.09, -0.285), (-0.13, -0.25), (-0.205, -0.17), (-0.234, -0.09), (-0.246, -0.02), (-0.268, -0.01),
    ]  # fmt: skip
    edge = hairline(points, s)
    outline = dome(0.28 + 0.5 * v, -0.412 - v, -0.01)
    outline[:, 0] += 0.014 * s * np.clip(-outline[:, 1] / 0.4, 0, 1)
    dark = tones(avatar.hair)[0]
    parting = curve(np.array([(-0.095 * s, -0.28, 0.2), (-0.105 * s, -0.33, 0.14), (-0.10 * s, -0.375, 0.06)]))
    front = hair_front(avatar, outline, edge, avatar.hair, strands=0)
    return Hair(front=(*front, Patch(parting, dark, 0.008)), hairline=edge)


def _quiff(avatar: Avatar) -> Hair:
    v, s = volume(avatar), avatar.hair_side
    edge = hairline(temples(avatar))
    points = np.array([
        (-0.272, -0.01), (-0.285, -0.14), (-0.255, -0.29), (-0.20, -0.39), (-0.07, -0.445 - v), (0.10, -0.455 - v),
        (0.21, -0.40), (0.262, -0.29), (0.286, -0.14), (0.272, -0.01),
    ])  # fmt: skip
    outline = curve(points * (s, 1), per=4)[::s]
    dark = tones(avatar.hair)[0]
    shorn = [(0.25, -0.01), (0.272, -0.02), (0.284, -0.14), (0.265, -0.25), (0.22, -0.19), (0.236, -0.09)]
    sides = [Patch(at_depth(curve(np.array(shorn), True) * (k, 1), 0.03), dark) for k in (1, -1)]
    combed = [
        np.array([(s * x, -0.245, 0.2), (s * (x + 0.03), -0.32, 0.16), (s * (x + 0.09), -0.40, 0.05)])
        for x in (-0.13, -0.04, 0.05)
    ]
    front = hair_front(avatar, outline, edge, avatar.hair, strands=0)
    return Hair(front=(*front, *sides, *(Patch(curve(line), dark, 0.007) for line in combed)), hairline=edge)


def _pixie(avatar: Avatar) -> Hair:
    v, s = volume(avatar), avatar.hair_side
    points = [
        (0.276, 0.05), (0.252, 0.055), (0.24, -0.04), (0.222, -0.12), (0.15, -0.135), (0.06, -0.155),
        (-0.03, -0.195), (-0.10, -0.26), (-0.19, -0.19), (-0.232, -0.1), (-0.25, 0.04), (-0.276, 0.05),
    ]  # fmt: skip
    edge = hairline(points, s)
    outline = dome(0.287 + v, -0.415 - v, 0.05)
    return Hair(front=hair_front(avatar, outline, edge, avatar.hair, strands=4), hairline=edge)


def _curly(avatar: Avatar) -> Hair:
    v, y = volume(avatar), -0.215 - 0.02 * avatar.hairline
    points = [(-0.25, -0.02), (-0.236, -0.12), (-0.18, -0.19), (0, y), (0.18, -0.19), (0.236, -0.12), (0.25, -0.02)]
    edge = sunk(scalloped(np.array(points), 9, -0.022)[::-1])
    outline = scalloped(dome(0.285 + 2 * v, -0.405 - 2 * v, 0.0), 15, 0.026)
    dark, plain, bright = tones(avatar.hair)
    rng, curls = np.random.default_rng(avatar.seed), []
    across = np.tile(np.linspace(-0.2, 0.2, 6), 3) + rng.uniform(-0.02, 0.02, 18)
    down = np.repeat((-0.365, -0.305, -0.25), 6) + rng.uniform(-0.014, 0.014, 18)
    for x, y, tone in zip(across, down, [mix(plain, dark, 0.7), mix(plain, bright, 0.6)] * 9):
        if np.hypot(x / 0.27, y / 0.4) < 0.98:
            depth = 0.16 * np.sqrt(max(1 - (x / 0.29) ** 2 - (y / 0.41) ** 2, 0))
            curls.append(Patch(at_depth(ellipse(x, y, 0.032, 0.028)[3:13], depth), tone, 0.009))
    return Hair(front=(Patch(between(outline, edge), plain), *curls), hairline=edge)


def _afro(avatar: Avatar) -> Hair:
    grow = 1 + 0.07 * avatar.hair_volume
    _, plain, bright = tones(avatar.hair)
    ring = ellipse(0, -0.15, 0.36 * grow, 0.30 * grow, 40)
    back = scalloped(np.vstack([ring, ring[:1]]), 22, 0.016)
    edge = hairline(temples(avatar, -0.02))
    glow = ellipse(-0.14 * avatar.light, -0.33, 0.13, 0.085)
    return Hair(
        back=(Patch(at_depth(back, -0.06), plain),),
        front=(
            Patch(between(dome(0.31, -0.42, -0.03), edge), plain),
            Patch(at_depth(glow, -0.02), mix(plain, bright, 0.45)),
        ),
        hairline=edge,
    )


def _bob(avatar: Avatar) -> Hair:
    v, s = volume(avatar), avatar.hair_side
    dark, plain, _ = tones(avatar.hair)
    lower = np.array([
        (0.318, 0.12), (0.315, 0.25), (0.27, 0.315), (0, 0.30), (-0.27, 0.315), (-0.315, 0.25), (-0.318, 0.12),
    ])  # fmt: skip
    back = np.vstack([dome(0.31 + v, -0.41 - v, 0.05), curve(lower)])
    points = [
        (0.325, 0.29), (0.232, 0.295), (0.222, 0.12), (0.236, -0.03), (0.20, -0.15), (0.06, -0.235), (-0.06, -0.28),
        (-0.2, -0.15), (-0.236, -0.03), (-0.222, 0.12), (-0.232, 0.295), (-0.325, 0.29),
    ]  # fmt: skip
    edge = flattened(hairline(points, s))
    outline = np.vstack([[(-0.328, 0.24)], dome(0.315 + v, -0.415 - v, 0.08), [(0.328, 0.24)]])
    front = hair_front(avatar, outline, edge, plain, strands=4)
    return Hair(back=(Patch(at_depth(back, -0.08), dark),), front=front, hairline=edge)


def _bangs(avatar: Avatar) -> Hair:
    v = volume(avatar)
    dark, plain, _ = tones(avatar.hair)
    lower = np.array([(0.325, 0.2), (0.315, 0.42), (0.2, 0.47), (-0.2, 0.47), (-0.315, 0.42), (-0.325, 0.2)])
    back = np.vstack([dome(0.315 + v, -0.41 - v, 0.1), curve(lower)])
    points = [
        (0.322, 0.36), (0.242, 0.37), (0.238, 0.16), (0.243, -0.02), (0.228, -0.115), (0.1, -0.13), (0.0, -0.133),
        (-0.1, -0.13), (-0.228, -0.115), (-0.243, -0.02), (-0.238, 0.16), (-0.242, 0.37), (-0.322, 0.36),
    ]  # fmt: skip
    edge = flattened(hairline(points))
    outline = np.vstack([[(-0.328, 0.3)], dome(0.315 + v, -0.415 - v, 0.1), [(0.328, 0.3)]])
    front = hair_front(avatar, outline, edge, plain, strands=6)
    return Hair(back=(Patch(at_depth(back, -0.08), dark),), front=front, hairline=edge)


def _long(avatar: Avatar, wave: float) -> Hair:
    v, s = volume(avatar), avatar.hair_side
    dark, plain, _ = tones(avatar.hair)
    y = np.linspace(0.02, 0.66, 14)
    side = np.column_stack([0.312 + v + 0.02 * y / 0.66 + wave * np.sin(y * 26), y])
    side[-1] -= (0.03, 0)
    back = np.vstack([dome(side[0, 0], -0.41 - v, 0.02), side, mirrored(side)[::-1]])
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
    edge = hairline(points, s)
    front = hair_front(avatar, dome(side[0, 0] + 0.004, -0.415 - v, 0.08), edge, plain, strands=4)
    return Hair(back=(Patch(at_depth(back, -0.08), dark),), front=(*locks, *front), hairline=edge)


def _bun(avatar: Avatar) -> Hair:
    dark, plain, bright = tones(avatar.hair)
    edge = hairline(temples(avatar, 0.01))
    knot = ellipse(0.02 * avatar.hair_side, -0.42, 0.105, 0.082, 24)
    coil = curve(np.array([(-0.05, -0.43), (0.0, -0.465), (0.06, -0.44), (0.04, -0.41)]))
    back = (
        Patch(at_depth(knot, -0.10), dark),
        Patch(at_depth(knot * (0.9, 1) + (0, -0.004), -0.10), plain),
        Patch(at_depth(coil, -0.1), bright, 0.008),
    )
    return Hair(back=back, front=hair_front(avatar, dome(0.274, -0.388, 0.0), edge, plain), hairline=edge)


def _ponytail(avatar: Avatar) -> Hair:
    s = avatar.hair_side
    dark, plain, _ = tones(avatar.hair)
    edge = hairline(temples(avatar, 0.01))
    tail = np.array([
        (0.08, -0.34), (0.24, -0.37), (0.345, -0.24), (0.37, -0.02), (0.385, 0.2), (0.335, 0.37), (0.30, 0.2),
        (0.275, 0.02), (0.2, -0.18),
    ])  # fmt: skip
    strand = curve(np.array([(0.24, -0.32), (0.315, -0.18), (0.335, 0.03), (0.345, 0.22)]) * (s, 1))
    back = (Patch(at_depth(curve(tail * (s, 1), True), -0.13), plain), Patch(at_depth(strand, -0.12), dark, 0.008))
    return Hair(back=back, front=hair_front(avatar, dome(0.274, -0.39, 0.0), edge, plain), hairline=edge)


def _buzz(avatar: Avatar) -> Hair:
    stubble = mix(avatar.skin, avatar.hair, 0.72)
    outline = at_depth(dome(0.268, -0.379, -0.02), -0.02)
    return Hair(front=(Patch(np.vstack([outline, hairline(temples(avatar, -0.02))]), stubble),))


def _receding(avatar: Avatar) -> Hair:
    edge = hairline([
        (0.272, 0.0), (0.248, -0.01), (0.234, -0.1), (0.205, -0.2), (0.13, -0.315), (0.05, -0.275), (-0.05, -0.275),
        (-0.13, -0.315), (-0.205, -0.2), (-0.234, -0.1), (-0.248, -0.01), (-0.272, 0.0),
    ])  # fmt: skip
    return Hair(front=(Patch(between(dome(0.275, -0.392, 0.0), edge), avatar.hair),))


def _bald(avatar: Avatar) -> Hair:
    shine = ellipse(-0.09 * avatar.light, -0.28, 0.06, 0.03)
    return Hair(front=(Patch(on_face(shine), shade(avatar.skin, 0.3)),))


STYLES: dict[str, Callable[[Avatar], Hair]] = {
    "short": _short,
    "side_part": _side_part,
    "quiff": _quiff,
    "curly": _curly,
    "afro": _afro,
    "bob": _bob,
    "bangs": _bangs,
    "long_straight": partial(_long, wave=0.0),
    "long_wavy": partial(_long, wave=0.013),
    "bun": _bun,
    "ponytail": _ponytail,
    "pixie": _pixie,
    "buzz": _buzz,
    "receding": _receding,
    "bald": _bald,
    "scarf": scarf,
    "beanie": beanie,
    "cap": cap,
}
