"""The face mesh of a portrait in the model's frame: from the face that was found, or as well as it can be told."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from ..assets import ASSETS
from ..errors import DiffusedHeadsError
from ..mouth.face_mesh import LIPS, usual_mesh
from ..pose import HeadGeometry
from .alignment import Placement
from .finder import Face, FaceFinder, has_landmarks
from .placing import bundled_name

_log = logging.getLogger(__name__)
MESHES = ASSETS / "portrait-meshes.npz"  # of the bundled portraits, written by training.synthesis.examples
SIDES = np.array([[33, 133], [362, 263]])  # the corners of each eye


def bundled_mesh(picture: np.ndarray) -> np.ndarray | None:
    """The mesh (468, 3) px of a bundled portrait, which needs no networks; None for another picture."""
    name = bundled_name(picture)
    if name is None or not MESHES.is_file():
        return None
    with np.load(MESHES, allow_pickle=False) as file:
        return file[name].astype(np.float64) if name in file else None


def in_frame(mesh: np.ndarray, placement: Placement, size: int) -> np.ndarray:
    """A mesh (468, 3) in picture pixels as pixels of the model's frame of ``size``."""
    return np.column_stack([placement.to_frame(mesh[:, :2]) * size, mesh[:, 2] * size / placement.side])


def mesh_in_frame(
    frame: np.ndarray,
    face: Face | None,
    placement: Placement,
    geometry: HeadGeometry,
    finder: Callable[[], FaceFinder],
    name: str = "portrait",
) -> np.ndarray:
    """The mesh (468, 3), px, of the head in a model's frame uint8 (F, F, 3), which is ``placement`` in its picture.

    face: what was found in the picture, if a face was looked for. Without its landmarks the landmark network looks at
    the frame, where a face should be; if it sees none, or is not there, the mesh is the mean face's, and the log says
    so in one line.
    """
    size = len(frame)
    if face is not None and face.landmarks is not None and has_landmarks(face):
        return in_frame(face.landmarks, placement, size)
    usual = usual_mesh(geometry, size)
    try:
        low, high = usual[:, :2].min(0), usual[:, :2].max(0)
        expected = Face((*low, *high), 1.0, np.zeros((6, 2)), usual, 1.0)
        found = finder().track(frame, expected)
    except DiffusedHeadsError as error:
        _log.warning("%s: the mouth is placed where a face usually has it (%s)", name, error)
        return usual
    if found is None or found.landmarks is None or not _agrees(found.landmarks, usual):
        _log.warning("%s: no face mesh found, the mouth is placed where a face usually has it", name)
        return usual
    return found.landmarks


def _agrees(mesh: np.ndarray, usual: np.ndarray) -> bool:
    """Whether eyes and mouth of a mesh are near where they should be."""
    marks = [np.stack([*(m[side, :2].mean(0) for side in SIDES), m[LIPS, :2].mean(0)]) for m in (mesh, usual)]
    apart = np.linalg.norm(marks[0] - marks[1], axis=1).max()
    return bool(apart < 0.5 * np.linalg.norm(marks[1][1] - marks[1][0]))
