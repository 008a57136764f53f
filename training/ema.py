"""Exponential moving average of weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .parallel import full_tensor, local_shard, shard_like


class Ema:
    """``model`` holds the average of a network's weights, with a decay that warms up as (1 + n) / (10 + n).

    The average of a sharded network is sharded in the same way. ``model`` can then be called and saved only inside
    ``gathered()``.
    """

    def __init__(self, source: nn.Module, decay: float):
        self.decay, self.sharded = decay, False
        self.model = copy.deepcopy(source).eval().requires_grad_(False)

    @torch.no_grad()
    def shard(self, source: nn.Module) -> None:
        """Keep only this process's shards, divided like the parameters of ``source``; every process must call this."""
        pairs = zip(self.model.named_parameters(), source.parameters())
        _set_parameters(self.model, {name: shard_like(mean, parameter) for (name, mean), parameter in pairs})
        self.sharded = True

    @torch.no_grad()
    def update(self, source: nn.Module, step: int) -> None:
        """Move the average towards ``source`` after optimiser step ``step`` (from 0), each process its own shards."""
        decay = min(self.decay, (1 + step) / (10 + step))
        means, values = ([local_shard(p) for p in model.parameters()] for model in (self.model, source))
        torch._foreach_lerp_(means, values, 1 - decay)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Inside the block ``model`` has its whole weights. If it is sharded, every process must enter the block."""
        if not self.sharded:
            yield
            return
        shards = dict(self.model.named_parameters())
        with torch.no_grad():
            _set_parameters(self.model, {name: full_tensor(shard) for name, shard in shards.items()})
        try:
            yield
        finally:
            _set_parameters(self.model, shards)


def _set_parameters(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, nn.Parameter(tensor, requires_grad=False))
