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


def mix_channels(samples: np.ndarray, rate: int) -> Iterator[np.ndarray]:
    """Mix float32 (channels, n) at ``rate`` Hz to one channel; yields it in blocks of float32 (k,).

    A voice survives in any channel and in any phase. The constant offset of each channel is subtracted first. Offset
    and weights of a sample depend on the sound up to 10 ms after it.
    """
    channels, hop = len(samples), max(1, rate // 100)
    offset, products, last = _Offset(channels, hop), np.zeros((channels, channels)), None
    for begin in range(0, samples.shape[1], 1024 * hop):
        block = samples[:, begin : begin + 1024 * hop].astype(np.float64)
        n = block.shape[1]
        frames = offset.subtracted(np.pad(block, ((0, 0), (0, -n % hop)), mode="edge").reshape(channels, -1, hop))
        if channels == 1:
            yield frames.reshape(-1)[:n].astype(np.float32)
            continue
        history = products + np.cumsum(np.einsum("cft,dft->fcd", frames, frames), 0)
        weights = _mixing_weights(history)
        previous = np.concatenate([weights[:1] if last is None else last, weights[:-1]])
        ramp = (np.arange(hop) + 1) / hop
        mixed = np.einsum("fc,cft->ft", previous, frames) * (1 - ramp) + np.einsum("fc,cft->ft", weights, frames) * ramp
        products, last = history[-1], weights[-1:]
        yield mixed.reshape(-1)[:n].astype(np.float32)


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
    converter, position = av.AudioResampler(format="fltp", layout="mono", rate=to), 0
    for block in blocks:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block, np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), position
        position += len(block)
        yield from (out.to_ndarray()[0] for out in converter.resample(frame))
    yield from (out.to_ndarray()[0] for out in converter.resample(None))


def normalise_level(mono: np.ndarray) -> np.ndarray:
    """Bring speech of any loudness to the encoder's level: float32 (n,) at 16 kHz to the same shape.

    A causal automatic gain. The level is that of the loudest recent 10 or 30 ms and decays by 6 dB/s; the gain takes
    it to -20 dBFS. Amplification is 35 dB at most, and less if it would take the background, the quietest recent sound,
    above -40 dBFS: room noise before the speech stays quiet. The gain of a sample depends on samples up to 10 ms after
    it.
    """
    mono = np.asarray(mono, np.float32)
    if not len(mono):
        return mono.copy()
    gains = _gains(*_energies(mono))
    knots, values = np.arange(len(gains) + 1) * FRAME, np.concatenate([gains[:1], gains])
    levelled = np.empty_like(mono)
    for begin in range(0, len(mono), 1 << 20):  # in blocks: an hour at once takes gigabytes
        block = slice(begin, min(begin + (1 << 20), len(mono)))
        levelled[block] = mono[block] * 10 ** (np.interp(np.arange(block.start, block.stop), knots, values) / 20)
    return levelled


def _energies(mono: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Loudest and steady level in dBFS at the end of each frame, at least -100: of 10 or 30 ms, and of 30 ms."""
    padded = np.pad(mono, (0, -len(mono) % FRAME)).reshape(-1, FRAME)
    power = np.einsum("ft,ft->f", padded, padded, dtype=np.float64) / FRAME
    history = np.pad(power, (2, 0), mode="edge")
    steady = (history[2:] + history[1:-1] + history[:-2]) / 3
    return tuple(10 * np.log10(np.maximum(p, 1e-10)) for p in (np.maximum(power, steady), steady))


def _gains(loudest: np.ndarray, steady: np.ndarray) -> np.ndarray:
    """Gain in dB at the end of each frame."""
    time = np.arange(len(loudest)) * 0.01
    level = np.maximum.accumulate(loudest + DECAY * time) - DECAY * time
    level = np.maximum(level, np.maximum(OPENING - OPENING_DECAY * time, FLOOR))
    background = np.minimum.accumulate(steady - NOISE_RISE * time) + NOISE_RISE * time
    return np.minimum(TARGET - level, np.maximum(NOISE_TARGET - background, 0))
