"""The denoising network: a UNet over x_t and its spatial inputs, conditioned on the timestep and per-frame features.

Dhariwal & Nichol 2021's UNet with residual up and down sampling; speech conditioning as in Diffused Heads, eq. 17.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .config import UNetConfig
from .layers import (
    Attention,
    PixelShuffleConv,
    PixelUnshuffleConv,
    Refine,
    ResBlock,
    Stage,
    TimeEmbed,
    memory_format,
    zero_initialised,
)


class UNet(nn.Module):
    """Predicts eps, x0 or v of a noisy frame.

    ``forward(x_t, t, spatial, features)``
        x_t: (B, 3, S, S), [-1, 1] plus noise, S usually ``config.image_size``; t: (B,) original timesteps, 0 .. T-1;
        spatial: name -> (B, channels, S, S); features: name -> (B, window, channels).
        Returns (prediction (B, 3, S, S), weights of the learned variance (B, 3, S, S) in [-1, 1] or None), float32.

    With ``config.skip`` the prediction is a convex blend, pixel by pixel, of those spatial inputs and the picture that
    the network paints; it predicts the weights too (a softmax, the painted picture's logit being 0).
    """

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        c, groups = config.model_channels, config.norm_groups
        last, features = config.widths[-1], sum(g.window * g.channels for g in config.features)
        self.time_embed = TimeEmbed(c)
        self.audio_embed = nn.Sequential(nn.Linear(features, 4 * c), nn.SiLU(), nn.Linear(4 * c, 4 * c))
        self.input_blocks, widths = self._down()
        first, attention = self._res_block(last, last), Attention(last, config.head_channels, groups)
        self.middle_block = Stage(first, attention, self._res_block(last, last))
        self.output_blocks = self._up(widths)
        paint = zero_initialised(PixelShuffleConv(c, config.out_channels, config.unshuffle))
        self.out = nn.Sequential(nn.GroupNorm(groups, c), nn.SiLU(), paint)
        if config.refine:
            self.refine = Refine(3 * len(config.skip), config.out_channels, config.refine)

    def _res_block(self, inputs: int, outputs: int, direction: str | None = None) -> ResBlock:
        config = self.config
        return ResBlock(inputs, outputs, 4 * config.model_channels, config.norm_groups, config.dropout, direction)

    def _attention(self, level: int, width: int) -> list[nn.Module]:
        wanted = level in self.config.attention_levels
        return [Attention(width, self.config.head_channels, self.config.norm_groups)] if wanted else []

    def _down(self) -> tuple[nn.ModuleList, list[int]]:
        """The blocks down, and the width of each one's output, which the blocks up concatenate."""
        config, current = self.config, self.config.model_channels
        blocks = [Stage(PixelUnshuffleConv(config.in_channels, current, config.unshuffle))]
        outputs = [current]
        for level, width in enumerate(config.widths):
            for _ in range(config.res_blocks):
                blocks.append(Stage(self._res_block(current, width), *self._attention(level, width)))
                current = width
                outputs.append(current)
            if level < len(config.widths) - 1:
                blocks.append(Stage(self._res_block(current, current, "down")))
                outputs.append(current)
        return nn.ModuleList(blocks), outputs

    def _up(self, concatenated: list[int]) -> nn.ModuleList:
        blocks, current = [], self.config.widths[-1]
        for level, width in reversed(list(enumerate(self.config.widths))):
            for i in range(self.config.res_blocks + 1):
                layers = [self._res_block(current + concatenated.pop(), width), *self._attention(level, width)]
                current = width
                if level and i == self.config.res_blocks:
                    layers.append(self._res_block(current, current, "up"))
                blocks.append(Stage(*layers))
        return nn.ModuleList(blocks)

    def forward(
        self, x_t: Tensor, t: Tensor, spatial: Mapping[str, Tensor], features: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        self._check(x_t, spatial, features)
        time = self.time_embed(t)
        window = torch.cat([features[g.name].flatten(1) for g in self.config.features], -1)
        audio = self.audio_embed(window.to(time.dtype))
        h = torch.cat([x_t, *(spatial[s.name] for s in self.config.spatial)], 1)
        h = h.to(dtype=next(self.parameters()).dtype, memory_format=memory_format(h.device))
        skips = []
        for block in self.input_blocks:
            h = block(h, time, audio)
            skips.append(h)
        h = self.middle_block(h, time, audio)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], 1), time, audio)
        out = self.out(h)
        if self.config.refine:
            out = self.refine(out, torch.cat([spatial[name].to(out) for name in self.config.skip], 1))
        return self._blended(out.float(), spatial)

    def _blended(self, out: Tensor, spatial: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """The prediction from what the last layer gives, and the weights of the variance."""
        picture, rest = out[:, :3], out[:, 3:]
        if self.config.skip:
            logits = rest[:, -len(self.config.skip) :]
            weights = torch.cat([logits, torch.zeros_like(logits[:, :1])], 1).softmax(1)
            sources = torch.stack([*(spatial[name].float() for name in self.config.skip), picture], 1)
            picture = (weights[:, :, None] * sources).sum(1)
        return picture, rest[:, :3] if self.config.learned_variance else None

    def _check(self, x_t: Tensor, spatial: Mapping[str, Tensor], features: Mapping[str, Tensor]) -> None:
        batch, size, stride = len(x_t), tuple(x_t.shape[-2:]), self.config.stride
        want = {
            "x_t": (batch, 3, *size),
            **{s.name: (batch, s.channels, *size) for s in self.config.spatial},
            **{g.name: (batch, g.window, g.channels) for g in self.config.features},
        }
        found = {name: tuple(tensor.shape) for name, tensor in {"x_t": x_t, **spatial, **features}.items()}
        wrong = [f"{n}: expected {w}, found {found.get(n, 'nothing')}" for n, w in want.items() if found.get(n) != w]
        if any(side % stride for side in size):
            wrong.append(f"x_t: expected sides that are multiples of {stride}, found {size}")
        if wrong:
            raise ValueError("UNet input " + "; ".join(wrong))
