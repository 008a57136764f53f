"""The renderer: one frame of an avatar with an expression and a head pose, and its exact landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..expression import EXPRESSION
from ..truth import Truth
from .avatar import Avatar
from .backdrop import backdrop, clothes
from .beard import draw_beard, draw_moustache
from .draw import SUPERSAMPLING, Painter, arch, at_depth, curve, mix
from .face import (
    OUTLINE_SAMPLES,
    Eye,
    brow,
    draw_brow,
    draw_cheeks,
    draw_ears,
    draw_eye,
    draw_face,
    draw_wrinkles,
    eye,
    lowered,
    nose,
    nose_line,
    outline,
    tones,
)
from .hair import hair
from .mouth import Lips, Mouth, draw_mouth, lips
from .wear import glasses

# Indices of the outline: of the 17 landmarks along the jaw, and of the edge of a beard.
_JAW = np.round(np.linspace(3.6 * OUTLINE_SAMPLES, 14.4 * OUTLINE_SAMPLES, 17)).astype(int)[::-1]
_RIM = np.arange(5 * OUTLINE_SAMPLES - 2, 13 * OUTLINE_SAMPLES + 3)


@dataclass(frozen=True, eq=False)
class _Figure:
    """Everything that moves with the expression, in head coordinates."""

    face: np.ndarray
    eyes: tuple[Eye, Eye]
    brows: tuple[np.ndarray, np.ndarray]
    mouth: Mouth
    lips: Lips


def _checked(values: np.ndarray, count: int, name: str) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.shape != (count,) or not np.isfinite(values).all():
        raise ValueError(f"{name}: expected {count} finite numbers, found shape {values.shape}: {values.tolist()}")
    return values


def _figure(avatar: Avatar, expression: np.ndarray, silhouette: float) -> _Figure:
    value = dict(zip(EXPRESSION, expression.tolist()))
    mouth = Mouth(*(value[name] for name in ("open", "wide", "press", "teeth", "tongue", "smile")))
    face = lowered(outline(avatar), mouth.drop) * (silhouette, 1, 1)
    gaze, squint = (value["gaze_x"], value["gaze_y"]), min(max(mouth.smile, 0.0), 1.0)
    eyes = tuple(eye(avatar, side, value[f"blink_{name}"], gaze, squint) for side, name in ((-1, "left"), (1, "right")))
    brows = tuple(brow(avatar, side, value[f"brow_{name}"]) for side, name in ((-1, "left"), (1, "right")))
    return _Figure(face, eyes, brows, mouth, lips(avatar, mouth))


def _draw_neck(painter: Painter, avatar: Avatar, face: np.ndarray) -> None:
    tone = tones(avatar)
    top = painter.place(at_depth(np.array([(-0.14, 0.16), (0.14, 0.16)]), -0.06))
    left, right = np.array([0.5 - 0.125, 0.9]), np.array([0.5 + 0.125, 0.9])
    neck = np.array([top[0], left, (0.3, 0.93), (0.25, 1.01), (0.75, 1.01), (0.7, 0.93), right, top[1]])
    painter.fill(neck, tone.shadow)
    rim = face[_JAW[3:-3]]
    arc = arch(len(rim))[:, None]
    below = rim + (0, 0.042) * arc
    low, high = np.minimum(left[0], top[0, 0]), np.maximum(right[0], top[1, 0])
    painter.fill(np.column_stack([np.clip(below[:, 0], low + 0.004, high - 0.004), below[:, 1]]), tone.deep)


def _draw_static(painter: Painter, avatar: Avatar) -> None:
    for points, colour, width in clothes(avatar):
        if width:
            painter.line(points, colour, width)
        else:
            painter.fill(points, colour)


def _draw(painter: Painter, avatar: Avatar, figure: _Figure) -> None:
    style, face, smile = hair(avatar), painter.place(figure.face), figure.mouth.smile
    painter.patches(style.back)
    _draw_neck(painter, avatar, face)
    _draw_static(painter, avatar)
    painter.patches(style.beside)
    draw_ears(painter, avatar)
    draw_face(painter, avatar, face)
    draw_cheeks(painter, avatar, face, smile)
    if style.hairline is not None:
        line = painter.place(style.hairline)
        painter.fill(np.vstack([line, (line + (0, 0.016))[::-1]]), mix(avatar.skin, tones(avatar).deep, 0.6))
    draw_wrinkles(painter, avatar, smile)
    draw_beard(painter, avatar, figure.mouth.drop, face, _RIM)
    for side, shape in zip((-1, 1), figure.eyes):
        draw_eye(painter, avatar, shape, side)
    for side, line in zip((-1, 1), figure.brows):
        draw_brow(painter, avatar, line, side)
    painter.patches(nose(avatar))
    draw_mouth(painter, avatar, figure.mouth, figure.lips)
    draw_moustache(painter, avatar, figure.lips.upper, 0.24 * figure.mouth.gap)
    painter.patches(glasses(avatar))
    painter.patches(style.front)


def _eye_marks(shape: Eye) -> np.ndarray:
    """Six landmarks (6, 3): along the upper lid from image left to right, back along the lower lid."""
    upper, lower = shape.upper, shape.lower
    return np.stack(
        [
            upper[0],
            (upper[1] + upper[2]) / 2,
            (upper[3] + upper[4]) / 2,
            upper[5],
            (lower[3] + lower[4]) / 2,
            (lower[1] + lower[2]) / 2,
        ]
    )


def _truth(painter: Painter, avatar: Avatar, figure: _Figure, size: int) -> Truth:
    shape = figure.lips
    outer = np.vstack([shape.upper, shape.lower[5:0:-1]])
    inner = np.vstack([shape.inner_upper[[0, 2, 3, 4, 6]], shape.inner_lower[[4, 3, 2]]])
    eyes = [_eye_marks(one) for one in figure.eyes]
    head = np.vstack([figure.face[_JAW], *figure.brows, nose_line(avatar), *eyes, outer, inner])
    marks = painter.place(head)
    centres = [marks[36:42].mean(0), marks[42:48].mean(0)]
    apart = float(np.hypot(*(centres[1] - centres[0])))
    lip = painter.place(np.vstack([curve(shape.upper), curve(shape.lower)]))
    box = np.concatenate([lip.min(0), lip.max(0)]) * size
    return Truth(
        marks * size,
        box,
        float(np.hypot(*(marks[66] - marks[62]))) / apart,
        float(np.hypot(*(marks[54] - marks[48]))) / apart,
    )


def render(avatar: Avatar, expression: np.ndarray, pose: np.ndarray, size: int) -> tuple[np.ndarray, Truth]:
    """Draw one frame.

    expression: (12,) in the order of EXPRESSION; pose: (5,) as in ``pose.POSE``; size: pixels per side.
    Returns the picture (size, size, 3) uint8 RGB and its Truth. Raises ValueError for wrong shapes or values.
    """
    if size < 16:
        raise ValueError(f"size: expected 16 or more pixels, found {size}")
    expression, pose = _checked(expression, len(EXPRESSION), "expression"), _checked(pose, 5, "pose")
    canvas = backdrop(avatar, SUPERSAMPLING * size).copy()
    painter = Painter(canvas, pose)
    figure = _figure(avatar, expression, painter.silhouette)
    _draw(painter, avatar, figure)
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA), _truth(painter, avatar, figure, size)
