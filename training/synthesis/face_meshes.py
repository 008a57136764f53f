"""The face meshes of rendered frames, as the landmark network sees them, so that they are those of real faces."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...diffused_heads_core.face.finder import Face, FaceFinder
from ...diffused_heads_core.face.mesh import POINTS


@lru_cache(maxsize=1)
def _finder() -> FaceFinder:
    return FaceFinder()


def face_meshes(frames: np.ndarray) -> np.ndarray:
    """Meshes (T, 468, 3) float16, px of the frames (T, S, S, 3) uint8; nan in frames where no face is found.

    Raises DiffusedHeadsError if the face networks are missing and cannot be downloaded.
    """
    meshes = np.full((len(frames), POINTS, 3), np.nan, np.float16)
    face: Face | None = None
    for row, frame in zip(meshes, frames):
        face = (face and _finder().track(frame, face)) or next(iter(_finder().find(frame)), None)
        if face is not None and face.landmarks is not None:
            row[:] = face.landmarks
        else:
            face = None
    return meshes
