"""Speech to one embedding per video frame: log-mel spectrum and two small convolutional encoders.

They see a bounded stretch of sound: an embedding depends on an encoder's ``reach`` frames on either side and nothing
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
    rate = COLUMNS_PER_FRAME * fps  # columns per second
    centres = np.round((np.arange(frames * COLUMNS_PER_FRAME) + 0.5) * SAMPLE_RATE / rate).astype(np.int64)
    need = (centres[-1] if len(centres) else 0) + WINDOW
    padded = np.zeros(max(need, len(mono)) + WINDOW, np.float32)
    padded[WINDOW // 2 : WINDOW // 2 + len(mono)] = mono
    window = torch.hann_window(WINDOW)
    columns = []
    for start in range(0, len(centres), BLOCK):
        pieces = torch.from_numpy(padded[centres[start : start + BLOCK, None] + np.arange(WINDOW)])
        power = torch.fft.rfft(pieces * window, FFT).abs().square() / window.square().sum()
        columns.append((power @ mel_filters(mels).T).clamp(min=FLOOR).log10())
    return (torch.cat(columns).T + 4) / 3  # powers of 1e-7 .. 0.1 to -1 .. 1


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


class StreamingAudioEncoder(nn.Module):
    """Log-mel columns (B, mels, 4 F) -> embeddings (B, F, C), which depend on ``ahead`` columns after their frame's own
    and ``behind`` before: at 25 frames per second on 0.15 s of later sound, windows included, and 0.87 s of earlier.
    """

    stem_columns, ahead, behind, reach = 5, 14, 86, 22  # reach in frames
    # Blocks at 2 positions per frame, then at 1: how many positions they see before and after their own, the distance.
    HALF_FRAMES, FRAMES = ((2, 1, 1), (2, 1, 1)), ((2, 1, 1), (2, 1, 1), (3, 0, 1), (3, 0, 2), (3, 0, 1), (3, 0, 1))

    def __init__(self, config: AudioConfig):
        super().__init__()
        wide, narrow = config.channels, config.channels // 2
        self.config = config
        self.stem = nn.Linear(self.stem_columns * config.mels, narrow)
        self.to_half_frames = nn.Linear(2 * narrow, narrow)
        self.half_frames = nn.Sequential(*(TimeBlock(narrow, *span) for span in self.HALF_FRAMES))
        self.to_frames = nn.Linear(2 * narrow, wide)
        self.frames = nn.Sequential(*(TimeBlock(wide, *span) for span in self.FRAMES))
        self.norm, self.out = nn.LayerNorm(wide), nn.Linear(wide, config.embedding)

    def forward(self, mel: Tensor) -> Tensor:
        columns = _edged(mel.transpose(1, 2), self.stem_columns // 2, self.stem_columns // 2)
        h = F.gelu(self.stem(torch.cat([columns[:, k : k + mel.shape[-1]] for k in range(self.stem_columns)], -1)))
        h = self.half_frames(self.to_half_frames(h.unflatten(1, (-1, 2)).flatten(2)))
        h = self.frames(self.to_frames(h.unflatten(1, (-1, 2)).flatten(2)))
        return self.out(self.norm(h))


class TimeBlock(nn.Module):
    """Residual block on (B, T, C): a depthwise convolution over time that sees ``before`` and ``after`` positions,
    ``step`` apart, then two linear layers (Liu et al. 2022, arXiv:2201.03545).
    """

    def __init__(self, channels: int, before: int, after: int, step: int):
        super().__init__()
        self.before, self.after, self.step = before, after, step
        self.taps = nn.Parameter(torch.randn(before + 1 + after, channels) * (before + 1 + after) ** -0.5)
        self.norm = nn.LayerNorm(channels)
        self.widen, self.narrow = nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, channels)

    def forward(self, h: Tensor) -> Tensor:
        around, count = _edged(h, self.before * self.step, self.after * self.step), h.shape[1]
        mixed = sum(around[:, k * self.step : k * self.step + count] * tap for k, tap in enumerate(self.taps))
        return h + self.narrow(F.gelu(self.widen(self.norm(mixed))))


def _edged(h: Tensor, before: int, after: int) -> Tensor:
    """The first and the last position of (B, T, C) repeated before and after it."""
    return torch.cat([h[:, :1].expand(-1, before, -1), h, h[:, -1:].expand(-1, after, -1)], 1)
