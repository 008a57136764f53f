"""The audio encoder of models that paint the mouth alone: deeper than ``AudioEncoder``, with little look-ahead.

Its weights are distilled from a speech recogniser's features and from measured lips.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import AudioConfig


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
        columns = edged(mel.transpose(1, 2), self.stem_columns // 2, self.stem_columns // 2)
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
        around, count = edged(h, self.before * self.step, self.after * self.step), h.shape[1]
        mixed = sum(around[:, k * self.step : k * self.step + count] * tap for k, tap in enumerate(self.taps))
        return h + self.narrow(F.gelu(self.widen(self.norm(mixed))))


def edged(h: Tensor, before: int, after: int) -> Tensor:
    """The first and the last position of (B, T, C) repeated before and after it."""
    return torch.cat([h[:, :1].expand(-1, before, -1), h, h[:, -1:].expand(-1, after, -1)], 1)
