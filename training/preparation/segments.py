"""Stretches of a track that one fixed crop can show, and the place of that crop."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ...diffused_heads_core.face.alignment import Placement, align
from ...diffused_heads_core.face.eyes import closure
from ...diffused_heads_core.pose import HeadGeometry
from .annotations import Observations
from .head_pose import angles, fit, mean_shape, shape_yaw
from .quality import PROFILE, REPEATED
from .settings import Settings
from .tracks import Track

SMALLEST = 0.6  # least side of the crop in the video, over the size asked for
# How far a head may move within a clip.
DRIFT = 0.26  # frame fractions, across and down
RESIZE = 0.30  # natural logarithm of its size
TILT = 0.7  # radians
# Changes from one picture to the next beyond which a track has jumped.
JUMP = 0.5  # eye distances
JUMP_SIZE = 0.15  # natural logarithm of the size
NOD = 0.65  # radians of pitch beyond which a face counts as turned away
CUT_OFF = 0.10  # share of a face's box that may be outside the picture
OUTSIDE = 0.40  # share of the crop that may be outside the picture


@dataclass(frozen=True, eq=False)
class Segment:
    """Pictures first .. stop - 1 of a track, shown by one crop."""

    track: Track
    first: int
    stop: int
    placement: Placement

    @property
    def rows(self) -> slice:
        """The segment's entries in the track's lists."""
        return slice(self.first - self.track.first, self.stop - self.track.first)

    def __len__(self) -> int:
        return self.stop - self.first


@dataclass(frozen=True)
class Dropped:
    """Pictures first .. stop - 1 of a track, or of the whole file if ``track`` is None, that became no clip; reason: a
    key of ``quality.REASONS``.
    """

    track: int | None
    first: int
    stop: int
    reason: str


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Where a track's face is in each picture: centre (T, 2) and side (T,) in pixels, and angle (T,) of its crop; turn:
    (T, 3) yaw, pitch and roll, of which yaw is 0 straight ahead; lids: (T,) closure 0..1.
    """

    centre: np.ndarray
    side: np.ndarray
    angle: np.ndarray
    turn: np.ndarray
    lids: np.ndarray


def trajectory(track: Track, settings: Settings, geometry: HeadGeometry = HeadGeometry()) -> Trajectory:
    """Where generation would place the crop in every single picture of a track."""
    placements = [align(points, geometry, settings.margin) for points in track.stable]
    centre = np.stack([p.to_picture(np.asarray(geometry.centre)) for p in placements])
    rigid = np.stack(track.rigid)
    shape = mean_shape(rigid)
    turn = angles(fit(rigid, shape)[0])
    turn[:, 0] += shape_yaw(shape)
    turn[:, 1] -= np.median(turn[:, 1])
    return Trajectory(
        centre,
        np.array([p.side for p in placements]),
        np.array([p.angle for p in placements]),
        turn,
        closure(np.array(track.lids)),
    )


def place(path: Trajectory, rows: slice, geometry: HeadGeometry = HeadGeometry()) -> Placement:
    """The one crop for some pictures of a track: the median of the crops of each picture."""
    x, y = np.median(path.centre[rows], 0)
    side, angle = float(np.exp(np.median(np.log(path.side[rows])))), float(np.median(path.angle[rows]))
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]) / side
    return Placement(np.column_stack([turn, np.asarray(geometry.centre) - turn @ (x, y)]))


def observations(segment: Segment, path: Trajectory) -> Observations:
    """The measurements of a segment's face, for ``annotations.annotate``."""
    track, rows = segment.track, segment.rows
    mesh, rigid, mouth, brows = (
        np.stack(values[rows]) for values in (track.mesh, track.rigid, track.mouth, track.brows)
    )
    return Observations(mesh, rigid, mouth, path.lids[rows], brows)


def find_segments(
    track: Track, path: Trajectory, cuts: np.ndarray, soundless: np.ndarray, height: int, width: int, settings: Settings
) -> tuple[list[Segment], list[Dropped]]:
    """The usable stretches of a track, each at most ``settings.seconds`` long, and the others with the reasons.

    cuts: numbers of the pictures that begin a shot; soundless: numbers of those for which the file has no sound;
    height, width: of the video's pictures.
    """
    segments: list[Segment] = []
    dropped: list[Dropped] = []
    numbers = np.arange(track.first, track.stop)
    faults = _faults(track, path, np.isin(numbers, soundless), height, width, settings)
    breaks = _jumps(path) | np.isin(numbers, cuts)
    for begin, end, fault in _runs(faults, breaks):
        if fault:
            dropped.append(Dropped(track.number, track.first + begin, track.first + end, fault))
            continue
        for first, stop in _steady(path, begin, end):
            found, fault = _divided(track, path, first, stop, height, width, settings)
            fault = "short" if fault == "moving" and end - begin < settings.fewest_frames else fault
            segments += found
            if fault:
                dropped.append(Dropped(track.number, track.first + first, track.first + stop, fault))
    return segments, _joined(dropped)


def _joined(dropped: list[Dropped]) -> list[Dropped]:
    """The same stretches, with neighbours joined if they have the same reason."""
    joined: list[Dropped] = []
    for each in dropped:
        last = joined[-1] if joined else None
        if last and (last.track, last.stop, last.reason) == (each.track, each.first, each.reason):
            joined[-1] = replace(last, stop=each.stop)
        else:
            joined.append(each)
    return joined


def _faults(
    track: Track, path: Trajectory, soundless: np.ndarray, height: int, width: int, settings: Settings
) -> np.ndarray:
    """What is wrong with each picture (T,), as a key of REASONS or ""; soundless: (T,) bool."""
    box = np.array(track.box)
    low, high = np.maximum(box[:, :2], 0), np.minimum(box[:, 2:], (width, height))
    inside = np.prod(np.clip(high - low, 0, None), 1) / np.maximum(np.prod(box[:, 2:] - box[:, :2], 1), 1e-6)
    faults = np.where(soundless, "no sound", "").astype(object)
    faults[(np.abs(path.turn[:, 0]) > PROFILE) | (np.abs(path.turn[:, 1]) > NOD)] = "profile"
    faults[inside < 1 - CUT_OFF] = "edge"
    faults[path.side < SMALLEST * settings.size] = "small"
    return faults


def _jumps(path: Trajectory) -> np.ndarray:
    """Which pictures (T,) the face jumps to, as at a cut within one scene."""
    eyes = path.side / 4
    moved = np.linalg.norm(np.diff(path.centre, axis=0), axis=1) / eyes[1:]
    resized = np.abs(np.diff(np.log(path.side)))
    return np.concatenate([[False], (moved > JUMP) | (resized > JUMP_SIZE)])


def _runs(faults: np.ndarray, breaks: np.ndarray) -> list[tuple[int, int, str]]:
    """(begin, end, fault) of the runs with the same fault and without a break inside."""
    starts = [0, *(np.flatnonzero((faults[1:] != faults[:-1]) | breaks[1:]) + 1), len(faults)]
    return [(int(a), int(b), str(faults[a])) for a, b in pairwise(starts) if b > a]


def _steady(path: Trajectory, begin: int, end: int) -> list[tuple[int, int]]:
    """Stretches of begin .. end in which the head stays within one crop, each as long as possible from the front."""
    side = np.median(path.side[begin:end])
    values = np.column_stack([path.centre / (side * DRIFT), np.log(path.side) / RESIZE, path.angle / TILT])
    stretches, first = [], begin
    low = high = values[begin]
    for at in range(begin, end):
        low, high = np.minimum(low, values[at]), np.maximum(high, values[at])
        if (high - low).max() > 1:
            stretches.append((first, at))
            first, low, high = at, values[at], values[at]
    return [*stretches, (first, end)]


def _divided(
    track: Track, path: Trajectory, first: int, stop: int, height: int, width: int, settings: Settings
) -> tuple[list[Segment], str]:
    """Equal parts of a steady stretch, none longer than a clip may be; and what is wrong with the rest, or ""."""
    count = stop - first
    if count < settings.fewest_frames:
        return [], "moving"
    if sum(track.fresh[first:stop]) < (1 - REPEATED) * count:
        return [], "repeated"
    parts = math.ceil(count / settings.longest_frames)
    edges = [first + round(i * count / parts) for i in range(parts + 1)]
    segments = [Segment(track, track.first + a, track.first + b, place(path, slice(a, b))) for a, b in pairwise(edges)]
    good = [each for each in segments if outside(each.placement, height, width) <= OUTSIDE]
    return good, "" if len(good) == len(segments) else "edge"


def outside(placement: Placement, height: int, width: int) -> float:
    """Share of a crop that is outside a picture of that size."""
    axis = (np.arange(16) + 0.5) / 16
    points = placement.to_picture(np.stack(np.meshgrid(axis, axis), -1))
    return float(((points < 0) | (points > (width, height))).any(-1).mean())
