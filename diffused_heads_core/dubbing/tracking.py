"""Following one face through a video: its mesh in each frame, and where it is lost or the picture cuts."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np

from ..errors import DiffusedHeadsError
from ..face.finder import Face, FaceFinder, choose_face, has_landmarks
from ..face.placing import Placing
from ..mouth.face_mesh import EYE_CORNERS, POINTS

THUMBNAIL = (32, 18)  # width and height of what is compared from frame to frame
CUT = 16.0  # mean change of a thumbnail's grey levels from which a frame may begin another shot
SUDDEN = 4.0  # and it changes so many times as much as the frames before
LOOK = 5  # frames without a face after which it is searched for again
JUMP = 0.5  # of the face's size: a face that moves farther from one frame to the next is another one
SMALLEST = 8.0  # pixels between the eyes, below which there is no mouth to see


@dataclass(frozen=True)
class Run:
    """Frames ``first`` to ``stop`` - 1 of one shot, in all of which the face was found.

    begins_shot, ends_shot: whether the shot has no frames before and after them.
    """

    first: int
    stop: int
    begins_shot: bool = True
    ends_shot: bool = True


class Meshes:
    """Face meshes (468, 3) px of the frames of runs, in a temporary file, so that memory does not grow with them."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as this object
        self._places: dict[int, int] = {}  # of each run's first frame
        self._rows = 0

    def append(self, first: int, meshes: list[np.ndarray]) -> None:
        """Add the meshes of a run that begins at frame ``first``."""
        self._places[first] = self._rows
        self._file.seek(0, 2)
        self._file.write(np.asarray(meshes, np.float32).tobytes())
        self._rows += len(meshes)

    def read(self, run: Run, first: int, stop: int, step: int = 1) -> np.ndarray:
        """Those of a run's frames ``first`` to ``stop`` - 1, each ``step``-th: float64 (n, 468, 3)."""
        size = POINTS * 3 * 4
        rows = []
        for number in range(first, stop, step):
            self._file.seek((self._places[run.first] + number - run.first) * size)
            rows.append(np.frombuffer(self._file.read(size), np.float32))
        return np.reshape(rows, (-1, POINTS, 3)).astype(np.float64)


@dataclass
class Tracks:
    """What was found in a video: its runs, in their order, and how many frames and shots there are."""

    runs: list[Run] = field(default_factory=list)
    meshes: Meshes = field(default_factory=Meshes)
    frames: int = 0
    shots: int = 0


class Tracker:
    """Follows a face through frames that are given one by one.

    The face is chosen by ``placing``'s rule at the beginning of each shot. A face that is lost in a shot is looked for
    near where it was.
    """

    def __init__(self, finder: FaceFinder, placing: Placing):
        self.found = Tracks()
        self._finder, self._placing = finder, placing
        self._thumbnail: np.ndarray | None = None
        self._usual = 0.0  # change from frame to frame
        self._face: Face | None = None
        self._last: Face | None = None  # seen in this shot
        self._run: list[np.ndarray] = []
        self._missed: deque[np.ndarray] = deque(maxlen=LOOK)  # pictures since the last search
        self._until_search = self._shot = 0  # the frame with which the shot began

    def add(self, picture: np.ndarray) -> None:
        """The next frame, uint8 (H, W, 3)."""
        if self._cuts(picture):
            self._end_run(cut=True)
            self.found.shots += 1
            self._shot = self.found.frames
            self._face = self._last = None
            self._missed.clear()
            self._until_search = 0
        if self._face is not None:
            self._face = self._followed(picture, self._face)
        if self._face is None:
            self._end_run(cut=False)
            self._search(picture)
        if self._face is not None and self._face.landmarks is not None:
            self._run.append(self._face.landmarks)
            self._last = self._face
        self.found.frames += 1

    def finish(self) -> Tracks:
        """All that was found."""
        self._end_run(cut=True)
        return self.found

    def _cuts(self, picture: np.ndarray) -> bool:
        """Whether a frame begins another shot."""
        small = cv2.resize(picture, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32).mean(-1)
        before, self._thumbnail = self._thumbnail, small
        if before is None:
            return True
        change = float(np.abs(small - before).mean())
        cut = change > CUT and change > SUDDEN * self._usual
        self._usual = 0.0 if cut else 0.8 * self._usual + 0.2 * change
        return cut

    def _followed(self, picture: np.ndarray, face: Face) -> Face | None:
        found = self._finder.track(picture, face)
        if found is None or not _usable(found):
            return None
        size = np.sqrt(face.area)
        moved = np.hypot(*np.subtract(found.centre, face.centre))
        same = moved < JUMP * size and 1 / (1 + JUMP) < np.sqrt(found.area) / size < 1 + JUMP
        return found if same else None

    def _search(self, picture: np.ndarray) -> None:
        """Look for the face from time to time; once it is found, follow it back through the frames that were missed."""
        self._until_search -= 1
        if self._until_search >= 0:
            self._missed.append(picture)
            return
        self._until_search = LOOK - 1
        self._face = self._chosen(picture)
        if self._face is None:
            self._missed.append(picture)
            return
        back, face = [], self._face
        while self._missed:
            earlier = self._followed(self._missed.pop(), face)
            if earlier is None or earlier.landmarks is None:
                break
            back.append(earlier.landmarks)
            face = earlier
        self._missed.clear()
        self._run = back[::-1]
        self._until_search = 0

    def _chosen(self, picture: np.ndarray) -> Face | None:
        faces = [face for face in self._finder.glance(picture) if has_landmarks(face) and _usable(face)]
        if not faces:
            return None
        if self._last is not None:
            return choose_face(faces, "nearest", 0, self._last.centre)
        placing, (height, width) = self._placing, picture.shape[:2]
        if placing.index >= len(faces):
            return None
        rule = "largest" if placing.rule == "auto" else placing.rule
        return choose_face(faces, rule, placing.index, (placing.x * width, placing.y * height))

    def _end_run(self, cut: bool) -> None:
        if self._run:
            first = self.found.frames - len(self._run)
            self.found.runs.append(Run(first, self.found.frames, first == self._shot, cut))
            self.found.meshes.append(first, self._run)
            self._run = []


def _usable(face: Face) -> bool:
    if face.landmarks is None:
        return False
    eyes = face.landmarks[EYE_CORNERS, :2]
    return bool(np.linalg.norm(eyes[2:].mean(0) - eyes[:2].mean(0)) >= SMALLEST)


def track(
    pictures: Iterable[np.ndarray],
    placing: Placing,
    finder: Callable[[], FaceFinder] = FaceFinder,
    on_frame: Callable[[int], None] | None = None,
) -> Tracks:
    """Follow the face that ``placing`` means through all frames, uint8 (H, W, 3).

    on_frame: called with the number of frames done; it may raise. Raises DiffusedHeadsError for a rule that needs no
    face: a square in a moving picture is not followed.
    """
    if placing.rule in ("box", "whole") or placing.size:
        raise DiffusedHeadsError("face: expected largest, left to right or nearest; in a video a face is followed")
    tracker = Tracker(finder(), placing)
    for number, picture in enumerate(pictures, 1):
        tracker.add(picture)
        if on_frame is not None:
            on_frame(number)
    return tracker.finish()
