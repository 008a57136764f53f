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
    window = np.sqrt(np.hanning(FRAME + 1)[:-1])
    padded = np.pad(np.pad(mono, (FRAME, 0), mode="symmetric"), (0, FRAME + -len(mono) % HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP]
    result, noise = np.zeros(len(padded), np.float32), _Noise()
    for begin in range(0, len(frames), BLOCK):
        spectra = np.fft.rfft(frames[begin : begin + BLOCK] * window)
        parts = np.fft.irfft(spectra * noise.gains(np.square(np.abs(spectra)))) * window
        for at, part in enumerate(parts, begin):
            result[at * HOP : at * HOP + FRAME] += part
    return result[FRAME : FRAME + len(mono)] / np.float32(FRAME / HOP / 2)  # what the squared windows add up to


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
