"""How the head and the mouth of a tracked face move: meshes smoothed over time, and the mouth's own shape in them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache

import numpy as np

from ..mouth.face_mesh import MIDDLE, Similarity, face_mesh
from ..mouth.warp import INNER_LIPS, OUTER_LIPS
from ..pose import smooth
from .tracking import Meshes, Run, Tracks

SMOOTHING = 0.1  # seconds on either side of a frame whose meshes steady it
CLOSED_SHARE = 0.1  # of a run's frames, those with the smallest gaps between the lips: their mean is the closed mouth
SHUT = 0.025  # gap up to which others count, too, eye distances: the smallest gaps are those of lips pressed together
SEEN_FOR_REST = 400  # frames of a run from which that is taken, at most
FACING, PROFILE = math.radians(40), math.radians(55)  # turns between which dubbing fades out
AROUND_LIPS = 0.35  # eye distances of the mean face, over which what is the lips' alone passes into the face
# Rings of points around the mouth, each once around as ``warp.OUTER_LIPS`` is, from its neighbour to the inner edge.
LIP_RINGS = (
    [76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306, 307, 320, 404, 315, 16, 85, 180, 90, 77],
    [62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292, 325, 319, 403, 316, 15, 86, 179, 89, 96],
    INNER_LIPS,
)
FADE = 0.12  # seconds over which dubbing begins and ends within a shot


@dataclass(frozen=True, eq=False)
class FaceInFrame:
    """A frame's face: its mesh (468, 3) px, the coefficients of the shape that its mouth has, and the mesh with the
    person's closed mouth.

    strength: 0..1, how far the mouth may be replaced: less near the ends of what was tracked, and turned aside.
    """

    mesh: np.ndarray
    own: np.ndarray
    closed: np.ndarray
    strength: float


class Movement:
    """The faces of a tracked video, frame by frame. components: of a lip shape; rate: frames per second."""

    def __init__(self, tracks: Tracks, components: int, rate: Fraction):
        self._meshes, self._components = tracks.meshes, components
        self._runs = tracks.runs
        self._firsts = np.array([run.first for run in tracks.runs])
        self._reach = max(1, round(SMOOTHING * float(rate)))
        self._fade = max(1, round(FADE * float(rate)))
        self._rest = lru_cache(64)(self._rest_of)
        self._strengths = lru_cache(64)(self._strengths_of)

    def __getitem__(self, number: int) -> FaceInFrame | None:
        """The face of a frame; None if there is none, or it is not dubbed at all."""
        place = int(np.searchsorted(self._firsts, number, "right")) - 1
        if place < 0 or number >= self._runs[place].stop:
            return None
        run = self._runs[place]
        strength = float(self._strengths(run)[number - run.first])
        if strength <= 0:
            return None
        mesh = self._steady(run, number)
        face, rest = face_mesh(), self._rest(run)
        pose = face.pose(mesh)
        placed = pose.inverse(mesh)
        own = np.tensordot(face.basis[: self._components], placed - rest, 2)
        closed = placed - face.shape(own)
        closed += lip_weights()[:, None] * (rest - closed)
        return FaceInFrame(mesh, own, pose(closed), strength)

    def counts(self, frames: int) -> dict[str, int]:
        """How many of the video's frames are dubbed, have no face, and have one that is turned too far aside."""
        dubbed = sum(int((self._strengths(run) > 0).sum()) for run in self._runs)
        found = sum(run.stop - run.first for run in self._runs)
        return {"dubbed": dubbed, "no face": frames - found, "turned aside": found - dubbed}

    def _steady(self, run: Run, number: int) -> np.ndarray:
        """A frame's mesh, steadied by a parabola through those around it (Savitzky & Golay 1964)."""
        reach = min(self._reach, number - run.first, run.stop - 1 - number)
        around = self._meshes.read(run, number - reach, number + reach + 1)
        return np.tensordot(_parabola(reach), around, 1)

    def _rest_of(self, run: Run) -> np.ndarray:
        """The person's closed mouth, a mesh in the mean face's place."""
        face = face_mesh()
        step = max(1, (run.stop - run.first) // SEEN_FOR_REST)
        meshes = self._meshes.read(run, run.first, run.stop, step)
        placed = np.stack([face.pose(mesh).inverse(mesh) for mesh in meshes])
        gaps = face.gaps(placed)[:, MIDDLE].mean(1)
        closed = placed[gaps <= max(float(np.quantile(gaps, CLOSED_SHARE)), SHUT)].mean(0)
        if face.gaps(closed)[MIDDLE].mean() <= SHUT:
            return closed
        return closed - face.shape(face.shutting(closed, self._components))  # this mouth never closes

    def _strengths_of(self, run: Run) -> np.ndarray:
        """Of each frame of a run, (n,) float32."""
        turns = np.array([turned_aside(face_mesh().pose(mesh)) for mesh in _each(self._meshes, run)])
        strength = smooth((PROFILE - turns) / (PROFILE - FACING))
        known = strength > 0
        lowest = _around(strength, self._fade, run).min(1)
        means = _around(lowest, self._fade, run).mean(1)
        return np.asarray(np.minimum(means, strength) * known, np.float32)


def _around(values: np.ndarray, reach: int, run: Run) -> np.ndarray:
    """Each value (n,) and those before and after it: (n, 2 reach + 1). Where the face is lost in a shot, 0 follows."""
    before = np.full(reach, values[0] if run.begins_shot else 0)
    after = np.full(reach, values[-1] if run.ends_shot else 0)
    return np.lib.stride_tricks.sliding_window_view(np.concatenate([before, values, after]), 2 * reach + 1)


def _each(meshes: Meshes, run: Run, block: int = 256) -> Iterator[np.ndarray]:
    """The meshes of a run one by one, read in blocks."""
    for first in range(run.first, run.stop, block):
        yield from meshes.read(run, first, min(first + block, run.stop))


@cache
def lip_weights() -> np.ndarray:
    """1 at the lips, falling to 0 around them, (468,): where a closed mouth is wholly the person's usual one.

    What a mouth has beside its coefficients is mostly what these do not describe of its speech.
    """
    mean = face_mesh().mean
    apart = np.linalg.norm(mean[:, None, :2] - mean[OUTER_LIPS, :2], axis=-1).min(1)
    apart[np.concatenate([*LIP_RINGS, OUTER_LIPS])] = 0
    return np.asarray(smooth(1 - apart / AROUND_LIPS))


@lru_cache
def _parabola(reach: int) -> np.ndarray:
    """Weights (2 reach + 1,) that give the middle of the parabola nearest to as many values."""
    at = np.arange(-reach, reach + 1) / max(reach, 1)
    powers = np.stack([at**0, at, at**2], 1)
    return np.asarray(np.linalg.pinv(powers)[0])


def turned_aside(pose: Similarity) -> float:
    """By how much a head looks away from the viewer, to a side, up or down: radians, 0 if it looks at the viewer."""
    return float(math.acos(np.clip(pose.turn[2, 2], -1, 1)))
