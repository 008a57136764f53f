"""Building blocks of the UNet, leaf to root: timestep embedding, residual block, self-attention.

Parameter names follow the released model, so that its weights load as they are.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F


def memory_format(device: torch.device) -> torch.memory_format:
    """The layout of pictures that convolutions take as it is; MPS would copy channels-last ones at each layer."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def zero_initialised(layer: nn.Module) -> nn.Module:
    """A convolution that starts at zero, so that the residual branch that it ends adds nothing at first."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def timestep_embedding(t: Tensor, channels: int) -> Tensor:
    """[cos, sin] of t * exp(-ln(10000) k / (2 C)), k = 0 .. C/2 - 1: (B,) timesteps -> (B, C) float32.

    The usual form divides by C / 2; the division by 2 C follows the released model, whose weights expect it.
    """
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
        return self.fc(timestep_embedding(t, self.channels).to(next(self.parameters()).dtype))


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
        last = zero_initialised(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.out_layers = nn.Sequential(nn.GroupNorm(groups, outputs), nn.SiLU(), nn.Dropout(dropout), last)
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, time: Tensor, audio: Tensor) -> Tensor:
        norm, activation, convolution = self.in_layers
        h = convolution(self.resample(activation(norm(x))))
        norm, *rest = self.out_layers
        h = scale_shift(scale_shift(norm(h), self.t_emb_layers(time)), self.audio_emb_layers(audio))
        for layer in rest:
            h = layer(h)
        return self.skip_connection(self.resample(x)) + h


class Attention(nn.Module):
    """Self-attention over positions; the output of the qkv convolution is split per head into q, k, v."""

    def __init__(self, channels: int, head_channels: int, groups: int):
        super().__init__()
        self.heads = channels // head_channels
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = zero_initialised(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        q, k, v = rearrange(self.qkv(self.norm(flat)), "b (h three c) n -> three b h n c", three=3, h=self.heads)
        h = rearrange(F.scaled_dot_product_attention(q, k, v), "b h n c -> b (h c) n")
        return (flat + self.proj_out(h)).view_as(x)


class Stage(nn.Sequential):
    """Layers of one step down or up: residual blocks get the embeddings, the others the image alone."""

    def forward(self, x: Tensor, time: Tensor, audio: Tensor) -> Tensor:  # type: ignore[override]
        for layer in self:
            x = layer(x, time, audio) if isinstance(layer, ResBlock) else layer(x)
        return x


class PixelUnshuffleConv(nn.Conv2d):
    """The first layer: space to depth by ``factor``, then a 3x3 convolution. Factor 1 is the published convolution."""

    def __init__(self, inputs: int, outputs: int, factor: int):
        super().__init__(inputs * factor**2, outputs, 3, padding=1)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pixel_unshuffle(x, self.factor))


class PixelShuffleConv(nn.Conv2d):
    """The last layer: a 3x3 convolution, then depth to space by ``factor``."""

    def __init__(self, inputs: int, outputs: int, factor: int):
        super().__init__(inputs, outputs * factor**2, 3, padding=1)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(super().forward(x), self.factor)


class Refine(nn.Module):
    """A correction of the output (B, O, S, S) from the inputs (B, I, S, S) at full resolution, zero at first."""

    def __init__(self, inputs: int, outputs: int, channels: int):
        super().__init__()
        first = nn.Conv2d(inputs + outputs, channels, 3, padding=1)
        self.layers = nn.Sequential(first, nn.SiLU(), zero_initialised(nn.Conv2d(channels, outputs, 3, padding=1)))

    def forward(self, output: Tensor, inputs: Tensor) -> Tensor:
        return output + self.layers(torch.cat([output, inputs], 1))
