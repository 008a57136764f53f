"""How a person's mouth moves: meshes relative to the person's own closed mouth, in the place of the mean face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...diffused_heads_core.mouth.face_mesh import EYE_CORNERS, LOWER_LIP, MIDDLE, STABLE, UPPER_LIP
from ...diffused_heads_core.pose import smooth
from ..preparation.annotations import smoothed
from .stabilising import MESH_SMOOTHING

CLOSED_SHARE = 0.1  # of a person's frames, those with the smallest openings: their mean is the closed mouth
REFINEMENTS = 2  # of the mean to which a person's meshes are aligned

# Only what lies below the nose moves with the mouth: weights rise to 1 between these heights, and fall to 0 between
# these distances from the middle, in eye distances of the mean face. The nose keeps a part of it.
NOSE_BASE, MOUTH, CHEEK, FACE_EDGE = 0.45, 0.80, 0.80, 1.05
NOSE = np.array(
    [1, 2, 4, 5, 19, 94, 97, 98, 326, 327, 195, 197, 6, 168, 220, 440, 45, 275, 44, 274, 48, 278, 64, 294, 240]
    + [460, 99, 328, 75, 305, 59, 289, 166, 392, 79, 309, 238, 458, 237, 457, 218, 438, 235, 455, 219, 439, 115]
    + [344, 131, 360, 49, 279, 102, 331]
)
NOSE_WEIGHT = 0.2


def aligned(meshes: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Meshes (n, 468, 3), each moved, turned and scaled so that its stable points are nearest to a reference's.

    Umeyama 1991, for all meshes at once.
    """
    source, target = meshes[:, STABLE], reference[STABLE]
    middles = source.mean(1, keepdims=True), target.mean(0)
    a, b = source - middles[0], target - middles[1]
    u, singular, v = np.linalg.svd(np.swapaxes(a, 1, 2) @ b)
    signs = np.ones_like(singular)
    signs[:, 2] = np.sign(np.linalg.det(u @ v))
    scale = (singular * signs).sum(1) / np.square(a).sum((1, 2))
    return scale[:, None, None] * ((meshes - middles[0]) @ ((u * signs[:, None]) @ v)) + middles[1]


def opening(meshes: np.ndarray) -> np.ndarray:
    """Gap between the lips at the mouth's middle, (..., 468, 3) -> (...), in eye distances."""
    gap = np.linalg.norm(meshes[..., LOWER_LIP[MIDDLE], :] - meshes[..., UPPER_LIP[MIDDLE], :], axis=-1).mean(-1)
    return gap / eye_distance(meshes)


def eye_distance(meshes: np.ndarray) -> np.ndarray:
    """Distance between the middles of the eyes' corners, (..., 468, 3) -> (...)."""
    eyes = meshes[..., EYE_CORNERS, :]
    return np.linalg.norm(eyes[..., 2:, :].mean(-2) - eyes[..., :2, :].mean(-2), axis=-1)


def movements(clips: Sequence[np.ndarray], mean: np.ndarray, fps: float) -> list[np.ndarray]:
    """What the clips (T, 468, 3) of one person differ by from that person's closed mouth, in units of the mean face.

    mean: (468, 3), the mean face. The meshes may be in any pixels; they are smoothed a little over time.
    """
    meshes = np.concatenate([smoothed(clip, fps, MESH_SMOOTHING) for clip in clips])
    placed = aligned(meshes, mean)
    for _ in range(REFINEMENTS):
        placed = aligned(meshes, placed.mean(0))
    gaps = opening(placed)
    closed = placed[gaps <= np.quantile(gaps, CLOSED_SHARE)].mean(0)
    return np.split(placed - closed, np.cumsum([len(clip) for clip in clips])[:-1])


def mouth_weights(mean: np.ndarray) -> np.ndarray:
    """How much of each point's movement belongs to the mouth, (468,), 0..1; mean: (468, 3), the mean face."""
    down = smooth((mean[:, 1] - NOSE_BASE) / (MOUTH - NOSE_BASE))
    weights = down * np.clip((FACE_EDGE - np.abs(mean[:, 0])) / (FACE_EDGE - CHEEK), 0, 1)
    weights[NOSE] *= NOSE_WEIGHT
    return weights
