"""From any channels, rate and level to the audio encoder's mono signal: mixed, resampled, levelled.

All three steps look at most 20 ms ahead, so that the first frames of a clip do not depend on what follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np

CERTAIN = 4.0  # standard errors beyond which a mean is an offset of the recording, and not a slow wave

FRAME = 160  # samples at 16 kHz: 10 ms
TARGET = -20.0  # dBFS, of the loudest recent 10 or 30 ms
DECAY = 6.0  # dB/s, at which a loud passage is forgotten
FLOOR = -55.0  # dBFS; quieter sound is not speech
OPENING, OPENING_DECAY = -30.0, 20.0  # dBFS and dB/s: the level that is presumed before any sound
NOISE_TARGET, NOISE_RISE = -40.0, 3.0  # dBFS, dB/s: steady sound is not amplified beyond this level
BLOCK = 1 << 16  # samples that are resampled at once
LEVELLED = 1 << 18  # samples that are levelled at once


def mix_channels(samples: np.ndarray, rate: int) -> Iterator[np.ndarray]:
    """Mix float32 (channels, n) at ``rate`` Hz to one channel, see ``Mixer``; yields it in blocks of float32 (k,)."""
    mixer = Mixer(len(samples), rate)
    for begin in range(0, samples.shape[1], 1024 * mixer.hop):
        yield mixer.push(samples[:, begin : begin + 1024 * mixer.hop])
    yield mixer.finish()


class Mixer:
    """Mixes blocks of sound to one channel.

    A voice survives in any channel and in any phase. The constant offset of each channel is subtracted first. Offset
    and weights of a sample depend on the sound up to 10 ms after it.
    """

    def __init__(self, channels: int, rate: int):
        self.hop = max(1, rate // 100)
        self._offset, self._products = _Offset(channels, self.hop), np.zeros((channels, channels))
        self._last: np.ndarray | None = None
        self._rest = np.empty((channels, 0))

    def push(self, samples: np.ndarray) -> np.ndarray:
        """The next samples, float (channels, k), to as many whole hops of 10 ms as there are: float32 (m,)."""
        known = np.concatenate([self._rest, samples.astype(np.float64)], 1)
        whole = known.shape[1] // self.hop * self.hop
        self._rest = known[:, whole:]
        return self._mixed(known[:, :whole])

    def finish(self) -> np.ndarray:
        """What is left at the sound's end, less than a hop."""
        n = self._rest.shape[1]
        return self._mixed(np.pad(self._rest, ((0, 0), (0, -n % self.hop)), mode="edge" if n else "constant"))[:n]

    def _mixed(self, samples: np.ndarray) -> np.ndarray:
        if not samples.shape[1]:
            return np.empty(0, np.float32)
        frames = self._offset.subtracted(samples.reshape(len(samples), -1, self.hop))
        if len(samples) == 1:
            return frames.reshape(-1).astype(np.float32)
        history = self._products + np.cumsum(np.einsum("cft,dft->fcd", frames, frames), 0)
        weights = _mixing_weights(history)
        previous = np.concatenate([weights[:1] if self._last is None else self._last, weights[:-1]])
        ramp = (np.arange(self.hop) + 1) / self.hop
        mixed = np.einsum("fc,cft->ft", previous, frames) * (1 - ramp) + np.einsum("fc,cft->ft", weights, frames) * ramp
        self._products, self._last = history[-1], weights[-1:]
        return mixed.reshape(-1).astype(np.float32)


class _Offset:
    """The mean of the sound so far, shrunk by its standard error: sound without an offset stays as it is.

    A mean m with standard error s becomes m (1 - (CERTAIN s / m)^2), or 0 if that is negative. Each frame counts as one
    observation (positive-part shrinkage, James & Stein 1961).
    """

    def __init__(self, channels: int, hop: int):
        self.sums, self.count, self.last = np.zeros((2, channels, 1)), 0, None
        self.ramp = (np.arange(hop) + 1) / hop

    def subtracted(self, frames: np.ndarray) -> np.ndarray:
        """The next frames, float64 (channels, f, hop), without their offset."""
        counts = self.count + np.arange(1, frames.shape[1] + 1)
        sums = self.sums + np.cumsum([frames.mean(2), np.square(frames).mean(2)], 2)
        means, powers = sums / counts
        errors = np.maximum(powers - means**2, 0) / counts
        offsets = means * np.maximum(1 - CERTAIN**2 * errors / np.maximum(means**2, 1e-30), 0)
        before = np.concatenate([offsets[:, :1] if self.last is None else self.last, offsets[:, :-1]], 1)
        self.sums, self.count, self.last = sums[..., -1:], int(counts[-1]), offsets[:, -1:]
        return frames - before[..., None] - (offsets - before)[..., None] * self.ramp


def _mixing_weights(products: np.ndarray) -> np.ndarray:
    """Weights (frames, channels) from the channels' products so far, (frames, channels, channels).

    A channel in opposite phase to the mixture of those before it (correlation below -0.6) is inverted. The divisor
    counts channels by their level, so that a voice in one of many channels keeps its level.
    """
    energy = np.maximum(np.einsum("fcc->fc", products), 0)
    signs = np.ones_like(energy)
    for c in range(1, energy.shape[1]):
        before = signs[:, :c]
        cross = np.einsum("fc,fc->f", before, products[:, :c, c])
        mixture = np.einsum("fc,fcd,fd->f", before, products[:, :c, :c], before)
        signs[:, c] = np.where(cross < -0.6 * np.sqrt(np.maximum(mixture, 0) * energy[:, c]), -1, 1)
    loudest = energy.max(1, keepdims=True)
    share = np.sqrt(energy / np.where(loudest > 0, loudest, 1))
    return signs / np.where(loudest > 0, share.sum(1, keepdims=True), energy.shape[1])


def mix_and_resample(samples: np.ndarray, rate: int, to: int) -> np.ndarray:
    """Mix float32 (channels, n) at ``rate`` Hz to one channel at ``to`` Hz: float32 (round(n * to / rate),).

    Works in blocks: additional memory is that of the result.
    """
    return _resampled(mix_channels(samples, rate), rate, to, samples.shape[1])


def resample(samples: np.ndarray, rate: int, to: int) -> np.ndarray:
    """Band-limited resampling of float32 (channels, n) to (channels, round(n * to / rate))."""
    n = samples.shape[1]
    result = np.empty((len(samples), _length(n, rate, to)), np.float32)
    for channel, out in zip(samples, result):
        out[:] = _resampled((channel[i : i + BLOCK] for i in range(0, n, BLOCK)), rate, to, n)
    return result


def _length(n: int, rate: int, to: int) -> int:
    return (2 * n * to + rate) // (2 * rate)


def _resampled(blocks: Iterable[np.ndarray], rate: int, to: int, n: int) -> np.ndarray:
    """One channel of n samples, given in blocks, at another rate."""
    result, at = np.zeros(_length(n, rate, to), np.float32), 0
    for block in blocks if rate == to else _converted(blocks, rate, to):
        block = block[: len(result) - at]
        result[at : at + len(block)] = block
        at += len(block)
    return result


def _converted(blocks: Iterable[np.ndarray], rate: int, to: int) -> Iterator[np.ndarray]:
    resampler = Resampler(rate, to)
    for block in blocks:
        yield resampler.push(block)
    yield resampler.finish()


class Resampler:
    """Band-limited resampling of blocks of one channel."""

    def __init__(self, rate: int, to: int):
        self._rate, self._same, self._position = rate, rate == to, 0
        self._converter = av.AudioResampler(format="fltp", layout="mono", rate=to)

    def push(self, block: np.ndarray) -> np.ndarray:
        """The next samples, float (k,), to as many float32 (m,) as are certain."""
        if self._same or not len(block):
            return np.asarray(block, np.float32)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block, np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = self._rate, Fraction(1, self._rate), self._position
        self._position += len(block)
        return self._joined(self._converter.resample(frame))

    def finish(self) -> np.ndarray:
        """What is left at the sound's end."""
        return np.empty(0, np.float32) if not self._position else self._joined(self._converter.resample(None))

    @staticmethod
    def _joined(frames: list[av.AudioFrame]) -> np.ndarray:
        return np.concatenate([np.empty(0, np.float32), *(frame.to_ndarray()[0] for frame in frames)])


def normalise_level(mono: np.ndarray) -> np.ndarray:
    """Bring speech of any loudness to the encoder's level (``Leveller``): float32 (n,) at 16 kHz to the same shape."""
    mono, leveller = np.asarray(mono, np.float32), Leveller()
    levelled, at = np.empty_like(mono), 0
    for begin in range(0, len(mono) + 1, LEVELLED):  # in blocks: an hour at once takes gigabytes
        block = leveller.push(mono[begin : begin + LEVELLED])
        levelled[at : at + len(block)] = block
        at += len(block)
    levelled[at:] = leveller.finish()
    return levelled


class Leveller:
    """Brings blocks of speech of any loudness, at 16 kHz, to the encoder's level.

    A causal automatic gain. The level is that of the loudest recent 10 or 30 ms and decays by 6 dB/s; the gain takes
    it to -20 dBFS. Amplification is 35 dB at most, and less if it would take the background, the quietest recent sound,
    above -40 dBFS: room noise before the speech stays quiet. The gain of a sample depends on samples up to 10 ms after
    it.
    """

    def __init__(self) -> None:
        self._rest = np.empty(0, np.float32)
        self._frames = 0
        self._powers: np.ndarray | None = None  # of the last two frames
        self._loudest, self._background, self._gain = -np.inf, np.inf, 0.0

    def push(self, mono: np.ndarray) -> np.ndarray:
        """The next samples, float (k,), to as many whole frames of 10 ms as there are: float32 (m,)."""
        known = np.concatenate([self._rest, np.asarray(mono, np.float32)])
        whole = len(known) // FRAME * FRAME
        self._rest = known[whole:]
        return self._levelled(known[:whole])

    def finish(self) -> np.ndarray:
        """What is left at the sound's end, less than a frame."""
        n = len(self._rest)
        return self._levelled(np.pad(self._rest, (0, -n % FRAME)))[:n]

    def _levelled(self, mono: np.ndarray) -> np.ndarray:
        if not len(mono):
            return mono
        gains = self._gains(*self._energies(mono.reshape(-1, FRAME)))
        before = gains[0] if not self._frames else self._gain
        knots, values = np.arange(len(gains) + 1) * FRAME, np.concatenate([[before], gains])
        self._frames, self._gain = self._frames + len(gains), float(gains[-1])
        return (mono * 10 ** (np.interp(np.arange(len(mono)), knots, values) / 20)).astype(np.float32)

    def _energies(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Loudest and steady level in dBFS at the end of each frame, at least -100: of 10 or 30 ms, and of 30 ms."""
        power = np.einsum("ft,ft->f", frames, frames, dtype=np.float64) / FRAME
        history = np.concatenate([np.repeat(power[:1], 2) if self._powers is None else self._powers, power])
        self._powers = history[-2:]
        steady = (history[2:] + history[1:-1] + history[:-2]) / 3
        loudest, steady = (10 * np.log10(np.maximum(p, 1e-10)) for p in (np.maximum(power, steady), steady))
        return loudest, steady

    def _gains(self, loudest: np.ndarray, steady: np.ndarray) -> np.ndarray:
        """Gain in dB at the end of each frame."""
        time = (self._frames + np.arange(len(loudest))) * 0.01
        highest = np.maximum(np.maximum.accumulate(loudest + DECAY * time), self._loudest)
        lowest = np.minimum(np.minimum.accumulate(steady - NOISE_RISE * time), self._background)
        self._loudest, self._background = float(highest[-1]), float(lowest[-1])
        level = np.maximum(highest - DECAY * time, np.maximum(OPENING - OPENING_DECAY * time, FLOOR))
        return np.minimum(TARGET - level, np.maximum(NOISE_TARGET - lowest - NOISE_RISE * time, 0))
