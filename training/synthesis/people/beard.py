"""Beards and moustaches: ribbons of hair that grow from the skin and move with lips and jaw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import paint
from .hair import areas, piece, ribbons, spread, strand_texture, unit
from .head import Head
from .painted_hair import beard_mask
from .parts import unwrapped
from .person import Person
from .piece import Piece
from .skin import Layout

STEPS = 5
TEXTURE = 256  # pixels per side of the face's texture in which roots are chosen


@dataclass(frozen=True)
class Growth:
    """length: in cm, shortest and longest; density: ribbons per square cm; stand: how far they stand off, 0..1."""

    length: tuple[float, float]
    density: float
    stand: float


GROWTHS = {  # the other kinds of beard are only painted
    "moustache": Growth((0.6, 2.0), 24, 0.5),
    "goatee": Growth((0.5, 1.8), 18, 0.5),
    "short_beard": Growth((0.35, 0.9), 11, 0.6),
    "full_beard": Growth((0.8, 2.8), 12, 0.6),
}


def _roots(
    head: Head, person: Person, growth: Growth, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Roots where the beard grows: points and normals (n, 3), and the nearest vertices (n,)."""
    rows, uv, triangles = unwrapped(head.model, "face")
    where = Layout(head.model, TEXTURE)
    mask = beard_mask(where, person) * (1 - paint.filled(TEXTURE, where.lips(), 0.05 * where.cm))
    column, line = (np.clip((part * TEXTURE).astype(int), 0, TEXTURE - 1) for part in (uv[:, 0], 1 - uv[:, 1]))
    grows, triangles = mask[line, column][triangles].mean(1), rows[triangles]
    weight = areas(head, triangles) * grows * (grows > 0.35)
    return spread(head, triangles, weight, int(growth.density * weight.sum() * person.beard_density), rng)


def _grown(
    root: np.ndarray, facing: np.ndarray, lip: np.ndarray, growth: Growth, rng: np.random.Generator
) -> np.ndarray:
    """Strands (n, STEPS + 1, 3), combed down, or to the sides if above the lip; lip: (3,) middle of its upper edge."""
    over = np.clip((root[:, 1] - lip[1] + 0.3) / 0.4, 0, 1)[:, None] * (np.abs(root[:, :1] - lip[0]) < 3.2)
    parted, droop = rng.uniform(0.3, 1.5), rng.uniform(0.5, 1.2)
    aside = np.tanh((root[:, :1] - lip[0]) / 0.5)
    sideways = np.concatenate([parted * aside, np.full_like(aside, -droop), 0 * aside], 1)
    comb = over * sideways + (1 - over) * np.array([0.0, -1.0, 0.25])
    longest = growth.length[0] + np.ptp(growth.length) * rng.random() ** 1.5
    length = longest * rng.uniform(0.6, 1.1, (len(root), 1)) * (1 - 0.25 * over)
    way = unit(growth.stand * 1.6 * facing + unit(comb) + rng.normal(0, 0.22, root.shape))
    strands = [root - 0.05 * facing]
    for _ in range(STEPS):
        strands.append(strands[-1] + way * length / STEPS)
        flat = comb - np.minimum((comb * facing).sum(1, keepdims=True), 0) * facing  # along the skin, not into it
        way = unit(way + 0.45 * flat + rng.normal(0, 0.12, root.shape))
    return np.stack(strands, 1)


def beard_pieces(head: Head, person: Person) -> list[Piece]:
    """The hairs of a beard that is longer than stubble."""
    if person.beard not in GROWTHS:
        return []
    rng, growth = person.stream("whiskers"), GROWTHS[person.beard]
    root, facing, nearest = _roots(head, person, growth, rng)
    strands = _grown(root, facing, head.neutral[head.marks[51]], growth, rng)
    beard = piece(head, ribbons(strands, 0.34, rng, 0.2), strand_texture(rng, 0.0, person.grey, 1.2), person)
    beard.anchor = np.repeat(nearest, 2 * (STEPS + 1))
    beard.casts = False
    return [beard]
