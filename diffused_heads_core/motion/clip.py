"""A motion track with its frames' rate: taken at other rates, and made longer or shorter."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ..errors import DiffusedHeadsError
from ..media.video import as_fps, frame_count
from .track import MotionTrack

ENDS = ("ping-pong", "loop", "hold", "rest")
REST_SECONDS = 0.6  # in which a head goes back to the portrait's own pose


@dataclass(frozen=True, eq=False)
class MotionClip:
    """A head's motion and how many of its rows there are per second. Row n is the head at the time (n + 0.5) / fps.

    Raises DiffusedHeadsError for a track without rows and a rate outside 1..240.
    """

    track: MotionTrack
    fps: Fraction

    def __post_init__(self) -> None:
        object.__setattr__(self, "fps", as_fps(self.fps))
        if not len(self.track):
            raise DiffusedHeadsError("motion: expected one frame or more, found none")

    def __len__(self) -> int:
        return len(self.track)

    def __repr__(self) -> str:  # the same for the same motion
        digest = hashlib.sha256(self.track.values.tobytes()).hexdigest()
        return f"MotionClip({len(self)} frames at {self.fps}, {digest[:16]})"

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return float(len(self) / self.fps)

    @classmethod
    def of_values(cls, values: np.ndarray, fps: float | Fraction) -> MotionClip:
        """Columns (N, 16) in the order of ``COLUMNS`` at a rate."""
        return cls(MotionTrack.of_values(values), as_fps(fps))

    def at_rate(self, fps: float | Fraction) -> MotionClip:
        """The same motion at another rate, as long as before; linear between rows, the ends held."""
        rate = as_fps(fps)
        if rate == self.fps:
            return self
        frames = max(1, frame_count(Fraction(len(self)) / self.fps, rate))
        return MotionClip.of_values(sampled(self.track.values, row_places(frames, rate, self.fps)), rate)

    def lasting(self, frames: int, end: str = ENDS[0]) -> MotionClip:
        """``frames`` rows of it, 1 or more: cut, or continued as ``end`` says.

        ping-pong: backwards and forwards again; loop: from the beginning; hold: its last row; rest: back to the
        portrait's own pose. Raises DiffusedHeadsError for another ``end``.
        """
        if end not in ENDS:
            raise DiffusedHeadsError(f"motion: end={end!r}, expected one of {', '.join(ENDS)}")
        count, number = len(self), np.arange(max(frames, 1))
        if end == "ping-pong" and count > 1:
            number = number % (2 * count - 2)
            number = np.minimum(number, 2 * count - 2 - number)
        elif end == "loop":
            number = number % count
        rows = self.track.values[np.minimum(number, count - 1)]
        if end == "rest" and frames > count:
            ramp = np.clip((np.arange(count, frames) - count + 1) / float(REST_SECONDS * self.fps), 0, 1)
            rows[count:] *= (1 - ramp * ramp * (3 - 2 * ramp))[:, None]
        return MotionClip.of_values(rows, self.fps)


def row_places(frames: int, fps: Fraction, rows_fps: Fraction) -> np.ndarray:
    """Where the middles of ``frames`` frames at ``fps`` lie among rows at ``rows_fps``, (frames,)."""
    return (np.arange(frames) + 0.5) * float(rows_fps / fps) - 0.5


def sampled(rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Rows (N, K) at fractional row numbers (M,), linear between rows, the ends held: (M, K)."""
    at = np.clip(places, 0, len(rows) - 1)
    low = np.floor(at).astype(int)
    part = (at - low)[:, None]
    return rows[low] + part * (rows[np.minimum(low + 1, len(rows) - 1)] - rows[low])
