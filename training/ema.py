"""Exponential moving average of weights."""

from __future__ import annotations

import copy

import torch
from torch import nn

from .parallel import whole


class Ema:
    """``model`` holds the average of a network's weights, with a decay that warms up as (1 + n) / (10 + n)."""

    def __init__(self, source: nn.Module, decay: float):
        self.decay = decay
        self.model = copy.deepcopy(source).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, source: nn.Module, step: int) -> None:
        """Move the average towards ``source`` after optimiser step ``step`` (from 0); of a sharded one every process
        keeps all.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.model.parameters()), [whole(p.detach()) for p in source.parameters()], 1 - decay)
