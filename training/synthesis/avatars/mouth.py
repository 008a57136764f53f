"""The mouth: lips, teeth and tongue, as a continuous function of the expression."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .avatar import Avatar
from .draw import Colour, Painter, arch, curve, mix, on_face, shade, smoothstep, tint

CENTRE_Y = 0.22
HALF_WIDTH = 0.099
GAP = 0.085
CHIN_DROP = 0.052
_UPPER_X = np.array([-1, -0.62, -0.21, 0, 0.21, 0.62, 1])
_LOWER_X = np.array([-1, -0.64, -0.3, 0, 0.3, 0.64, 1])
_INNER_X = np.array([-1, -0.72, -0.4, 0, 0.4, 0.72, 1])
_INNER = 0.93
_ALL_X = np.concatenate([_UPPER_X, _LOWER_X, _INNER_X * _INNER, _INNER_X * _INNER])
_TEETH, _GUM, _DARK, _TONGUE = (250, 248, 242), (214, 206, 200), (74, 18, 26), (190, 76, 90)


@dataclass(frozen=True)
class Mouth:
    """The expression channels of one frame that shape the mouth; ranges as in ``expression.RANGES``."""

    open: float
    wide: float
    press: float
    teeth: float
    tongue: float
    smile: float

    @property
    def gap(self) -> float:
        """Distance between the lips in frame fractions."""
        teeth, tongue = 0.021 * self.teeth * (1 - 0.7 * self.open), 0.024 * self.tongue * (1 - 0.8 * self.open)
        return (GAP * self.open + teeth + tongue) * (1 - 0.95 * self.press)

    @property
    def drop(self) -> float:
        """How far the chin moves down, in frame fractions."""
        return CHIN_DROP * self.open * (1 - 0.6 * self.press) + 0.006 * (self.teeth + self.tongue) * (1 - self.press)


@dataclass(frozen=True, eq=False)
class Lips:
    """Control points of the four lip curves: each (7, 3) head points, from image left to right."""

    upper: np.ndarray
    lower: np.ndarray
    inner_upper: np.ndarray
    inner_lower: np.ndarray


def _profile(x: np.ndarray, power: float) -> np.ndarray:
    return np.maximum(1 - np.abs(x) ** 2, 0.0) ** power


def lips(avatar: Avatar, mouth: Mouth) -> Lips:
    """Lip curves of an avatar with the mouth of one frame."""
    spread, purse = max(mouth.wide, 0.0), max(-mouth.wide, 0.0)
    widened = 1 + 0.24 * spread - 0.36 * purse + 0.1 * mouth.smile - 0.09 * mouth.open * (1 - purse)
    half = HALF_WIDTH * avatar.lip_width * widened
    thin = (1 - 0.72 * mouth.press) * (1 - 0.16 * spread + 0.16 * purse) * (1 - 0.12 * mouth.open)
    thin *= 1 - 0.08 * max(mouth.smile, 0)
    up = 0.030 * avatar.lip_fullness * thin * (1 - 0.12 * mouth.teeth)
    low = 0.036 * avatar.lip_fullness * thin * (1 - 0.22 * mouth.teeth * (1 - mouth.open))
    middle = CENTRE_Y - 0.002 + 0.002 * mouth.smile + 0.006 * mouth.open
    corner = middle - 0.003 - 0.026 * mouth.smile + 0.28 * mouth.gap + 0.004 * mouth.press

    def line(x: np.ndarray) -> np.ndarray:
        return middle + (corner - middle) * np.abs(x) ** 2.2

    power = 0.62 - 0.12 * purse
    bow = avatar.cupid * (1 - 0.6 * mouth.press)
    tall = np.array([0, 0.60 - 0.04 * bow, 1.0 + 0.06 * bow, 0.98 - 0.22 * bow, 1.0 + 0.06 * bow, 0.60 - 0.04 * bow, 0])
    deep = np.array([0, 0.64, 0.95, 1.0, 0.95, 0.64, 0])
    seam = 0.004 * bow * np.array([0, -0.6, -0.6, 1.0, -0.6, -0.6, 0])
    rise, fall = 0.24 * mouth.gap, 0.76 * mouth.gap
    upper = line(_UPPER_X) - up * tall - rise * _profile(_UPPER_X, power)
    lower = line(_LOWER_X) + low * deep + fall * _profile(_LOWER_X, power)
    inner_upper = line(_INNER_X * _INNER) + seam - rise * _profile(_INNER_X, power)
    closed = 1 - smoothstep(float(mouth.gap / 0.03))
    inner_lower = line(_INNER_X * _INNER) + seam * closed + fall * _profile(_INNER_X, power)
    lift = 0.012 + 0.03 * purse
    flat = np.column_stack([_ALL_X * half, np.concatenate([upper, lower, inner_upper, inner_lower])])
    return Lips(*on_face(flat, lift).reshape(4, 7, 3))


@lru_cache(maxsize=64)
def _tones(avatar: Avatar) -> dict[str, Colour]:
    lip = avatar.lips
    return {
        "upper": tint(lip, (0.88, 0.82, 0.84)),
        "lower": lip,
        "light": shade(lip, 0.28),
        "seam": tint(lip, (0.5, 0.36, 0.4)),
        "under": tint(avatar.skin, (0.88, 0.80, 0.79)),
        "tongue": mix(_TONGUE, lip, 0.15),
    }


def _cavity(painter: Painter, tones: dict[str, Colour], mouth: Mouth, top: np.ndarray, bottom: np.ndarray) -> None:
    """Teeth and tongue between the inner lip curves (n, 2), clipped to them."""
    opening = np.vstack([top, bottom[::-1]])
    down = bottom[len(bottom) // 2] - top[len(top) // 2]
    gap = float(np.hypot(*down))
    axis = down / gap if gap > 1e-6 else np.array([0.0, 1.0])
    show = min(max(0.62 + 0.45 * mouth.wide + 0.5 * mouth.teeth + 0.25 * mouth.smile, 0.1), 1.15)
    with painter.inside(opening):
        painter.fill(opening, _DARK)
        tongue = 0.014 + 0.16 * gap + mouth.tongue * 0.62 * gap
        middle = bottom[len(bottom) // 2] - axis * tongue
        ends = bottom[[3, -4]] + axis * 0.004 - axis * 0.35 * tongue
        crest = curve(np.array([bottom[1], ends[0], middle, ends[1], bottom[-2]]))
        painter.fill(np.vstack([crest, bottom[::-1] + axis * 0.02]), tones["tongue"])
        low = 0.018 * mouth.teeth * (1 - 0.7 * mouth.open) * (1 - mouth.tongue)
        painter.fill(np.vstack([bottom + axis * (0.005 - low), bottom[::-1] + axis * 0.012]), _GUM)
        high = 0.024 * show
        edge = top + axis * high * (0.35 + 0.65 * arch(len(top)))[:, None]
        painter.fill(np.vstack([top - axis * 0.004, edge[::-1]]), _TEETH)


def draw_mouth(painter: Painter, avatar: Avatar, mouth: Mouth, shape: Lips) -> None:
    """Paint the lips and what is visible between them."""
    tones = _tones(avatar)
    placed = painter.place(
        np.concatenate([curve(c, per=4) for c in (shape.upper, shape.lower, shape.inner_upper, shape.inner_lower)])
    )
    upper, lower, top, bottom = placed.reshape(4, -1, 2)
    half = len(lower) // 2
    if avatar.beard in ("none", "stubble", "moustache"):
        shadow = lower[half - 6 : half + 7]
        arc = arch(len(shadow))[:, None]
        painter.fill(np.vstack([shadow, (shadow + (0, 0.016) * arc)[::-1]]), tones["under"])
    painter.fill(np.vstack([upper, lower[::-1]]), tones["upper"])
    painter.fill(np.vstack([bottom, lower[::-1]]), tones["lower"])
    glow = slice(half - 5, half + 6)
    bright = bottom[glow] * 0.62 + lower[glow] * 0.38
    painter.stroke(bright, tones["light"], 0.24 * np.hypot(*(lower - bottom)[glow].T) * arch(11, 0.05, np.pi - 0.05))
    _cavity(painter, tones, mouth, top, bottom)
    taper = 0.0065 * arch(len(top), 0.35, np.pi - 0.35)
    painter.stroke(top, tones["seam"], taper * (1 - 0.45 * smoothstep(float(mouth.gap / 0.04))))
    painter.stroke(bottom, tones["seam"], 0.45 * taper * smoothstep(float(mouth.gap / 0.02)))
    corners = np.vstack([upper[:1], top[:1]]), np.vstack([top[-1:], upper[-1:]])
    for corner in corners:
        painter.stroke(corner, tones["seam"], 0.005)
