"""Readers: they find landmarks, or at least the mouth, in frames whose truth is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import DiffusedHeadsError
from ..face.eyes import SIGNS, lid_opening, lid_signs
from ..face.finder import Face, FaceFinder
from ..face.mesh import to_68
from ..face.networks import load_face_models
from .metrics.faces import EYE_CORNERS, eye_opening, mouth_opening


@dataclass(frozen=True)
class Reading:
    """What was found in one frame.

    landmarks: (68, 2) px. depths: (68,) of the landmarks, px, smaller toward the viewer. mouth: its opening in eye
    distances. eyes: their opening in any unit, the same in all frames. lids: signs of closed lids in the picture
    (``face.eyes.lid_signs``), which then count instead of ``eyes``.
    """

    landmarks: np.ndarray | None = None
    mouth: float = float("nan")
    eyes: float = float("nan")
    lids: np.ndarray | None = None
    depths: np.ndarray | None = None

    @classmethod
    def of(cls, landmarks: np.ndarray) -> Reading:
        """Landmarks (68, 2) in px and what follows from them."""
        marks = np.asarray(landmarks, np.float64)[None]
        return cls(landmarks, float(mouth_opening(marks)[0]), float(eye_opening(marks)[0]))


NOTHING = Reading()


def eye_openings(readings: Sequence[Reading]) -> np.ndarray:
    """How far the eyes are open in a clip's frames, (T,) in any unit, NaN if unknown."""
    if all(reading.lids is None for reading in readings):
        return np.array([reading.eyes for reading in readings])
    unknown = np.full(SIGNS, np.nan)
    return lid_opening(np.stack([unknown if reading.lids is None else reading.lids for reading in readings]))


class Reader(Protocol):
    """Reads the frames of one clip in order."""

    def read(self, frame: np.ndarray) -> Reading:
        """What is found in the next frame, uint8 (H, W, 3)."""


class FaceReader:
    """Reads with the face networks: the face is found once, then tracked from frame to frame."""

    def __init__(self, finder: FaceFinder):
        self._finder = finder
        self._face: Face | None = None

    def read(self, frame: np.ndarray) -> Reading:
        """Landmarks of the largest face; nothing if there is none."""
        face = self._finder.track(frame, self._face) if self._face is not None else None
        if face is None:
            face = next(iter(self._finder.find(frame)), None)
        if face is None or face.landmarks is None:
            self._face = None
            return NOTHING
        self._face = face
        points = np.asarray(to_68(face.landmarks), np.float64)
        marks, lids = points[:, :2], lid_signs(frame, points[EYE_CORNERS, :2])
        return Reading(marks, float(mouth_opening(marks[None])[0]), lids=lids, depths=points[:, 2])


@dataclass(frozen=True)
class FaceReaders:
    """Makes a reader for each clip; cheap to send to another process, which loads the networks once."""

    models: Path | None = None

    def __call__(self) -> FaceReader:
        return FaceReader(loaded_finder(self.models))


@lru_cache(maxsize=1)
def loaded_finder(models: Path | None = None) -> FaceFinder:
    """The finder of this process with the networks in a folder, as of ``load_face_models``; they are loaded once."""
    return FaceFinder(load_face_models(models))


def face_readers(models: Path | None = None) -> tuple[FaceReaders | None, str]:
    """Readers that use the face networks and "", or None and the reason why there are none.

    models: folder with the networks; by default they are looked for, and downloaded on first use. Raises
    DiffusedHeadsError if a folder was given and the networks are not in it.
    """
    readers = FaceReaders(models)
    try:
        readers()
    except DiffusedHeadsError as error:
        if models is not None:
            raise
        return None, f"the face networks are not there ({' '.join(str(error).split())})"
    return readers, ""
