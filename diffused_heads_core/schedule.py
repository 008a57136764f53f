"""Noise schedules: named, float64, never changed once shipped. Respacing returns another schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .errors import DiffusedHeadsError


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """Betas of a forward process and the original timesteps that the network is given.

    betas: (N,) float64 in (0, 1); timesteps: (N,) int64, rising, the network's t for each kept index.
    """

    betas: np.ndarray
    timesteps: np.ndarray
    _uploaded: dict[torch.device, Mapping[str, Tensor]] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.betas)

    @cached_property
    def alphas_cumprod(self) -> np.ndarray:
        """alpha-bar_i, the product of 1 - beta up to i (DDPM, eq. 4)."""
        return np.cumprod(1.0 - self.betas)

    @cached_property
    def alphas_cumprod_prev(self) -> np.ndarray:
        """alpha-bar_{i-1}, with 1 before the first step."""
        return np.append(1.0, self.alphas_cumprod[:-1])

    @cached_property
    def posterior_variance(self) -> np.ndarray:
        """beta~_i, the variance of q(x_{i-1} | x_i, x_0) (DDPM, eq. 7)."""
        return self.betas * (1.0 - self.alphas_cumprod_prev) / (1.0 - self.alphas_cumprod)

    @cached_property
    def posterior_log_variance(self) -> np.ndarray:
        """log beta~_i with beta~_1 in place of beta~_0, whose logarithm does not exist."""
        variance = self.posterior_variance
        return np.log(np.append(variance[1:2] if len(variance) > 1 else self.betas[:1], variance[1:]))

    @cached_property
    def posterior_mean_coefs(self) -> tuple[np.ndarray, np.ndarray]:
        """Factors of x_0 and x_i in the mean of q(x_{i-1} | x_i, x_0) (DDPM, eq. 7)."""
        start = self.betas * np.sqrt(self.alphas_cumprod_prev) / (1.0 - self.alphas_cumprod)
        noisy = (1.0 - self.alphas_cumprod_prev) * np.sqrt(1.0 - self.betas) / (1.0 - self.alphas_cumprod)
        return start, noisy

    @cached_property
    def snr(self) -> np.ndarray:
        """Signal-to-noise ratio alpha-bar / (1 - alpha-bar)."""
        return self.alphas_cumprod / (1.0 - self.alphas_cumprod)

    def tables(self, device: torch.device) -> Mapping[str, Tensor]:
        """What the equations look up per sample, (N,) each, float32 but for the timesteps; uploaded once per device."""
        if device not in self._uploaded:
            start, noisy = self.posterior_mean_coefs
            tables = {
                "signal": np.sqrt(self.alphas_cumprod),
                "sigma": np.sqrt(1.0 - self.alphas_cumprod),
                "posterior_x0": start,
                "posterior_xt": noisy,
                "posterior_log_variance": self.posterior_log_variance,
                "log_beta": np.log(self.betas),
                "snr": self.snr,
            }
            with torch.inference_mode(False):  # a host may run in it, and training reads the tables too
                uploaded = {name: torch.from_numpy(table).float().to(device) for name, table in tables.items()}
                uploaded["timesteps"] = torch.from_numpy(self.timesteps).to(device)
            self._uploaded[device] = uploaded
        return self._uploaded[device]

    def respace(self, steps: int) -> NoiseSchedule:
        """Keep ``steps`` of the indices, round(i (T-1) / (N-1)), and rebuild betas from the kept alpha-bar.

        Raises DiffusedHeadsError unless 1 <= steps <= len(self). One step keeps the last index alone.
        """
        total = len(self)
        if not 1 <= steps <= total:
            raise DiffusedHeadsError(f"steps={steps}: expected 1..{total}")
        spaced = np.round(np.arange(steps) * (total - 1) / max(steps - 1, 1)).astype(np.int64)
        kept = spaced if steps > 1 else np.array([total - 1])
        bars = self.alphas_cumprod[kept]
        return NoiseSchedule(1.0 - bars / np.append(1.0, bars[:-1]), self.timesteps[kept])


def cosine(timesteps: int) -> NoiseSchedule:
    """Cosine schedule, betas at most 0.999 (Nichol & Dhariwal 2021, eq. 17)."""

    def bar(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - bar((i + 1) / timesteps) / bar(i / timesteps), 0.999) for i in range(timesteps)]
    return NoiseSchedule(np.array(betas, np.float64), np.arange(timesteps))


def linear(timesteps: int) -> NoiseSchedule:
    """Linear betas from 1e-4 to 0.02 at 1000 steps, scaled to other lengths (DDPM, section 4)."""
    scale = 1000 / timesteps
    betas = np.linspace(1e-4 * scale, 0.02 * scale, timesteps, dtype=np.float64).clip(max=0.999)
    return NoiseSchedule(betas, np.arange(timesteps))


SCHEDULES = {"cosine": cosine, "linear": linear}


def noise_schedule(name: str, timesteps: int) -> NoiseSchedule:
    """The schedule of that name. Raises DiffusedHeadsError for an unknown one."""
    if name not in SCHEDULES:
        raise DiffusedHeadsError(f"schedule={name!r}: expected one of {sorted(SCHEDULES)}")
    return SCHEDULES[name](timesteps)
