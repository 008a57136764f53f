"""Steady noise under speech, made quieter for the audio encoder by spectral subtraction.

The power of the noise in each frequency band is the least smoothed power of the last second (Martin 2001). No sample
depends on sound more than 32 ms after it.
"""

from __future__ import annotations

import numpy as np

FRAME, HOP = 512, 128  # samples at 16 kHz
SMOOTHING = 0.8  # of the power, per hop
MEMORY = 128  # hops, a power of two: about a second
BIAS = 1.8  # from the least to the mean of noise power
SUBTRACTED = 2.0  # times the noise is subtracted
LEAST_GAIN = 0.3
LEARNING = 60  # hops at a recording's beginning during which the noise is not yet certain
BLOCK = 4096  # hops computed at a time


def reduce_noise(mono: np.ndarray) -> np.ndarray:
    """Float32 (n,) at 16 kHz to the same shape with steady noise weakened, by 10 dB at most."""
    reducer, result, at = NoiseReducer(), np.empty(len(mono), np.float32), 0
    for begin in range(0, len(mono), BLOCK * HOP):
        part = reducer.push(mono[begin : begin + BLOCK * HOP])
        result[at : at + len(part)] = part
        at += len(part)
    result[at:] = reducer.finish()
    return result


class NoiseReducer:
    """Weakens steady noise in blocks of sound at 16 kHz, by 10 dB at most."""

    def __init__(self) -> None:
        self._window = np.sqrt(np.hanning(FRAME + 1)[:-1])
        self._noise, self._taken, self._given, self._before = _Noise(), 0, 0, FRAME
        self._known: np.ndarray | None = None  # samples from the next window on
        self._early = np.empty(0, np.float32)
        self._sum = np.zeros(FRAME, np.float32)  # of the windows computed so far, from the next window on

    def push(self, mono: np.ndarray) -> np.ndarray:
        """The next samples, float (k,), to those that are certain, float32 (m,): 32 ms later."""
        mono = np.asarray(mono, np.float32)
        self._taken += len(mono)
        if self._known is None:
            self._early = np.concatenate([self._early, mono])
            if len(self._early) < FRAME:
                return np.empty(0, np.float32)
            return self._begin()
        self._known = np.concatenate([self._known, mono])
        return self._reduced()

    def finish(self) -> np.ndarray:
        """What is left at the sound's end."""
        if not self._taken:
            return np.empty(0, np.float32)
        missing = self._taken - self._given
        begun = np.empty(0, np.float32) if self._known is not None else self._begin()
        assert self._known is not None
        self._known = np.concatenate([self._known, np.zeros(FRAME + -self._taken % HOP, np.float32)])
        return np.concatenate([begun, self._reduced()])[:missing]

    def _begin(self) -> np.ndarray:
        """The beginning is preceded by its mirror image."""
        self._known = np.pad(self._early, (FRAME, 0), mode="symmetric")
        return self._reduced()

    def _reduced(self) -> np.ndarray:
        assert self._known is not None
        count = (len(self._known) - FRAME) // HOP + 1
        if count < 1:
            return np.empty(0, np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(self._known, FRAME)[::HOP][:count]
        spectra = np.fft.rfft(frames * self._window)
        parts = np.fft.irfft(spectra * self._noise.gains(np.square(np.abs(spectra)))) * self._window
        result = np.concatenate([self._sum, np.zeros(count * HOP, np.float32)])
        for at, part in enumerate(parts):
            result[at * HOP : at * HOP + FRAME] += part
        self._known, self._sum = self._known[count * HOP :], result[count * HOP :]
        done = result[: count * HOP]
        if self._before:  # the mirror image
            skipped = min(self._before, len(done))
            done, self._before = done[skipped:], self._before - skipped
        self._given += len(done)
        return done / np.float32(FRAME / HOP / 2)  # what the squared windows add up to


class _Noise:
    """Gains of successive spectra; keeps the smoothed power of the last MEMORY hops."""

    def __init__(self) -> None:
        self.hops, self.past = 0, np.empty((0, FRAME // 2 + 1))

    def gains(self, power: np.ndarray) -> np.ndarray:
        """Amplitude gains (hops, bands) for the next powers (hops, bands)."""
        smooth, last = power.copy(), self.past[-1] if len(self.past) else power[0]
        for row in smooth:
            row *= 1 - SMOOTHING
            row += SMOOTHING * last
            last = row
        history = np.concatenate([self.past, smooth])
        least, step = history.copy(), 1
        while step < MEMORY:  # the least of 2, 4, 8 ... hops
            least[step:] = np.minimum(least[step:], least[:-step])
            step *= 2
        certain = np.minimum((self.hops + np.arange(len(power))) / LEARNING, 1)[:, None]
        noise = BIAS * certain * least[len(self.past) :]
        self.hops, self.past = self.hops + len(power), history[-MEMORY:]
        return np.sqrt(np.maximum(1 - SUBTRACTED * noise / np.maximum(smooth, 1e-20), LEAST_GAIN**2))
