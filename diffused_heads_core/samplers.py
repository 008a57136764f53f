"""Samplers: functions of one signature in one registry. None of them knows a network, a file or a node.

``sampler(denoiser, schedule, x, noise, eta) -> x0``
    denoiser(x_t, i) -> Estimate at index i of the (respaced) schedule, its conditioning already bound; x: (B, 3, S, S)
    standard normal; noise(i) -> fresh standard normal like x, keyed by the caller; eta: 0 deterministic .. 1 (only DDIM
    uses it).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .diffusion import Estimate, p_log_variance, posterior_mean
from .errors import DiffusedHeadsError
from .schedule import NoiseSchedule

Denoiser = Callable[[Tensor, int], Estimate]
StepNoise = Callable[[int], Tensor]
Sampler = Callable[[Denoiser, NoiseSchedule, Tensor, StepNoise, float], Tensor]


def batch_index(x: Tensor, i: int) -> Tensor:
    """Index ``i`` for every row of x: (B,) int64 on its device."""
    return torch.full((len(x),), i, dtype=torch.long, device=x.device)


def ancestral(denoiser: Denoiser, schedule: NoiseSchedule, x: Tensor, noise: StepNoise, eta: float = 0.0) -> Tensor:
    """Sampling from p(x_{t-1} | x_t) step by step, with the learned variance if there is one (DDPM, algorithm 2)."""
    for i in reversed(range(len(schedule))):
        found, index = denoiser(x, i), batch_index(x, i)
        x = posterior_mean(schedule, found.x0, x, index)
        if i > 0:
            x = x + (0.5 * p_log_variance(schedule, found.variance, index, x.shape)).exp() * noise(i)
    return x


def ddim(denoiser: Denoiser, schedule: NoiseSchedule, x: Tensor, noise: StepNoise, eta: float = 0.0) -> Tensor:
    """DDIM (Song et al. 2021, eq. 12); eta = 0 is deterministic."""
    for i in reversed(range(len(schedule))):
        found = denoiser(x, i)
        bar, prev = float(schedule.alphas_cumprod[i]), float(schedule.alphas_cumprod_prev[i])
        sigma = eta * math.sqrt((1 - prev) / (1 - bar) * (1 - bar / prev))
        x = math.sqrt(prev) * found.x0 + math.sqrt(max(1 - prev - sigma**2, 0.0)) * found.eps
        if sigma > 0 and i > 0:
            x = x + sigma * noise(i)
    return x


def dpm_solver_2m(denoiser: Denoiser, schedule: NoiseSchedule, x: Tensor, noise: StepNoise, eta: float = 0.0) -> Tensor:
    """DPM-Solver++(2M), deterministic, second order in half log-SNR (Lu et al. 2022, algorithm 2).

    The last step, to zero noise, is first order, which returns the data prediction itself.
    """
    previous, step = None, 0.0
    for i in reversed(range(1, len(schedule))):
        x0 = denoiser(x, i).x0
        bar, prev = float(schedule.alphas_cumprod[i]), float(schedule.alphas_cumprod[i - 1])
        h = 0.5 * (math.log(prev / (1 - prev)) - math.log(bar / (1 - bar)))
        data = x0 if previous is None else x0 + (h / step) / 2 * (x0 - previous)
        x = math.sqrt((1 - prev) / (1 - bar)) * x - math.sqrt(prev) * math.expm1(-h) * data
        previous, step = x0, h
    return denoiser(x, 0).x0


SAMPLERS: dict[str, Sampler] = {"ancestral": ancestral, "ddim": ddim, "dpm++2m": dpm_solver_2m}
STOCHASTIC: dict[str, Callable[[float], bool]] = {  # whether a sampler asks for noise, given eta
    "ancestral": lambda eta: True,
    "ddim": lambda eta: eta > 0,
    "dpm++2m": lambda eta: False,
}


def get_sampler(name: str) -> Sampler:
    """The sampler of that name. Raises DiffusedHeadsError for an unknown one."""
    if name not in SAMPLERS:
        raise DiffusedHeadsError(f"sampler={name!r}: expected one of {sorted(SAMPLERS)}")
    return SAMPLERS[name]
