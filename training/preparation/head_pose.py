"""Head poses from landmarks: a rigid shape is fitted to the landmarks in every picture of a clip.

Points are in pixels or frame fractions, x right, y down, z towards the viewer, as in ``pose``. Only landmarks that
neither speech nor brows move are used. The fits follow Kabsch 1976 and Umeyama, PAMI 1991.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...diffused_heads_core.face.alignment import Placement
from ...diffused_heads_core.face.mesh import NOSE_BASE, NOSE_BRIDGE
from ...diffused_heads_core.pose import HeadGeometry, rotation_matrix

LEFT = np.array([127, 234, 162, 21, 54, 103, 67, 109, 33, 133, 98, 116, 50, 227])
RIGHT = np.array([356, 454, 389, 251, 284, 332, 297, 338, 263, 362, 327, 345, 280, 447])
MIDDLE = np.array([10, 151, *NOSE_BRIDGE[:4], NOSE_BASE[2]])
# Landmarks at image left, their mirror images, and landmarks on the middle line.
RIGID = np.concatenate([LEFT, RIGHT, MIDDLE])
_PAIRS = len(LEFT)
ROUNDS = 3  # of fitting the mean shape


def rigid_points(landmarks: np.ndarray) -> np.ndarray:
    """The rigid landmarks (K, 3) float32 of all (468, 3), with z reversed so that it points towards the viewer."""
    return (np.asarray(landmarks)[RIGID] * (1, 1, -1)).astype(np.float32)


def fit(points: np.ndarray, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (T, 3, 3) and scales (T,) that bring a centred shape (K, 3) nearest to the centred points (T, K, 3)."""
    centred = np.asarray(points, np.float64) - np.mean(points, 1, keepdims=True)
    u, s, vt = np.linalg.svd(np.einsum("tki,kj->tij", centred, shape))
    sign = np.ones((len(u), 3))
    sign[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotations = np.einsum("tij,tj,tjk->tik", u, sign, vt)
    return rotations, (s * sign).sum(1) / max(float((shape**2).sum()), 1e-12)


def mean_shape(points: np.ndarray) -> np.ndarray:
    """The centred shape (K, 3) of unit size whose views are the points (T, K, 3), in their median position."""
    points = np.asarray(points, np.float64)
    shape = _unit(np.median(points - points.mean(1, keepdims=True), 0))
    for _ in range(ROUNDS):
        rotations, scales = fit(points, shape)
        centred = points - points.mean(1, keepdims=True)
        back = np.einsum("tji,tkj->tki", rotations, centred) / np.maximum(scales, 1e-9)[:, None, None]
        shape = _unit(np.median(back, 0))
    return shape


def _unit(shape: np.ndarray) -> np.ndarray:
    centred = shape - shape.mean(0)
    return centred / max(float(np.sqrt((centred**2).sum())), 1e-12)


def shape_yaw(shape: np.ndarray) -> float:
    """Yaw in radians of a shape (K, 3), from its symmetry: 0 if it looks straight ahead."""
    across = (shape[_PAIRS : 2 * _PAIRS] - shape[:_PAIRS]).mean(0)
    return float(np.arctan2(-across[2], across[0]))


def angles(rotations: np.ndarray) -> np.ndarray:
    """Yaw, pitch, roll (T, 3) in radians of rotations (T, 3, 3): the inverse of ``pose.rotation_matrix``."""
    pitch = -np.arcsin(np.clip(rotations[:, 2, 1], -1, 1))
    yaw = np.arctan2(-rotations[:, 2, 0], rotations[:, 2, 2])
    roll = np.arctan2(-rotations[:, 0, 1], rotations[:, 1, 1])
    return np.stack([yaw, pitch, roll], 1)


@dataclass(frozen=True, eq=False)
class HeadPoses:
    """pose: (T, 5) as in ``pose.POSE``, relative to the clip's usual position; error: (T,) mean distance of the rigid
    points from where the pose puts them, in frame fractions; yaw: of the usual position, in radians.
    """

    pose: np.ndarray
    error: np.ndarray
    yaw: float


def head_poses(points: np.ndarray, placement: Placement, geometry: HeadGeometry = HeadGeometry()) -> HeadPoses:
    """Poses of a head from its rigid points (T, K, 3) in pixels of the video, in the frame that ``placement`` cuts out.

    The usual position, the median over the clip, has pose 0, as the portrait has in generation.
    """
    framed = _in_frame(points, placement)
    shape = mean_shape(framed)
    rotations, scales = fit(framed, shape)
    usual = rotation_matrix(*np.median(angles(rotations), 0))
    neutral = _in_head(shape @ usual.T * np.median(scales), np.median(framed.mean(1), 0), geometry)
    turns = angles(rotations @ usual.T)
    pivot = np.asarray(geometry.pivot)
    expected = np.einsum("tij,kj->tki", rotation_matrix(*turns.T), neutral - pivot) + pivot
    shifts = framed[..., :2] - expected[..., :2] - np.asarray(geometry.centre)
    moved = np.median(shifts, 1)
    error = np.linalg.norm(shifts - moved[:, None], axis=-1).mean(1)
    return HeadPoses(np.concatenate([turns, moved], 1), error, shape_yaw(neutral))


def _in_frame(points: np.ndarray, placement: Placement) -> np.ndarray:
    """Points (T, K, 3) in pixels as frame fractions, depth included."""
    points = np.asarray(points, np.float64)
    return np.concatenate([placement.to_frame(points[..., :2]), points[..., 2:] / placement.side], -1)


def _in_head(shape: np.ndarray, middle: np.ndarray, geometry: HeadGeometry) -> np.ndarray:
    """A centred shape (K, 3) in head coordinates: around ``middle``, at the depth of the ellipsoid's surface."""
    placed = shape.copy()
    placed[:, :2] += middle[:2] - np.asarray(geometry.centre)
    inside = 1 - ((placed[:, :2] / np.asarray(geometry.radii)) ** 2).sum(1)
    surface = geometry.depth * np.sqrt(np.clip(inside, 0.02, None))
    placed[:, 2] += float(np.median(surface - placed[:, 2]))
    return placed
