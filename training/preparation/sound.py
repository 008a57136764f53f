"""Parts of a video's sound, timed by its pictures; the file is read once from front to back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ...diffused_heads_core.errors import DiffusedHeadsError
from ...diffused_heads_core.media.audio import SAMPLE_RATE, Audio, to_mono_16k
from ...diffused_heads_core.media.frames import decoded
from ...diffused_heads_core.media.streams import open_media, sound_stream

SLIP = 0.04  # seconds by which a block's time stamp may differ from the end of the block before it
HOLE = 0.1  # seconds; shorter holes, as of a lost packet, do not count as missing sound
EDGE = 0.05  # seconds before and after sound that count as sound
AROUND = 0.25  # seconds that are read before and after a part, for the resampling filter
MOST_CHANNELS = 7  # with eight or more, PyAV reads beyond the planes


class SoundReader:
    """Gives parts of the sound, in the order of their starts; about one part is in memory.

    begins: time stamp in the file that becomes second 0, the first picture's if sound and picture are in step; track:
    number of the sound track from 1, 0 for the default one. Parts are silent where the file has no sound, and where
    packets are damaged. Raises DiffusedHeadsError if there is no such track.
    """

    def __init__(self, path: Path, begins: float, track: int = 0) -> None:
        self._path, self._begins, self._track = path, begins, track or None
        self._blocks: list[tuple[float, np.ndarray]] = []
        self._rate, self._reached, self._source = 0, -math.inf, self._timed()
        self._spans: list[list[float]] = []  # seconds from which and to which there was sound so far

    def part(self, start: float, end: float) -> np.ndarray:
        """Sound (n,) float32 from ``start`` to ``end`` seconds, mono at 16 kHz, n = round((end - start) * 16000)."""
        low, high = start - AROUND, end + AROUND
        self._blocks = [block for block in self._blocks if self._end(block) > low]
        self._read(low, high)
        wanted = round((end - start) * SAMPLE_RATE)
        if not self.there(np.linspace(start, end, 1 + wanted // 100)).any():
            return np.zeros(wanted, np.float32)
        mono = to_mono_16k(Audio(self._joined(low, high), self._rate, str(self._path)))
        skip = round(AROUND * SAMPLE_RATE)
        return np.pad(mono[skip : skip + wanted], (0, max(0, wanted - len(mono) + skip)))

    def _read(self, low: float, high: float) -> None:
        """Read up to ``high`` seconds and store the blocks that end after ``low``."""
        while self._reached < high:
            block = next(self._source, None)
            if block is None:
                return
            self._reached = self._end(block)
            if self._spans and block[0] <= self._spans[-1][1] + HOLE:
                self._spans[-1][1] = max(self._reached, self._spans[-1][1])
            else:
                self._spans.append([block[0], self._reached])
            if self._reached > low:
                self._blocks.append(block)

    def _end(self, block: tuple[float, np.ndarray]) -> float:
        return block[0] + block[1].shape[1] / self._rate

    def there(self, times: np.ndarray) -> np.ndarray:
        """Whether there is sound at the seconds ``times`` (T,), of the parts that were given so far: (T,) bool."""
        found = np.zeros(len(times), bool)
        for begin, end in self._spans:
            found |= (begin - EDGE <= times) & (times <= end + EDGE)
        return found

    def _joined(self, low: float, high: float) -> np.ndarray:
        channels = max(len(samples) for _, samples in self._blocks)
        joined = np.zeros((channels, round((high - low) * self._rate)), np.float32)
        for begin, samples in self._blocks:
            at = round((begin - low) * self._rate)
            part = samples[:, max(0, -at) : max(0, joined.shape[1] - at)]
            joined[:, max(0, at) : max(0, at) + part.shape[1]] = part if len(part) == channels else part.mean(0)
        return np.clip(np.nan_to_num(joined), -1, 1)

    def _timed(self) -> Iterator[tuple[float, np.ndarray]]:
        """Blocks of sound as (second at which they begin, float32 (channels, n)), all at the first block's rate."""
        try:
            with open_media(self._path) as container:
                due: float | None = None
                if not container.streams.audio:
                    return
                for frame in decoded(container, sound_stream(container, str(self._path), self._track)):
                    samples = self._samples(frame)
                    stamp = frame.time - self._begins if frame.time is not None else due or 0.0
                    begin = due if due is not None and abs(stamp - due) < SLIP else stamp
                    due = begin + samples.shape[1] / self._rate
                    yield begin, samples
        except DiffusedHeadsError:
            raise
        except (av.error.FFmpegError, ValueError, IndexError):
            return

    def _samples(self, frame: av.AudioFrame) -> np.ndarray:
        self._rate = self._rate or frame.sample_rate
        channels = getattr(frame.layout, "nb_channels", 0) or len(frame.layout.channels)
        if frame.format.name == "fltp" and frame.sample_rate == self._rate and channels <= MOST_CHANNELS:
            return frame.to_ndarray()
        layout = frame.layout if channels <= MOST_CHANNELS else "stereo"
        converter = av.AudioResampler(format="fltp", layout=layout, rate=self._rate)
        frame.time_base = frame.time_base or Fraction(1, frame.sample_rate)
        parts = [part.to_ndarray() for part in [*converter.resample(frame), *converter.resample(None)]]
        return np.concatenate(parts, 1) if parts else np.zeros((1, 0), np.float32)
