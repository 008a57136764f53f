"""Decoding one sound track of a file, block by block, where its time stamps say."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np

from ..errors import DiffusedHeadsError
from ..files import readable_file
from .mixdown import resample
from .streams import clock_start, open_media, sound_stream

SHORTEST = 0.04  # seconds; one frame at 25 frames/s
LONGEST = 1e9  # seconds; with more, a number of samples may become infinite
SLIP = 0.04  # seconds by which a block's time stamp may miss the end of the block before it
LONGEST_GAP = 600.0  # seconds of silence that time stamps may ask for in a file that does not tell its length
_SCALES = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "flt": 1.0, "dbl": 1.0}
_LEAST_BYTES = 1000  # per second of sound, in all but a few codecs for telephones
_log = logging.getLogger(__name__)


@contextmanager
def reading(path: str | os.PathLike[str], start: float, duration: float | None, track: int | None) -> Iterator[Reader]:
    """Give a reader of a file's sound track; arguments and errors of ``load_audio``."""
    _check_part(path, start, duration)
    file = readable_file(path, "an audio file")
    try:
        with open_media(file) as container:
            yield Reader(file, container, start, duration, track)
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, DiffusedHeadsError):
            raise
        found = f"no audio in it or a damaged file ({_reason(error)})"
        raise DiffusedHeadsError(f"{file}: expected an audio file, found {found}") from error
    except MemoryError as error:
        advice = "choose a part by start and duration"
        raise DiffusedHeadsError(f"{file}: its sound does not fit into memory; {advice}") from error


def _check_part(path: str | os.PathLike[str], start: float, duration: float | None) -> None:
    if not (math.isfinite(start) and start >= 0):
        raise DiffusedHeadsError(f"{os.fspath(path)}: start={start}, expected seconds of 0 or more")
    if duration is not None and not (math.isfinite(duration) and duration > 0):
        raise DiffusedHeadsError(f"{os.fspath(path)}: duration={duration}, expected seconds above 0")


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).splitlines()[0] if str(error) else type(error).__name__


class Reader:
    """Decodes one sound track; damaged packets are left out, as players do.

    ``seen`` counts samples on the file's clock, from its beginning: decoded ones, and silence where time stamps leave
    a gap. Time stamps that jump back, or far beyond the file's length, count as a new beginning of the clock.
    """

    def __init__(
        self,
        file: Path,
        container: av.container.InputContainer,
        start: float,
        duration: float | None,
        track: int | None,
    ):
        self.file, self.container, self.start, self.duration = file, container, start, duration
        self.stream = sound_stream(container, str(file), track)
        self.origin = clock_start(container, self.stream)
        self.first: Any = None  # the first frame, whose rate and layout are the recording's
        self.lead = self.seen = self.kept = self.good = self.bad = 0
        self.shift = 0.0  # seconds by which time stamps are late on the clock, after a jump
        self.buffer = np.empty((0, 0), np.float32)

    def read(self) -> None:
        """Decode into a buffer, until the end of the file or of the wanted part: ``buffer`` has ``kept`` samples."""
        at = 0
        for block in self.blocks():
            if at + block.shape[1] > self.buffer.shape[1]:
                self._reserve(max(self._expected(), 2 * self.buffer.shape[1], at + block.shape[1]), at)
            with np.errstate(over="ignore", invalid="ignore"):  # 64-bit samples beyond float32, which are refused later
                self.buffer[:, at : at + block.shape[1]] = block
            at += block.shape[1]

    def blocks(self) -> Iterator[np.ndarray]:
        """Decode block by block, float (channels, k). Of an MP4, the last ones may be more than ``kept`` says then."""
        for packet in self._packets():
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, ValueError):
                self.bad += 1
                continue
            self.good += bool(frames)
            for frame in frames:
                yield from self._taken(frame)
            if self.duration is not None and self.first is not None and self.seen >= self._bounds()[1]:
                break
        if self.first is not None:
            self._drop_padding()

    def _packets(self) -> Iterator[av.Packet]:
        try:
            yield from self.container.demux(self.stream)
        except av.error.FFmpegError as error:
            self.bad += 1
            _log.warning("%s: reading stops early (%s)", self.file, _reason(error))

    def _bounds(self) -> tuple[int, float]:
        rate = self.first.sample_rate
        begin = round(min(self.start, LONGEST) * rate)
        return begin, math.inf if self.duration is None else begin + round(min(self.duration, LONGEST) * rate)

    def _taken(self, frame: av.AudioFrame) -> Iterator[np.ndarray]:
        if self.first is None:
            if not _channels(frame):
                raise DiffusedHeadsError(f"{self.file}: its channel layout is unknown to PyAV {av.__version__}")
            self.first, self.origin = frame, frame.time if self.origin is None else self.origin
            self.lead = self._gap(frame)
        yield from self._wanted(np.broadcast_to(np.float32(0), (_channels(self.first), self._gap(frame))))
        yield from self._wanted(self._block(frame))

    def _gap(self, frame: av.AudioFrame) -> int:
        """Samples of silence before a frame; none if its time stamp is missing, or is no more than SLIP off."""
        if frame.time is None or self.origin is None:
            return 0
        rate = self.first.sample_rate
        gap = frame.time - self.origin - self.shift - self.seen / rate
        if gap < -SLIP or self.seen / rate + gap > self._longest(self.seen / rate):
            self.shift += gap
            return 0
        return round(gap * rate) if gap > SLIP else 0

    def _longest(self, seconds: float) -> float:
        """Where the file's clock ends at the latest, given that ``seconds`` of it were read."""
        known = self.container.duration
        return float(known) / 1e6 + 1 if known else seconds + LONGEST_GAP

    def _wanted(self, block: np.ndarray) -> Iterator[np.ndarray]:
        """What of a block is inside the wanted part."""
        begin, end = self._bounds()
        lo, hi = max(0, begin - self.seen), min(block.shape[1], end - self.seen)
        self.seen += block.shape[1]
        if hi > lo:
            self.kept += int(hi) - int(lo)
            yield block[:, int(lo) : int(hi)]

    def _expected(self) -> int:
        """The samples that the header announces and a few more; headers lie, so at most what the file has room for."""
        announced = max(float(self.container.duration or 0) / 1e6, 0)
        wanted = math.inf if self.duration is None else self.duration
        seconds = min(announced, self.file.stat().st_size / _LEAST_BYTES, wanted)
        return int((seconds + 0.5) * self.first.sample_rate)

    def _reserve(self, size: int, used: int) -> None:
        grown = np.empty((_channels(self.first), size), np.float32)
        if used:
            grown[:, :used] = self.buffer[:, :used]
        self.buffer = grown

    def _block(self, frame: av.AudioFrame) -> np.ndarray:
        """One frame as float (channels, n), in the layout and at the rate of the first frame: both may change."""
        first, channels = self.first, _channels(self.first)
        blocks = _samples(frame)
        if len(blocks) != channels:
            blocks = np.broadcast_to(blocks.mean(0), (channels, blocks.shape[1]))
        if frame.sample_rate != first.sample_rate:
            blocks = resample(np.ascontiguousarray(blocks, np.float32), frame.sample_rate, first.sample_rate)
        return blocks

    def _drop_padding(self) -> None:
        """Cut off what the last coded frame of an MP4 holds beyond the length in the header."""
        if self.stream.duration and "mov" in self.container.format.name and self.duration is None:
            length = round(self.stream.duration * self.stream.time_base * self.first.sample_rate)
            excess = self.seen - self.lead - length
            self.kept -= excess if 0 < excess < min(self.first.samples, self.kept) else 0

    @property
    def channels(self) -> int:
        """Number of channels, once something was decoded."""
        return _channels(self.first)

    @property
    def announced(self) -> float:
        """How many seconds there may be to read: what the header says, or the wanted part; infinite if unknown."""
        header = float(self.container.duration or 0) / 1e6
        return min(
            header - self.start if header > 0 else math.inf, math.inf if self.duration is None else self.duration
        )

    def check(self) -> None:
        """Raise DiffusedHeadsError if what was read is empty, damaged or too short."""
        if self.first is None and not self.bad:
            raise DiffusedHeadsError(f"{self.file}: expected an audio file, its sound track is empty")
        if self.first is None or self.bad > self.good:
            raise DiffusedHeadsError(
                f"{self.file}: expected an audio file, its sound is damaged "
                f"({self.good} packets decode, {self.bad} do not)"
            )
        if self.bad:
            _log.warning("%s: %d damaged packets left out", self.file, self.bad)
        rate = self.first.sample_rate
        if not self.kept and self.start:
            raise DiffusedHeadsError(
                f"{self.file}: start={self.start:g} s is beyond its end at {self.seen / rate:.3f} s"
            )
        if self.kept < SHORTEST * rate:
            raise DiffusedHeadsError(
                f"{self.file}: {rounded_seconds(self.kept / rate)} of sound, expected at least {SHORTEST} s"
            )


def rounded_seconds(length: float) -> str:
    """Rounded down, so that a length below a limit also reads so."""
    return f"{math.floor(length * 1000 + 1e-6) / 1000:.3f} s"


def _channels(frame: av.AudioFrame) -> int:
    return getattr(frame.layout, "nb_channels", 0) or len(frame.layout.channels)


def _samples(frame: av.AudioFrame) -> np.ndarray:
    """Decoded samples of any format as float (channels, n), full scale 1."""
    channels = _channels(frame)
    scale = _SCALES.get(frame.format.name.removesuffix("p"))
    many = frame.format.is_planar and channels > 7  # PyAV reads past the eighth plane
    if scale is None or many:  # for s64 there is no array
        packed = av.AudioResampler(format="flt", layout=frame.layout, rate=frame.sample_rate)
        return np.concatenate([_samples(part) for part in packed.resample(frame) + packed.resample(None)], 1)
    data, kind = frame.to_ndarray(), frame.format.name
    if not frame.format.is_planar:
        data = data.reshape(-1, channels).T
    if scale == 1:
        return data
    return (data.astype(np.float64 if scale > 2**16 else np.float32) - (128 if kind[0] == "u" else 0)) / scale
