"""The network of the motion prior: it denoises a window of a motion track, given the speech and what came before."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import raise_problems
from ..layers import TimeEmbed, zero_initialised
from ..mouth.streaming_encoder import edged
from ..schedule import SCHEDULES
from .track import COLUMNS

OWN_POSE = 3  # yaw, pitch, roll of the portrait's head
TIME_CHANNELS = 32
TIME_UNIT = 20  # timesteps for a radian of the fastest wave of their embedding


@dataclass(frozen=True)
class PriorConfig:
    """A motion prior: what it gives and how it is built.

    columns: of ``track.COLUMNS`` that it samples; deviations: their standard deviations in the training data, by which
    they are divided. window: frames that are denoised together, of which the first ``past`` are known from the window
    before. labels: kinds of motion that may be asked for. channels, dilations: of the blocks over time. sampler, steps,
    guidance: how it samples; noise: scale of the noise it starts from with which these give the data's deviations.
    """

    columns: tuple[str, ...]
    deviations: tuple[float, ...]
    labels: tuple[str, ...] = ()
    fps: int = 25
    embedding: int = 128
    window: int = 64
    past: int = 12
    channels: int = 96
    dilations: tuple[int, ...] = (1, 2, 4, 8, 1, 2, 4, 8)
    dropout: float = 0.1
    schedule: str = "cosine"
    timesteps: int = 800
    prediction: str = "x0"
    sampler: str = "ddim"
    steps: int = 8
    guidance: float = 1.0
    noise: float = 1.0

    def __post_init__(self) -> None:
        unknown = [name for name in self.columns if name not in COLUMNS]
        wrong = {
            f"columns {unknown}: expected some of {COLUMNS}": bool(unknown) or not self.columns,
            f"{len(self.deviations)} deviations for {len(self.columns)} columns": len(self.deviations)
            != len(self.columns),
            f"deviations={self.deviations}: expected numbers above 0": not min(self.deviations, default=1) > 0,
            f"past={self.past}: expected 1 to less than window={self.window}": not 1 <= self.past < self.window,
            f"steps={self.steps}: expected 1..{self.timesteps}": not 1 <= self.steps <= self.timesteps,
            f"noise={self.noise}: expected more than 0": not self.noise > 0,
            f"guidance={self.guidance}: expected 0 or more": not self.guidance >= 0,
            f"schedule={self.schedule!r}: expected one of {sorted(SCHEDULES)}": self.schedule not in SCHEDULES,
        }
        raise_problems("motion prior", wrong)


@dataclass(frozen=True, eq=False)
class Given:
    """What a window of N frames is conditioned on.

    audio: (B, N, E) embeddings; heard: (B, N), 1 for the frames whose embeddings are known. past: (B, C, 1, N) tracks
    in deviations; known: (B, 1, 1, N), 1 for frames whose track is known. own: (B, 4), the portrait's yaw, pitch and
    roll in radians, then 1, or zeros if they are not known. label: (B,) number of the label from 1 on, 0 for none.
    """

    audio: Tensor
    heard: Tensor
    past: Tensor
    known: Tensor
    own: Tensor
    label: Tensor

    def with_unconditional(self) -> Given:
        """These windows, then the same ones without speech, pose and label, for classifier-free guidance."""

        def doubled(rows: Tensor, same: bool = False) -> Tensor:
            return torch.cat([rows, rows if same else torch.zeros_like(rows)])

        return Given(
            doubled(self.audio),
            doubled(self.heard),
            doubled(self.past, same=True),
            doubled(self.known, same=True),
            doubled(self.own),
            doubled(self.label),
        )


class Block(nn.Module):
    """Residual block on (B, N, C): what is ``dilation`` frames before and after is mixed in, and two linear layers,
    scaled and shifted by the condition (B, D). A causal block looks back alone.
    """

    def __init__(self, channels: int, condition: int, dilation: int, dropout: float, causal: bool = False):
        super().__init__()
        self.before, self.after = (2 * dilation, 0) if causal else (dilation, dilation)
        self.modulation = zero_initialised(nn.Linear(condition, 2 * channels))
        self.widen, self.narrow = (
            nn.Linear(3 * channels, 2 * channels),
            zero_initialised(nn.Linear(2 * channels, channels)),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulation(condition)[:, None].chunk(2, -1)
        around = edged(F.layer_norm(h, h.shape[-1:]) * (1 + scale) + shift, self.before, self.after)
        step, count = (self.before + self.after) // 2, h.shape[1]
        taps = torch.cat([around[:, k * step : k * step + count] for k in range(3)], -1)
        return h + self.narrow(self.dropout(F.gelu(self.widen(taps))))


class MotionNetwork(nn.Module):
    """(B, C, 1, N) noisy tracks, timesteps (B,) and what is given -> the prediction (B, C, 1, N)."""

    def __init__(self, config: PriorConfig):
        super().__init__()
        columns, channels, condition = len(config.columns), config.channels, 4 * TIME_CHANNELS
        self.time = TimeEmbed(TIME_CHANNELS)
        self.own = nn.Linear(OWN_POSE + 1, condition, bias=False)
        self.label = nn.Embedding(len(config.labels) + 1, condition)
        self.audio = nn.Linear(config.embedding + 1, channels // 2)
        self.enter = nn.Linear(2 * columns + 1 + channels // 2, channels)
        self.blocks = nn.ModuleList(Block(channels, condition, step, config.dropout) for step in config.dilations)
        self.leave = zero_initialised(nn.Linear(channels, columns))

    def forward(self, x: Tensor, timesteps: Tensor, given: Given) -> Tensor:
        condition = F.silu(self.time(timesteps / TIME_UNIT) + self.own(given.own) + self.label(given.label))
        heard = given.heard[..., None]
        audio = self.audio(torch.cat([given.audio * heard, heard], -1))
        tracks = torch.cat([x[:, :, 0], given.past[:, :, 0], given.known[:, :, 0]], 1).transpose(1, 2)
        h = self.enter(torch.cat([tracks, audio], -1))
        for block in self.blocks:
            h = block(h, condition)
        return self.leave(F.layer_norm(h, h.shape[-1:])).transpose(1, 2)[:, :, None]
