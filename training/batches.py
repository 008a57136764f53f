"""Parts of a batch as a training step needs them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .config import TrainConfig
from .draws import BatchDraws, draw_batch


@dataclass(frozen=True)
class Prepared:
    """A part of a batch on the device: what FrameSamples gives, collated, and every random choice that it asks for."""

    sample: dict[str, Tensor]
    draws: BatchDraws


def prepare(sample: dict[str, Tensor], config: TrainConfig, timesteps: int, device: torch.device) -> Prepared:
    """Move collated samples to the device and draw all their random choices."""
    values = dict(sample)
    positions, size = values.pop("position").tolist(), values["frames"].shape[-1]
    draws = draw_batch(config, positions, size, timesteps, device)
    return Prepared({name: value.to(device, non_blocking=True) for name, value in values.items()}, draws)
