"""The frames of the video that is dubbed, with their times: from a file, decoded anew each time, or from pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from ..errors import DiffusedHeadsError
from ..files import readable_file
from ..media.frames import decoded, progressive, upright_picture
from ..media.pictures import shrink
from ..media.video import as_fps, open_pictures

SUFFIXES = (  # of videos; a GIF or WebP is a picture, as it always was
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".wmv", ".flv", ".f4v", ".3gp", ".ogv", ".mxf", ".vob"),
)
STEADY = 0.1  # of a frame: times that are no farther from a constant rate have one
BLOCK = 1 << 27  # bytes of frames that are held to be played backwards
SEEK_EARLY = 0.5  # seconds before the wanted frame at which decoding begins at the latest


def is_video(path: Path) -> bool:
    """Whether a file is taken for a video, by its name."""
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


class Source(Protocol):
    """A video: ``frames`` begins anew each time, at frame number ``first``."""

    name: str
    rate: Fraction

    def frames(self, first: int = 0) -> Iterator[tuple[float, np.ndarray]]:
        """Yield each frame's second, from 0 for the first, and its picture, uint8 (H, W, 3)."""
        ...


class Pictures:
    """Pictures at a constant rate. picture: gives uint8 (H, W, 3) of a number from 0 to ``count`` - 1."""

    def __init__(self, picture: Callable[[int], np.ndarray], count: int, rate: Fraction, name: str = "images"):
        self.name, self.rate = name, rate
        self._picture, self._count = picture, count

    def frames(self, first: int = 0) -> Iterator[tuple[float, np.ndarray]]:
        """As of ``Source``."""
        for number in range(first, self._count):
            yield float(number / self.rate), self._picture(number)


class Smaller:
    """A video whose pictures are made smaller first if a side is longer than ``max_side`` px."""

    def __init__(self, source: Source, max_side: int):
        self.name, self.rate = source.name, source.rate
        self._source, self._max_side = source, max_side

    def frames(self, first: int = 0) -> Iterator[tuple[float, np.ndarray]]:
        """As of ``Source``."""
        for begin, picture in self._source.frames(first):
            yield begin, shrink(picture, self._max_side)


class VideoFile:
    """A video file, upright and in square pixels, interlaced frames made progressive.

    rate: its average rate. Raises DiffusedHeadsError for a file that is missing, empty or no video.
    """

    def __init__(self, path: str | Path):
        self._file = readable_file(path, "a video file")
        self.name = str(self._file)
        with open_pictures(self._file) as (_, stream):
            rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        self.rate = as_fps(min(Fraction(240), max(Fraction(1), rate)))
        self._times: list[float] = []  # of all frames, once they were all read

    def frames(self, first: int = 0) -> Iterator[tuple[float, np.ndarray]]:
        """As of ``Source``. From the second time on, decoding begins near ``first``."""
        if 0 < first < len(self._times):
            found = self._from(first)
            if found is not None:
                yield from found
                return
        yield from islice(self._all(), first, None)

    def _all(self) -> Iterator[tuple[float, np.ndarray]]:
        times: list[float] = []
        for begin, picture in self._decoded(None):
            if times:
                begin = max(begin, times[-1] + 1e-3)
            times.append(begin)
            yield begin, picture
        self._times = times

    def _from(self, first: int) -> Iterator[tuple[float, np.ndarray]] | None:
        """The frames from number ``first`` on, found by seeking; None if the file cannot be searched."""
        wanted, number = self._times[first] - 0.25 / float(self.rate), first
        frames = self._decoded(max(0.0, self._times[first] - SEEK_EARLY))
        for begin, picture in frames:
            if begin < wanted:
                continue
            if abs(begin - self._times[first]) > 0.25 / float(self.rate):
                return None  # the place that was found is too late
            return self._numbered(number, picture, frames)
        return None

    def _numbered(
        self, number: int, picture: np.ndarray, rest: Iterable[tuple[float, np.ndarray]]
    ) -> Iterator[tuple[float, np.ndarray]]:
        yield self._times[number], picture
        for each, (_, following) in zip(self._times[number + 1 :], rest):
            yield each, following

    @cached_property
    def _origin(self) -> float:
        """The first frame's time on the file's clock."""
        with open_pictures(self._file) as (container, stream):
            first = next(progressive(decoded(container, stream)), None)
            return 0.0 if first is None or first.time is None else first.time

    def _decoded(self, second: float | None) -> Iterator[tuple[float, np.ndarray]]:
        """All frames with their times, or those from a place at or before ``second`` on."""
        with open_pictures(self._file) as (container, stream):
            stream.thread_type = "AUTO"
            if second:
                container.seek(int((second + self._origin) / stream.time_base), stream=stream)
            reformatter, aspect, size = VideoReformatter(), stream.sample_aspect_ratio, None
            for number, frame in enumerate(progressive(decoded(container, stream))):
                picture = upright_picture(frame, aspect, reformatter)
                size = size or picture.shape[:2]
                if picture.shape[:2] != size:
                    picture = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
                begin = number / float(self.rate) if frame.time is None else frame.time - self._origin
                yield begin, picture


def steady(times: Sequence[float], rate: Fraction) -> bool:
    """Whether frames that begin at these seconds have the constant ``rate``."""
    wanted = np.arange(len(times)) / float(rate)
    return bool(np.abs(np.asarray(times) - wanted).max(initial=0) * float(rate) <= STEADY)


def played(source: Source, numbers: Iterable[int]) -> Iterator[np.ndarray]:
    """The pictures of frames in any order; forwards and backwards are fast, and no more than ``BLOCK`` is held."""
    at, held = -1, None
    block: dict[int, np.ndarray] = {}
    frames: Iterator[tuple[float, np.ndarray]] = iter(())
    following = math.inf  # number of the frame that ``frames`` gives next
    for wanted in numbers:
        if wanted == at and held is not None:
            yield held
            continue
        if wanted not in block and wanted == at - 1 and held is not None:
            count = max(2, BLOCK // held.nbytes)
            first = max(0, wanted - count + 1)
            part = islice(source.frames(first), wanted - first + 1)
            block = {first + offset: picture for offset, (_, picture) in enumerate(part)}
        if wanted in block:
            at, held, following = wanted, block.pop(wanted), math.inf
            yield held
            continue
        block = {}
        if wanted < following:
            frames, following = source.frames(wanted), wanted
        found = next(islice(frames, int(wanted - following), None), None)
        if found is None:
            raise DiffusedHeadsError(f"{source.name}: frame {wanted} cannot be decoded again")
        at, held, following = wanted, found[1], wanted + 1
        yield held
