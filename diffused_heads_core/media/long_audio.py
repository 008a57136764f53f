"""Long recordings, read from their file when samples are asked for: an hour in memory would take gigabytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from .audio import Audio, extremes, full_scale_divisor, load_audio
from .sound_reader import Reader, reading

LONG = 20.0  # seconds; a shorter recording is kept in memory


def open_audio(
    path: str | os.PathLike[str], start: float = 0.0, duration: float | None = None, track: int | None = None
) -> Audio:
    """A recording as of ``load_audio``, whose errors it has; the samples of a long one are ``FileSamples``."""
    with reading(path, start, duration, track) as reader:
        if reader.announced <= LONG:
            return load_audio(path, start, duration, track)
        lows, highs = extremes(_checked(reader))
    name = str(reader.file)
    divisor = full_scale_divisor(float(lows.min()), float(highs.max()), name)
    samples = FileSamples((path, start, duration, track), reader.channels, reader.kept, divisor)
    return Audio(samples, reader.first.sample_rate, name)  # type: ignore[arg-type]


def _checked(reader: Reader) -> Iterator[np.ndarray]:
    with np.errstate(over="ignore", invalid="ignore"):
        for block in reader.blocks():
            yield block.astype(np.float32)
    reader.check()


class FileSamples:
    """Samples (channels, n) float32 of a file, as an array that decodes the parts that are asked for.

    ``samples[:, a:b]`` is an array. Parts in rising order are decoded once; going back begins anew.
    """

    ndim, dtype = 2, np.dtype(np.float32)

    def __init__(self, source: tuple[Any, ...], channels: int, length: int, divisor: float):
        """source: arguments of ``load_audio``; divisor: of all samples."""
        self.shape, self._source, self._divisor = (channels, length), source, np.float32(divisor)
        self._blocks: Iterator[np.ndarray] = iter(())
        self._known, self._begin = np.empty((channels, 0), np.float32), 0
        self._rewind()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        rows, columns = key
        begin, end, step = columns.indices(self.shape[1])
        if step != 1 or rows != slice(None):
            return np.asarray(self)[key]
        return self._part(begin, max(begin, end))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._part(0, self.shape[1]), dtype)

    def _part(self, begin: int, end: int) -> np.ndarray:
        if begin < self._begin:
            self._rewind()
        parts, at = [self._known], self._begin + self._known.shape[1]
        while at < end:
            block = next(self._blocks)
            at += block.shape[1]
            if at <= begin:
                parts, self._begin = [], at
            else:
                parts.append(block)
        known = np.concatenate(parts, 1) if len(parts) > 1 else parts[0] if parts else self._known[:, :0]
        found = known[:, begin - self._begin : end - self._begin]
        self._known, self._begin = known[:, end - self._begin :].copy(), end
        return found

    def _rewind(self) -> None:
        self._blocks, self._begin, self._known = self._decoded(), 0, self._known[:, :0]

    def _decoded(self) -> Iterator[np.ndarray]:
        with reading(*self._source) as reader:
            for block in reader.blocks():
                yield (block.astype(np.float32) / self._divisor).clip(-1, 1)
