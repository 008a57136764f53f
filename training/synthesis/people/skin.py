"""Textures of the skin: colour (tone, redness, lips, lids, spots, wrinkles, make-up), height, sheen and roughness."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from . import paint
from .face_model import FaceModel
from .painted_hair import beard_mask, paint_beard, paint_brows, scalp_shade
from .person import Person, tone_of

RED = np.array([1.0, -0.55, -0.45], np.float32)  # the direction of colour in which skin reddens


class Layout:
    """Where things lie in the face's texture of ``size`` pixels. marks: landmarks (68, 2) in pixels; points: (size,
    size, 3) of the mean face in cm; cm: pixels per centimetre.
    """

    def __init__(self, model: FaceModel, size: int) -> None:
        self.model, self.size, self.marks = model, size, paint.marks(model, size)
        self.points = paint.places(model, "face", size)
        self.cm = float(np.linalg.norm(self.marks[45] - self.marks[36])) / 8.9

    def at(self, *indices: int) -> np.ndarray:
        """Mean (2,) of landmarks, in pixels."""
        return self.marks[list(indices)].mean(0)

    def lips(self, grow: float = 0.0) -> np.ndarray:
        """Outline (n, 2) of the red of the lips, in pixels; grow: enlarges it by this share."""
        outer = self.marks[48:60]
        middle = outer.mean(0)
        return paint.smooth_line(outer + grow * (outer - middle), 80, closed=True)

    def eye(self, left: bool) -> np.ndarray:
        """Middle of an eye, in pixels."""
        return self.at(*range(36, 42)) if left else self.at(*range(42, 48))


@lru_cache(maxsize=2)
def _ears(model: FaceModel, size: int) -> np.ndarray:
    """Mask (size, size) of the ears with soft edges."""
    points = paint.places(model, "face", size)
    ears = np.nan_to_num(np.clip((np.abs(points[..., 0]) - 7.6) / 0.8, 0, 1)) * np.nan_to_num(points[..., 1] < 7)
    return cv2.GaussianBlur(ears.astype(np.float32), (0, 0), 3)


def _zones(image: np.ndarray, where: Layout, person: Person, rng: np.random.Generator) -> None:
    """Redden cheeks, nose, chin and ears, and darken the skin around the eyes, in place."""
    size, cm = where.size, where.cm
    red = np.zeros((size, size), np.float32)
    for index, side in ((1, -1), (15, 1)):
        cheek = where.at(31 if side < 0 else 35, index) + (0, 0.1 * cm)
        red += 0.8 * paint.disc(size, cheek, (1.9 * cm, 1.5 * cm))
    nose, nostrils = where.at(30), where.at(33)
    red += 0.9 * paint.disc(size, nose, (1.0 * cm, 0.9 * cm)) + 0.5 * paint.disc(size, nostrils, (1.7 * cm, 0.6 * cm))
    red += 0.35 * paint.disc(size, where.at(8) - (0, 0.6 * cm), (1.4 * cm, 0.9 * cm))
    red += 0.8 * _ears(where.model, size)
    red *= 1 + 0.35 * paint.layered(rng, size, (40, 16, 7))
    image += RED * (0.055 * person.redness * (0.35 + 0.65 * tone_of(person.skin)) * red)[..., None]
    for left in (True, False):
        eye = where.eye(left)
        outer = where.marks[36 if left else 45]
        below = paint.disc(size, eye + (0, 1.0 * cm), (1.5 * cm, 0.5 * cm))
        lids = paint.disc(size, 0.7 * eye + 0.3 * outer - (0, 0.55 * cm), (1.5 * cm, 0.55 * cm))
        amount = rng.uniform(0.03, 0.10) + 0.05 * person.age
        image *= 1 - (amount * below + 0.07 * lids)[..., None] * np.array([0.75, 1.0, 0.92], np.float32)
        image += RED * (0.022 * (lids + below))[..., None]


def _mottle(image: np.ndarray, person: Person, rng: np.random.Generator) -> None:
    size = len(image)
    blotch = paint.layered(rng, size, (90, 40, 18))
    image *= 1 + 0.018 * (blotch + 0.6 * paint.layered(rng, size, (10, 5)))[..., None]
    image += RED * (0.009 * paint.layered(rng, size, (60, 22, 9, 4)))[..., None]
    image += np.array([0.3, 0.2, -0.8], np.float32) * (0.008 * paint.layered(rng, size, (120, 50)))[..., None]
    image *= 1 + 0.020 * paint.noise(rng, size, 1.6)[..., None]


def _dots(rng: np.random.Generator, where: Layout, count: int, radius: tuple[float, float], spread: str) -> np.ndarray:
    """Mask of scattered small dots; spread: "face" for all of it, "nose" for nose and cheeks; radius: range in cm."""
    mask = np.zeros((where.size, where.size), np.uint8)
    middle = where.at(30) if spread == "nose" else where.at(27, 33)
    reach = np.array([4.2, 2.2] if spread == "nose" else [6.0, 7.0]) * where.cm
    for _ in range(count):
        place = middle + rng.normal(0, 0.5, 2) * reach
        r = rng.uniform(*radius) * where.cm
        centre, strength = np.round(place * 16).astype(int).tolist(), int(rng.uniform(90, 255))
        cv2.circle(mask, centre, max(int(r * 16), 6), strength, -1, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(mask, (0, 0), 0.7).astype(np.float32) / 255


def _spots(image: np.ndarray, height: np.ndarray, where: Layout, person: Person, rng: np.random.Generator) -> None:
    brown = np.asarray(person.skin, np.float32) * np.array([0.72, 0.58, 0.48], np.float32)
    if person.freckles:
        mask = _dots(rng, where, int(60 + 300 * person.freckles), (0.025, 0.09), "nose")
        paint.blend(image, brown, mask * 0.55 * person.freckles)
    if person.spots:
        mask = _dots(rng, where, int(40 * person.spots), (0.08, 0.26), "face")
        paint.blend(image, brown, mask * 0.30)
    if person.moles:
        mask = _dots(rng, where, person.moles, (0.07, 0.14), "face")
        paint.blend(image, brown * 0.55, mask * 0.85)
        height += 0.10 * mask
    if rng.random() < 0.3:
        mask = _dots(rng, where, int(rng.integers(2, 12)), (0.08, 0.2), "face")
        image += RED * (0.10 * mask)[..., None]
        height += 0.05 * mask


def _lips(
    image: np.ndarray, height: np.ndarray, finish: np.ndarray, where: Layout, person: Person, rng: np.random.Generator
) -> np.ndarray:
    size, cm = where.size, where.cm
    mask = paint.filled(size, where.lips(), 0.09 * cm)
    inner = paint.filled(size, paint.smooth_line(where.marks[60:68], 60, closed=True), 0.12 * cm)
    creases = paint.noise(rng, size, 3)
    creases = cv2.resize(creases[: size // 5], (size, size), interpolation=cv2.INTER_LINEAR)
    box = paint.bounds(mask)
    red = np.asarray(person.lip, np.float32)
    tone = red * (1 + 0.05 * paint.layered(rng, size, (24, 9))[box] + 0.035 * creases[box])[..., None]
    edge = np.clip(mask - cv2.erode(mask, np.ones((3, 3)), iterations=max(1, int(0.12 * cm))), 0, 1)
    tone *= 1 - 0.10 * edge[box][..., None]
    tone += (red * np.array([0.92, 0.66, 0.68], np.float32) - tone) * (0.75 * inner[box])[..., None]
    strength = 0.85 if person.masculine else 0.95
    image[box] += (tone - image[box]) * (strength * mask[box])[..., None]
    height += mask * (0.02 * creases)
    finish[..., 0] += mask * (0.25 + 0.9 * person.lip_gloss - 0.2)
    finish[..., 1] += (0.42 - 0.16 * person.lip_gloss - finish[..., 1]) * mask
    return mask


def _line_set(where: Layout, person: Person, rng: np.random.Generator) -> list[tuple[np.ndarray, float, float]]:
    """Wrinkles as (points (n, 2), width in cm, depth)."""
    cm, age, lines = where.cm, person.age, []
    strength = max(age - 0.22, 0.0)
    top = where.at(19, 24)
    for k in range(int(rng.integers(2, 5))):
        y = top[1] - (1.1 + 0.85 * k) * cm
        half = rng.uniform(2.0, 3.6) * cm
        x = top[0] + np.linspace(-half, half, 9)
        bend = 0.25 * cm * np.cos(np.linspace(-2.6, 2.6, 9)) + rng.normal(0, 0.07, 9) * cm
        lines.append((np.stack([x, y - bend], 1), 0.16, 0.9 * strength))
    for side, nose, mouth, outer, inner in ((-1, 31, 48, 36, 39), (1, 35, 54, 45, 42)):
        wing, corner, eye, tear = (where.marks[i] for i in (nose, mouth, outer, inner))
        fold = np.stack(
            [
                wing + (side * 0.35 * cm, -0.35 * cm),
                wing + (side * 0.8 * cm, 0.35 * cm),
                0.5 * (wing + corner) + (side * 0.95 * cm, 0),
                corner + (side * 0.65 * cm, 0.1 * cm),
            ]
        )
        lines.append((paint.smooth_line(fold, 24), 0.30, 0.18 + 1.1 * strength))
        bag = np.stack(
            [
                tear + (side * 0.15 * cm, 0.28 * cm),
                0.5 * (tear + eye) + (0, 0.95 * cm),
                eye + (side * 0.1 * cm, 0.7 * cm),
            ]
        )
        lines.append((paint.smooth_line(bag, 20), 0.25, 0.15 + 0.8 * strength * rng.uniform(0.3, 1.2)))
        for k in range(4):
            angle = -0.7 + 0.45 * k + rng.normal(0, 0.1)
            start = eye + (side * 0.55 * cm, 0)
            reach = rng.uniform(0.5, 1.5) * cm
            end = start + reach * np.array([side * np.cos(angle), np.sin(angle)])
            lines.append((np.stack([start, end]), 0.1, 0.9 * strength))
        drop = np.stack(
            [
                corner + (side * 0.15 * cm, 0.25 * cm),
                corner + (side * 0.35 * cm, 1.0 * cm),
                corner + (side * 0.45 * cm, 1.7 * cm),
            ]
        )
        lines.append((drop, 0.3, 0.7 * strength))
        frown = np.array([(side * -0.15 * cm, -0.4 * cm), (side * -0.2 * cm, 0.7 * cm)])
        lines.append((where.marks[21 if side < 0 else 22] + frown, 0.16, 0.8 * strength * rng.uniform(0, 1)))
    return lines


def _wrinkles(image: np.ndarray, height: np.ndarray, where: Layout, person: Person, rng: np.random.Generator) -> None:
    groove = np.zeros(image.shape[:2], np.float32)
    for line, width, depth in _line_set(where, person, rng):
        if depth > 0.02:
            stroke = paint.stroked(where.size, [line], 0.8 * width * where.cm, 0.45 * width * where.cm)
            groove = np.maximum(groove, min(depth, 1.0) * stroke)
    groove *= np.clip(1 + 0.35 * paint.layered(rng, where.size, (30, 12)), 0.2, 1.6)
    image *= 1 - groove[..., None] * np.array([0.13, 0.20, 0.20], np.float32)
    height -= 0.35 * groove


def _makeup(image: np.ndarray, finish: np.ndarray, where: Layout, person: Person, rng: np.random.Generator) -> None:
    cm, size = where.cm, where.size
    for left in (True, False):
        eye, outer = where.eye(left), where.marks[36 if left else 45]
        lid = paint.disc(size, 0.8 * eye + 0.2 * outer - (0, 0.35 * cm), (1.35 * cm, 0.42 * cm))
        paint.blend(image, np.asarray(person.shadow_colour, np.float32), 0.55 * person.makeup * lid)
        first = 36 if left else 42
        upper = paint.smooth_line(where.marks[first : first + 4], 24)
        line = paint.stroked(size, [upper], 0.14 * cm, 0.05 * cm)
        paint.blend(image, np.array([0.08, 0.06, 0.06], np.float32), np.clip(1.2 * person.makeup * line, 0, 0.9))
        cheek = where.at(31 if left else 35, 1 if left else 15) + ((-0.6 if left else 0.6) * cm, -0.3 * cm)
        blush = paint.disc(size, cheek, (1.7 * cm, 0.9 * cm), (-0.4 if left else 0.4))
        image += RED * (0.05 * person.makeup * rng.uniform(0.3, 1.0) * blush)[..., None]


def _lash_line(image: np.ndarray, where: Layout, person: Person) -> None:
    """Paint the dark roots of the lashes and the pink rim of the lids, in place."""
    for first in (36, 42):
        upper, lower = where.marks[first : first + 4], where.marks[[first + 3, first + 4, first + 5, first]]
        gap = paint.stroked(where.size, [paint.smooth_line(upper, 24)], 0.10 * where.cm, 0.04 * where.cm)
        paint.blend(image, np.asarray(person.skin, np.float32) * 0.35, 0.55 * gap * (0.5 + 0.5 * person.lashes))
        rim = paint.stroked(where.size, [paint.smooth_line(lower, 24)], 0.10 * where.cm, 0.05 * where.cm)
        paint.blend(image, np.asarray(person.skin, np.float32) * np.array([0.98, 0.76, 0.74], np.float32), 0.5 * rim)


def _finish(where: Layout, person: Person, rng: np.random.Generator) -> np.ndarray:
    """Sheen, roughness and softness (size, size, 3) float32."""
    size, cm = where.size, where.cm
    out = np.empty((size, size, 3), np.float32)
    forehead = where.at(19, 24) - (0, 1.5 * cm)
    zone = 0.7 * paint.disc(size, where.at(27, 30), (1.1 * cm, 2.6 * cm))
    zone = zone + 0.5 * paint.disc(size, forehead, (3.4 * cm, 1.4 * cm))
    for index in (1, 15):
        zone += 0.4 * paint.disc(size, where.at(31 if index == 1 else 35, index) - (0, 0.9 * cm), (1.5 * cm, 0.8 * cm))
    uneven = 1 + 0.22 * paint.layered(rng, size, (14, 6, 2.5))
    out[..., 0] = (0.42 + 0.48 * zone) * uneven
    out[..., 1] = 0.56 - 0.10 * zone + 0.03 * paint.noise(rng, size, 3)
    out[..., 2] = 0.9
    return out


def _coded(image: np.ndarray, height: np.ndarray, finish: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    finish = cv2.resize(finish, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    coloured = np.concatenate([image, 0.5 + 0.5 * height[..., None]], -1)
    return (np.clip(coloured, 0.004, 1) * 255).astype(np.uint8), (np.clip(finish, 0.02, 1) * 255).astype(np.uint8)


def paint_face(model: FaceModel, person: Person, size: int = paint.SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Textures of the face, uint8: (size, size, 4), square root of the albedo and height; and (size / 2, size / 2, 3),
    sheen, roughness and softness.
    """
    where, rng = Layout(model, size), person.stream("skin")
    image = np.tile(np.asarray(person.skin, np.float32), (size, size, 1))
    height = 0.020 * paint.noise(rng, size, 3.0) + 0.012 * paint.noise(rng, size, 1.5)
    finish = _finish(where, person, rng)
    _mottle(image, person, rng)
    _zones(image, where, person, rng)
    _spots(image, height, where, person, rng)
    _wrinkles(image, height, where, person, rng)
    if person.makeup:
        _makeup(image, finish, where, person, rng)
    lips = _lips(image, height, finish, where, person, rng)
    _lash_line(image, where, person)
    scalp_shade(image, where.points, person)
    if person.beard != "none":
        paint_beard(image, height, finish, where, person, rng, beard_mask(where, person) * (1 - lips))
    paint_brows(image, height, finish, where, person, rng)
    return _coded(image, height, finish)


def paint_scalp(model: FaceModel, person: Person, size: int = paint.SIZE // 2) -> tuple[np.ndarray, np.ndarray]:
    """The same textures as ``paint_face`` for the back of the head and the neck."""
    rng = person.stream("scalp")
    image = np.tile(np.asarray(person.skin, np.float32), (size, size, 1))
    _mottle(image, person, rng)
    height = 0.02 * paint.noise(rng, size, 2.0)
    finish = np.empty((size, size, 3), np.float32)
    finish[:] = (0.45, 0.55, 0.9)
    scalp_shade(image, paint.places(model, "head", size), person)
    return _coded(image, height, finish)
