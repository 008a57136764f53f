"""Samplers: functions of one signature in one registry. None of them knows a network, a file or a node.

``sampler(denoiser, schedule, x, noise, eta) -> x0``
    denoiser(x_t, i) -> Estimate at respaced index i, its conditioning already bound;
    schedule: a (respaced) NoiseSchedule; x: (B, 3, S, S) standard normal; noise(i) -> fresh standard normal like x,
    keyed by the caller; eta: 0 deterministic .. 1 (DDIM alone uses it).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from .diffusion import Estimate, p_log_variance, posterior_mean
from .errors import DiffusedHeadsError
from .schedule import NoiseSchedule

Denoiser = Callable[[Tensor, int], Estimate]
Noise = Callable[[int], Tensor]
Sampler = Callable[[Denoiser, NoiseSchedule, Tensor, Noise, float], Tensor]


def _index(x: Tensor, i: int) -> Tensor:
    return x.new_full((len(x),), i).long()


def ancestral(denoiser: Denoiser, schedule: NoiseSchedule, x: Tensor, noise: Noise, eta: float = 0.0) -> Tensor:
    """Sampling from p(x_{t-1} | x_t) step by step, with the learned variance where there is one (DDPM, algorithm 2)."""
    for i in reversed(range(len(schedule))):
        found, index = denoiser(x, i), _index(x, i)
        mean = posterior_mean(schedule, found.x0, x, index)
        if i == 0:
            return mean
        x = mean + (0.5 * p_log_variance(schedule, found.v, index, x.shape)).exp() * noise(i)
    raise AssertionError("a schedule has at least one step")


def ddim(denoiser: Denoiser, schedule: NoiseSchedule, x: Tensor, noise: Noise, eta: float = 0.0) -> Tensor:
    """DDIM (Song et al. 2021, eq. 12); eta = 0 is deterministic."""
    for i in reversed(range(len(schedule))):
        found = denoiser(x, i)
        bar, prev = schedule.alphas_cumprod[i], schedule.alphas_cumprod_prev[i]
        sigma = eta * math.sqrt((1 - prev) / (1 - bar) * (1 - bar / prev))
        x = math.sqrt(prev) * found.x0 + math.sqrt(max(1 - prev - sigma**2, 0.0)) * found.eps
        if sigma > 0 and i > 0:
            x = x + sigma * noise(i)
    return x


def dpm_solver_2m(denoiser: Denoiser, schedule: NoiseSchedule, x: Tensor, noise: Noise, eta: float = 0.0) -> Tensor:
    """DPM-Solver++(2M), deterministic, second order in half log-SNR (Lu et al. 2022, algorithm 2).

    The last step, to zero noise, is first order, which returns the data prediction itself.
    """
    previous: Tensor | None = None
    step = 0.0
    for i in reversed(range(len(schedule))):
        x0 = denoiser(x, i).x0
        if i == 0:
            return x0
        bar, prev = schedule.alphas_cumprod[i], schedule.alphas_cumprod[i - 1]
        h = 0.5 * (math.log(prev / (1 - prev)) - math.log(bar / (1 - bar)))
        data = x0 if previous is None else x0 + (h / step) / 2 * (x0 - previous)
        x = math.sqrt((1 - prev) / (1 - bar)) * x - math.sqrt(prev) * math.expm1(-h) * data
        previous, step = x0, h
    raise AssertionError("a schedule has at least one step")


SAMPLERS: dict[str, Sampler] = {"ancestral": ancestral, "ddim": ddim, "dpm++2m": dpm_solver_2m}


def get_sampler(name: str) -> Sampler:
    """The sampler of that name; raises DiffusedHeadsError for an unknown one."""
    if name not in SAMPLERS:
        raise DiffusedHeadsError(f"sampler={name!r}: expected one of {sorted(SAMPLERS)}")
    return SAMPLERS[name]
