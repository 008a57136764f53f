"""Diffusion mathematics against closed forms, numerical integration and known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.config import PREDICTIONS
from diffused_heads.diffused_heads_core.diffusion import (
    estimate,
    p_log_variance,
    posterior_mean,
    q_sample,
    training_target,
)
from diffused_heads.diffused_heads_core.schedule import noise_schedule

SCHEDULE = noise_schedule("cosine", 1000)
INDEX = torch.tensor([0, 1, 250, 600, 900])


def sample() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(5, 3, 8, 8, generator=generator) * 1.8 - 0.9, torch.randn(5, 3, 8, 8, generator=generator)


def test_forward_process_is_variance_preserving_mixing() -> None:
    x0, noise = sample()
    bar = SCHEDULE.alphas_cumprod[600]
    x_t = q_sample(SCHEDULE, x0, INDEX, noise)[3].double()
    torch.testing.assert_close(
        x_t, math.sqrt(bar) * x0[3].double() + math.sqrt(1 - bar) * noise[3].double(), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("clamp", [True, False])
def test_the_true_output_gives_back_image_and_noise(prediction: str, clamp: bool) -> None:
    x0, noise = sample()
    x_t = q_sample(SCHEDULE, x0, INDEX, noise)
    found = estimate(
        SCHEDULE, prediction, training_target(SCHEDULE, prediction, x0, noise, INDEX), x_t, INDEX, clamp=clamp
    )
    torch.testing.assert_close(found.x0, x0, atol=1e-3, rtol=0)
    torch.testing.assert_close(
        found.eps[2:], noise[2:], atol=1e-3, rtol=0
    )  # at t = 0 float32 division by sigma loses digits
    assert found.variance is None


def test_v_is_the_rotation_of_salimans_and_ho() -> None:
    x0, noise = sample()
    angle = math.acos(math.sqrt(SCHEDULE.alphas_cumprod[600]))
    target = training_target(SCHEDULE, "v", x0, noise, INDEX)[3]
    torch.testing.assert_close(target, math.cos(angle) * noise[3] - math.sin(angle) * x0[3], atol=1e-5, rtol=0)


def test_clamping_moves_eps_with_x0() -> None:
    x0, noise = sample()
    x_t = q_sample(SCHEDULE, x0, INDEX, noise)
    found = estimate(SCHEDULE, "x0", 3 * x0, x_t, INDEX)
    assert found.x0.abs().max() == 1
    torch.testing.assert_close(q_sample(SCHEDULE, found.x0, INDEX, found.eps), x_t, atol=1e-5, rtol=0)


def test_posterior_mean_is_bayes_rule() -> None:
    x0, noise = sample()
    index = torch.full((5,), 400)
    x_t, before, beta = q_sample(SCHEDULE, x0, index, noise), SCHEDULE.alphas_cumprod[399], SCHEDULE.betas[400]
    direct = (math.sqrt(1 - beta) / beta * x_t + math.sqrt(before) / (1 - before) * x0) / (
        (1 - beta) / beta + 1 / (1 - before)
    )
    torch.testing.assert_close(posterior_mean(SCHEDULE, x0, x_t, index), direct, atol=1e-5, rtol=0)


@pytest.mark.parametrize("v, weight", [(-1.0, 0.0), (0.0, 0.5), (1.0, 1.0)])
def test_variance_lies_between_beta_tilde_and_beta(v: float, weight: float) -> None:
    found = p_log_variance(SCHEDULE, torch.full((5, 3, 8, 8), v), INDEX, torch.Size((5, 3, 8, 8)))[:, 0, 0, 0]
    index = INDEX.numpy()
    want = (1 - weight) * np.log(SCHEDULE.posterior_variance[np.maximum(index, 1)]) + weight * np.log(
        SCHEDULE.betas[index]
    )
    np.testing.assert_allclose(found.numpy(), want, rtol=1e-5)


def test_without_v_the_variance_is_beta_tilde() -> None:
    shape = torch.Size((5, 3, 8, 8))
    assert torch.equal(
        p_log_variance(SCHEDULE, None, INDEX, shape), p_log_variance(SCHEDULE, -torch.ones(shape), INDEX, shape)
    )
