"""Faces followed through the pictures of a video."""

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
    to_68,
)
from .head_pose import rigid_points
from .quality import sharpness
from .settings import Settings

SAME = 0.3  # overlap from which two boxes are one face
DOUBLE = 0.5  # overlap from which two followed faces have become one
MOST_FACES = 4  # followed at once: the largest
MISSES = 2  # searches in a row that do not confirm a face before it is given up
SEARCH_EVERY, SEARCH_LOST = 1.0, 0.2  # seconds between searches: at most, and once no face is followed any more
LOOK_EVERY = 4  # pictures between looks at the face itself
LOOK = 64  # pixels of a look's side
PATCH = 16  # pixels of a remembered look's side


class Finder(Protocol):
    """What ``face.FaceFinder`` does."""

    def find(self, picture: np.ndarray, landmarks: bool = True) -> list[Face]:
        """All faces of a picture."""

    def track(self, picture: np.ndarray, previous: Face) -> Face | None:
        """The face of the picture before in this one."""


@dataclass
class Track:
    """One face through consecutive pictures, from number ``first`` on; one entry a picture, positions in pixels of the
    video.

    stable: (3, 2); marks: (68, 2); rigid: (K, 3); mouth: opening, width; lids: shares of skin of the eyes; brows: (2,
    3) from the eyes' corners to the brows, z toward the viewer, in eye distances; box: (4,); fresh: whether the picture
    is another than the one before. looks: every LOOK_EVERY pictures sharpness and patch (PATCH, PATCH) of the face.
    """

    number: int
    first: int
    stable: list[np.ndarray] = field(default_factory=list)
    marks: list[np.ndarray] = field(default_factory=list)
    rigid: list[np.ndarray] = field(default_factory=list)
    mouth: list[tuple[float, float]] = field(default_factory=list)
    lids: list[tuple[float, float]] = field(default_factory=list)
    brows: list[np.ndarray] = field(default_factory=list)
    box: list[tuple[float, ...]] = field(default_factory=list)
    fresh: list[bool] = field(default_factory=list)
    looks: list[tuple[float, np.ndarray]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.stable)

    @property
    def stop(self) -> int:
        """Number of the picture after the last."""
        return self.first + len(self)

    def add(self, picture: np.ndarray, face: Face, scale: float) -> None:
        """One more picture; ``scale`` takes the face's positions to the video's pixels."""
        marks = face.landmarks
        if len(self) % LOOK_EVERY == 0:
            self.looks.append(look(picture, face))
        self.stable.append(stable_points(face) * scale)
        self.marks.append((to_68(marks)[:, :2] * scale).astype(np.float32))
        self.rigid.append(rigid_points(marks * scale))
        self.mouth.append((mouth_opening(marks), mouth_width(marks)))
        self.lids.append(
            tuple(skin_share(eye_patch(picture, marks[c, :2])) for c in (LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS))
        )
        self.brows.append(above_eyes(marks))
        self.box.append(tuple(v * scale for v in face.box))
        self.fresh.append(True)

    def repeat(self) -> None:
        """The same picture once more."""
        if len(self) % LOOK_EVERY == 0:
            self.looks.append(self.looks[-1])
        for values in (self.stable, self.marks, self.rigid, self.mouth, self.lids, self.brows, self.box):
            values.append(values[-1])
        self.fresh.append(False)


def above_eyes(landmarks: np.ndarray) -> np.ndarray:
    """From the middle of each eye's corners to its brow, (2, 3) float32, left then right, in eye distances, z toward
    the viewer.
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


class Follower:
    """Takes a video's pictures one after the other; ``tracks`` are the faces that were seen."""

    def __init__(self, finder: Finder, settings: Settings) -> None:
        self._finder, self._settings = finder, settings
        self._live: list[_Live] = []
        self._due, self._last, self._vain = 0, -1, 0
        self.tracks: list[Track] = []
        self.most_faces = 0  # found in one picture

    def step(self, number: int, picture: np.ndarray, scale: float, search: bool = False) -> None:
        """The picture ``number`` (H, W, 3), one pixel of which is ``scale`` pixels of the video; ``search``: look for
        new faces now.
        """
        if number != self._last + 1:
            self._live, self._due = [], number
        self._last = number
        had = len(self._live)
        self._follow(picture)
        if search or number >= self._due or len(self._live) < had:
            self._search(number, picture)
        self._drop_doubles()
        for live in self._live:
            live.track.add(picture, live.face, scale)

    def again(self, number: int) -> None:
        """The picture before once more, as ``number``."""
        self._last = number
        for live in self._live:
            live.track.repeat()

    def _follow(self, picture: np.ndarray) -> None:
        followed = []
        for live in self._live:
            face = self._finder.track(picture, live.face)
            if face is not None:
                live.face = face
                followed.append(live)
        self._live = followed

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
        self._vain = 0 if self._live else self._vain + 1
        pause = (
            min(SEARCH_EVERY, SEARCH_LOST * 2**self._vain) if self._vain else SEARCH_EVERY
        )  # searching in vain is dear
        self._due = number + round(pause * self._settings.fps)

    def _drop_doubles(self) -> None:
        kept: list[_Live] = []
        for live in sorted(self._live, key=lambda each: each.track.first):
            if all(_overlap(live.face, other.face) < DOUBLE for other in kept):
                kept.append(live)
        self._live = kept


def _overlap(one: Face, other: Face) -> float:
    return float(overlap(np.array(one.box), np.array([other.box]))[0])


def look(picture: np.ndarray, face: Face) -> tuple[float, np.ndarray]:
    """How sharp a face is (``quality.sharpness``), and its small normalised likeness (PATCH, PATCH) float32."""
    placement = align(stable_points(face), margin=-0.3)
    centre = placement.to_picture(np.array([0.5, 0.5]))
    crop = Pyramid(picture).crop(Square(float(centre[0]), float(centre[1]), placement.side, placement.angle), LOOK)
    grey = crop.mean(2).astype(np.float32)
    patch = grey.reshape(PATCH, LOOK // PATCH, PATCH, LOOK // PATCH).mean((1, 3))
    patch = patch - patch.mean()
    return sharpness(grey), patch / max(float(np.linalg.norm(patch)), 1e-6)
