"""A portrait: a picture, the head in it that is to speak, and what a model needs of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..config import ModelConfig
from ..media.pictures import load_picture_alpha, on_white
from ..mouth.face_mesh import usual_mesh
from ..mouth.renderer import PictureHead
from ..pose import HeadGeometry
from .alignment import Placement, crop
from .finder import Face, FaceFinder
from .placing import Placing, place_face
from .portrait_mesh import bundled_mesh, in_frame, mesh_in_frame
from .remarks import remarks

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Portrait:
    """A picture, uint8 (H, W, 3), and the model's square in it: its place, and the square itself, uint8 (S, S, 3).

    alpha: of the picture, uint8 (H, W), what is transparent being white in ``picture``; None if it is opaque. mesh:
    (468, 3), the face mesh in the square's pixels, for a model that paints the mouth alone.
    """

    picture: np.ndarray
    placement: Placement
    frame: np.ndarray
    name: str = "portrait"
    alpha: np.ndarray | None = None
    mesh: np.ndarray | None = None


def head_of(portrait: Portrait, geometry: HeadGeometry, weights: np.ndarray | None = None) -> PictureHead:
    """The portrait's head, to be moved in its picture; weights: as of ``PictureHead``."""
    mesh = usual_mesh(geometry, len(portrait.frame)) if portrait.mesh is None else portrait.mesh
    height, width = portrait.picture.shape[:2]
    matrix = portrait.placement.matrix
    return PictureHead(portrait.frame, mesh, matrix, (height, width), geometry, weights, portrait.name)


def place_portrait(
    picture: np.ndarray,
    config: ModelConfig,
    placing: Placing = Placing(),
    finder: Callable[[], FaceFinder] = FaceFinder,
    name: str = "portrait",
) -> Portrait:
    """Find the head that ``placing`` means and cut the model's square out around it; errors of ``placing.place``.

    picture: uint8 (H, W, 3); finder: called if a face must be looked for; name: what errors call the picture. Logs a
    warning for each thing that makes the result worse than usual (``face.remarks``).
    """
    placement, face = place_face(picture, placing, config.frame_size, config.geometry, finder, name)
    return portrait_at(picture, placement, face, config, finder, name)


def portrait_at(
    picture: np.ndarray,
    placement: Placement,
    face: Face | None,
    config: ModelConfig,
    finder: Callable[[], FaceFinder] = FaceFinder,
    name: str = "portrait",
) -> Portrait:
    """The portrait of a head whose place is known; warns as ``place_portrait``.

    picture: uint8 (H, W, 3); face: the face that was found there, if any.
    """
    size = config.frame_size
    for line in remarks(picture, face, placement, size):
        _log.warning("%s: %s", name, line)
    frame = crop(picture, placement, size)
    return Portrait(picture, placement, frame, name, mesh=_mesh(picture, frame, placement, face, config, finder, name))


def _mesh(
    picture: np.ndarray,
    frame: np.ndarray,
    placement: Placement,
    face: Face | None,
    config: ModelConfig,
    finder: Callable[[], FaceFinder],
    name: str,
) -> np.ndarray | None:
    """The face mesh in the model's frame, for a model that paints the mouth alone."""
    if config.mouth is None:
        return None
    known = bundled_mesh(picture) if face is None else None
    if known is not None:
        return in_frame(known, placement, len(frame))
    return mesh_in_frame(frame, face, placement, config.geometry, finder, name)


def picture_of(portrait: str | os.PathLike[str] | np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """A portrait's picture on white, uint8 (H, W, 3), and its alpha, None if it is opaque."""
    if not isinstance(portrait, np.ndarray):
        rgb, alpha = load_picture_alpha(portrait)
    elif portrait.ndim == 3 and portrait.shape[2] == 4:
        rgb, alpha = portrait[..., :3], portrait[..., 3] if portrait[..., 3].min() < 255 else None
    else:
        return portrait, None
    return (rgb, None) if alpha is None else (on_white(rgb, alpha), alpha)
