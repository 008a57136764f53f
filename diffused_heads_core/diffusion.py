"""Diffusion mathematics: the forward process, the three predictions, and the step back.

``q_`` is the forward process, ``p_`` the learned reverse process. ``index`` (B,) counts the steps of the schedule at
hand, respaced or not: 0 is almost clean, the last is almost noise. The network is given the original timestep t of that
index, which ``NoiseSchedule.timesteps`` tells. The weights ``variance`` in [-1, 1] of a learned variance are what
Nichol & Dhariwal call v; they have nothing to do with a v prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .schedule import NoiseSchedule


def gather(schedule: NoiseSchedule, table: str, index: Tensor) -> Tensor:
    """Values of one of the schedule's tables at ``index`` (B,), float32, shaped (B, 1, 1, 1)."""
    return schedule.tables(index.device)[table][index][:, None, None, None]


def q_sample(schedule: NoiseSchedule, x0: Tensor, index: Tensor, noise: Tensor) -> Tensor:
    """x_t = sqrt(alpha-bar) x0 + sqrt(1 - alpha-bar) eps (DDPM, eq. 4)."""
    return gather(schedule, "signal", index) * x0 + gather(schedule, "sigma", index) * noise


@dataclass(frozen=True)
class Estimate:
    """A network's output in all terms: x0 and eps (B, 3, S, S), and the variance's weights if it is learned."""

    x0: Tensor
    eps: Tensor
    variance: Tensor | None = None


def estimate(
    schedule: NoiseSchedule,
    prediction: str,
    output: Tensor,
    x_t: Tensor,
    index: Tensor,
    variance: Tensor | None = None,
    clamp: bool = True,
) -> Estimate:
    """x0 and eps from a prediction of eps, x0 or v (Salimans & Ho 2022), x0 clamped to [-1, 1] if ``clamp``.

    eps is derived again from a clamped x0, so that both always describe the same x_t.
    """
    signal, sigma = gather(schedule, "signal", index), gather(schedule, "sigma", index)
    x0 = {
        "eps": lambda: (x_t - sigma * output) / signal,
        "x0": lambda: output,
        "v": lambda: signal * x_t - sigma * output,
    }[prediction]()
    x0 = x0.clamp(-1, 1) if clamp else x0
    return Estimate(x0, (x_t - signal * x0) / sigma, variance)


def training_target(schedule: NoiseSchedule, prediction: str, x0: Tensor, noise: Tensor, index: Tensor) -> Tensor:
    """What a network of that prediction should output."""
    return {
        "eps": lambda: noise,
        "x0": lambda: x0,
        "v": lambda: gather(schedule, "signal", index) * noise - gather(schedule, "sigma", index) * x0,
    }[prediction]()


def posterior_mean(schedule: NoiseSchedule, x0: Tensor, x_t: Tensor, index: Tensor) -> Tensor:
    """Mean of q(x_{t-1} | x_t, x_0) (DDPM, eq. 7)."""
    return gather(schedule, "posterior_x0", index) * x0 + gather(schedule, "posterior_xt", index) * x_t


def p_log_variance(schedule: NoiseSchedule, variance: Tensor | None, index: Tensor, shape: torch.Size) -> Tensor:
    """Log variance between beta~ and beta by (v + 1) / 2 (Nichol & Dhariwal 2021, eq. 15); beta~ if not learned."""
    low = gather(schedule, "posterior_log_variance", index)
    if variance is None:
        return low.expand(shape)
    high = gather(schedule, "log_beta", index)
    return low + (variance + 1) / 2 * (high - low)
