"""An autoregressive model of head motion of the motion prior's size: what the prior is compared with.

It is made of the same blocks, looking back alone, and gives the distribution of the next frame's change, a Gaussian per
column; tracks are sampled frame by frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import default_collate

from diffused_heads.diffused_heads_core.motion.prior_network import Block, PriorConfig
from diffused_heads.diffused_heads_core.motion.track import COLUMNS
from diffused_heads.training.motion.clips import Clip
from diffused_heads.training.motion.presets import MotionTrainConfig
from diffused_heads.training.motion.samples import MotionSamples

AHEAD = 12  # frames of later speech that it is given
SIGMA = (-5.0, 1.0)  # of the logarithm of the deviation
CONDITION = 8


class NextFrame(nn.Module):
    """Past tracks (B, N, C) and speech (B, N, 2 E) -> mean and log deviation of the change to the next, (B, N, C)."""

    def __init__(self, config: PriorConfig):
        super().__init__()
        columns, channels = len(config.columns), config.channels
        self.audio = nn.Linear(2 * config.embedding, channels // 2)
        self.enter = nn.Linear(columns + channels // 2, channels)
        steps = config.dilations
        self.blocks = nn.ModuleList(Block(channels, CONDITION, step, config.dropout, causal=True) for step in steps)
        self.leave = nn.Linear(channels, 2 * columns)

    def forward(self, tracks: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        h = self.enter(torch.cat([tracks, self.audio(audio)], -1))
        for block in self.blocks:
            h = block(h, h.new_zeros(len(h), CONDITION))
        mean, sigma = self.leave(F.layer_norm(h, h.shape[-1:])).chunk(2, -1)
        return mean, sigma.clamp(*SIGMA)


def with_later(audio: Tensor) -> Tensor:
    """Embeddings (B, N, E) with those ``AHEAD`` frames later, (B, N, 2 E)."""
    later = torch.cat([audio[:, AHEAD:], audio[:, -1:].expand(-1, AHEAD, -1)], 1)
    return torch.cat([audio, later[:, : audio.shape[1]]], -1)


def train(clips: Sequence[Clip], config: MotionTrainConfig, prior: PriorConfig, steps: int) -> NextFrame:
    """A model trained on the prior's own samples by maximum likelihood."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        model = NextFrame(prior)
        samples = MotionSamples(clips, config, prior)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3, (0.9, 0.99), weight_decay=config.weight_decay)
        for step in range(steps):
            rows = [samples[step * config.batch + n] for n in range(config.batch)]
            batch = default_collate(rows)
            tracks = batch["target"][:, :, 0].transpose(1, 2)
            inside = ((batch["learned"] + batch["known"]) > 0)[:, 0, 0, 1:, None].float()
            mean, sigma = model(tracks[:, :-1], with_later(batch["audio"])[:, 1:])
            error = (tracks.diff(dim=1) - mean) / sigma.exp()
            loss = ((sigma + error.square() / 2) * inside).sum() / inside.sum()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * min(1.0, (step + 1) / 100, 2 * (1 - step / steps) + 0.02)
            optimizer.step()
            optimizer.zero_grad()
    return model.eval()


@torch.no_grad()
def sample(model: NextFrame, prior: PriorConfig, embeddings: np.ndarray, seed: int) -> np.ndarray:
    """The columns (N, 16) of a track that begins at 0; lids stay open."""
    rng = np.random.default_rng([seed, 7])
    audio = with_later(torch.from_numpy(embeddings)[None])
    tracks = torch.zeros(1, 1, len(prior.columns))
    for frame in range(1, len(embeddings)):
        first = max(0, frame - prior.window)
        mean, sigma = (part[:, -1:] for part in model(tracks[:, first:], audio[:, first + 1 : frame + 1]))
        noise = torch.from_numpy(rng.standard_normal(mean.shape, np.float32))
        tracks = torch.cat([tracks, tracks[:, -1:] + mean + sigma.exp() * noise], 1)
    values = np.zeros((len(embeddings), len(COLUMNS)), np.float32)
    values[:, [COLUMNS.index(name) for name in prior.columns]] = tracks[0].numpy() * np.float32(prior.deviations)
    return values
