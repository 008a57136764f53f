"""Distillation of the audio encoder: the teacher's input, windows of speech, learning, continuing, and judging."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffused_heads.diffused_heads_core import checkpoints, pretrained_audio
from diffused_heads.diffused_heads_core.config import AudioConfig
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.talking_head import load_tensors
from diffused_heads.training import train
from diffused_heads.training.tools import lip_measures, speech_distillation, speech_teacher
from diffused_heads.training.tools.speech_distillation import CONFIG, Distillation, lip_correlations
from diffused_heads.training.tools.speech_teacher import FRAMES, LABELS, SAMPLES, VARIANTS, Corpus

HOP = 640  # samples per frame
SMALL = AudioConfig(kind="mel-streaming", mels=CONFIG.mels, channels=16, embedding=12)


def corpus(windows: int = 2, seed: int = 0) -> Corpus:
    """Windows whose lowest bands follow the mouth's opening, as one of the teacher's features does."""
    rng = np.random.default_rng(seed)
    mouths = np.full((windows, FRAMES, len(LABELS)), np.nan, np.float32)
    mouths[..., :6] = rng.normal(size=(windows, FRAMES, 6))
    mouths[1:, FRAMES // 2 :] = np.nan
    teacher = rng.normal(size=(windows, FRAMES, 160)).astype(np.float16)
    teacher[..., 0] = 10 * np.nan_to_num(mouths[..., 0])
    mels = rng.normal(0, 0.05, (windows, VARIANTS, CONFIG.mels, 4 * FRAMES))
    mels[:, :, :32] += np.repeat(np.nan_to_num(mouths[:, None, None, :, 0]), 4, -1)
    return Corpus(mels.astype(np.float16), teacher, mouths)


def test_the_teachers_filters_are_those_of_whisper() -> None:
    """The first triangle is 0 to 74.48 Hz with its top at 37.24 Hz, of unit area; bins are 40 Hz apart.

    Others have their tops where Slaney's scale says: 1000 exp(x ln 6.4 / 27) Hz, x = 7.90 and 29.69.
    """
    filters = speech_teacher.slaney_filters()
    assert filters.shape == (80, 201)
    assert filters[0, :4] == pytest.approx([0, 0.02486, 0, 0], abs=1e-5)
    assert np.argmax(filters, 1)[[40, 79]] * 40 == pytest.approx([1722, 7698], abs=20)


def test_windows_begin_recordings_on_frames_and_keep_their_mouths() -> None:
    first, second = np.full(10 * HOP + 3, 0.1, np.float32), np.full(20 * 16000, 0.2, np.float32)
    mouths = [np.full((n, len(LABELS)), value, np.float32) for n, value in ((11, 1), (500, 2))]
    made = list(speech_teacher.windows(zip((first, second, second), (*mouths, mouths[1]))))
    assert len(made) == 2 and all(sound.shape == (SAMPLES,) for sound, _ in made)
    sound, labels = made[0]
    begin = int(np.flatnonzero(labels[:, 0] == 2)[0])
    assert begin == 16 and np.flatnonzero(sound > 0.15)[0] == begin * HOP, "10 frames, 3 samples and 0.2 s, rounded up"
    assert np.isnan(labels[11:16]).all() and (labels[:11] == 1).all() and np.isnan(labels[516:]).all()


def test_folders_are_read_in_turns_by_speaker(tmp_path: Path) -> None:
    for name in ("a/1.wav", "a/2.wav", "b/1.flac", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = speech_teacher.speech_files(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a/1.wav", "b/1.flac", "a/2.wav"]
    with pytest.raises(DiffusedHeadsError, match="expected a folder with recordings"):
        speech_teacher.speech_files(tmp_path / "none")
    assert speech_teacher.Source.parse("some/x=7.5") == speech_teacher.Source(Path("some/x"), 7.5)
    assert speech_teacher.Source.parse("espeak").folder is None


def test_lips_are_measured_in_eye_distances_whatever_the_pictures_size() -> None:
    landmarks = np.random.default_rng(0).uniform(0, 100, (4, 468, 3))
    first = lip_measures.lip_measures(landmarks)
    np.testing.assert_allclose(lip_measures.lip_measures(2.5 * landmarks), first, rtol=1e-5)
    landmarks[:, 14] = landmarks[:, 13]
    assert (lip_measures.lip_measures(landmarks)[:, 0] == 0).all()


def test_a_continued_run_is_the_same_as_an_unbroken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech_distillation, "SAVE_EVERY", 3)
    data = [corpus()]
    whole = Distillation(data, SMALL, 6, 0).run()
    broken = Distillation(data, SMALL, 6, 0, tmp_path / "state")
    step = broken._train_step
    monkeypatch.setattr(broken, "_train_step", lambda: step() if broken.step < 4 else pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception):
        broken.run()
    continued = Distillation(data, SMALL, 6, 0, tmp_path / "state")
    assert continued.step == 3
    for a, b in zip(whole.parameters(), continued.run().parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_student_learns_what_the_sound_tells() -> None:
    data = corpus(windows=4)
    training = Distillation([data], SMALL, 120, 0)
    before = lip_correlations(training.student.encoder.eval(), [data], [corpus(seed=5)])["opening"][0]
    after = lip_correlations(training.run(), [data], [corpus(seed=5)])
    assert after["opening"][0] > max(0.8, before) and abs(after["width"][0]) < 0.2


def test_a_linear_map_reads_what_embeddings_hold_and_nothing_else() -> None:
    class Bands(nn.Module):
        def forward(self, mel: Tensor) -> Tensor:
            return mel.unflatten(2, (-1, 4)).mean(3).transpose(1, 2)[..., ::16]

    found = lip_correlations(Bands(), [corpus(3)], [corpus(2, 1), corpus(2, 2)])
    assert min(found["opening"]) > 0.97 and max(map(abs, found["jaw"])) < 0.2 and len(found["opening"]) == 2


def test_the_command_writes_an_encoder_that_a_training_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech_distillation, "Whisper", lambda folder: None)
    monkeypatch.setattr(speech_distillation, "stored_corpus", lambda *given: corpus())
    monkeypatch.setattr(speech_distillation, "CROP", 40)
    target = tmp_path / "audio.safetensors"
    given = ["talkers", "--teacher", "whisper", "--judge", "others", "--output", str(target), "--steps", "1"]
    speech_distillation.main([*given, "--cache", str(tmp_path / "cache")])
    made = checkpoints.load(target)
    assert made.config.audio == CONFIG and set(made.summary["correlation"]) == set(lip_measures.LIPS)
    assert sum(tensor.numel() for tensor in made.tensors.values()) * 4 < 10e6, "bytes as float32"
    parser = argparse.ArgumentParser()
    train.arguments(parser)
    config = train.config_from(parser.parse_args(["data", "run", "--audio-encoder", str(target)]))
    encoder = pretrained_audio.new_encoder(config.model.audio)
    load_tensors(encoder, made.tensors, "audio_encoder.", target)
