"""What is worn on the head: beanie, cap, scarf and glasses."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .avatar import Avatar
from .draw import Patch, at_depth, curve, ellipse, mirrored, mix, on_face, shade
from .hair_shapes import Hair, between, dome, flattened, hairline, tones


def _temple_hair(avatar: Avatar) -> list[Patch]:
    """Hair at the temples, below a beanie or cap."""
    shape = curve(
        np.array([(0.25, 0.0), (0.274, 0.0), (0.284, -0.1), (0.276, -0.2), (0.22, -0.2), (0.236, -0.09)]), True
    )
    return [Patch(at_depth(x, 0.02), avatar.hair) for x in (shape, mirrored(shape))]


def beanie(avatar: Avatar) -> Hair:
    """A knitted cap with a ribbed band."""
    dark, plain, bright = tones(avatar.headwear)
    edge = hairline([(0.292, -0.145), (0.2, -0.16), (0.0, -0.168), (-0.2, -0.16), (-0.292, -0.145)])
    top = hairline([(0.298, -0.215), (0.2, -0.24), (0.0, -0.255), (-0.2, -0.24), (-0.298, -0.215)])
    crown = Patch(between(dome(0.292, -0.425 - 0.02 * avatar.hair_volume, -0.16), top), plain)
    band = Patch(np.vstack([edge, top[::-1]]), mix(plain, bright, 0.5))
    ribs = [Patch(np.vstack([edge[k], top[k]]), dark, 0.006) for k in range(2, len(edge) - 2, 2)]
    return Hair(front=(*_temple_hair(avatar), crown, band, *ribs), hairline=edge)


def cap(avatar: Avatar) -> Hair:
    """A baseball cap."""
    dark, plain, bright = tones(avatar.headwear)
    edge = hairline([(0.284, -0.14), (0.2, -0.18), (0.0, -0.2), (-0.2, -0.18), (-0.284, -0.14)])
    brim = np.array([
        (-0.225, -0.175, 0.14), (-0.12, -0.215, 0.24), (0, -0.225, 0.26), (0.12, -0.215, 0.24),
        (0.225, -0.175, 0.14), (0.15, -0.165, 0.36), (0, -0.16, 0.42), (-0.15, -0.165, 0.36),
    ])  # fmt: skip
    seam = np.array([(0, -0.41, 0.05), (0, -0.33, 0.16), (0, -0.23, 0.25)])
    sheen = np.array([(-0.2, -0.25), (-0.12, -0.34), (-0.08, -0.34), (-0.14, -0.24)]) * (avatar.light, 1)
    parts = (
        Patch(at_depth(ellipse(0, -0.418, 0.018, 0.01), 0.0), dark),
        Patch(between(dome(0.284, -0.42, -0.14), edge), plain),
        Patch(on_face(curve(sheen, True)), bright),
        Patch(curve(seam), dark, 0.006),
        Patch(curve(brim, True), dark),
    )
    return Hair(front=(*_temple_hair(avatar), *parts), hairline=edge + (0, 0.02, 0))


def scarf(avatar: Avatar) -> Hair:
    """A head scarf that covers hair, ears and neck."""
    dark, plain, bright = tones(avatar.headwear)
    lower = np.array([
        (0.318, 0.14), (0.316, 0.26), (0.325, 0.40), (0.37, 0.5), (0.42, 0.62), (-0.42, 0.62), (-0.37, 0.5),
        (-0.325, 0.40), (-0.316, 0.26), (-0.318, 0.14),
    ])  # fmt: skip
    wrap = np.vstack([dome(0.315, -0.425, 0.05), curve(lower)])
    edge = hairline([
        (0.30, 0.2), (0.232, 0.19), (0.24, 0.05), (0.235, -0.09), (0.2, -0.17), (0.12, -0.215), (0.0, -0.23),
        (-0.12, -0.215), (-0.2, -0.17), (-0.235, -0.09), (-0.24, 0.05), (-0.232, 0.19), (-0.30, 0.2),
    ])  # fmt: skip
    edge = flattened(edge, 0.06)
    hood = Patch(between(dome(0.318, -0.43, 0.2), edge), plain)
    s = avatar.hair_side
    folds = [
        Patch(at_depth(curve(np.array([(s * a, 0.30), (s * (a + b) / 2, 0.42), (s * b, 0.5)])), -0.03), dark, 0.008)
        for a, b in ((-0.26, -0.05), (-0.27, 0.10), (-0.28, 0.22))
    ]
    return Hair(
        beside=(Patch(at_depth(wrap, -0.05), mix(plain, dark, 0.35)), *folds),
        front=(hood, Patch(edge[9:-9], bright, 0.008)),
        hairline=edge,
    )


# Half width and half height of a lens in frame fractions, and the exponent of the superellipse that it is.
_LENSES = {
    "round": (0.083, 0.083, 2.0),
    "square": (0.086, 0.066, 5.0),
    "oval": (0.086, 0.058, 2.2),
    "cat": (0.088, 0.062, 3.0),
}


@lru_cache(maxsize=64)
def glasses(avatar: Avatar) -> tuple[Patch, ...]:
    """Frames, bridge, arms and a reflection on each lens; empty without glasses."""
    if avatar.glasses == "none":
        return ()
    rx, ry, corner = _LENSES[avatar.glasses]
    angle = np.linspace(0, 2 * np.pi, 29)
    sine, cosine = np.sin(angle), np.cos(angle)
    x = np.sign(cosine) * np.abs(cosine) ** (2 / corner) * rx
    y = np.sign(sine) * np.abs(sine) ** (2 / corner) * ry
    if avatar.glasses == "cat":
        y += -0.03 * np.clip(x / rx, 0, 1) * np.clip(-y / ry, 0, 1)
    ring = np.column_stack([x, y])
    lens = ring + (0.125, -0.008)
    z, colour, width = 0.262, avatar.glasses_colour, avatar.glasses_width
    bridge = curve(np.array([(-0.125 + rx, -0.016, z), (0, -0.03, z + 0.025), (0.125 - rx, -0.016, z)]))
    arm = np.array([(0.125 + rx * 0.97, -0.03, z), (0.24, -0.035, 0.16), (0.285, -0.03, 0.02)])
    glint, bright = np.array([(-0.03, 0.02, 0), (0.02, -0.04, 0)]), mix(avatar.skin, (255, 255, 255), 0.45)
    parts = [
        Patch(arm, shade(colour, -0.2), width),
        Patch(arm * (-1, 1, 1), shade(colour, -0.2), width),
        Patch(bridge, colour, width),
    ]
    for side in (1, -1):
        depth = np.full(29, z) - 0.12 * np.abs(lens[:, 0] / 0.2) ** 3 * 0.6
        parts += [
            Patch(np.column_stack([lens[:, 0] * side, lens[:, 1], depth]), colour, width),
            Patch(glint * 0.7 + (0.125 * side + 0.052, 0.022, z - 0.03), bright, 0.005),
        ]
    return tuple(parts)
