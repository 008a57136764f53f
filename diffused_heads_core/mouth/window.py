"""The window that is painted, which follows the portrait's lips, and where in it teeth belong."""

from __future__ import annotations

import numpy as np

from .face_mesh import LIPS, Similarity, face_mesh
from .settings import MouthConfig

TEETH = 7  # planes of ``teeth_maps``
TOOTH = 0.135  # width of an upper front tooth, eye distances: 8.5 mm of 63 mm
CHIN = np.array([152, 148, 377, 175, 199])
ACROSS, DOWN, FARTHEST = 2.0, 3.0, 2.0  # scales of the coordinates, and where they end


def window_at(mesh: np.ndarray, settings: MouthConfig) -> tuple[int, int, int, int]:
    """Left, top, width, height px of the window of a portrait whose mesh with a closed mouth is (468, 3) px.

    It lies where ``settings`` say, measured from the middle of the lips if ``settings.at_lips``, inside the frame.
    """
    left, top, width, height = settings.window
    if settings.at_lips:
        x, y = np.rint(mesh[LIPS, :2].mean(0)).astype(int)
        most = settings.frame_size - np.array([width, height])
        left, top = (int(v) for v in np.clip([x + left, y + top], 0, most))
    return left, top, width, height


def teeth_maps(closed: np.ndarray, mesh: np.ndarray, pose: Similarity, window: tuple[int, int, int, int]) -> np.ndarray:
    """Places on the upper and on the lower jaw, (7, height, width) float32, of each pixel of a window.

    closed: (468, 3) px, the portrait's mesh with a closed mouth; mesh: as the mouth is now; pose: from the mean face to
    ``closed``. Teeth are fixed to the jaws, so at a place on a jaw there is always the same of a tooth. The planes:
    across from the middle of the lips, down on the upper and on the lower jaw (eye distances, scaled), then sine and
    cosine across with the period of two teeth and of one.
    """
    left, top, width, height = window
    axes = pose.directions(np.eye(3))[:2, :2].T  # px right and down that the mean face's x and y axes go
    jaw = (pose.inverse(mesh[CHIN]) - pose.inverse(closed[CHIN])).mean(0)[:2]
    y, x = np.mgrid[top : top + height, left : left + width] + 0.5
    pixels = np.stack([x, y], -1) - closed[LIPS, :2].mean(0)
    across, down = np.moveaxis(pixels @ np.linalg.inv(axes).T, -1, 0)
    waves = [wave(2 * np.pi * across / period) for period in (2 * TOOTH, TOOTH) for wave in (np.sin, np.cos)]
    places = np.stack([ACROSS * across, DOWN * down, DOWN * (down - jaw[1])]).clip(-FARTHEST, FARTHEST)
    return np.concatenate([places, waves]).astype(np.float32)


def closed_mesh(mesh: np.ndarray, pose: Similarity, components: int) -> np.ndarray:
    """A portrait's mesh (468, 3) px with its mouth closed; pose: from the mean face to it."""
    face = face_mesh()
    return mesh - pose.directions(face.shape(face.closing(mesh, components)))
