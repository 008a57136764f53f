"""Clipping of gradients, and a guard against those that are not finite."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .parallel import full_tensor, local_shard


@torch.no_grad()
def clip_gradients(parameters: Sequence[Tensor], limit: float) -> Tensor:
    """Scale the gradients to a norm of at most ``limit``, or set them to zero if their norm is not finite.

    Returns the norm before, a tensor () on the device; nothing waits for it. If the parameters are sharded, every
    process must call this, and all get the norm over all shards.
    """
    norm = full_tensor(torch.nn.utils.clip_grad_norm_(parameters, limit))
    unusable = norm.isfinite().logical_not()
    for parameter in parameters:
        if parameter.grad is not None:
            local_shard(parameter.grad).masked_fill_(unusable, 0.0)
    return norm
