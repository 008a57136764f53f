"""Speech to one embedding per video frame: log-mel spectrum and a small convolutional encoder.

Both see a bounded stretch of sound: an embedding depends on the encoder's ``reach`` frames on either side and nothing
beyond, so that frames do not change when more sound follows. At the ends of a recording every convolution repeats the
edge, which is right for sound that was cut in mid-speech: silence there would say that the speaker fell silent.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import AudioConfig

SAMPLE_RATE = 16000  # Hz
COLUMNS_PER_FRAME = 4
WINDOW = SAMPLE_RATE // 40  # samples of a column's Hann window: 25 ms
FFT = 512  # samples, the window padded
FLOOR = 1e-7  # power of silence
BLOCK = 4096  # columns computed at a time: an hour of sound would need gigabytes


@lru_cache
def mel_filters(mels: int) -> Tensor:
    """Triangular filters on the mel scale m = 2595 log10(1 + f / 700), 40 Hz to 7.6 kHz: (mels, FFT/2 + 1)."""

    def to_mel(f: float) -> float:
        return 2595 * math.log10(1 + f / 700)

    edges = 700 * (10 ** (np.linspace(to_mel(40), to_mel(7600), mels + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)
    low, mid, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rise, fall = (bins - low) / (mid - low), (high - bins) / (high - mid)
    return torch.from_numpy(np.maximum(np.minimum(rise, fall), 0).astype(np.float32))


def log_mel(mono: np.ndarray, frames: int, fps: int, mels: int) -> Tensor:
    """Log-mel columns of mono 16 kHz sound, four per video frame: (n,) float32 -> (mels, 4 * frames), about -1..1.

    Column k is centred at (k + 0.5) / (4 fps) seconds; beyond the sound's last sample is silence.
    """
    return log_mel_part(mono, 0, range(frames), fps, mels)


def log_mel_part(mono: np.ndarray, begin: int, frames: range, fps: int, mels: int) -> Tensor:
    """Those of ``log_mel`` that belong to some frames, (mels, 4 * len(frames)).

    mono: float32 (n,), the sound from its sample ``begin`` on; what lies outside counts as silence.
    """
    centres = column_centres(frames.start * COLUMNS_PER_FRAME, frames.stop * COLUMNS_PER_FRAME, fps)
    if not len(centres):
        return torch.empty(mels, 0)
    first, last = int(centres[0]) - WINDOW // 2, int(centres[-1]) + WINDOW
    padded = np.zeros(last - first, np.float32)
    low, high = max(first, begin), min(last, begin + len(mono))
    if high > low:
        padded[low - first : high - first] = mono[low - begin : high - begin]
    window, places = torch.hann_window(WINDOW), centres - centres[0]
    columns = []
    for start in range(0, len(places), BLOCK):
        pieces = torch.from_numpy(padded[places[start : start + BLOCK, None] + np.arange(WINDOW)])
        power = torch.fft.rfft(pieces * window, FFT).abs().square() / window.square().sum()
        columns.append((power @ mel_filters(mels).T).clamp(min=FLOOR).log10())
    return (torch.cat(columns).T + 4) / 3  # powers of 1e-7 .. 0.1 to -1 .. 1


def column_centres(first: int, last: int, fps: int) -> np.ndarray:
    """The samples, int64, about which the log-mel columns from ``first`` to ``last`` are centred."""
    return np.round((np.arange(first, last) + 0.5) * SAMPLE_RATE / (COLUMNS_PER_FRAME * fps)).astype(np.int64)


class AudioEncoder(nn.Module):
    """Log-mel columns (B, mels, 4 F) -> embeddings (B, F, C).

    Two convolutions at column rate, one that gathers the four columns of a frame, two at frame rate.
    Norms act on each column alone, so nothing leaks through time beyond the convolutions' ``reach``.
    """

    column_kernels, frame_kernels = (3, 5), (3, 5)
    # Frames on either side that an embedding depends on beyond its own.
    reach = sum(k // 2 for k in frame_kernels) + -(-sum(k // 2 for k in column_kernels) // COLUMNS_PER_FRAME)

    def __init__(self, config: AudioConfig):
        super().__init__()
        c = config.channels
        self.config = config
        inputs = (config.mels, c)
        self.columns = nn.ModuleList([nn.Conv1d(i, c, k) for i, k in zip(inputs, self.column_kernels)])
        self.gather = nn.Conv1d(c, c, COLUMNS_PER_FRAME, stride=COLUMNS_PER_FRAME)
        self.frames = nn.ModuleList([nn.Conv1d(c, c, k) for k in self.frame_kernels])
        self.norms = nn.ModuleList([nn.LayerNorm(c) for _ in range(5)])
        self.out = nn.Linear(c, config.embedding)

    def forward(self, mel: Tensor) -> Tensor:
        h = mel
        for number, convolution in enumerate(self.columns):
            h = self._normalised(number, convolution(self._padded(h, self.column_kernels[number])))
        h = self._normalised(2, self.gather(h))
        for number, convolution in enumerate(self.frames):
            h = h + self._normalised(3 + number, convolution(self._padded(h, self.frame_kernels[number])))
        return self.out(h.transpose(1, 2))

    @staticmethod
    def _padded(h: Tensor, kernel: int) -> Tensor:
        return F.pad(h, (kernel // 2, kernel // 2), mode="replicate")

    def _normalised(self, number: int, h: Tensor) -> Tensor:
        return F.gelu(self.norms[number](h.transpose(1, 2)).transpose(1, 2))
