"""Other framings and other light, so that a painter of few people fits many portraits."""

from __future__ import annotations

import math

import numpy as np

from .stabilising import Affine

TURN, SCALE, SHIFT = 0.06, 0.06, 2.5 / 256  # deviations: radians, log of the scale, frame fractions
GAMMA, CONTRAST, CONTRAST_TINT, BRIGHTNESS, BRIGHTNESS_TINT = 0.3, 0.15, 0.08, 0.1, 0.06  # deviations
GRADIENT, GRADIENT_SHARE, STEEPEST = 0.18, 0.4, 0.5  # light from one side: change at the border, how often, at most


def drawn_framing(rng: np.random.Generator, share: float, mirror: bool, centre: np.ndarray, size: int) -> Affine:
    """Turned, scaled and shifted a little about ``centre`` (2,) px, as by another alignment; mirrored in every second
    sample if ``mirror``. share: of the samples that are turned at all.
    """
    chosen, flip = rng.random() < share, rng.random() < 0.5
    turn, scale, *shift = chosen * rng.normal(size=4) * (TURN, SCALE, SHIFT * size, SHIFT * size)
    linear = math.exp(scale) * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    if mirror and flip:
        linear = linear @ np.diag([-1.0, 1.0])
    return Affine(linear, centre + shift - linear @ centre)


def relit(pictures: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Pictures (n, H, W, 3) float32 in [-1, 1] in another light, the same for all.

    share: of the samples that are changed.
    """
    if rng.random() >= share:
        return pictures
    gamma = math.exp(GAMMA * rng.normal())
    contrast = (1 + CONTRAST * rng.normal()) * (1 + CONTRAST_TINT * rng.normal(size=3))
    brightness = BRIGHTNESS * rng.normal() + BRIGHTNESS_TINT * rng.normal(size=3)
    lit = (2 * ((pictures + 1) / 2) ** gamma - 1) * contrast + brightness
    if rng.random() < GRADIENT_SHARE:
        height, width = pictures.shape[1:3]
        across, down = GRADIENT * rng.normal(size=2)
        y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
        lit = lit * (1 + np.clip(x * across + y * down, -STEEPEST, STEEPEST))[None, :, :, None]
    return lit.clip(-1, 1).astype(np.float32)
