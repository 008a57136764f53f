"""Frames of a clip moved so that the head stays where the model has it, as the portrait's does in sampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ...diffused_heads_core.config import HeadGeometry, ModelConfig
from ...diffused_heads_core.face.alignment import align
from ...diffused_heads_core.face.mesh import stable_landmarks
from ...diffused_heads_core.mouth.face_mesh import face_mesh
from ...diffused_heads_core.mouth.warp import warp_map, warped
from ..dataset import Store
from ..preparation.annotations import smoothed

HEAD_SMOOTHING, MESH_SMOOTHING = (
    0.06,
    0.028,
)  # seconds, deviations of the Gaussians over where the head and its points are
REACH = 0.25  # seconds on either side that smoothing can see


@dataclass(frozen=True, eq=False)
class Affine:
    """x -> linear @ x + shift of points (..., 2) in pixels, the centre of the top-left pixel at (0.5, 0.5)."""

    linear: np.ndarray
    shift: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Moved points, (..., 2)."""
        return points @ self.linear.T + self.shift

    def after(self, first: Affine) -> Affine:
        """``first``, then this one."""
        return Affine(self.linear @ first.linear, self(first.shift))

    @property
    def inverse(self) -> Affine:
        """The way back."""
        back = np.linalg.inv(self.linear)
        return Affine(back, -back @ self.shift)

    @property
    def mirrors(self) -> bool:
        """Whether left becomes right."""
        return bool(np.linalg.det(self.linear) < 0)

    def mesh(self, points: np.ndarray) -> np.ndarray:
        """A moved face mesh (468, 3); a mirrored one has its points' numbers exchanged, so that it is a face again."""
        scale = math.sqrt(abs(np.linalg.det(self.linear)))
        moved = np.column_stack([self(points[:, :2]), scale * points[:, 2]])
        return moved[face_mesh().pairs] if self.mirrors else moved

    def indices(self) -> np.ndarray:
        """OpenCV's matrix (2, 3), from array indices to array indices."""
        return np.column_stack([self.linear, self(np.array([0.5, 0.5])) - 0.5])


@dataclass(frozen=True, eq=False)
class Placed:
    """A frame of a clip: its picture (S, S, 3) uint8, its smoothed mesh (468, 3) in pixels of it, and where it goes."""

    picture: np.ndarray
    mesh: np.ndarray
    place: Affine

    def then(self, move: Affine) -> Placed:
        """The same frame, moved further."""
        return Placed(self.picture, self.mesh, move.after(self.place))

    @property
    def placed_mesh(self) -> np.ndarray:
        """The mesh (468, 3) in pixels of the model's frame."""
        return self.place.mesh(self.mesh)

    def window(self, window: tuple[int, int, int, int]) -> np.ndarray:
        """What the model's frame shows in a window (left, top, width, height): (height, width, 3) uint8."""
        left, top, width, height = window
        matrix = self.place.indices() - np.array([[0, 0, left], [0, 0, top]])
        return cv2.warpAffine(
            self.picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )

    def warped_to(self, mesh: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
        """The window of the model's frame with this face warped to another mesh (468, 3) there, resampled once."""
        left, top, width, height = window
        own = self.placed_mesh
        places = warp_map(own, mesh, (left, top, left + width, top + height)).astype(np.float64)
        return warped(self.picture, (self.place.inverse(places + 0.5) - 0.5).astype(np.float32))


def to_geometry(points: np.ndarray, geometry: HeadGeometry, size: int) -> Affine:
    """The similarity that brings the stable points (3, 2) of a head to a frame of ``size`` px."""
    matrix = size * align(points, geometry).matrix
    return Affine(matrix[:, :2], matrix[:, 2])


def placed_frames(store: Store, clip: int, frames: Sequence[int], model: ModelConfig) -> list[Placed]:
    """Frames of a clip, each placed by the eyes and the nose, which are smoothed over time."""
    length, reach = int(store.lengths[clip]), math.ceil(REACH * model.fps)
    low, high = max(min(frames) - reach, 0), min(max(frames) + reach + 1, length)
    meshes = store.track("mesh", clip, range(low, high)).astype(np.float64)
    points = smoothed(np.stack([stable_landmarks(mesh) for mesh in meshes]), model.fps, HEAD_SMOOTHING)
    meshes, at = smoothed(meshes, model.fps, MESH_SMOOTHING), [frame - low for frame in frames]
    pictures = store.pictures(clip, frames)
    return [
        Placed(picture, meshes[n], to_geometry(points[n], model.geometry, model.frame_size))
        for picture, n in zip(pictures, at)
    ]
