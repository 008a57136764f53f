"""Readers: what tells landmarks, or at least the mouth, in frames whose truth nobody knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import DiffusedHeadsError
from ..face.eyes import SIGNS, lid_opening, lid_signs
from .metrics.faces import EYE_CORNERS, eye_opening, mouth_opening


@dataclass(frozen=True)
class Reading:
    """What was read in one frame: landmarks (68, 2) in px, or only an opening of the mouth (in eye distances) or of the
    eyes (any unit, the same in all frames); lids: what the picture tells of the lids (``face_eyes.lid_signs``), which
    then counts instead of ``eyes``.
    """

    landmarks: np.ndarray | None = None
    mouth: float = float("nan")
    eyes: float = float("nan")
    lids: np.ndarray | None = None

    @classmethod
    def of(cls, landmarks: np.ndarray) -> Reading:
        """Everything that landmarks tell."""
        marks = np.asarray(landmarks, np.float64)[None]
        return cls(landmarks, float(mouth_opening(marks)[0]), float(eye_opening(marks)[0]))


NOTHING = Reading()


def eye_openings(readings: Sequence[Reading]) -> np.ndarray:
    """How far the eyes are open in a clip's frames, (T,), NaN where unknown; any unit."""
    if all(reading.lids is None for reading in readings):
        return np.array([reading.eyes for reading in readings])
    unknown = np.full(SIGNS, np.nan)
    return lid_opening(np.stack([unknown if reading.lids is None else reading.lids for reading in readings]))


class Reader(Protocol):
    """Reads the frames of one clip in order."""

    def read(self, frame: np.ndarray) -> Reading:
        """What is seen in a frame uint8 (H, W, 3)."""


class FaceReader:
    """The project's face networks: the face is found once, then tracked from frame to frame."""

    def __init__(self, finder: Any, to_68: Callable[[np.ndarray], np.ndarray]):
        self._finder, self._to_68, self._face = finder, to_68, None

    def read(self, frame: np.ndarray) -> Reading:
        """Landmarks of the largest face; nothing where there is none."""
        face = self._finder.track(frame, self._face) if self._face is not None else None
        if face is None:
            face = next(iter(self._finder.find(frame)), None)
        self._face = face if face is not None and face.landmarks is not None else None
        if self._face is None:
            return NOTHING
        marks = np.asarray(self._to_68(self._face.landmarks), np.float64)[:, :2]
        return Reading(marks, float(mouth_opening(marks[None])[0]), lids=lid_signs(frame, marks[EYE_CORNERS]))


@dataclass(frozen=True)
class FaceReaders:
    """Makes a reader for each clip; cheap to send to another process, where the networks are loaded once."""

    models: Path | None = None

    def __call__(self) -> FaceReader:
        finder, to_68 = _networks(self.models)
        return FaceReader(finder, to_68)


@lru_cache(maxsize=1)
def _networks(models: Path | None) -> tuple[Any, Callable[[np.ndarray], np.ndarray]]:
    from ..face import finder as face, networks as face_models

    return face.FaceFinder(face_models.load_face_models(models)), face.to_68


def face_readers(models: Path | None = None) -> tuple[FaceReaders | None, str]:
    """Readers by the face networks and "", or None and the reason why there are none.

    models: folder with the networks; by default they are looked for, and downloaded on first use. Raises
    DiffusedHeadsError where a folder was given and does not hold them.
    """
    readers = FaceReaders(models)
    try:
        readers()
    except DiffusedHeadsError as error:
        if models is not None:
            raise
        return None, f"the face networks are not there ({' '.join(str(error).split())})"
    return readers, ""
