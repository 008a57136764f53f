"""Painting frames that do not depend on each other: one at a time as sound comes, or a batch of a video's."""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import ModelConfig
from ..engines.engine import Network
from ..generator import SamplingOptions, conditioned_denoiser
from ..samplers import get_sampler
from ..schedule import noise_schedule


class MouthPainter:
    """Samples from no noise, as ``generator.sample_scene`` does for a model that paints the mouth alone."""

    def __init__(self, config: ModelConfig, options: SamplingOptions):
        self._schedule = noise_schedule(config.schedule, config.timesteps).respace(options.steps)
        self._sampler, self._options = get_sampler(options.sampler), options

    @torch.no_grad()
    def paint(self, network: Network, spatial: dict[str, Tensor], audio: Tensor) -> Tensor:
        """What a network paints in the windows, (B, 3, h, w) in [-1, 1].

        spatial: a scene's inputs, (B, C, h, w) each; audio: (B, 2 n + 1, C), the embeddings around each frame.
        """
        denoiser = conditioned_denoiser(network, self._schedule, spatial, {"audio": audio}, self._options.guidance)
        start = torch.zeros_like(spatial["identity"])
        return self._sampler(denoiser, self._schedule, start, lambda _: start, self._options.eta).clamp(-1, 1)
