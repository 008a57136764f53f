"""Random numbers of training samples: each row of a batch draws from a generator of its own.

A generator is keyed by (seed, position in the run) alone. How samples are spread over processes, machines and parts of
a batch therefore changes no number, and neither does an interruption.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

STREAM = 3  # the dataset's order and choices have streams of their own


class Draws:
    """Random numbers for samples at ``positions``, uniform ones on the CPU, normal ones on ``device``."""

    def __init__(self, seed: int, positions: Sequence[int], device: torch.device | str = "cpu"):
        seeds = [
            int(np.random.SeedSequence([seed, STREAM, int(p)]).generate_state(1, np.uint64)[0] >> np.uint64(1))
            for p in positions
        ]
        self.device = torch.device(device)
        self.rows = [torch.Generator().manual_seed(s) for s in seeds]
        own = self.device.type == "cuda"  # where many normal numbers are cheapest made in place
        self.normal = [torch.Generator(self.device).manual_seed(s) for s in seeds] if own else self.rows

    def __len__(self) -> int:
        return len(self.rows)

    def uniform(self, *shape: int) -> Tensor:
        """(B, *shape), uniform in 0..1, on the CPU."""
        return torch.stack([torch.rand(shape, generator=g) for g in self.rows])

    def integers(self, high: int) -> Tensor:
        """(B,) of 0 .. high - 1, on the CPU."""
        return torch.stack([torch.randint(high, (), generator=g) for g in self.rows])

    def gaussian(self, *shape: int, rows: Sequence[int] | None = None) -> Tensor:
        """(B, *shape) standard normal on the device; only for ``rows`` where they are given, the others draw nothing."""
        chosen = self.normal if rows is None else [self.normal[int(row)] for row in rows]
        drawn = [torch.randn(shape, generator=g, device=g.device) for g in chosen]
        return (torch.stack(drawn) if drawn else torch.empty(0, *shape)).to(self.device)
