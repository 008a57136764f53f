"""The second speech engine, and refining of the audio encoder with it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core import checkpoints
from diffused_heads.diffused_heads_core.audio_encoder import SAMPLE_RATE
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.talking_head import load_model
from diffused_heads.training.synthesis import flite, speech, visemes
from diffused_heads.training.tools import speech_refining as refining

needs_flite = pytest.mark.skipif(not flite.available(), reason="no libflite with its cmu_us voices is installed")
needs_espeak = pytest.mark.skipif(not speech.available(), reason="no espeak-ng library is installed")


def test_segments_become_phonemes_that_cover_the_sound_and_begin_stops_at_their_burst() -> None:
    track = flite._timed([("pau", 0.2), ("p", 0.3), ("aa", 0.5), ("pau", 0.61)], 0.6)
    assert [name for name, _, _ in track] == ["_", "p", "ɑ", "_"]
    assert track[0][1] == 0 and track[-1][2] == 0.6 and all(a[2] == b[1] for a, b in pairwise(track))
    assert track[1][1] == pytest.approx(0.26)
    shut = visemes.mouth_track(track, 15)[6]  # taken at 0.26 s
    assert shut[0] < 0.2 and shut[2] > 0.5, "lips are pressed before the burst"


def test_every_flite_phoneme_has_a_viseme() -> None:
    for ipa in flite._IPA.values():
        assert visemes.symbols(ipa)


def test_an_unknown_voice_is_named() -> None:
    with pytest.raises(DiffusedHeadsError, match="nobody.*expected one of awb"):
        flite.speak("hello", "nobody")


@needs_flite
@pytest.mark.parametrize("voice", flite.VOICES)
def test_flite_is_silent_during_its_pauses(voice: str) -> None:
    said = flite.speak("Papa sees my mother.", voice, 1.1)
    names = [name for name, _, _ in said.phonemes]
    assert names[0] == names[-1] == "_" and "m" in names
    level = [
        np.abs(said.samples[int(a * said.sample_rate) : int(b * said.sample_rate)]).mean() for _, a, b in said.phonemes
    ]
    vowels = [x for x, name in zip(level, names) if name in ("ɑ", "ʌ", "i")]
    assert min(vowels) > 3 * level[0] and said.phonemes[-1][2] == pytest.approx(said.seconds)


@needs_flite
def test_a_slower_voice_takes_longer() -> None:
    assert flite.speak("one two three", "slt", 1.25).seconds > 1.15 * flite.speak("one two three", "slt", 1.0).seconds


def test_a_faster_recording_is_sooner_over_with_its_phonemes() -> None:
    tone = np.sin(2 * np.pi * 200 * np.arange(22050) / 22050).astype(np.float32)
    fast = refining._paced(speech.Speech(tone, 22050, (("ɑ", 0.0, 1.0),)), 1.25)
    assert fast.seconds == pytest.approx(0.8, abs=0.01) and fast.phonemes[-1][2] == pytest.approx(0.8)
    spectrum = np.abs(np.fft.rfft(fast.samples))
    assert np.argmax(spectrum) * SAMPLE_RATE / len(fast.samples) == pytest.approx(250, abs=3)


@needs_espeak
def test_utterances_depend_on_seed_and_number_alone() -> None:
    first, again, other = (refining.utterance(3, n, False) for n in (5, 5, 6))
    assert np.array_equal(first.samples, again.samples) and not np.array_equal(first.samples, other.samples)
    assert first.seconds == refining.SECONDS


def made_up(count: int = 24) -> refining.Utterances:
    """Columns whose lowest band tells how far the mouth is open."""
    rng = np.random.default_rng(0)
    frames = round(refining.SECONDS * refining.FPS)
    mouths = rng.random((count, frames, 5)).astype(np.float32)
    mels = 0.1 * rng.normal(size=(count, refining.VARIANTS, 64, 4 * frames))
    mels[:, :, :32] += np.repeat(mouths[:, None, None, :, 0], 4, -1)
    return refining.Utterances(mels.astype(np.float16), mouths, np.arange(count) % 2 == 0)


def test_refining_lowers_the_error_of_the_readout() -> None:
    data, old = made_up(), load_model("human", "cpu").audio_encoder
    torch.manual_seed(0)
    readout = refining.fit_readout(old, data)
    new = refining.refine(old, data, steps=60, batch=4)

    def error(encoder: torch.nn.Module) -> float:
        with torch.no_grad():
            found = encoder(torch.from_numpy(data.mels[:, 0].astype(np.float32)))
        return float((found @ readout[:-1] + readout[-1] - torch.from_numpy(data.mouths)).square().mean())

    assert error(new) < error(old)
    assert any(not torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters()))


def test_the_command_writes_the_model_with_another_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refining, "stored_utterances", lambda *given: made_up(8))
    refining.main(["human", str(tmp_path / "refined.safetensors"), "--steps", "2"])
    old, new = (checkpoints.load(path) for path in (checkpoints.find_model("human"), tmp_path / "refined.safetensors"))
    changed = {name for name in old.tensors if not torch.equal(old.tensors[name], new.tensors[name])}
    assert changed and all(name.startswith("audio_encoder.") for name in changed) and new.config == old.config
