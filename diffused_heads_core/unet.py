"""The denoising network: a UNet over x_t and its spatial inputs, steered by the timestep and per-frame features.

Dhariwal & Nichol 2021's UNet with residual up and down sampling; speech conditioning as in Diffused Heads, eq. 17.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .config import UNetConfig
from .layers import Attention, PixelShuffleConv, PixelUnshuffleConv, Refine, ResBlock, Stage, TimeEmbed


class UNet(nn.Module):
    """Predicts eps, x0 or v of a noisy frame.

    ``forward(x_t, t, spatial, features)``
        x_t: (B, 3, S, S), [-1, 1] plus noise, S usually ``config.image_size``; t: (B,) original timesteps, 0 .. T-1;
        spatial: name -> (B, channels, S, S); features: name -> (B, window, channels).
        Returns (prediction (B, 3, S, S), v (B, 3, S, S) in [-1, 1] or None).

    With ``config.skip`` the prediction is a convex blend, pixel by pixel, of those spatial inputs and the picture that
    the network paints; it predicts the weights too (a softmax, the painted picture's logit being 0).
    """

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        c, groups = config.model_channels, config.norm_groups
        widths = [c * m for m in config.channel_mult]
        window = sum(g.window * g.channels for g in config.features)
        self.time_embed = TimeEmbed(c)
        self.audio_embed = nn.Sequential(nn.Linear(window, 4 * c), nn.SiLU(), nn.Linear(4 * c, 4 * c))
        self.input_blocks, kept = self._down(widths)
        last = widths[-1]
        self.middle_block = Stage(
            self._res(last, last), Attention(last, config.head_channels, groups), self._res(last, last)
        )
        self.output_blocks = self._up(widths, kept)
        self.out = nn.Sequential(
            nn.GroupNorm(groups, c), nn.SiLU(), PixelShuffleConv(c, config.out_channels, config.unshuffle)
        )
        nn.init.zeros_(self.out[2].weight)
        nn.init.zeros_(self.out[2].bias)
        if config.refine:
            self.refine = Refine(3 * len(config.skip), config.out_channels, config.refine)

    def _res(self, inputs: int, outputs: int, direction: str | None = None) -> ResBlock:
        return ResBlock(
            inputs, outputs, 4 * self.config.model_channels, self.config.norm_groups, self.config.dropout, direction
        )

    def _attention(self, level: int, width: int) -> list[nn.Module]:
        wanted = level in self.config.attention_levels
        return [Attention(width, self.config.head_channels, self.config.norm_groups)] if wanted else []

    def _down(self, widths: list[int]) -> tuple[nn.ModuleList, list[int]]:
        current = self.config.model_channels
        blocks = [Stage(PixelUnshuffleConv(self.config.in_channels, current, self.config.unshuffle))]
        kept = [current]
        for level, width in enumerate(widths):
            for _ in range(self.config.res_blocks):
                blocks.append(Stage(self._res(current, width), *self._attention(level, width)))
                current = width
                kept.append(current)
            if level < len(widths) - 1:
                blocks.append(Stage(self._res(current, current, "down")))
                kept.append(current)
        return nn.ModuleList(blocks), kept

    def _up(self, widths: list[int], kept: list[int]) -> nn.ModuleList:
        blocks, current = [], widths[-1]
        for level, width in reversed(list(enumerate(widths))):
            for i in range(self.config.res_blocks + 1):
                layers = [self._res(current + kept.pop(), width), *self._attention(level, width)]
                current = width
                if level and i == self.config.res_blocks:
                    layers.append(self._res(current, current, "up"))
                blocks.append(Stage(*layers))
        return nn.ModuleList(blocks)

    def forward(
        self, x_t: Tensor, t: Tensor, spatial: Mapping[str, Tensor], features: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        self._check(x_t, spatial, features)
        time = self.time_embed(t)
        audio = self.audio_embed(
            torch.cat([features[g.name].flatten(1) for g in self.config.features], -1).to(time.dtype)
        )
        h = torch.cat([x_t, *(spatial[s.name] for s in self.config.spatial)], 1)
        h = h.to(dtype=self.input_blocks[0][0].weight.dtype, memory_format=torch.channels_last)
        kept = []
        for block in self.input_blocks:
            h = block(h, time, audio)
            kept.append(h)
        h = self.middle_block(h, time, audio)
        for block in self.output_blocks:
            h = block(torch.cat([h, kept.pop()], 1), time, audio)
        out = self.out(h)
        if self.config.refine:
            out = self.refine(out, torch.cat([spatial[name].to(out) for name in self.config.skip], 1))
        return self._split(out.float(), spatial)

    def _split(self, out: Tensor, spatial: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        picture, rest = out[:, :3], out[:, 3:]
        if self.config.skip:
            logits = rest[:, -len(self.config.skip) :]
            weights = torch.cat([logits, torch.zeros_like(logits[:, :1])], 1).softmax(1)
            sources = torch.stack([*(spatial[name].float() for name in self.config.skip), picture], 1)
            picture = (weights[:, :, None] * sources).sum(1)
        return picture, rest[:, :3] if self.config.learned_variance else None

    def _check(self, x_t: Tensor, spatial: Mapping[str, Tensor], features: Mapping[str, Tensor]) -> None:
        batch, size = len(x_t), tuple(x_t.shape[-2:])
        stride = self.config.unshuffle * 2 ** (len(self.config.channel_mult) - 1)
        want = {
            "x_t": (batch, 3, *size),
            **{s.name: (batch, s.channels, *size) for s in self.config.spatial},
            **{g.name: (batch, g.window, g.channels) for g in self.config.features},
        }
        found = {"x_t": x_t, **spatial, **features}
        wrong = [
            f"{n}: expected {w}, found {tuple(found[n].shape) if n in found else 'nothing'}"
            for n, w in want.items()
            if n not in found or tuple(found[n].shape) != w
        ]
        wrong += (
            [f"x_t: expected sides that are multiples of {stride}, found {size}"]
            if any(side % stride for side in size)
            else []
        )
        if wrong:
            raise ValueError("UNet input " + "; ".join(wrong))
