"""Microphones in one room: where a channel holds the voice of another speaker, its own speaker's mouth must not move.

Such bleed is the other channel's sound again, quieter and a few milliseconds late. With the cross-correlation of two
channels in short windows, normalised to 0..1, it is where the correlation is high and the other channel is louder.
"""

from __future__ import annotations

import logging

import numpy as np

from ..media.audio import SAMPLE_RATE, Audio, to_mono_16k

WINDOW, HOP = 1600, 400  # samples at 16 kHz: 100 and 25 ms
LAG = 160  # samples: sound takes 10 ms for 3.4 m
ALIKE = 0.45  # correlation from which two windows hold the same voice: other voices reach 0.3, bleed in a room 0.3 to 1
LOUDER = 6.0  # dB
AROUND = 4  # windows on either side that are asked too
BLOCK = 1024  # windows that are compared at once
_log = logging.getLogger(__name__)


def without_bleed(channels: list[Audio]) -> list[Audio]:
    """The channels of one recording, each silent where it holds a voice that is louder in another one.

    A channel without bleed is returned as it is.
    """
    mono = [to_mono_16k(channel) for channel in channels]
    result = []
    for k, channel in enumerate(channels):
        others = [_bleeds(mono[k], mono[j]) for j in range(len(mono)) if j != k]
        bleed = _majority(np.any(others, 0))
        if bleed.any():
            seconds = bleed.sum() * HOP / SAMPLE_RATE
            _log.info("%s: for %.1f s it holds a voice of another channel, the mouth stays shut", channel.name, seconds)
        result.append(_muted(channel, bleed) if bleed.any() else channel)
    return result


def _bleeds(channel: np.ndarray, other: np.ndarray) -> np.ndarray:
    """In which windows a channel, float32 (n,) at 16 kHz, holds what is louder in the other: bool (windows,)."""
    found = []
    ours, theirs = _windows(channel), _windows(other)
    for begin in range(0, len(ours), BLOCK):
        one, two = (part[begin : begin + BLOCK] for part in (ours, theirs))
        one, two = (part - part.mean(1, keepdims=True) for part in (one, two))
        spectra = np.fft.rfft(one, 2 * WINDOW) * np.conj(np.fft.rfft(two, 2 * WINDOW))
        products = np.fft.irfft(spectra, 2 * WINDOW)
        near = np.abs(np.concatenate([products[:, -LAG:], products[:, : LAG + 1]], 1)).max(1)
        power, louder = (np.einsum("wt,wt->w", part, part, dtype=np.float64) + 1e-9 for part in (one, two))
        found.append((near > ALIKE * np.sqrt(power * louder)) & (louder > 10 ** (LOUDER / 10) * power))
    return np.concatenate(found)


def _windows(mono: np.ndarray) -> np.ndarray:
    """Overlapping windows (windows, WINDOW) whose middles are HOP samples apart, the first at the beginning."""
    padded = np.pad(mono, (WINDOW // 2, WINDOW))
    count = -(-len(mono) // HOP)
    return np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:count]


def _majority(flags: np.ndarray) -> np.ndarray:
    """Whether most of the windows around each are true, bool (windows,)."""
    width = 2 * AROUND + 1
    counts = np.convolve(flags, np.ones(width), "full")[AROUND : AROUND + len(flags)]
    return counts > width / 2


def _muted(channel: Audio, bleed: np.ndarray) -> Audio:
    """A channel that is silent in the windows of bleed, with ramps of 25 ms."""
    samples, knots = channel.samples.copy(), np.arange(len(bleed)) * HOP / SAMPLE_RATE
    for begin in range(0, samples.shape[1], 1 << 20):  # in blocks: np.interp computes in float64
        block = samples[:, begin : begin + (1 << 20)]
        times = (begin + np.arange(block.shape[1])) / channel.sample_rate
        block *= np.interp(times, knots, 1.0 - bleed).astype(np.float32)
    return Audio(samples, channel.sample_rate, channel.name)
