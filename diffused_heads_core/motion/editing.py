"""Changes of a motion: each takes a clip and gives another one; ``columns`` as of ``columns.column_numbers``.

Amounts are as people write them: degrees for yaw, pitch and roll, the track's own units for all else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from ..errors import DiffusedHeadsError
from ..media.video import as_fps, frame_count
from .clip import ENDS, MotionClip
from .columns import WRITTEN, column_numbers, unknown_column
from .files import TIME, read_table
from .track import COLUMNS, LIMITS, MotionTrack

LONGEST = 86400  # seconds
HOW = ("smooth", "linear")
_Change = Callable[[np.ndarray], np.ndarray]


def scale(clip: MotionClip, factor: float, columns: str = "all") -> MotionClip:
    """Columns multiplied by a factor: 0 stills them, -1 mirrors them."""
    return _changed(clip, columns, lambda values: values * _finite(factor, "scale"))


def offset(clip: MotionClip, amount: float, columns: str) -> MotionClip:
    """An amount added to columns."""
    numbers = column_numbers(columns)
    added = _finite(amount, "offset") / WRITTEN[numbers]
    return _changed(clip, columns, lambda values: values + added)


def smooth(clip: MotionClip, seconds: float, columns: str = "all") -> MotionClip:
    """Columns averaged by a Gaussian with a standard deviation of some seconds, the ends held."""
    deviation = _finite(seconds, "smooth") * float(clip.fps)
    if not 0 <= seconds <= 60:
        raise DiffusedHeadsError(f"smooth={seconds}: expected 0 to 60 seconds")
    radius = int(np.ceil(3 * deviation))
    if not radius:
        return clip
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    kernel /= kernel.sum()

    def averaged(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values, ((radius, radius), (0, 0)), mode="edge")
        return np.stack([np.convolve(column, kernel, "valid") for column in padded.T], 1)

    return _changed(clip, columns, averaged)


def hold(clip: MotionClip, seconds: float, columns: str = "all") -> MotionClip:
    """Columns that keep the value they have at a time."""
    row = int(np.clip(np.floor(_finite(seconds, "hold") * float(clip.fps)), 0, len(clip) - 1))
    return _changed(clip, columns, lambda values: np.repeat(values[row : row + 1], len(values), 0))


def cut(clip: MotionClip, start: float = 0.0, duration: float | None = None) -> MotionClip:
    """A part of it. Raises DiffusedHeadsError if nothing is left."""
    first = round(_finite(start, "start") * float(clip.fps))
    frames = len(clip) if duration is None else frame_count(float(_finite(duration, "duration")), clip.fps)
    if not 0 <= first < len(clip) or frames < 1:
        raise DiffusedHeadsError(
            f"motion: expected a part within its {clip.seconds:.2f} s, found start {start}, duration {duration}"
        )
    return MotionClip(clip.track.part(slice(first, first + frames)), clip.fps)


def lengthened(
    clip: MotionClip, fps: float | Fraction | None = None, seconds: float | None = None, end: str = ENDS[0]
) -> MotionClip:
    """The motion at another rate, and as long as asked for: cut, or continued as ``end`` says (``clip.ENDS``)."""
    clip = clip if fps is None else clip.at_rate(fps)
    if seconds is None:
        return clip
    if not 0 < _finite(seconds, "length") <= LONGEST:
        raise DiffusedHeadsError(f"length={seconds:g}: expected more than 0 and at most {LONGEST} seconds")
    return clip.lasting(max(1, frame_count(float(seconds), clip.fps)), end)


def mix(clip: MotionClip, other: MotionClip, share: float, columns: str = "all") -> MotionClip:
    """Columns with a share of another motion's, 0..1, which is taken at the clip's rate and continued to its end."""
    if not 0 <= share <= 1:
        raise DiffusedHeadsError(f"mix={share}: expected 0 to 1")
    numbers = column_numbers(columns)
    theirs = other.at_rate(clip.fps).lasting(len(clip)).track.values[:, numbers]
    return _changed(clip, columns, lambda values: values + share * (theirs - values))


def add(clip: MotionClip, other: MotionClip) -> MotionClip:
    """The sum of two motions, as long and at the rate of the first."""
    theirs = other.at_rate(clip.fps).lasting(len(clip)).track.values
    return MotionClip.of_values(clip.track.values + theirs, clip.fps)


def constant(values: Mapping[str, float], frames: int = 1, fps: float | Fraction = 25) -> MotionClip:
    """A motion that does not change, of named columns or groups. Raises DiffusedHeadsError for values out of range."""
    row = np.zeros(len(COLUMNS))
    for name, value in values.items():
        for number in column_numbers(name):
            row[number] = in_range(COLUMNS[number], value)
    return MotionClip.of_values(np.repeat(row[None], frames, 0), fps)


def in_range(name: str, value: float) -> float:
    """A column's value as stored, from one as people write it. Raises DiffusedHeadsError if it is out of range."""
    factor = float(WRITTEN[COLUMNS.index(name)])
    low, high = (limit * factor for limit in LIMITS[name])
    if not low - 1e-6 <= _finite(value, name) <= high + 1e-6:
        raise DiffusedHeadsError(f"{name}={value:g}: expected {low:.4g} to {high:.4g}")
    return value / factor


@dataclass(frozen=True)
class Keyframes:
    """Values of columns at times: ``columns`` has for each column its times in seconds, ascending, and its values.

    The values are those that ``MotionTrack`` has.
    """

    columns: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def values(self, name: str, times: np.ndarray, how: str = HOW[0]) -> np.ndarray:
        """A column at times (N,): held before the first key and after the last; smooth comes to rest at each key."""
        if how not in HOW:
            raise DiffusedHeadsError(f"keyframes: {how!r}, expected one of {', '.join(HOW)}")
        keys, values = self.columns[name]
        if len(keys) == 1 or how == "linear":
            return np.interp(times, keys, values)
        at = np.clip(np.searchsorted(keys, times, "right") - 1, 0, len(keys) - 2)
        part = np.clip((times - keys[at]) / np.maximum(keys[at + 1] - keys[at], 1e-9), 0, 1)
        return values[at] + part * part * (3 - 2 * part) * (values[at + 1] - values[at])

    @property
    def seconds(self) -> float:
        """The last key's time."""
        return max((float(keys[-1]) for keys, _ in self.columns.values()), default=0.0)


def parse_keyframes(text: str) -> Keyframes:
    """Keyframes from CSV text: a line of names, ``time`` and columns, then a line for each key.

    Times are seconds, angles degrees; an empty cell leaves that column alone at that time. Raises DiffusedHeadsError
    that names the line.
    """
    names, rows, _ = read_table(text)
    if TIME not in names or len(names) < 2 or not rows:
        raise DiffusedHeadsError(
            "keyframes: expected a line such as time, yaw, smile and a line of numbers for each key"
        )
    for name in names:
        if name != TIME and name not in COLUMNS:
            raise unknown_column(name, (TIME, *COLUMNS))
    place, before = names.index(TIME), -np.inf
    keys: dict[str, list[tuple[float, float]]] = {}
    for line, cells in rows:
        time = cells[place]
        if time is None or time < 0 or time <= before:
            raise DiffusedHeadsError(f"keyframes, line {line}: expected a time after the one before, found {time}")
        before = time
        for name, value in zip(names, cells):
            if name != TIME and value is not None:
                keys.setdefault(name, []).append((time, _key(name, value, line)))
    return Keyframes({name: (np.array(pairs)[:, 0], np.array(pairs)[:, 1]) for name, pairs in keys.items()})


def _key(name: str, value: float, line: int) -> float:
    try:
        return in_range(name, value)
    except DiffusedHeadsError as error:
        raise DiffusedHeadsError(f"keyframes, line {line}: {error}") from error


def with_keyframes(clip: MotionClip, keyframes: Keyframes, how: str = HOW[0], added: bool = False) -> MotionClip:
    """The motion with keyframed columns in place of its own, or added to them; other columns stay.

    A clip that ends before the last key is continued as ``MotionClip.lasting`` does.
    """
    frames = max(len(clip), frame_count(keyframes.seconds, clip.fps))
    values = clip.lasting(frames).track.values.astype(np.float64)
    times = (np.arange(frames) + 0.5) / float(clip.fps)
    for name in keyframes.columns:
        number = COLUMNS.index(name)
        values[:, number] = keyframes.values(name, times, how) + (values[:, number] if added else 0)
    return MotionClip.of_values(values, clip.fps)


def of_keyframes(keyframes: Keyframes, fps: float | Fraction = 25, how: str = HOW[0]) -> MotionClip:
    """A motion of keyframes alone, until the last of them."""
    return with_keyframes(MotionClip(MotionTrack.still(1), as_fps(fps)), keyframes, how)


def _changed(clip: MotionClip, columns: str, change: _Change) -> MotionClip:
    numbers, values = column_numbers(columns), clip.track.values.astype(np.float64)
    values[:, numbers] = change(values[:, numbers])
    return MotionClip.of_values(values, clip.fps)


def _finite(value: float, name: str) -> float:
    if not np.isfinite(value):
        raise DiffusedHeadsError(f"{name}={value}: expected a finite number")
    return float(value)
