"""Recordings from files and arrays, at their own rate and with their own channels, because they go into the video.

The audio encoder gets a copy that is mixed, resampled and levelled: see ``to_mono_16k`` and ``mixdown``.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ..errors import DiffusedHeadsError
from .mixdown import mix_and_resample
from .sound_reader import SHORTEST, reading, rounded_seconds

SAMPLE_RATE = 16000
MOST_CHANNELS = 8  # of a video's sound
BLOCK = 1 << 18  # samples that are looked at at once
SHORTEST_SPEECH = 0.2  # seconds; less is not a syllable
SILENCE_PEAK = 10 ** (-70 / 20)
OVERSHOOT = 10 ** (1 / 20)  # lossy decoders pass full scale by less than 1 dB

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Audio:
    """A recording: ``samples`` float32 (channels, n) in [-1, 1] at ``sample_rate`` Hz.

    ``name`` is what errors call it.
    """

    samples: np.ndarray
    sample_rate: int
    name: str = "audio"

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or self.samples.dtype != np.float32 or not self.samples.shape[0]:
            raise DiffusedHeadsError(
                f"{self.name}: expected float32 samples (channels, n), found {self.samples.dtype} {self.samples.shape}"
            )
        if self.sample_rate <= 0:
            raise DiffusedHeadsError(f"{self.name}: expected a sample rate above 0 Hz, found {self.sample_rate}")

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.samples.shape[0]

    @property
    def exact_duration(self) -> Fraction:
        """Length in seconds without rounding."""
        return Fraction(self.samples.shape[1], self.sample_rate)

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return float(self.exact_duration)


def load_audio(
    path: str | os.PathLike[str], start: float = 0.0, duration: float | None = None, track: int | None = None
) -> Audio:
    """Read the default sound track of any file that FFmpeg opens, with its own rate and channels.

    ``start`` and ``duration`` choose a part, in seconds of the file's clock as a player shows it; ``track`` another
    track, from 1. Sound stands where its time stamps say, a gap is silent. Raises DiffusedHeadsError that names the
    file if it is missing, a folder, empty, damaged or without sound, has non-finite samples, ends before ``start``, or
    gives less than SHORTEST seconds.
    """
    return load_audio_timed(path, start, duration, track)[0]


def load_audio_timed(
    path: str | os.PathLike[str], start: float = 0.0, duration: float | None = None, track: int | None = None
) -> tuple[Audio, float]:
    """Read as load_audio does; also return the time stamp in seconds at which the file's clock begins."""
    with reading(path, start, duration, track) as reader:
        reader.read()
    reader.check()
    samples = _full_scale(reader.buffer[:, : reader.kept], str(reader.file))
    return Audio(samples, reader.first.sample_rate, str(reader.file)), reader.origin or 0.0


def _full_scale(samples: np.ndarray, name: str) -> np.ndarray:
    """Bring samples into [-1, 1], in place: overshoot of a decoder is clipped, larger floats are scaled down."""
    peak = full_scale_divisor(float(samples.min()), float(samples.max()), name)  # NaN passes through min and max
    if peak > 1:
        samples /= peak
    return np.clip(samples, -1, 1, out=samples)


def full_scale_divisor(low: float, high: float, name: str) -> float:
    """By what samples between two values are divided to be in [-1, 1], but for a decoder's overshoot.

    Raises DiffusedHeadsError if they are not finite; the log says so if they are larger than full scale.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise DiffusedHeadsError(f"{name}: expected finite samples, found NaN or infinity")
    peak = max(-low, high)
    if peak <= OVERSHOOT:
        return 1.0
    _log.warning("%s: samples reach %.3g, scaled down to full scale", name, peak)
    return peak


def from_waveform(waveform: Any, sample_rate: int, name: str = "audio") -> Audio:
    """Make a recording of an array or tensor (channels, n), (n,) or (1, channels, n) of floats or integer PCM.

    The input is copied. Raises DiffusedHeadsError for other shapes, non-finite samples and less than SHORTEST seconds.
    """
    if hasattr(waveform, "detach"):
        waveform = waveform.detach().cpu()
        waveform = (waveform.float() if waveform.is_floating_point() else waveform).numpy()
    data = np.asarray(waveform)
    if data.ndim == 3 and data.shape[0] == 1:
        data = data[0]
    if data.ndim == 1:
        data = data[None]
    if data.ndim != 2 or not data.shape[0] or data.dtype.kind not in "fiu":
        raise DiffusedHeadsError(f"{name}: expected a waveform (channels, n), found {data.dtype} {np.shape(waveform)}")
    if not sample_rate >= 1 or data.shape[1] < SHORTEST * sample_rate:  # NaN is not
        raise DiffusedHeadsError(f"{name}: {data.shape[1]} samples at {sample_rate} Hz, expected at least {SHORTEST} s")
    if data.dtype.kind in "iu":
        half = 2.0 ** (8 * data.dtype.itemsize - 1)
        data = (data.astype(np.float64) - (half if data.dtype.kind == "u" else 0)) / half
    with np.errstate(over="ignore", invalid="ignore"):  # _full_scale refuses what float32 cannot hold
        samples = np.array(data, np.float32, order="C")
    return Audio(_full_scale(samples, name), int(sample_rate), name)


def check_speech(audio: Audio) -> None:
    """Raise DiffusedHeadsError if a recording cannot drive a mouth: shorter than SHORTEST_SPEECH, or silent."""
    if audio.duration < SHORTEST_SPEECH:
        raise DiffusedHeadsError(
            f"{audio.name}: {rounded_seconds(audio.duration)} of sound, expected speech of at least {SHORTEST_SPEECH} s"
        )
    if is_silent(audio):
        raise DiffusedHeadsError(f"{audio.name}: expected speech, the recording is silent")


def is_silent(audio: Audio) -> bool:
    """Whether no channel swings by more than -70 dBFS around its mean."""
    lows, highs = extremes(sample_blocks(audio.samples))
    return float((highs - lows).max()) / 2 < SILENCE_PEAK


def sample_blocks(samples: np.ndarray, length: int = BLOCK) -> Iterator[np.ndarray]:
    """Samples (channels, n) in blocks, also those of a recording that is read when they are asked for."""
    for begin in range(0, samples.shape[1], length):
        yield samples[:, begin : begin + length]


def extremes(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest sample of each channel, (channels,) each; NaN if there is one."""
    lows, highs = zip(*((block.min(1), block.max(1)) for block in blocks))
    return np.min(lows, 0), np.max(highs, 0)


def to_mono_16k(audio: Audio) -> np.ndarray:
    """All channels mixed, for the encoder: float32 (round(n * 16000 / rate),), not levelled.

    Channels in opposite phase are inverted before they are added, and silent channels do not lower the level.
    """
    return mix_and_resample(audio.samples, audio.sample_rate, SAMPLE_RATE)


def video_soundtrack(audio: Audio) -> Audio:
    """The recording as it is, or mixed to one channel if it has more than MOST_CHANNELS, which a video takes."""
    if audio.channels <= MOST_CHANNELS:
        return audio
    return Audio(
        mix_and_resample(audio.samples, audio.sample_rate, audio.sample_rate)[None], audio.sample_rate, audio.name
    )
