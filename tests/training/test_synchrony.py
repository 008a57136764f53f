"""Offsets between sound and mouth: measured on bundled speech whose mouth is known, mended and reported."""

from __future__ import annotations

import numpy as np
import pytest

from diffused_heads.diffused_heads_core import assets
from diffused_heads.diffused_heads_core.media.audio import load_audio, to_mono_16k
from diffused_heads.training.preparation import synchrony
from diffused_heads.training.preparation.synchrony import COLUMNS, CONTEXT, LAGS, Opening, find_offset

FPS = 25


@pytest.fixture(scope="module")
def opening() -> Opening:
    speech = to_mono_16k(load_audio(assets.ASSETS / "speech-weather.wav"))
    return Opening(synchrony.predicted_opening(speech), 0.0)


def mouth(opening: Opening, late: float, noise: float = 0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A mouth (T,) and its seconds (T,) that moves as the sound predicts, ``late`` seconds before it, with noise."""
    times = (np.arange(int(len(opening.values) * FPS / COLUMNS)) + 0.5) / FPS
    values = opening.at(times + late)
    return values + noise * values.std() * np.random.default_rng(seed).standard_normal(len(times)), times


@pytest.mark.parametrize("late", [-0.3, -0.1, 0.0, 0.04, 0.25])
def test_a_constant_offset_is_found(opening: Opening, late: float) -> None:
    found = find_offset([mouth(opening, late)], opening)
    assert found is not None and found.constant and found.correlation > 0.7
    assert found.seconds == pytest.approx(late, abs=0.02)


def test_a_speaker_is_told_from_a_listener(opening: Opening) -> None:
    listener = (np.random.default_rng(1).standard_normal(200).cumsum(), (np.arange(200) + 0.5) / FPS)
    found = find_offset([listener, mouth(opening, 0.12)], opening)
    assert found is not None and found.seconds == pytest.approx(0.12, abs=0.02)
    assert find_offset([listener], opening) is None


def test_nothing_is_told_of_still_mouths_short_ones_and_silence(opening: Opening) -> None:
    values, times = mouth(opening, 0.1)
    assert find_offset([(np.zeros_like(values), times)], opening) is None
    assert find_offset([(values[:30], times[:30])], opening) is None
    assert find_offset([], opening) is None
    silence = Opening(synchrony.predicted_opening(np.zeros(5 * 16000, np.float32)), 0.0)
    assert find_offset([(values, times)], silence) is None


def test_an_offset_that_changes_is_told(opening: Opening) -> None:
    early, times = mouth(opening, -0.02)
    late, _ = mouth(opening, 0.1)
    half = len(times) // 2
    found = find_offset([(np.concatenate([early[:half], late[half:]]), times)], opening)
    assert found is not None and not found.constant


def test_a_prediction_depends_on_the_stated_context() -> None:
    sound = 0.1 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    changed = sound.copy()
    changed[8000:] = 0
    same = synchrony.predicted_opening(sound) - synchrony.predicted_opening(changed)
    assert np.abs(same[: round((0.5 - CONTEXT) * COLUMNS)]).max() < 1e-5 < np.abs(same[50:]).max()


def test_gain_changes_no_offset(opening: Opening) -> None:
    speech = to_mono_16k(load_audio(assets.ASSETS / "speech-weather.wav"))
    quiet = Opening(synchrony.predicted_opening(0.25 * speech), 0.0)
    values, times = mouth(opening, 0.1)
    found = find_offset([(values, times)], quiet)
    assert found is not None and found.seconds == pytest.approx(0.1, abs=0.02)
    assert len(LAGS) == 81 and LAGS[40] == 0
