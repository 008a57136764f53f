"""The face: outline, ears, eyes, brows, nose and details of the skin."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .avatar import Avatar
from .draw import (
    Colour,
    Painter,
    Patch,
    arch,
    at_depth,
    curve,
    ellipse,
    mirrored,
    mix,
    on_face,
    shade,
    smoothstep,
    tint,
)

_OUTLINE = np.array([
    (0, -0.372), (0.125, -0.352), (0.215, -0.275), (0.256, -0.15), (0.262, -0.02), (0.254, 0.08), (0.234, 0.175),
    (0.186, 0.268), (0.105, 0.338), (0, 0.362),
])  # fmt: skip
OUTLINE_SAMPLES = 4


@dataclass(frozen=True)
class Tones:
    """Skin colours of one avatar."""

    skin: Colour
    shadow: Colour
    deep: Colour
    light: Colour
    blush: Colour
    line: Colour


@lru_cache(maxsize=64)
def tones(avatar: Avatar) -> Tones:
    """Skin tones derived from the avatar's skin colour."""
    skin = avatar.skin
    return Tones(
        skin,
        tint(skin, (0.91, 0.85, 0.84)),
        tint(skin, (0.80, 0.70, 0.69)),
        tint(skin, (1.1, 1.09, 1.07)),
        mix(skin, (226, 84, 84), 0.42),
        tint(skin, (0.58, 0.46, 0.46)),
    )


@lru_cache(maxsize=64)
def outline(avatar: Avatar) -> np.ndarray:
    """The face's closed outline (n, 3) in head coordinates, clockwise in the image, starting at the crown."""
    half = _OUTLINE.copy()
    half[3:6, 0] *= 1 + 0.03 * avatar.face_width
    half[4:7, 0] *= 1 + 0.025 * avatar.cheek
    half[6:9, 0] *= 1 + 0.07 * avatar.jaw
    half[8, 0] *= 1 + 0.16 * avatar.chin
    half[8:, 1] += 0.008 * avatar.chin
    closed = np.vstack([half, mirrored(half[1:-1])[::-1]])
    depth = 0.05 * smoothstep((closed[:, 1] - 0.1) / 0.26)
    return curve(at_depth(closed, depth), closed=True, per=OUTLINE_SAMPLES)


def lowered(points: np.ndarray, drop: float) -> np.ndarray:
    """Head points (n, 3) moved with the jaw; ``drop``: how far the chin moves, in frame fractions."""
    moved = points.copy()
    weight = smoothstep((points[:, 1] - 0.04) / 0.30)
    moved[:, 1] += drop * weight
    moved[:, 0] *= 1 - 0.35 * drop * weight
    return moved


def draw_ears(painter: Painter, avatar: Avatar) -> None:
    """Paint both ears, behind the face, and the earrings; a head scarf covers them."""
    if avatar.hair_style == "scarf":
        return
    painter.patches(_ears(avatar))


@lru_cache(maxsize=64)
def _ears(avatar: Avatar) -> tuple[Patch, ...]:
    tone, size, parts = tones(avatar), avatar.ear_size, []
    shape = np.array([
        (0.245, -0.05), (0.285, -0.066), (0.308, -0.035), (0.302, 0.015), (0.284, 0.062), (0.262, 0.078),
        (0.245, 0.06),
    ])  # fmt: skip
    shape = (shape - (0.255, 0)) * size + (0.255 + 0.008 * avatar.face_width, 0.005)
    inner = (shape - shape.mean(0)) * (0.55, 0.58) + shape.mean(0) + (0.004, -0.002)
    for side in (1, -1):
        flip = (side, 1)
        colour = tone.shadow if side == avatar.light else tone.skin
        parts += [
            Patch(at_depth(curve(shape * flip, True), -0.03), colour),
            Patch(at_depth(curve(inner * flip, True), -0.02), tone.deep),
        ]
        parts += _earring(avatar, shape[5] * flip)
    return tuple(parts)


def _earring(avatar: Avatar, lobe: np.ndarray) -> list[Patch]:
    x, y = lobe
    if avatar.earrings == "stud":
        return [Patch(at_depth(ellipse(x, y - 0.006, 0.012, 0.012), 0.0), avatar.jewel)]
    if avatar.earrings == "hoop":
        return [Patch(at_depth(ellipse(x, y + 0.02, 0.022, 0.03, 20)[[*range(20), 0]], 0.0), avatar.jewel, 0.009)]
    if avatar.earrings == "drop":
        drop = curve(np.array([(x, y), (x + 0.012, y + 0.04), (x, y + 0.055), (x - 0.012, y + 0.04)]), True)
        return [Patch(at_depth(shape, 0.0), avatar.jewel) for shape in (ellipse(x, y, 0.007, 0.007), drop)]
    return []


def draw_face(painter: Painter, avatar: Avatar, face: np.ndarray) -> None:
    """Paint the face (n, 2), in frame fractions, and its shadow side."""
    tone = tones(avatar)
    painter.fill(face, tone.skin)
    half = len(face) // 2
    side = face[2 : half - 1] if avatar.light > 0 else face[half + 2 : -1][::-1]
    centre = painter.place(np.array([[0.0, 0.0, 0.0]]))[0]
    bulge = arch(len(side))[:, None]
    painter.fill(np.vstack([side, (side + (centre - side) * 0.17 * bulge)[::-1]]), tone.shadow)


def draw_cheeks(painter: Painter, avatar: Avatar, face: np.ndarray, smile: float) -> None:
    """Paint blush on both cheeks of the drawn face (n, 2), freckles and light on the forehead."""
    tone = tones(avatar)
    cheek = 0.115 - 0.012 * smile
    places = painter.place(on_face(np.array([(-0.15, cheek), (0.15, cheek), (-0.05 * avatar.light, -0.17)])))
    strength = 0.28 + 0.5 * avatar.blush + 0.08 * smile
    left, right = face[:, 0].min(), face[:, 0].max()
    for place in places[:2]:
        # Blush must not reach the background when the cheek is turned away and narrow.
        room = min(place[0] - left, right - place[0]) - 0.012
        painter.spot(place, (min(max(room, 0.01), 0.085), 0.07), tone.blush, strength)
    painter.spot(places[2], (0.15, 0.10), tone.light, 0.6)
    painter.patches(_freckles(avatar))


@lru_cache(maxsize=64)
def _freckles(avatar: Avatar) -> tuple[Patch, ...]:
    if not avatar.freckles:
        return ()
    rng, colour = np.random.default_rng(avatar.seed), mix(avatar.skin, (150, 84, 50), 0.4)
    places = np.column_stack([rng.normal(0, 0.09, 22), rng.normal(0.075, 0.022, 22)])
    return tuple(
        Patch(on_face(ellipse(x, y, 0.0045, 0.004, 6)), mix(avatar.skin, colour, avatar.freckles))
        for x, y in places
        if abs(x) < 0.18
    )


@dataclass(frozen=True, eq=False)
class Eye:
    """Curves (6, 3) from image left to right, ``socket`` being the upper lid of the open eye; iris: its centre (3,)."""

    upper: np.ndarray
    lower: np.ndarray
    fold: np.ndarray
    socket: np.ndarray
    iris: np.ndarray


_LID_X = np.array([-1, -0.66, -0.28, 0.22, 0.66, 1.0])
_LID_X4 = np.tile(_LID_X, 4)
_LID_UP = np.array([0, 0.66, 0.98, 1.0, 0.70, 0])
_LID_LOW = np.array([0, 0.5, 0.88, 1.0, 0.74, 0])


def eye(avatar: Avatar, side: int, blink: float, gaze: tuple[float, float], squint: float) -> Eye:
    """One eye in head coordinates; side: -1 for image left, 1 for right; blink and squint: 0..1; gaze: -1..1."""
    cx, cy = 0.125 + avatar.eye_shift[0], -0.02 + avatar.eye_shift[1]
    half = 0.055 * avatar.eye_size
    up, low = 0.034 * avatar.eye_size * avatar.eye_height, 0.020 * avatar.eye_size * avatar.eye_height
    tilt = -0.006 * avatar.eye_tilt * _LID_X - 0.003 * _LID_X
    look = 0.006 * gaze[1]
    low_line = low * (1 - 0.3 * squint) * _LID_LOW
    closed = low_line * 0.8
    upper = closed + ((-up + look) * _LID_UP - closed) * (1 - blink)
    rows = np.concatenate(
        [upper, low_line, -(up + 0.016 - 0.012 * blink - look) * np.maximum(_LID_UP, 0.22), -up * _LID_UP]
    )
    flat = np.column_stack([side * (cx + _LID_X4 * half), cy + np.tile(tilt, 4) + rows])
    points = on_face(np.vstack([flat, (side * cx + 0.019 * gaze[0], cy - 0.007 + 0.011 * gaze[1])]))
    return Eye(*points[:24].reshape(4, 6, 3)[:, ::side], points[24])


def draw_eye(painter: Painter, avatar: Avatar, shape: Eye, side: int) -> None:
    """Paint one eye: lid, white, iris with a highlight, lash line."""
    tone = tones(avatar)
    rows = painter.place(
        np.concatenate(
            [*(curve(c, per=4) for c in (shape.upper, shape.lower, shape.fold, shape.socket)), shape.iris[None]]
        )
    )
    upper, lower, fold, socket = rows[:-1].reshape(4, -1, 2)
    lid = mix(tone.shadow, tone.deep, 0.35)
    painter.fill(np.vstack([fold, lower[::-1]]), tone.shadow)
    painter.fill(np.vstack([socket, lower[::-1]]), lid)
    opening = np.vstack([upper, lower[::-1]])
    with painter.inside(opening):
        painter.fill(opening, (250, 249, 246))
        _draw_iris(painter, avatar, rows[-1])
        drop = upper + (0, 0.008)
        painter.fill(np.vstack([upper, drop[::-1]]), (196, 190, 192))
        painter.fill(ellipse(*(rows[-1] + (-0.009 * avatar.light, -0.010)), 0.0068, 0.0068, 10), (255, 255, 255))
    ramp = np.linspace(0.5, 1.0, len(upper))[::side]
    painter.stroke(upper, mix((36, 26, 28), tone.line, 0.25), (0.008 + 0.006 * avatar.lashes) * ramp)
    painter.stroke(lower, tone.deep, 0.0045)
    painter.stroke(fold[4:-3], tone.deep, 0.0045)
    if avatar.lashes > 0.45:
        end, inward = (upper[-1], upper[-4]) if side > 0 else (upper[0], upper[3])
        flick = np.array([inward, end, end + (0.016 * side, -0.012)])
        painter.stroke(flick, (36, 26, 28), np.array([0.006, 0.008, 0.001]))


def _draw_iris(painter: Painter, avatar: Avatar, centre: np.ndarray) -> None:
    colour, radius = avatar.eye_colour, 0.0295 * (0.5 + 0.5 * avatar.eye_size)
    painter.fill(ellipse(*centre, radius, radius, 20), tint(colour, (0.55, 0.55, 0.55)))
    painter.fill(ellipse(*centre, radius * 0.84, radius * 0.84, 20), colour)
    painter.fill(ellipse(centre[0], centre[1] + radius * 0.36, radius * 0.55, radius * 0.4, 14), shade(colour, 0.25))
    painter.fill(ellipse(*centre, radius * 0.46, radius * 0.46, 14), (20, 16, 18))


def brow(avatar: Avatar, side: int, raised: float) -> np.ndarray:
    """Brow line (5, 3) from image left to right; raised: -1..1."""
    x = np.array([0.056, 0.092, 0.132, 0.170, 0.200])
    bend = np.array([0.1, 0.6, 1.0, 0.8, -0.1]) * (0.015 + 0.009 * avatar.brow_arch + 0.004 * raised)
    tilt = np.array([0.5, 0.25, 0, -0.25, -0.5]) * (0.009 * avatar.brow_tilt - 0.004 + 0.014 * min(raised, 0.0) * -1)
    y = -0.094 + avatar.eye_shift[1] - bend + tilt - 0.024 * raised
    return on_face(np.column_stack([side * (x + avatar.eye_shift[0]), y]))[::side]


_BROW_TAPER = curve(np.array([[0.7], [1.0], [0.95], [0.7], [0.15]]), per=4)[:, 0]


def draw_brow(painter: Painter, avatar: Avatar, line: np.ndarray, side: int) -> None:
    """Paint one brow as a tapering stroke."""
    painter.stroke(painter.place(curve(line, per=4)), avatar.brow, 0.019 * avatar.brow_thickness * _BROW_TAPER[::side])


@lru_cache(maxsize=64)
def nose_line(avatar: Avatar) -> np.ndarray:
    """Landmarks 27..35 (9, 3): down the bridge to the tip, then the nostrils' base from image left to right."""
    tip = 0.098 + 0.012 * avatar.nose_length
    width = 0.043 * avatar.nose_width
    bridge = on_face(np.column_stack([np.zeros(4), np.linspace(-0.03, tip, 4)]), np.array([0.0, 0.02, 0.045, 0.075]))
    x = np.array([-1, -0.5, 0, 0.5, 1]) * width
    base = on_face(
        np.column_stack([x, tip + np.array([0.018, 0.026, 0.03, 0.026, 0.018])]),
        np.array([0.012, 0.035, 0.05, 0.035, 0.012]),
    )
    return np.vstack([bridge, base])


@lru_cache(maxsize=64)
def nose(avatar: Avatar) -> tuple[Patch, ...]:
    """The nose: ball, shadow side of the bridge, nostrils, highlight."""
    tone, mark, s = tones(avatar), nose_line(avatar), avatar.light
    width, tip = 0.043 * avatar.nose_width, mark[3]
    right, left = mark[8] + (0.004, -0.014, 0), mark[4] + (-0.004, -0.014, 0)
    ball = curve(np.array([mark[2] + (0, -0.004, 0), right, mark[8], mark[6], mark[4], left]), True)
    shady = right if s > 0 else left
    bridge = np.array([
        mark[0] + (0.022 * s, -0.03, -0.01), mark[1] + (0.013 * s, 0, -0.01), mark[2] + (0.016 * s, 0.0, -0.015),
        shady, mark[8 if s > 0 else 4], mark[6], tip, mark[2], mark[1],
    ])  # fmt: skip
    parts = [
        Patch(ball, mix(tone.skin, tone.shadow, 0.55)),
        Patch(curve(bridge, True, 4), mix(tone.skin, tone.shadow, 0.45 + 0.55 * avatar.nose_bridge)),
    ]
    under = curve(np.array([mark[4], mark[5], mark[6], mark[7], mark[8], mark[6] - (0, 0.010, 0)]), True, 4)
    parts.append(Patch(under, tone.deep))
    for side in (-1, 1):
        centre = mark[6] + np.array([side * width * 0.46, -0.005, -0.012])
        hole = ellipse(0, 0, 0.0105 * avatar.nose_width, 0.0058, 10)
        tilted = np.column_stack([hole[:, 0], hole[:, 1] + 0.15 * side * hole[:, 0], np.zeros(10)])
        parts.append(Patch(centre + tilted, tone.line))
    shine = ellipse(-0.008 * s, tip[1] - 0.008, 0.010, 0.008, 12)
    return (*parts, Patch(at_depth(shine, tip[2]), tone.light))


@lru_cache(maxsize=64)
def _lines(avatar: Avatar) -> np.ndarray:
    """Age lines (k, 11, 3) on the forehead, under and beside the eyes."""
    rows = [[(-0.1, y), (0, y - 0.008), (0.1, y)] for y in (-0.175, -0.2)]
    for s in (-1, 1):
        rows += [
            [(s * 0.085, 0.042), (s * 0.125, 0.054), (s * 0.165, 0.042)],
            [(s * 0.196, -0.022), (s * 0.21, -0.026), (s * 0.222, -0.034)],
        ]
    return np.stack([curve(on_face(np.array(row))) for row in rows])


def draw_wrinkles(painter: Painter, avatar: Avatar, smile: float) -> None:
    """Paint the folds beside the mouth and, with age, lines on the forehead and at the eyes."""
    tone = tones(avatar)
    folds = np.array(((0.062, 0.118), (0.092 + 0.008 * smile, 0.15), (0.118 + 0.012 * smile, 0.2 - 0.012 * smile)))
    taper = 0.006 * arch(11, 0.25, np.pi - 0.1)
    colour = mix(tone.skin, tone.deep, 0.15 + 0.5 * avatar.age + 0.35 * max(smile, 0.0))
    for side in (-1, 1):
        painter.stroke(painter.place(curve(on_face(folds * (side, 1)))), colour, taper)
    if avatar.age:
        for line in painter.place(_lines(avatar)):
            painter.stroke(line, mix(tone.skin, tone.deep, 0.35 + 0.5 * avatar.age), taper)
