"""Every sampler with an oracle denoiser: Gaussian data, whose posterior mean and flow are known."""

from __future__ import annotations

import math

import pytest
import torch

from diffused_heads.diffused_heads_core.diffusion import Estimate
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.samplers import SAMPLERS, Denoiser, get_sampler
from diffused_heads.diffused_heads_core.schedule import NoiseSchedule, noise_schedule

MEAN, DEVIATION = 0.3, 0.4
STOCHASTIC = {"ancestral"}


def oracle(schedule: NoiseSchedule, v: float | None = None) -> Denoiser:
    """E[x0 | x_t] for data N(MEAN, DEVIATION^2)."""

    def denoise(x: torch.Tensor, i: int) -> Estimate:
        bar = schedule.alphas_cumprod[i]
        gain = math.sqrt(bar) * DEVIATION**2 / (bar * DEVIATION**2 + 1 - bar)
        x0 = MEAN + gain * (x - math.sqrt(bar) * MEAN)
        eps = (x - math.sqrt(bar) * x0) / math.sqrt(1 - bar)
        return Estimate(x0, eps, None if v is None else torch.full_like(x, v))

    return denoise


def noise(i: int) -> torch.Tensor:
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1000 + i), dtype=torch.float64)


def start() -> torch.Tensor:
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def flow(schedule: NoiseSchedule, x: torch.Tensor) -> torch.Tensor:
    """The probability flow's exact map from x_T to data: standardised values are kept."""
    bar = schedule.alphas_cumprod[-1]
    return MEAN + DEVIATION * (x - math.sqrt(bar) * MEAN) / math.sqrt(bar * DEVIATION**2 + 1 - bar)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_samples_have_the_data_distribution(name: str) -> None:
    schedule = noise_schedule("cosine", 1000).respace(500)
    found = SAMPLERS[name](oracle(schedule), schedule, start(), noise, 0.0)
    assert found.mean() == pytest.approx(MEAN, abs=0.01)
    assert found.std() == pytest.approx(DEVIATION, rel=0.02)


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - STOCHASTIC))
def test_deterministic_samplers_follow_the_flow(name: str) -> None:
    schedule = noise_schedule("cosine", 1000).respace(1000)
    found = SAMPLERS[name](oracle(schedule), schedule, start(), noise, 0.0)
    assert (found - flow(schedule, start())).abs().max() < 0.02


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_one_step_is_the_posterior_mean(name: str) -> None:
    schedule = noise_schedule("cosine", 1000).respace(1)
    denoiser = oracle(schedule)
    torch.testing.assert_close(
        SAMPLERS[name](denoiser, schedule, start(), noise, 0.0), denoiser(start(), 0).x0, atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("name", sorted(SAMPLERS))
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_known_image_is_found_in_any_number_of_steps(name: str, steps: int) -> None:
    """Data of a single image: every sampler must end on it, asking once per step, last to first."""
    schedule, image, asked = noise_schedule("cosine", 1000).respace(steps), start().clamp(-1, 1), []

    def denoise(x: torch.Tensor, i: int) -> Estimate:
        asked.append(i)
        bar = schedule.alphas_cumprod[i]
        return Estimate(image, (x - math.sqrt(bar) * image) / math.sqrt(1 - bar))

    torch.testing.assert_close(SAMPLERS[name](denoise, schedule, start() + 1, noise, 0.0), image)
    assert asked == list(reversed(range(steps)))


def test_ancestral_variance_follows_v() -> None:
    """With beta in place of beta~ few steps give a wider result; the exact variance of one step is known."""
    schedule = noise_schedule("cosine", 1000).respace(2)
    for v, log in ((-1.0, schedule.posterior_log_variance[1]), (1.0, math.log(schedule.betas[1]))):
        seen = {}

        def denoise(x: torch.Tensor, i: int, seen: dict = seen, v: float = v) -> Estimate:
            seen[i] = x
            return Estimate(torch.zeros_like(x), x, torch.full_like(x, v))

        SAMPLERS["ancestral"](denoise, schedule, torch.zeros(4, 3, 64, 64, dtype=torch.float64), noise, 0.0)
        torch.testing.assert_close(seen[0], math.exp(0.5 * log) * noise(1), rtol=1e-5, atol=1e-9)


def test_ddim_at_eta_1_is_ancestral_with_beta_tilde() -> None:
    schedule = noise_schedule("cosine", 1000).respace(20)
    ddim, ancestral = (
        SAMPLERS[name](oracle(schedule), schedule, start(), noise, 1.0) for name in ("ddim", "ancestral")
    )
    assert (ddim - ancestral).abs().max() < 1e-4


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_ddim_keeps_the_distribution_at_every_eta(eta: float) -> None:
    schedule = noise_schedule("cosine", 1000).respace(500)
    found = SAMPLERS["ddim"](oracle(schedule), schedule, start(), noise, eta)
    assert found.mean() == pytest.approx(MEAN, abs=0.01) and found.std() == pytest.approx(DEVIATION, rel=0.02)


@pytest.mark.parametrize("name, order", [("ddim", 1), ("dpm++2m", 2)])
def test_doubling_the_steps_shows_the_order(name: str, order: int) -> None:
    error = []
    for steps in (100, 200):
        schedule = noise_schedule("cosine", 1000).respace(steps)
        error.append(
            (SAMPLERS[name](oracle(schedule), schedule, start(), noise, 0.0) - flow(schedule, start())).abs().mean()
        )
    assert math.log2(error[0] / error[1]) == pytest.approx(order, abs=0.2)


def test_deterministic_samplers_never_draw() -> None:
    def refuse(i: int) -> torch.Tensor:
        raise AssertionError(i)

    schedule = noise_schedule("cosine", 1000).respace(4)
    for name in set(SAMPLERS) - STOCHASTIC:
        SAMPLERS[name](oracle(schedule), schedule, start(), refuse, 0.0)


def test_unknown_sampler_names_the_known() -> None:
    with pytest.raises(DiffusedHeadsError) as caught:
        get_sampler("euler")
    assert all(name in str(caught.value) for name in ("euler", *SAMPLERS))
