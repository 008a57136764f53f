"""Diffusion mathematics: the forward process, the three predictions, and the losses.

``q_`` is the forward process, ``p_`` the learned reverse process. Tables are float64 and gathered as float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .schedule import NoiseSchedule


def gather(table: np.ndarray, index: Tensor) -> Tensor:
    """Rows of a float64 table at ``index`` (B,), float32, shaped (B, 1, 1, 1)."""
    return torch.from_numpy(np.asarray(table)).to(index.device)[index].float()[:, None, None, None]


def q_sample(schedule: NoiseSchedule, x0: Tensor, index: Tensor, noise: Tensor) -> Tensor:
    """x_t = sqrt(alpha-bar) x0 + sqrt(1 - alpha-bar) eps (DDPM, eq. 4)."""
    bar = schedule.alphas_cumprod
    return gather(np.sqrt(bar), index) * x0 + gather(np.sqrt(1 - bar), index) * noise


@dataclass(frozen=True)
class Estimate:
    """A network output in all three terms: x0 and eps (B, 3, S, S), and the variance's v where it is learned."""

    x0: Tensor
    eps: Tensor
    v: Tensor | None = None


def estimate(
    schedule: NoiseSchedule,
    prediction: str,
    output: Tensor,
    x_t: Tensor,
    index: Tensor,
    v: Tensor | None = None,
    clamp: bool = True,
) -> Estimate:
    """x0 and eps from a prediction of eps, x0 or v (Salimans & Ho 2022), x0 clamped to [-1, 1] where ``clamp``.

    eps is derived again from a clamped x0, so that both always describe the same x_t.
    """
    bar = schedule.alphas_cumprod
    signal, sigma = gather(np.sqrt(bar), index), gather(np.sqrt(1 - bar), index)
    x0 = {
        "eps": lambda: (x_t - sigma * output) / signal,
        "x0": lambda: output,
        "v": lambda: signal * x_t - sigma * output,
    }[prediction]()
    x0 = x0.clamp(-1, 1) if clamp else x0
    return Estimate(x0, (x_t - signal * x0) / sigma, v)


def target_of(schedule: NoiseSchedule, prediction: str, x0: Tensor, noise: Tensor, index: Tensor) -> Tensor:
    """What a network of that prediction should output."""
    bar = schedule.alphas_cumprod
    return {
        "eps": lambda: noise,
        "x0": lambda: x0,
        "v": lambda: gather(np.sqrt(bar), index) * noise - gather(np.sqrt(1 - bar), index) * x0,
    }[prediction]()


def posterior_mean(schedule: NoiseSchedule, x0: Tensor, x_t: Tensor, index: Tensor) -> Tensor:
    """Mean of q(x_{t-1} | x_t, x_0) (DDPM, eq. 7)."""
    start, noisy = schedule.posterior_mean_coefs
    return gather(start, index) * x0 + gather(noisy, index) * x_t


def p_log_variance(schedule: NoiseSchedule, v: Tensor | None, index: Tensor, shape: torch.Size) -> Tensor:
    """Log variance between beta~ and beta by (v + 1) / 2 (Nichol & Dhariwal 2021, eq. 15); beta~ without v."""
    low = gather(schedule.posterior_log_variance, index)
    if v is None:
        return low.expand(shape)
    high = gather(np.log(schedule.betas), index)
    return low + (v + 1) / 2 * (high - low)


def normal_kl(mean1: Tensor, logvar1: Tensor, mean2: Tensor, logvar2: Tensor) -> Tensor:
    """KL divergence of two diagonal Gaussians, elementwise, in nats."""
    return 0.5 * (logvar2 - logvar1 - 1 + (logvar1 - logvar2).exp() + (mean1 - mean2).square() * (-logvar2).exp())


def discretised_log_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Log likelihood of pixels on the grid of 1/127.5 in [-1, 1] under a Gaussian, elementwise, in nats."""

    def cdf(z: Tensor) -> Tensor:
        return 0.5 * (1 + torch.erf(z / math.sqrt(2)))

    inverse = (-log_scale).exp()
    upper, lower = cdf((x - mean + 1 / 255) * inverse), cdf((x - mean - 1 / 255) * inverse)
    mass = torch.where(x < -0.999, upper, torch.where(x > 0.999, 1 - lower, upper - lower))
    return mass.clamp(min=1e-12).log()


def vlb_loss(schedule: NoiseSchedule, x0: Tensor, x_t: Tensor, index: Tensor, found: Estimate) -> Tensor:
    """The variational bound's term of one step, bits per dimension, (B,) (Nichol & Dhariwal 2021, eq. 4-6).

    The estimate's x0 is detached: this loss trains v alone. The step to the data (index 0) is the negative
    log likelihood of the discretised Gaussian.
    """
    mean = posterior_mean(schedule, found.x0.detach(), x_t, index)
    logvar = p_log_variance(schedule, found.v, index, x_t.shape)
    true_mean = posterior_mean(schedule, x0, x_t, index)
    kl = normal_kl(true_mean, gather(schedule.posterior_log_variance, index).expand_as(logvar), mean, logvar)
    nll = -discretised_log_likelihood(x0, mean, 0.5 * logvar)
    return torch.where((index == 0)[:, None, None, None], nll, kl).flatten(1).mean(1) / math.log(2)


def box_mask(boxes: Tensor, size: int, margin: float) -> Tensor:
    """Boxes (B, 4) of x0, y0, x1, y1 px, grown by ``margin`` px and clipped to the frame, as masks (B, 1, S, S) of 0
    and 1.

    A pixel belongs to a box that covers its centre; a box always keeps at least one pixel inside the frame.
    """
    low = (boxes[:, :2] - margin).floor().clamp(0, size - 1)
    high = torch.maximum((boxes[:, 2:] + margin).ceil().clamp(0, size), low + 1)
    axis = torch.arange(size, device=boxes.device, dtype=boxes.dtype) + 0.5
    inside = (axis > low[..., None]) & (axis < high[..., None])
    return (inside[:, 1, :, None] & inside[:, 0, None, :]).float()[:, None]


def lip_loss(squared_error: Tensor, boxes: Tensor, margin: float = 5.0) -> Tensor:
    """Mean squared error inside the mouth crop, a sample (paper, section 3.3): (B, 3, S, S), (B, 4) px -> (B,)."""
    mask = box_mask(boxes, squared_error.shape[-1], margin)
    return (squared_error.mean(1, keepdim=True) * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)
