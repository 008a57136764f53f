"""Textures of the eyes: iris and white of the eyeball's front, and lashes."""

from __future__ import annotations

import cv2
import numpy as np

from . import paint
from .person import Person


def paint_eye(person: Person, left: bool, size: int = 192) -> np.ndarray:
    """Front of one eyeball (size, size, 3) uint8, square root of the albedo: pupil, iris with fibres and limbal ring,
    white with veins.
    """
    rng = person.stream("eye-left" if left else "eye-right")
    y, x = (np.mgrid[:size, :size].astype(np.float32) + 0.5) / size * 2 - 1
    r, angle = np.hypot(x, y), np.arctan2(y, x)
    yellowed = np.array([0.0, 0.02, 0.05], np.float32) * person.age
    white = np.array([0.86, 0.835, 0.80], np.float32) - yellowed - 0.06 * person.dark
    image = np.tile(white, (size, size, 1))
    image -= np.array([0.02, 0.14, 0.13], np.float32) * (np.clip((np.abs(x) - 0.55) / 0.4, 0, 1) ** 1.2)[..., None]
    image *= 1 + 0.012 * paint.layered(rng, size, (20, 8))[..., None]
    _veins(image, rng)
    iris = person.iris
    along = np.clip((r - iris * person.pupil) / (iris * (1 - person.pupil)), 0, 1)
    tone = _iris(person, rng, angle, along)
    inside = np.clip((iris - r) / 0.025 + 0.5, 0, 1)
    image += (tone - image) * inside[..., None]
    pupil = np.clip((iris * person.pupil - r) / 0.02 + 0.5, 0, 1)
    image *= 1 - 0.97 * pupil[..., None]
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def _iris(person: Person, rng: np.random.Generator, angle: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Fibres around the pupil, a collarette of another hue, and a dark limbal ring."""
    spokes = sum(
        np.cos(angle * n + rng.uniform(0, 6.28) + 1.5 * along) * w
        for n, w in ((17, 0.5), (29, 0.5), (43, 0.4), (61, 0.35))
    )
    colour = np.asarray(person.eye, np.float32)
    warm = np.array([0.46, 0.30, 0.13], np.float32) * (0.5 + colour.mean())
    middle = np.exp(-(((along - 0.15) / 0.22) ** 2))[..., None] * rng.uniform(0.1, 0.7)
    tone = colour * (1 - middle) + warm * middle
    tone = tone * (1 + 0.13 * spokes + 0.25 * (along - 0.5))[..., None]
    ring = np.clip((along - 0.72) / 0.28, 0, 1) ** 1.5
    return tone * (1 - rng.uniform(0.45, 0.8) * ring)[..., None]


def _veins(image: np.ndarray, rng: np.random.Generator) -> None:
    size, lines = len(image), []
    for _ in range(int(rng.integers(4, 14))):
        start = rng.uniform(0, 2 * np.pi)
        t = np.linspace(1.0, rng.uniform(0.62, 0.8), 7)
        bend = start + np.cumsum(rng.normal(0, 0.05, 7))
        lines.append(np.stack([np.cos(bend) * t, 0.7 * np.sin(bend) * t], 1) * size / 2 + size / 2)
    mask = paint.stroked(size, lines, 1, 0.5)
    image -= np.array([0.05, 0.28, 0.28], np.float32) * (0.4 * mask)[..., None]


def paint_lashes(person: Person, size: int = 256) -> np.ndarray:
    """Texture (size, size, 4) uint8 of the lashes: fine hairs on a transparent ground."""
    rng = person.stream("lashes")
    mask, band = np.zeros((size, size), np.uint8), size / 6
    for row in range(6):  # upper lids in the first three bands, roots at the top of each
        share = 1.0 if row < 3 else 0.25 * (not person.masculine)
        for x in rng.uniform(0, size, int((8 + 26 * person.lashes) * share)):
            along = 2 * x / size % 1.0
            end = min(along, 1 - along)  # short towards both corners of the eye
            if end < 0.10:
                continue
            reach = band * rng.uniform(0.25, 0.7) * (0.5 + 0.5 * person.lashes)
            reach *= (1.0 if row < 3 else 0.4) * min(1.0, 0.35 + 2.2 * end)
            top = band * row + 0.04 * size / 6
            middle, tip = (x + rng.normal(0, 2), top + 0.6 * reach), (x + rng.normal(0, 4), top + reach)
            points = np.array([(x, top), middle, tip])
            cv2.polylines(mask, [np.round(points * 16).astype(np.int32)], False, 255, 2, cv2.LINE_AA, 4)
    out = np.zeros((size, size, 4), np.uint8)
    dark = np.asarray(person.brow) * (0.25 if person.makeup > 0.3 else 0.5)
    out[..., :3] = (np.clip(dark, 0.02, 1) * 255).astype(np.uint8)
    out[..., 3] = mask
    return out
