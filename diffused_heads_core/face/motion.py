"""The motion of a head in a video: pose, size, lids, gaze, brows and expression, a row for each frame.

The face is found once in each shot and then followed by its landmarks. Of each frame some numbers are kept, no picture,
so memory does not grow with the pictures. What moves is judged by the person's usual state, the median of the video,
which is taken for open eyes that look ahead and a face at rest; the pose by a frame or by its usual position.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ..config import HeadGeometry
from ..errors import DiffusedHeadsError
from ..media import shots
from ..media.video import as_fps, read_video
from ..motion import MotionClip
from ..motion.track import COLUMNS, EXPRESSION
from ..mouth.face_mesh import EYE_CORNERS, Similarity, face_mesh
from ..pose import FACE, POSE, rotation_matrix
from .alignment import align
from .crops import Pyramid
from .expressions import LEFT_IRIS, NUMBERS, RIGHT_IRIS, ExpressionNetworks
from .finder import FaceFinder
from .mesh import (
    LEFT_BROW,
    LEFT_EYE_CORNERS,
    RIGHT_BROW,
    RIGHT_EYE_CORNERS,
    eye_opening,
    square_of_landmarks,
    stable_landmarks,
)
from .networks import load_motion_models

ZEROS = ("first", "usual")
SMOOTHING = 0.04  # seconds, deviation of the Gaussian that smooths pose, size and brows
SLOW = 0.2  # the same for expression, which changes more slowly than speech moves the mouth
STEP = 0.2  # seconds of which gaze is the median: eyes jump and rest
LEAST_PRESENCE = 0.0  # logit of a face; talking faces have 14 to 23, other things less than -10
PASSES = 3  # of the landmark network over a face that was just found
SEARCH_EVERY = 0.2  # seconds between searches while there is no face
LIDS_OPEN, LIDS_SHUT = 0.86, 0.12  # opening of an eye, relative to its usual one, from which it closes and is shut
SHUT = 0.5  # closure of the lids from which eyes count as shut
HIDING = 0.15  # closure from which gaze and squint cannot be seen, nor in the frames beside
GAZE = (0.16, 0.12)  # shift of an iris across and down at a gaze of 1, in distances of the eye's corners
BROW = 0.1  # eye distances by which a brow rises at 1
READ = {
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "frown": ("mouthFrownLeft", "mouthFrownRight"),
    "furrow": ("browDownLeft", "browDownRight"),
    "squint": ("eyeSquintLeft", "eyeSquintRight"),
}
GAZES = [COLUMNS.index(name) for name in FACE[2:4]]
_GEOMETRY = HeadGeometry()
_MIRROR = np.diag([1.0, 1.0, -1.0])  # between z away from the viewer, of meshes, and towards it, of poses


@dataclass(frozen=True, eq=False)
class MeasuredMotion:
    """A motion and how it came about: frames without a face, which were filled in, and the frames that begin a shot."""

    clip: MotionClip
    missing: int = 0
    cuts: Sequence[int] = ()

    def summary(self) -> str:
        """What was measured, in one line."""
        clip = self.clip
        text = f"{len(clip)} frames at {float(clip.fps):g} frames/s, {clip.seconds:.2f} s"
        if self.missing:
            text += f"; {self.missing} without a face, filled in from those around them"
        if self.cuts:
            times = ", ".join(f"{float(cut / clip.fps):.2f}" for cut in self.cuts[:5])
            more = ", ..." if len(self.cuts) > 5 else ""
            text += f"; {len(self.cuts)} cut{'s' if len(self.cuts) > 1 else ''} at {times}{more} s, each shot from 0"
        return text


@dataclass(frozen=True, eq=False)
class _Seen:
    """One face in one picture. pose: from the mean face to the mesh. eyes: opening of either, by its usual one. irises:
    (2, 2) shift of either, in distances of the eye's corners. brows: (2,) height above the eyes, eye distances.
    expressions: (4,) as ``EXPRESSION``.
    """

    pose: Similarity
    eyes: np.ndarray
    irises: np.ndarray
    brows: np.ndarray
    expressions: np.ndarray


def measure_video(
    path: str | os.PathLike[str],
    zero: str = ZEROS[0],
    face_index: int | None = None,
    smoothing: float = SMOOTHING,
    finder: FaceFinder | None = None,
    networks: ExpressionNetworks | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> MeasuredMotion:
    """The motion of the head in a video file, at its rate; arguments of ``measure_motion``, errors also of
    ``read_video``.
    """
    video = read_video(path)
    try:
        return measure_motion(video.frames, video.fps, zero, face_index, smoothing, finder, networks, on_frame)
    except DiffusedHeadsError as error:
        raise DiffusedHeadsError(f"{os.fspath(path)}: {error}") from error


def measure_motion(
    frames: Iterable[np.ndarray],
    fps: float | Fraction,
    zero: str = ZEROS[0],
    face_index: int | None = None,
    smoothing: float = SMOOTHING,
    finder: FaceFinder | None = None,
    networks: ExpressionNetworks | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> MeasuredMotion:
    """The motion of a head in frames (H, W, 3) uint8.

    zero: the pose that is 0, the head's in the 'first' frame of a shot that shows it with open eyes, or its 'usual'
    one, the shot's median. face_index: which of several heads, from the left from 0; None: the largest. smoothing: of
    pose, size and brows, seconds; at 0 nothing is smoothed. finder, networks: by default made, their files being
    downloaded on first use. on_frame: called with the number of frames done; it may raise to stop. Raises
    DiffusedHeadsError if no frame shows a face.
    """
    if zero not in ZEROS:
        raise DiffusedHeadsError(f"zero={zero!r}: expected one of {', '.join(ZEROS)}")
    rate = as_fps(fps)
    watcher = _Watcher(finder or FaceFinder(), networks or ExpressionNetworks(load_motion_models()), face_index, rate)
    for number, frame in enumerate(frames, 1):
        watcher.see(frame)
        if on_frame is not None:
            on_frame(number)
    seen = watcher.seen
    there = np.array([each is not None for each in seen], bool)
    if not there.any():
        raise DiffusedHeadsError(f"expected a face in some frame, found none in {len(seen)} frames")
    cuts = shots.find_cuts(np.stack(watcher.thumbnails)).tolist()
    values = np.full((len(seen), len(COLUMNS)), np.nan)
    for start, stop in zip([0, *cuts], [*cuts, len(seen)]):
        inside = np.flatnonzero(there[start:stop]) + start
        if len(inside):
            values[inside] = _columns([seen[i] for i in inside], zero)  # type: ignore[misc]
            values[start:stop] = _filled(values[start:stop])
            values[start:stop] = _smoothed(values[start:stop], float(rate), smoothing)
    clip = MotionClip.of_values(_filled(values), rate)
    return MeasuredMotion(MotionClip(clip.track.limited(), rate), int((~there).sum()), cuts)


class _Watcher:
    """Follows one face from picture to picture."""

    def __init__(self, finder: FaceFinder, networks: ExpressionNetworks, index: int | None, fps: Fraction):
        self.finder, self.networks, self.index = finder, networks, index
        self.seen: list[_Seen | None] = []
        self.thumbnails: list[np.ndarray] = []
        self._landmarks: np.ndarray | None = None
        self._place: np.ndarray | None = None  # of the face when it was seen last in this shot
        self._pause, self._wait = max(1, round(SEARCH_EVERY * fps)), 0

    def see(self, frame: np.ndarray) -> None:
        """Take the next picture."""
        self.thumbnails.append(shots.thumbnail(frame))
        if len(self.thumbnails) > 1 and shots.difference(*self.thumbnails[-2:]) >= shots.MAYBE:
            self._landmarks, self._place, self._wait = None, None, 0
        pyramid = Pyramid(frame)
        marks = None if self._landmarks is None else self._fit(pyramid, self._landmarks, 1)
        if marks is None:
            marks = self._found(frame, pyramid)
        self._landmarks = marks
        if marks is not None:
            self._place = marks[:468, :2].mean(0)
        self.seen.append(None if marks is None else _read(marks, self.networks.expressions(marks)))

    def _fit(self, pyramid: Pyramid, landmarks: np.ndarray, passes: int) -> np.ndarray | None:
        presence = 0.0
        for _ in range(passes):
            landmarks, presence = self.networks.find(pyramid, square_of_landmarks(landmarks[:468]))
        return landmarks if presence >= LEAST_PRESENCE else None

    def _found(self, frame: np.ndarray, pyramid: Pyramid) -> np.ndarray | None:
        """Landmarks of the face that is meant, by a search, which is not made in every picture without one."""
        self._wait -= 1
        if self._wait > 0:
            return None
        self._wait = self._pause
        faces = [face for face in self.finder.find(frame) if face.landmarks is not None]
        if self._place is not None:
            faces.sort(key=lambda face: float(np.hypot(*(np.array(face.centre) - self._place))))
        elif self.index is not None:
            faces = sorted(faces, key=lambda face: face.centre[0])[self.index :]
        if not faces:
            return None
        self._wait = 0
        assert faces[0].landmarks is not None
        return self._fit(pyramid, faces[0].landmarks, PASSES)


def _read(landmarks: np.ndarray, expressions: np.ndarray) -> _Seen:
    """What is kept of a face with landmarks (478, 3) and expressions (52,)."""
    mesh = landmarks[:468].astype(np.float64)
    pose = face_mesh().pose(mesh)
    own = pose.inverse(landmarks.astype(np.float64))  # as the head sees itself, in eye distances
    irises, brows = [], []
    for corners, iris, brow in ((LEFT_EYE_CORNERS, LEFT_IRIS, LEFT_BROW), (RIGHT_EYE_CORNERS, RIGHT_IRIS, RIGHT_BROW)):
        middle, width = own[corners].mean(0), float(np.linalg.norm(own[corners[1], :2] - own[corners[0], :2]))
        irises.append((own[iris, :2] - middle[:2]) / max(width, 1e-6))
        brows.append(middle[1] - own[brow, 1].mean())
    strengths = [np.mean([expressions[NUMBERS[name]] for name in READ[column]]) for column in EXPRESSION]
    return _Seen(pose, np.array(eye_opening(mesh)), np.array(irises), np.array(brows), np.array(strengths))


def _columns(seen: Sequence[_Seen], zero: str) -> np.ndarray:
    """The motion (N, 16) of the frames of one shot that show the face."""
    lids = _lids(np.stack([each.eyes for each in seen]))
    hidden = _widened(lids.max(1) > HIDING)
    gaze = np.stack([each.irises for each in seen]).mean(1) / GAZE
    brows = np.stack([each.brows for each in seen])
    strengths = np.stack([each.expressions for each in seen])
    squint = EXPRESSION.index("squint")
    gaze, strengths[:, squint] = _bridged(gaze, hidden), _bridged(strengths[:, squint, None], hidden)[:, 0]
    reference = int((lids.max(1) < SHUT).argmax()) if zero == ZEROS[0] else None
    pose, size = _poses([each.pose for each in seen], reference)
    values = np.zeros((len(seen), len(COLUMNS)))
    values[:, : len(POSE)], values[:, COLUMNS.index("size")] = pose, size
    face = [lids, gaze - np.median(gaze, 0), (brows - np.median(brows, 0)) / BROW]
    values[:, COLUMNS.index(FACE[0]) :] = np.concatenate([*face, strengths - np.median(strengths, 0)], 1)
    return values


def _lids(openings: np.ndarray) -> np.ndarray:
    """Closure 0..1 of the lids, (N, 2), from the eyes' openings in any unit."""
    relative = openings / np.maximum(np.median(openings, 0), 1e-6)
    return np.clip((LIDS_OPEN - relative) / (LIDS_OPEN - LIDS_SHUT), 0, 1)


def _widened(hidden: np.ndarray) -> np.ndarray:
    """Which frames (N,) are hidden, with the frames beside them."""
    padded = np.pad(hidden, 1)
    return padded[:-2] | padded[1:-1] | padded[2:]


def _bridged(values: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Columns (N, K) with hidden rows from the rows around them."""
    return values if hidden.all() else _filled(np.where(hidden[:, None], np.nan, values))


def _filled(values: np.ndarray) -> np.ndarray:
    """Columns (N, K) with rows of NaN interpolated from the rows around them, the ends held."""
    known = np.flatnonzero(np.isfinite(values).all(1))
    if len(known) in (0, len(values)):
        return values
    every = np.arange(len(values))
    return np.stack([np.interp(every, known, column[known]) for column in values.T], 1)


def _smoothed(values: np.ndarray, fps: float, seconds: float) -> np.ndarray:
    """Pose, size and brows less jittery, expression without what speech moves, gaze in steps; lids as they are."""
    if not seconds:
        return values
    smooth = values.copy()
    reach = round(STEP * fps / 2)
    padded = np.pad(values[:, GAZES], ((reach, reach), (0, 0)), mode="edge")
    smooth[:, GAZES] = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, 0), -1)
    quick = [*range(len(POSE) + 1), *(COLUMNS.index(name) for name in FACE[4:])]
    slow = [COLUMNS.index(name) for name in EXPRESSION]
    for columns, deviation in ((quick, seconds * fps), (slow, SLOW * fps)):
        radius = int(np.ceil(3 * deviation))
        kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
        padded = np.pad(values[:, columns], ((radius, radius), (0, 0)), mode="edge")
        smooth[:, columns] = np.stack([np.convolve(c, kernel / kernel.sum(), "valid") for c in padded.T], 1)
    return smooth


def angles(rotations: np.ndarray) -> np.ndarray:
    """Yaw, pitch, roll (N, 3) in radians of rotations (N, 3, 3): the inverse of ``pose.rotation_matrix``."""
    pitch = -np.arcsin(np.clip(rotations[:, 2, 1], -1, 1))
    yaw = np.arctan2(-rotations[:, 2, 0], rotations[:, 2, 2])
    roll = np.arctan2(-rotations[:, 0, 1], rotations[:, 1, 1])
    return np.stack([yaw, pitch, roll], 1)


def _poses(seen: Sequence[Similarity], reference: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Pose (N, 5) and size (N,) relative to one of the frames, or to their median.

    The model's square is put around the reference head as around a portrait's; poses are in that square's axes.
    """
    turns, scales = np.stack([each.turn for each in seen]), np.array([each.scale for each in seen])
    shifts = np.stack([each.shift for each in seen])
    if reference is None:
        usual = rotation_matrix(*np.median(angles(_MIRROR @ turns @ _MIRROR), 0))
        zero = Similarity(float(np.median(scales)), _MIRROR @ usual @ _MIRROR, np.median(shifts, 0))
    else:
        zero = seen[reference]
    mesh = zero(face_mesh().mean)
    square = align(stable_landmarks(mesh), _GEOMETRY)
    axes = np.eye(3)
    axes[:2, :2] = square.matrix[:, :2] * square.side
    turned = _MIRROR @ axes @ turns @ np.linalg.inv(zero.turn) @ axes.T @ _MIRROR
    pivot = zero.inverse(np.array([*square.to_picture(_pivot()[:2]), _pivot_depth(mesh, square.side)]))
    places = np.einsum("n,nij,j->ni", scales, turns, pivot) + shifts
    moved = square.to_frame(places[:, :2])
    moved -= np.median(moved, 0) if reference is None else _pivot()[:2]
    return np.concatenate([angles(turned), moved], 1), scales / zero.scale - 1


def _pivot() -> np.ndarray:
    """What a head turns about, in frame fractions."""
    return np.array(_GEOMETRY.pivot) + (*_GEOMETRY.centre, 0)


def _pivot_depth(mesh: np.ndarray, side: float) -> float:
    """The pivot's z in a mesh, px away from the viewer; eyes lie on the model's ellipsoid."""
    across, down = (np.array(_GEOMETRY.left_eye) - _GEOMETRY.centre) / _GEOMETRY.radii
    surface = _GEOMETRY.depth * np.sqrt(1 - across**2 - down**2)
    return float(mesh[EYE_CORNERS, 2].mean() + (surface - _GEOMETRY.pivot[2]) * side)
