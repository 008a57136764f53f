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
    columns_per_second = COLUMNS_PER_FRAME * fps
    centres = np.round((np.arange(frames * COLUMNS_PER_FRAME) + 0.5) * SAMPLE_RATE / columns_per_second).astype(
        np.int64
    )
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


STEM = 5  # columns of the first convolution of the streaming encoder
# Positions before and after its own that each of its blocks sees, and the distance between them in positions.
HALF_FRAME_BLOCKS = ((2, 1, 1), (2, 1, 1))
FRAME_BLOCKS = ((2, 1, 1), (2, 1, 1), (3, 0, 1), (3, 0, 2), (3, 0, 1), (3, 0, 1))


def _columns_seen(side: int) -> int:
    """Columns before (0) or after (1) those of its own frame that an embedding of the streaming encoder depends on."""
    half_frames, frames = (sum(b[side] * b[2] for b in blocks) for blocks in (HALF_FRAME_BLOCKS, FRAME_BLOCKS))
    return STEM // 2 + half_frames * COLUMNS_PER_FRAME // 2 + frames * COLUMNS_PER_FRAME


class StreamingAudioEncoder(nn.Module):
    """Log-mel columns (B, mels, 4 F) -> embeddings (B, F, C) that depend on little of the future.

    A convolution of the columns, then residual blocks at 2 positions per frame, then at 1. An embedding depends on
    ``AHEAD`` columns after those of its own frame and ``BEHIND`` before: at 25 frames per second, on sound up to 0.15 s
    after the frame, window included, and 0.87 s before it.
    """

    AHEAD, BEHIND = _columns_seen(1), _columns_seen(0)
    reach = -(-BEHIND // COLUMNS_PER_FRAME)

    def __init__(self, config: AudioConfig):
        super().__init__()
        wide, narrow = config.channels, config.channels // 2
        self.config = config
        self.stem = nn.Linear(STEM * config.mels, narrow)
        self.to_half_frames = nn.Linear(2 * narrow, narrow)
        self.half_frames = nn.Sequential(*(TimeBlock(narrow, *span) for span in HALF_FRAME_BLOCKS))
        self.to_frames = nn.Linear(2 * narrow, wide)
        self.frames = nn.Sequential(*(TimeBlock(wide, *span) for span in FRAME_BLOCKS))
        self.norm, self.out = nn.LayerNorm(wide), nn.Linear(wide, config.embedding)

    def forward(self, mel: Tensor) -> Tensor:
        columns = padded(mel.transpose(1, 2), STEM // 2, STEM // 2)
        h = F.gelu(self.stem(torch.cat([columns[:, k : k + mel.shape[-1]] for k in range(STEM)], -1)))
        h = self.half_frames(self.to_half_frames(h.unflatten(1, (-1, 2)).flatten(2)))
        h = self.frames(self.to_frames(h.unflatten(1, (-1, 2)).flatten(2)))
        return self.out(self.norm(h))


class TimeBlock(nn.Module):
    """Residual block on (B, T, C): a depthwise convolution over time, then two linear layers per position (Liu et al.
    2022, arXiv:2201.03545). It sees ``before`` positions before its own and ``after`` after it, ``step`` apart.
    """

    def __init__(self, channels: int, before: int, after: int, step: int):
        super().__init__()
        self.before, self.after, self.step = before, after, step
        self.taps = nn.Parameter(torch.randn(before + 1 + after, channels) * (before + 1 + after) ** -0.5)
        self.norm = nn.LayerNorm(channels)
        self.widen, self.narrow = nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, channels)

    def forward(self, h: Tensor) -> Tensor:
        around = padded(h, self.before * self.step, self.after * self.step)
        mixed = around[:, : h.shape[1]] * self.taps[0]
        for k in range(1, len(self.taps)):
            mixed = mixed + around[:, k * self.step : k * self.step + h.shape[1]] * self.taps[k]
        return h + self.narrow(F.gelu(self.widen(self.norm(mixed))))


def padded(h: Tensor, before: int, after: int) -> Tensor:
    """The first and the last position of (B, T, C) repeated so many times before and after it."""
    return torch.cat([h[:, :1].expand(-1, before, -1), h, h[:, -1:].expand(-1, after, -1)], 1)
