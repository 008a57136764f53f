"""Tracking: the faces of a video, followed from picture to picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ...diffused_heads_core.face.alignment import align
from ...diffused_heads_core.face.crops import Pyramid, Square
from ...diffused_heads_core.face.detector import overlap
from ...diffused_heads_core.face.eyes import eye_patch, skin_share
from ...diffused_heads_core.face.finder import Face, stable_points
from ...diffused_heads_core.face.mesh import (
    LEFT_BROW,
    LEFT_EYE_CORNERS,
    RIGHT_BROW,
    RIGHT_EYE_CORNERS,
    eye_distance,
    mouth_opening,
    mouth_width,
)
from .head_pose import rigid_points
from .quality import sharpness
from .settings import Settings

SAME = 0.3  # least overlap of boxes if a found face is one that is tracked already
DOUBLE = 0.5  # least overlap of boxes if two tracks show the same face
MOST_FACES = 4  # tracked at once: the largest ones
MISSES = 2  # searches in a row that do not find a face before its track ends
SEARCH_EVERY, SEARCH_LOST = 1.0, 0.2  # seconds between searches: at most, and when no face is tracked any more
SAMPLE_EVERY = 4  # pictures between appearance samples
SAMPLE = 64  # pixels per side of the crop that an appearance sample is computed from
PATCH = 16  # pixels per side of the patch in an appearance sample


class Finder(Protocol):
    """The part of ``face.finder.FaceFinder`` that tracking uses."""

    def find(self, picture: np.ndarray, landmarks: bool = True) -> list[Face]:
        """All faces in a picture."""

    def track(self, picture: np.ndarray, previous: Face) -> Face | None:
        """The face ``previous`` of the picture before in this picture, or None."""


@dataclass
class Track:
    """One face in consecutive pictures, starting with number ``first``; lists have one entry per picture.

    In pixels of the video: stable (3, 2), mesh (468, 3), rigid (K, 3), box (4,). In eye distances: mouth, its opening
    and width; brows (2, 3), from the eyes' corners to the brows, z towards the viewer. lids: share of skin in each eye;
    fresh: whether the picture differs from the one before. samples: every SAMPLE_EVERY pictures an appearance sample,
    as of ``sample``.
    """

    number: int
    first: int
    stable: list[np.ndarray] = field(default_factory=list)
    mesh: list[np.ndarray] = field(default_factory=list)
    rigid: list[np.ndarray] = field(default_factory=list)
    mouth: list[tuple[float, float]] = field(default_factory=list)
    lids: list[tuple[float, float]] = field(default_factory=list)
    brows: list[np.ndarray] = field(default_factory=list)
    box: list[tuple[float, ...]] = field(default_factory=list)
    fresh: list[bool] = field(default_factory=list)
    samples: list[tuple[float, np.ndarray]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.stable)

    @property
    def stop(self) -> int:
        """Number of the picture after the last."""
        return self.first + len(self)

    def add(self, picture: np.ndarray, face: Face, scale: float) -> None:
        """Add a picture; scale: pixels of the video per pixel of the picture."""
        marks = face.landmarks
        if len(self) % SAMPLE_EVERY == 0:
            self.samples.append(sample(picture, face))
        self.stable.append(stable_points(face) * scale)
        self.mesh.append((marks * scale).astype(np.float32))
        self.rigid.append(rigid_points(marks * scale))
        self.mouth.append((mouth_opening(marks), mouth_width(marks)))
        corners = (marks[LEFT_EYE_CORNERS, :2], marks[RIGHT_EYE_CORNERS, :2])
        self.lids.append(tuple(skin_share(eye_patch(picture, points)) for points in corners))
        self.brows.append(above_eyes(marks))
        self.box.append(tuple(v * scale for v in face.box))
        self.fresh.append(True)

    def repeat(self) -> None:
        """Add the last picture once more."""
        if len(self) % SAMPLE_EVERY == 0:
            self.samples.append(self.samples[-1])
        for values in (self.stable, self.mesh, self.rigid, self.mouth, self.lids, self.brows, self.box):
            values.append(values[-1])
        self.fresh.append(False)


def above_eyes(landmarks: np.ndarray) -> np.ndarray:
    """Vectors (2, 3) float32 from the middle of each eye's corners to its brow, left then right, in eye distances, z
    towards the viewer.
    """
    points = np.asarray(landmarks, np.float64)
    pairs = ((LEFT_BROW, LEFT_EYE_CORNERS), (RIGHT_BROW, RIGHT_EYE_CORNERS))
    offsets = np.stack([points[brow].mean(0) - points[corners].mean(0) for brow, corners in pairs])
    return (offsets / max(eye_distance(points), 1e-6) * (1, 1, -1)).astype(np.float32)


@dataclass
class _Live:
    track: Track
    face: Face
    misses: int = 0


class Tracker:
    """Takes the pictures of a video one after the other and collects ``tracks``."""

    def __init__(self, finder: Finder, settings: Settings) -> None:
        self._finder, self._settings = finder, settings
        self._live: list[_Live] = []
        self._next_search, self._last, self._failures = 0, -1, 0
        self.tracks: list[Track] = []
        self.most_faces = 0  # in one picture

    def step(self, number: int, picture: np.ndarray, scale: float, search: bool = False) -> None:
        """Take the picture ``number`` (H, W, 3). scale: pixels of the video per pixel; search: for new faces now."""
        if number != self._last + 1:
            self._live, self._next_search = [], number
        self._last = number
        had = len(self._live)
        self._follow(picture)
        if search or number >= self._next_search or len(self._live) < had:
            self._search(number, picture)
        self._drop_doubles()
        for live in self._live:
            live.track.add(picture, live.face, scale)

    def again(self, number: int) -> None:
        """Take the last picture once more, as ``number``."""
        self._last = number
        for live in self._live:
            live.track.repeat()

    def _follow(self, picture: np.ndarray) -> None:
        found = []
        for live in self._live:
            face = self._finder.track(picture, live.face)
            if face is not None:
                live.face = face
                found.append(live)
        self._live = found

    def _search(self, number: int, picture: np.ndarray) -> None:
        found = [face for face in self._finder.find(picture) if face.landmarks is not None and face.presence >= 0.5]
        self.most_faces = max(self.most_faces, len(found))
        for live in self._live:
            same = [i for i, face in enumerate(found) if _overlap(live.face, face) >= SAME]
            live.misses = 0 if same else live.misses + 1
            found = [face for i, face in enumerate(found) if i not in same]
        self._live = [live for live in self._live if live.misses < MISSES]
        for face in found[: max(0, MOST_FACES - len(self._live))]:
            track = Track(len(self.tracks), number)
            self.tracks.append(track)
            self._live.append(_Live(track, face))
        self._failures = 0 if self._live else self._failures + 1
        # Searches are expensive: without success they become rarer.
        pause = min(SEARCH_EVERY, SEARCH_LOST * 2**self._failures) if self._failures else SEARCH_EVERY
        self._next_search = number + round(pause * self._settings.fps)

    def _drop_doubles(self) -> None:
        different: list[_Live] = []
        for live in sorted(self._live, key=lambda each: each.track.first):
            if all(_overlap(live.face, other.face) < DOUBLE for other in different):
                different.append(live)
        self._live = different


def _overlap(one: Face, other: Face) -> float:
    return float(overlap(np.array(one.box), np.array([other.box]))[0])


def sample(picture: np.ndarray, face: Face) -> tuple[float, np.ndarray]:
    """Sharpness of a face (``quality.sharpness``), and a normalised grey patch (PATCH, PATCH) float32 of it."""
    placement = align(stable_points(face), margin=-0.3)
    centre = placement.to_picture(np.array([0.5, 0.5]))
    crop = Pyramid(picture).crop(Square(float(centre[0]), float(centre[1]), placement.side, placement.angle), SAMPLE)
    grey = crop.mean(2).astype(np.float32)
    patch = grey.reshape(PATCH, SAMPLE // PATCH, PATCH, SAMPLE // PATCH).mean((1, 3))
    patch = patch - patch.mean()
    return sharpness(grey), patch / max(float(np.linalg.norm(patch)), 1e-6)
