"""Stretches of a followed face that one steady frame can hold, and where that frame lies."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ...diffused_heads_core.face.alignment import Placement, align
from ...diffused_heads_core.face.eyes import closure
from ...diffused_heads_core.pose import HeadGeometry
from .annotations import Seen
from .head_pose import angles, fit, mean_shape, turned
from .quality import PROFILE, REPEATED
from .settings import Settings
from .tracks import Track

SMALLEST = 0.6  # side of the frame in pixels of the video over the size asked for
WANDER = 0.26  # frame fractions that a head may cover in a clip, across and down
SWELL = 0.30  # change of its size, natural logarithm
TILT = 0.7  # change of its tilt, radians
LEAP = 0.5  # eye distances from one picture to the next that no head moves
BURST = 0.15  # change of size, likewise
NOD = 0.65  # radians
CUT_OFF = 0.10  # share of a face's box that may lie outside the picture
OUTSIDE = 0.40  # share of the frame that may lie outside the picture


@dataclass(frozen=True, eq=False)
class Segment:
    """Pictures first .. stop - 1 of a track, cut out by one placement."""

    track: Track
    first: int
    stop: int
    placement: Placement

    @property
    def rows(self) -> slice:
        """Where the segment lies in the track's lists."""
        return slice(self.first - self.track.first, self.stop - self.track.first)

    def __len__(self) -> int:
        return self.stop - self.first


@dataclass(frozen=True)
class Dropped:
    """Pictures first .. stop - 1 of a face, or of a file where ``track`` is None, that became no clip; reason: a key of
    ``quality.REASONS``.
    """

    track: int | None
    first: int
    stop: int
    reason: str
    detail: str = ""


@dataclass(frozen=True, eq=False)
class Course:
    """Where a track's face is, picture by picture: centre (T, 2) px, side (T,) px and angle (T,) of its frame, pose
    angles (T, 3) against straight ahead, lids (T,) closure.
    """

    centre: np.ndarray
    side: np.ndarray
    angle: np.ndarray
    turn: np.ndarray
    lids: np.ndarray


def course(track: Track, settings: Settings, geometry: HeadGeometry = HeadGeometry()) -> Course:
    """Where the frame of generation would lie in every picture of a track on its own."""
    placements = [align(points, geometry, settings.margin) for points in track.stable]
    centre = np.stack([p.to_picture(np.asarray(geometry.centre)) for p in placements])
    rigid = np.stack(track.rigid)
    shape = mean_shape(rigid)
    turn = angles(fit(rigid, shape)[0])
    turn[:, 0] += turned(shape)
    turn[:, 1] -= np.median(turn[:, 1])
    return Course(
        centre,
        np.array([p.side for p in placements]),
        np.array([p.angle for p in placements]),
        turn,
        closure(np.array(track.lids)),
    )


def place(where: Course, rows: slice, geometry: HeadGeometry = HeadGeometry()) -> Placement:
    """The one frame for some pictures of a track: the median of their own."""
    x, y = np.median(where.centre[rows], 0)
    side, angle = float(np.exp(np.median(np.log(where.side[rows])))), float(np.median(where.angle[rows]))
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]) / side
    return Placement(np.column_stack([turn, np.asarray(geometry.centre) - turn @ (x, y)]))


def seen(segment: Segment, where: Course) -> Seen:
    """What was seen of a segment's face, for ``measure.annotate``."""
    track, rows = segment.track, segment.rows
    marks, rigid, mouth, brows = (
        np.stack(values[rows]) for values in (track.marks, track.rigid, track.mouth, track.brows)
    )
    return Seen(marks, rigid, mouth, where.lids[rows], brows)


def find_segments(
    track: Track, where: Course, cuts: np.ndarray, height: int, width: int, settings: Settings
) -> tuple[list[Segment], list[Dropped]]:
    """The usable stretches of a track, each at most ``settings.seconds`` long, and the others with their reasons.

    cuts: numbers of the pictures that begin a shot; height, width: of the video's pictures.
    """
    segments: list[Segment] = []
    dropped: list[Dropped] = []
    faults = _faults(track, where, height, width, settings)
    breaks = _leaps(where) | np.isin(np.arange(track.first, track.stop), cuts)
    for begin, end, fault in _runs(faults, breaks):
        if fault:
            dropped.append(Dropped(track.number, track.first + begin, track.first + end, fault))
            continue
        for first, stop in _steady(where, begin, end):
            found, fault = _cut_up(track, where, first, stop, height, width, settings)
            fault = "short" if fault == "moving" and end - begin < settings.fewest_frames else fault
            segments += found
            if fault:
                dropped.append(Dropped(track.number, track.first + first, track.first + stop, fault))
    return segments, _joined(dropped)


def _joined(dropped: list[Dropped]) -> list[Dropped]:
    """Neighbours with one reason as one."""
    joined: list[Dropped] = []
    for each in dropped:
        last = joined[-1] if joined else None
        if last and (last.track, last.stop, last.reason) == (each.track, each.first, each.reason):
            joined[-1] = replace(last, stop=each.stop)
        else:
            joined.append(each)
    return joined


def _faults(track: Track, where: Course, height: int, width: int, settings: Settings) -> np.ndarray:
    """What is wrong with each picture, "" where nothing is."""
    box = np.array(track.box)
    low, high = np.maximum(box[:, :2], 0), np.minimum(box[:, 2:], (width, height))
    inside = np.prod(np.clip(high - low, 0, None), 1) / np.maximum(np.prod(box[:, 2:] - box[:, :2], 1), 1e-6)
    faults = np.full(len(track), "", object)
    faults[(np.abs(where.turn[:, 0]) > PROFILE) | (np.abs(where.turn[:, 1]) > NOD)] = "profile"
    faults[inside < 1 - CUT_OFF] = "edge"
    faults[where.side < SMALLEST * settings.size] = "small"
    return faults


def _leaps(where: Course) -> np.ndarray:
    """Pictures (T,) to which the face leaps as none moves, as after a cut within one scene."""
    eyes = where.side / 4
    moved = np.linalg.norm(np.diff(where.centre, axis=0), axis=1) / eyes[1:]
    swollen = np.abs(np.diff(np.log(where.side)))
    return np.concatenate([[False], (moved > LEAP) | (swollen > BURST)])


def _runs(faults: np.ndarray, breaks: np.ndarray) -> list[tuple[int, int, str]]:
    """(begin, end, fault) of runs of one fault that hold no break."""
    starts = [0, *(np.flatnonzero((faults[1:] != faults[:-1]) | breaks[1:]) + 1), len(faults)]
    return [(int(a), int(b), str(faults[a])) for a, b in zip(starts[:-1], starts[1:]) if b > a]


def _steady(where: Course, begin: int, end: int) -> list[tuple[int, int]]:
    """Stretches of begin .. end, as long as possible from the front, in which the head stays within what one frame
    holds.
    """
    side = np.median(where.side[begin:end])
    values = np.column_stack([where.centre / (side * WANDER), np.log(where.side) / SWELL, where.angle / TILT])
    stretches, first = [], begin
    low = high = values[begin]
    for at in range(begin, end):
        low, high = np.minimum(low, values[at]), np.maximum(high, values[at])
        if (high - low).max() > 1:
            stretches.append((first, at))
            first, low, high = at, values[at], values[at]
    return [*stretches, (first, end)]


def _cut_up(
    track: Track, where: Course, first: int, stop: int, height: int, width: int, settings: Settings
) -> tuple[list[Segment], str]:
    """Equal parts of a steady stretch, none longer than asked for; or what is wrong with it."""
    count = stop - first
    if count < settings.fewest_frames:
        return [], "moving"
    if sum(track.fresh[first:stop]) < (1 - REPEATED) * count:
        return [], "repeated"
    parts = math.ceil(count / settings.longest_frames)
    edges = [first + round(i * count / parts) for i in range(parts + 1)]
    segments = [
        Segment(track, track.first + a, track.first + b, place(where, slice(a, b)))
        for a, b in zip(edges[:-1], edges[1:])
    ]
    good = [each for each in segments if outside(each.placement, height, width) <= OUTSIDE]
    return good, "" if len(good) == len(segments) else "edge"


def outside(placement: Placement, height: int, width: int) -> float:
    """Share of the frame that lies outside a picture of that size."""
    axis = (np.arange(16) + 0.5) / 16
    points = placement.to_picture(np.stack(np.meshgrid(axis, axis), -1))
    return float(((points < 0) | (points > (width, height))).any(-1).mean())
