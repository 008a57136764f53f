"""Hair that is painted on the skin: brows, beards, and the shade of the roots under the hair of the head."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from . import paint
from .person import Person
from .skull import scalp_mask


def scalp_shade(image: np.ndarray, points: np.ndarray, person: Person) -> None:
    """Darken the scalp by the roots of its hair, in place; points: (h, w, 3) of the mean face at each texel."""
    mask = cv2.GaussianBlur(scalp_mask(points, person, 1.3), (0, 0), 2)
    strength = 0.35 if person.hair_style == "bald" else 0.8
    colour = np.asarray(person.hair, np.float32) * 0.7 + 0.15 * np.asarray(person.skin, np.float32)
    paint.blend(image, colour, strength * mask)


def _hairs(
    size: int, roots: np.ndarray, ways: np.ndarray, bend: np.ndarray, weights: np.ndarray, scale: int = 2
) -> np.ndarray:
    """Mask (size, size) of short curved hairs: roots, ways from root to tip, and bend (n, 2) in pixels; weights (n,)
    0..1. They are drawn ``scale`` times as large and averaged.
    """
    mask = np.zeros((size * scale, size * scale), np.uint8)
    for root, way, side, weight in zip(roots, ways, bend, weights):
        points = np.stack([root, root + 0.5 * way + side, root + way])
        cv2.polylines(
            mask, [np.round(points * scale * 16).astype(np.int32)], False, int(255 * weight), 1, cv2.LINE_AA, 4
        )
    return cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def paint_brows(
    image: np.ndarray, height: np.ndarray, finish: np.ndarray, where: Any, person: Person, rng: np.random.Generator
) -> None:
    """Paint both brows, hair by hair, in place."""
    cm, size = where.cm, where.size
    arch, lift = rng.normal(0, 0.10) * cm, rng.normal(-0.14, 0.14) * cm
    for marks, side in ((where.marks[17:22], -1), (where.marks[22:27][::-1], 1)):
        line = paint.smooth_line(marks, 60)  # from the temple to the nose
        line = line - np.stack([np.zeros(60), lift + arch * np.sin(np.linspace(0, np.pi, 60))], 1)
        count = int(420 * person.brow_density)
        t = rng.beta(1.5, 1.25, count)
        taper = np.clip((1.04 - t) * 7, 0.55, 1)
        thick = person.brow_width * 0.27 * cm * (0.28 + 0.85 * np.clip(t * 1.6, 0, 1)) * taper
        across = np.clip(rng.normal(0, 0.42, count), -1, 1)
        place = line[np.clip((t * 59).astype(int), 0, 59)] + np.stack([np.zeros(count), across * thick], 1)
        inner = np.clip((t - 0.72) / 0.28, 0, 1)
        slope = (0.18 + 1.05 * inner**1.5) - 0.35 * across - 0.45 * np.clip(0.35 - t, 0, 1)
        length = rng.uniform(0.26, 0.52, count) * cm * (0.75 + 0.4 * person.brow_width)
        angle = slope + rng.normal(0, 0.16, count)
        ways = np.stack([side * np.cos(angle) * length, -np.sin(angle) * length], 1)
        mask = _hairs(size, place, ways, np.zeros_like(ways), rng.uniform(0.45, 1.0, count))
        under = cv2.GaussianBlur(mask, (0, 0), 0.10 * cm)
        paint.blend(image, np.asarray(person.brow, np.float32), np.clip(0.7 * under, 0, 0.40) * person.brow_density)
        paint.blend(image, np.asarray(person.brow, np.float32) * 0.85, np.clip(1.05 * mask, 0, 0.85))
        height += 0.10 * mask
        finish[..., 0] *= 1 - 0.7 * under
        finish[..., 2] *= 1 - 0.7 * under


# Outlines of beards: (landmark, x, y), shifted by x to the right and y down in cm of the texture.
_LIP_HAIR = ((51, -2.3, 0.55), (51, -1.0, -0.45), (51, 0.0, -0.35), (51, 1.0, -0.45), (51, 2.3, 0.55))
_CHIN_HAIR = ((48, -0.6, -0.1), (6, 0.0, -0.2), (7, 0.0, 0.8), (9, 0.0, 0.8), (10, 0.0, -0.2), (54, 0.6, -0.1))
_CHEEK_TOP = (
    (1, -0.2, -0.6), (1, 0.75, -0.2), (2, 1.5, 0.1), (48, -1.5, -0.2), (48, -0.5, 0.2), (57, -0.9, 0.75),
    (57, 0.9, 0.75), (54, 0.5, 0.2), (54, 1.5, -0.2), (14, -1.5, 0.1), (15, -0.75, -0.2), (15, 0.2, -0.6),
)  # fmt: skip
_THROAT = ((13, 0.9, 0.0), (11, 1.3, 1.2), (8, 0.0, 3.6), (5, -1.3, 1.2), (3, -0.9, 0.0))


def beard_mask(where: Any, person: Person) -> np.ndarray:
    """Where the beard grows (size, size), 0..1."""
    size, cm, m = where.size, where.cm, where.marks

    def line(points: tuple, count: int) -> np.ndarray:
        return paint.smooth_line(np.stack([m[mark] + (x * cm, y * cm) for mark, x, y in points]), count)

    rng = person.stream("beard")
    broad, tall = rng.uniform(0.95, 1.35), rng.uniform(0.9, 1.5)
    hanging = rng.uniform(0.8, 2.4) if rng.random() < 0.35 else 0.0
    lip_hair = tuple((mark, broad * x, tall * y if y < 0 else y) for mark, x, y in _LIP_HAIR)
    moustache = paint.filled(
        size, np.concatenate([line(lip_hair, 30), m[[54, 53, 51, 49, 48]] - (0, 0.1 * cm)]), 0.16 * cm
    )
    if hanging:
        for corner, side in ((m[48], -1), (m[54], 1)):
            strip = corner + cm * np.array(
                [(-0.15 * side, -0.3), (0.75 * side, -0.3), (0.75 * side, hanging), (0.25 * side, hanging)]
            )
            moustache = np.maximum(moustache, paint.filled(size, strip, 0.16 * cm))
    chin = paint.filled(
        size, np.concatenate([line(_CHIN_HAIR, 40), m[[54, 56, 57, 58, 48]] + (0, 0.12 * cm)]), 0.3 * cm
    )
    cheeks = paint.filled(size, np.concatenate([line(_CHEEK_TOP, 80), line(_THROAT, 40)]), 0.35 * cm)
    whole = np.maximum(np.maximum(cheeks, chin), moustache)
    return {"moustache": moustache, "goatee": np.maximum(moustache, chin)}.get(person.beard, whole)


def paint_beard(
    image: np.ndarray,
    height: np.ndarray,
    finish: np.ndarray,
    where: Any,
    person: Person,
    rng: np.random.Generator,
    mask: np.ndarray,
) -> None:
    """Paint the shade of shaven hair, or the hairs of a short beard, in place; mask: of ``beard_mask``."""
    size, cm = where.size, where.cm
    colour = np.asarray(person.hair, np.float32) * 0.85
    grain = np.clip(0.5 + 0.5 * paint.noise(rng, size, 1.2), 0, 1)
    uneven = np.clip(1 + 0.3 * paint.layered(rng, size, (30, 10)), 0.3, 1.4)
    shade = {"shadow": 0.16, "stubble": 0.38}.get(person.beard, 0.62) * (0.6 + 0.4 * person.beard_density)
    cool = 0.75 * np.asarray(person.skin, np.float32) * np.array([0.86, 0.92, 0.98], np.float32) + 0.25 * colour
    paint.blend(image, cool, np.clip(1.2 * shade * mask, 0, 0.75))
    paint.blend(image, colour, np.clip(mask * uneven * shade * (0.3 + 1.0 * grain), 0, 0.9))
    if person.beard not in ("shadow", "stubble"):
        weight = mask.ravel() / max(mask.sum(), 1e-6)
        count = int(2600 * person.beard_density)
        chosen = rng.choice(size * size, count, p=weight.astype(np.float64) / weight.astype(np.float64).sum())
        roots = np.stack([chosen % size, chosen // size], 1) + rng.random((count, 2))
        away = (roots - where.at(57)) / (3.5 * cm)
        angle = np.pi / 2 - 0.5 * np.clip(away[:, 0], -1.2, 1.2) + rng.normal(0, 0.25, count)
        length = rng.uniform(0.3, 0.75, count) * cm
        ways = np.stack([np.cos(angle), np.sin(angle)], 1) * length[:, None]
        strands = _hairs(size, roots, ways, rng.normal(0, 0.05, (count, 2)) * cm, rng.uniform(0.3, 1, count))
        paint.blend(image, colour * 0.7, np.clip(1.0 * strands * (mask > 0.2), 0, 0.9))
        lit = np.clip(0.5 * np.roll(strands, 1, 1) * (mask > 0.2) * (1 - strands), 0, 0.5)
        paint.blend(image, colour * 1.5 + 0.03, lit)
        height += 0.3 * mask * strands
    finish[..., 0] *= 1 - 0.75 * mask
    finish[..., 2] *= 1 - 0.5 * mask
