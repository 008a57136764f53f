"""Building blocks of the UNet, leaf to root: timestep embedding, residual block, self-attention.

Parameter names follow the released model, so that its weights load as they are.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F


def timestep_embedding(t: Tensor, channels: int) -> Tensor:
    """[cos, sin] of t * exp(-ln(10000) k / (2 C)), k = 0 .. C/2 - 1: (B,) timesteps -> (B, C) float32."""
    k = torch.arange(channels // 2, dtype=torch.float32, device=t.device)
    angle = t.float()[:, None] * torch.exp(-math.log(10000.0) * k / (2 * channels))
    return torch.cat([angle.cos(), angle.sin()], -1)


class TimeEmbed(nn.Module):
    """Timesteps (B,) -> (B, 4 C), a sinusoid and two linear layers."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.fc = nn.Sequential(nn.Linear(channels, 4 * channels), nn.SiLU(), nn.Linear(4 * channels, 4 * channels))

    def forward(self, t: Tensor) -> Tensor:
        return self.fc(timestep_embedding(t, self.channels).to(self.fc[0].weight.dtype))


def scale_shift(h: Tensor, embedding: Tensor) -> Tensor:
    """h (1 + scale) + shift, scale first in the embedding (B, 2 C)."""
    scale, shift = embedding[:, :, None, None].to(h.dtype).chunk(2, 1)
    return h * (1 + scale) + shift


def resample(direction: str | None) -> nn.Module:
    """Parameter-free change of resolution: 'down' halves by mean, 'up' doubles by repetition, None keeps."""
    if direction == "down":
        return nn.AvgPool2d(2)
    return nn.Upsample(scale_factor=2, mode="nearest") if direction == "up" else nn.Identity()


class ResBlock(nn.Module):
    """Residual block whose second norm is scaled and shifted by the timestep, then by the audio (paper, eq. 17)."""

    def __init__(
        self, inputs: int, outputs: int, embedding: int, groups: int, dropout: float, direction: str | None = None
    ):
        super().__init__()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(groups, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1)
        )
        self.resample = resample(direction)
        self.t_emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * outputs))
        self.audio_emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * outputs))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(groups, outputs), nn.SiLU(), nn.Dropout(dropout), nn.Conv2d(outputs, outputs, 3, padding=1)
        )
        nn.init.zeros_(self.out_layers[3].weight)
        nn.init.zeros_(self.out_layers[3].bias)
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, time: Tensor, audio: Tensor) -> Tensor:
        norm, act, conv = self.in_layers
        h = conv(self.resample(act(norm(x))))
        norm, *rest = self.out_layers
        h = scale_shift(scale_shift(norm(h), self.t_emb_layers(time)), self.audio_emb_layers(audio))
        for layer in rest:
            h = layer(h)
        return self.skip_connection(self.resample(x)) + h


class Attention(nn.Module):
    """Self-attention over positions; the qkv convolution's output is split a head into q, k, v; softmax in float32."""

    def __init__(self, channels: int, head_channels: int, groups: int):
        super().__init__()
        self.heads = channels // head_channels
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        q, k, v = rearrange(self.qkv(self.norm(flat)), "b (h three c) n -> three b h n c", three=3, h=self.heads)
        weight = torch.einsum("bhnc,bhmc->bhnm", q / math.sqrt(q.shape[-1]), k)
        h = torch.einsum("bhnm,bhmc->bhnc", weight.float().softmax(-1).to(v.dtype), v)
        return (flat + self.proj_out(rearrange(h, "b h n c -> b (h c) n"))).view_as(x)


class Stage(nn.Sequential):
    """Layers of one step down or up: residual blocks get the embeddings, the others the image alone."""

    def forward(self, x: Tensor, time: Tensor, audio: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, time, audio) if isinstance(layer, ResBlock) else layer(x)
        return x


class PixelUnshuffleConv(nn.Conv2d):
    """The stem: space to depth by ``factor``, then a 3x3 convolution. Factor 1 is the published convolution."""

    def __init__(self, inputs: int, outputs: int, factor: int):
        super().__init__(inputs * factor**2, outputs, 3, padding=1)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pixel_unshuffle(x, self.factor))


class PixelShuffleConv(nn.Conv2d):
    """The head: a 3x3 convolution, then depth to space by ``factor``."""

    def __init__(self, inputs: int, outputs: int, factor: int):
        super().__init__(inputs, outputs * factor**2, 3, padding=1)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(super().forward(x), self.factor)


class Refine(nn.Module):
    """A correction of the output (B, O, S, S) from the inputs (B, I, S, S) at full resolution; nothing at first."""

    def __init__(self, inputs: int, outputs: int, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs + outputs, channels, 3, padding=1), nn.SiLU(), nn.Conv2d(channels, outputs, 3, padding=1)
        )
        nn.init.zeros_(self.layers[2].weight)
        nn.init.zeros_(self.layers[2].bias)

    def forward(self, output: Tensor, inputs: Tensor) -> Tensor:
        return output + self.layers(torch.cat([output, inputs], 1))
