"""The training objective against closed forms, numerical integration and known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.diffusion import Estimate, estimate, q_sample
from diffused_heads.diffused_heads_core.schedule import noise_schedule
from diffused_heads.training.losses import box_mask, discretised_log_likelihood, lip_loss, normal_kl, vlb_loss

SCHEDULE = noise_schedule("cosine", 1000)
INDEX = torch.tensor([0, 1, 250, 600, 900])


def sample() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(5, 3, 8, 8, generator=generator) * 1.8 - 0.9, torch.randn(5, 3, 8, 8, generator=generator)


def test_kl_is_the_integral() -> None:
    mean1, var1, mean2, var2 = 0.3, 0.5, -0.2, 1.4
    x = np.linspace(-12, 12, 200001)

    def log_density(mean: float, var: float) -> np.ndarray:
        return -0.5 * (np.log(2 * np.pi * var) + (x - mean) ** 2 / var)

    integral = np.trapezoid if hasattr(np, "trapezoid") else np.trapz
    want = integral(np.exp(log_density(mean1, var1)) * (log_density(mean1, var1) - log_density(mean2, var2)), x)
    found = normal_kl(*(torch.tensor(a, dtype=torch.float64) for a in (mean1, math.log(var1), mean2, math.log(var2))))
    assert float(found) == pytest.approx(float(want), abs=1e-9)


@pytest.mark.parametrize("mean, scale", [(0.0, 0.3), (0.9, 0.05), (-1.2, 0.5), (0.013, 0.01)])
def test_the_256_pixel_values_share_all_probability(mean: float, scale: float) -> None:
    x = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    found = discretised_log_likelihood(
        x, torch.tensor(mean, dtype=torch.float64), torch.tensor(math.log(scale), dtype=torch.float64)
    )
    assert float(found.exp().sum()) == pytest.approx(1, abs=1e-8)


def test_vlb_of_a_perfect_estimate_is_zero_and_of_doubled_variance_known() -> None:
    x0, noise = sample()
    index = torch.full((5,), 500)
    x_t, gap = q_sample(SCHEDULE, x0, index, noise), math.log(SCHEDULE.betas[500] / SCHEDULE.posterior_variance[500])

    def loss(v: float) -> torch.Tensor:
        return vlb_loss(SCHEDULE, x0, x_t, index, Estimate(x0, noise, torch.full_like(x0, v)))

    assert loss(-1.0).abs().max() < 1e-6
    want = 0.5 * (gap - 1 + math.exp(-gap)) / math.log(2)
    torch.testing.assert_close(loss(1.0), torch.full((5,), want), atol=1e-7, rtol=1e-2)


def test_vlb_counts_the_mean_in_bits() -> None:
    x0, noise = sample()
    index = torch.full((5,), 500)
    x_t, start = q_sample(SCHEDULE, x0, index, noise), SCHEDULE.posterior_mean_coefs[0][500]
    found = vlb_loss(SCHEDULE, x0, x_t, index, Estimate(x0 + 0.1, noise, torch.full_like(x0, -1)))
    want = 0.5 * (0.1 * start) ** 2 / SCHEDULE.posterior_variance[500] / math.log(2)
    torch.testing.assert_close(found, torch.full((5,), want), rtol=1e-3, atol=0)


def test_vlb_at_the_data_is_the_likelihood_of_pixels() -> None:
    x0 = (torch.randint(0, 256, (5, 3, 8, 8), generator=torch.Generator().manual_seed(3)) / 127.5 - 1).float()
    index = torch.zeros(5, dtype=torch.long)
    found = vlb_loss(SCHEDULE, x0, x0, index, Estimate(x0, torch.zeros_like(x0), torch.ones_like(x0)))
    scale = math.sqrt(SCHEDULE.betas[0])
    want = torch.where(
        x0.abs() > 0.999,
        -math.log(0.5 * (1 + math.erf(1 / 255 / scale / math.sqrt(2)))),
        -math.log(math.erf(1 / 255 / scale / math.sqrt(2))),
    ).flatten(1).mean(1) / math.log(2)
    torch.testing.assert_close(found, want, rtol=1e-3, atol=1e-4)


def test_vlb_trains_the_variance_alone() -> None:
    x0, noise = sample()
    x_t = q_sample(SCHEDULE, x0, INDEX, noise)
    output, v = noise.clone().mul(0.9).requires_grad_(), torch.zeros_like(noise).requires_grad_()
    vlb_loss(SCHEDULE, x0, x_t, INDEX, estimate(SCHEDULE, "eps", output, x_t, INDEX, v)).sum().backward()
    assert output.grad is None and (v.grad.flatten(1).abs().sum(1) > 0).all()


@pytest.mark.parametrize(
    "box, margin, rows, columns",
    [
        ((2.0, 3.0, 5.0, 6.0), 0.0, range(3, 6), range(2, 5)),
        ((2.4, 3.6, 4.7, 5.2), 0.0, range(3, 6), range(2, 5)),
        ((4.0, 4.0, 6.0, 6.0), 5.0, range(0, 11), range(0, 11)),
        ((-9.0, 14.0, 2.0, 40.0), 0.0, range(14, 16), range(0, 2)),
        ((30.0, 30.0, 40.0, 40.0), 0.0, range(15, 16), range(15, 16)),
        ((-40.0, -40.0, -30.0, -30.0), 5.0, range(0, 1), range(0, 1)),
        ((7.0, 7.0, 7.0, 7.0), 0.0, range(7, 8), range(7, 8)),
    ],
)
def test_box_masks(box: tuple[float, ...], margin: float, rows: range, columns: range) -> None:
    want = torch.zeros(16, 16)
    want[rows.start : rows.stop, columns.start : columns.stop] = 1
    assert torch.equal(box_mask(torch.tensor([box]), 16, margin)[0, 0], want)


def test_lip_loss_is_the_mean_inside_each_crop() -> None:
    error = torch.zeros(2, 3, 32, 32)
    error[0, :, 8:24, 8:24] = 3.0
    error[1, 0, 0, 0] = 30.0
    boxes = torch.tensor(
        [[13.0, 13.0, 19.0, 19.0], [-20.0, -20.0, 1.0, 5.0]]
    )  # with 5 px: 16 x 16 inside, and 6 x 10 clipped
    torch.testing.assert_close(lip_loss(error, boxes), torch.tensor([3.0, 10.0 / 60]))
    boxes[0] += 8  # a quarter of that crop still lies on the square
    torch.testing.assert_close(lip_loss(error, boxes)[0], torch.tensor(0.75))
