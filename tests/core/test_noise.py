"""Steady noise is weakened by a known factor, speech and changing sound are not."""

from __future__ import annotations

import numpy as np

from diffused_heads.diffused_heads_core.assets import ASSETS, RECORDINGS
from diffused_heads.diffused_heads_core.media.audio import load_audio, to_mono_16k
from diffused_heads.diffused_heads_core.media.noise import LEAST_GAIN, reduce_noise

RATE = 16000
NOISE = np.random.default_rng(0).normal(0, 0.01, 4 * RATE).astype(np.float32)


def level(sound: np.ndarray) -> float:
    return 10 * np.log10(np.square(sound, dtype=np.float64).mean())


def test_steady_noise_loses_six_decibels_and_no_more_than_the_least_gain() -> None:
    found = reduce_noise(NOISE)
    assert found.shape == NOISE.shape and found.dtype == np.float32
    assert 6 < level(NOISE[2 * RATE :]) - level(found[2 * RATE :]) <= -20 * np.log10(LEAST_GAIN)


def test_clear_speech_stays_as_it_is() -> None:
    speech = to_mono_16k(load_audio(sorted(ASSETS.glob(RECORDINGS))[0]))
    assert level(reduce_noise(speech) - speech) < level(speech) - 20
    assert not reduce_noise(np.zeros(1000, np.float32)).any()


def test_speech_comes_out_of_noise_closer_to_itself() -> None:
    speech = to_mono_16k(load_audio(sorted(ASSETS.glob(RECORDINGS))[0]))
    noise = np.resize(NOISE, len(speech)) * np.float32(10 ** ((level(speech) - 10 - level(NOISE)) / 20))
    gained = level(noise) - level(reduce_noise(speech + noise) - speech)
    assert gained > 3  # dB


def test_a_longer_recording_begins_as_a_shorter_one_and_blocks_do_not_show() -> None:
    """40 s are more than one block of 33 s."""
    long = np.resize(NOISE * np.linspace(0.5, 1, len(NOISE), dtype=np.float32), 40 * RATE)
    whole = reduce_noise(long)
    for seconds in (1, 34):
        part = reduce_noise(long[: seconds * RATE])
        np.testing.assert_allclose(part[:-512], whole[: seconds * RATE - 512], atol=1e-7)
