"""Noise schedules against closed forms and the reference's betas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.schedule import SCHEDULES, NoiseSchedule, noise_schedule

DATA = Path(__file__).resolve().parents[1] / "data"


def test_respaced_betas_and_timesteps_are_the_reference() -> None:
    vector = load_file(DATA / "sampler_ancestral_10_steps.safetensors")
    schedule = noise_schedule("cosine", 1000).respace(10)
    np.testing.assert_allclose(schedule.betas, vector["betas"].double().numpy(), atol=1e-6)
    assert (
        schedule.timesteps.tolist() == vector["timesteps"].tolist() == [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]
    )


def test_cosine_alpha_bar_is_its_closed_form() -> None:
    schedule, u = noise_schedule("cosine", 1000), (np.arange(1000) + 1) / 1000
    bar = np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(schedule.alphas_cumprod[:-1], bar[:-1], rtol=1e-9)  # the last beta is cut to 0.999
    assert schedule.betas.max() == 0.999


def test_linear_runs_from_1e_4_to_0_02() -> None:
    betas = noise_schedule("linear", 1000).betas
    np.testing.assert_allclose(betas[[0, -1]], [1e-4, 0.02])
    np.testing.assert_allclose(np.diff(betas), np.diff(betas)[0])


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize("length", [10, 100, 1000])
def test_every_schedule_is_float64_and_falls(name: str, length: int) -> None:
    schedule = noise_schedule(name, length)
    assert schedule.betas.dtype == np.float64 and len(schedule) == length
    assert ((schedule.betas > 0) & (schedule.betas < 1)).all()
    assert (np.diff(schedule.alphas_cumprod) < 0).all() and (np.diff(schedule.snr) < 0).all()


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 100, 999, 1000])
def test_respacing_keeps_alpha_bar_at_rounded_indices(name: str, steps: int) -> None:
    whole = noise_schedule(name, 1000)
    kept = [999] if steps == 1 else [round(i * 999 / (steps - 1)) for i in range(steps)]
    part = whole.respace(steps)
    assert part.timesteps.tolist() == kept
    np.testing.assert_allclose(part.alphas_cumprod, whole.alphas_cumprod[kept], rtol=1e-9, atol=1e-16)


def test_respacing_twice_keeps_the_original_timesteps() -> None:
    assert noise_schedule("cosine", 1000).respace(10).respace(2).timesteps.tolist() == [0, 999]


def test_full_respacing_changes_nothing() -> None:
    whole = noise_schedule("cosine", 1000)
    np.testing.assert_allclose(whole.respace(1000).betas, whole.betas, rtol=1e-7)


def test_posterior_is_bayes_rule() -> None:
    """q(x_{t-1} | x_t, x_0) is the normalised product of q(x_t | x_{t-1}) and q(x_{t-1} | x_0)."""
    schedule = noise_schedule("cosine", 1000).respace(50)
    alpha, beta, before = 1 - schedule.betas[1:], schedule.betas[1:], schedule.alphas_cumprod_prev[1:]
    precision = alpha / beta + 1 / (1 - before)
    start, noisy = schedule.posterior_mean_coefs
    np.testing.assert_allclose(schedule.posterior_variance[1:], 1 / precision, rtol=1e-9)
    np.testing.assert_allclose(start[1:], np.sqrt(before) / (1 - before) / precision, rtol=1e-9)
    np.testing.assert_allclose(noisy[1:], np.sqrt(alpha) / beta / precision, rtol=1e-9)
    assert start[0] == pytest.approx(1) and noisy[0] == 0


def test_clipped_log_variance_repeats_the_second() -> None:
    schedule = noise_schedule("cosine", 1000)
    logs = schedule.posterior_log_variance
    np.testing.assert_allclose(np.exp(logs[1:]), schedule.posterior_variance[1:])
    assert logs[0] == logs[1] and schedule.posterior_variance[0] == 0
    assert np.isfinite(NoiseSchedule(np.array([0.5]), np.array([999])).posterior_log_variance).all()


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_impossible_step_counts_are_refused(steps: int) -> None:
    with pytest.raises(DiffusedHeadsError, match=rf"steps={steps}: expected 1\.\.1000"):
        noise_schedule("cosine", 1000).respace(steps)


def test_unknown_schedule_names_the_known() -> None:
    with pytest.raises(DiffusedHeadsError, match="cosine"):
        noise_schedule("sigmoid", 1000)
