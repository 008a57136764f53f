"""The training of the motion prior: what clips tell, the samples, and a run that resumes as if it had not stopped."""

from __future__ import annotations

import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core import checkpoints
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.motion import MotionClip, write_motion
from diffused_heads.diffused_heads_core.motion.prior import load_prior
from diffused_heads.diffused_heads_core.motion.prior_network import PriorConfig
from diffused_heads.diffused_heads_core.motion.track import COLUMNS
from diffused_heads.training.motion.blinks import LIDS, blink_rate, blink_spans, fit_blinks
from diffused_heads.training.motion.clips import Clip, deviations, find_clips, liveliness, speech_level
from diffused_heads.training.motion.presets import LABELS, new_prior
from diffused_heads.training.motion.samples import MIRRORED, MotionSamples
from diffused_heads.training.motion.trainer import MotionJob, MotionTrainer

YAW, PITCH = COLUMNS.index("yaw"), COLUMNS.index("pitch")
RNG = np.random.default_rng(0)


def moving(frames: int = 70, size: float = 0.02, person: str = "a", embedding: int = 4) -> Clip:
    values = np.zeros((frames, len(COLUMNS)), np.float32)
    values[:] = size * np.sin(np.arange(frames)[:, None] / 5 + np.arange(len(COLUMNS)))
    values[:, LIDS] = 0
    audio = RNG.standard_normal((frames, embedding)).astype(np.float32)
    return Clip(person, values, audio, np.linspace(0, 1, frames))


def small(clips: list[Clip]) -> MotionSamples:
    config = new_prior(checkpoints.load(checkpoints.find_model("portrait")).config)
    prior = PriorConfig(config.columns, deviations(clips, config.columns), LABELS, embedding=4)
    return MotionSamples(clips, config, prior)


def test_the_level_of_speech_is_in_decibels_below_the_loudest() -> None:
    loud = np.sin(np.arange(16000) * 0.5)
    level = speech_level(np.concatenate([loud, 0.1 * loud, np.zeros(16000)]), 75, 25)
    assert np.allclose(level[:24], 1, atol=0.02) and np.allclose(level[26:49], 0.5, atol=0.02)
    assert not level[51:].any()


def test_clips_are_motion_files_with_a_sound_beside_them(tmp_path: Path) -> None:
    (tmp_path / "ann").mkdir()
    for name in ("ann/one.json", "ann/two.csv", "bob-1.npz", "lonely.npz"):
        write_motion(tmp_path / name, MotionClip.of_values(np.zeros((3, len(COLUMNS))), 25))
    for name in ("ann/one.wav", "ann/two.mp4", "bob-1.flac"):
        (tmp_path / name).touch()
    found = [(path.name, sound.name) for path, sound in find_clips(tmp_path)]
    assert sorted(found) == [("bob-1.npz", "bob-1.flac"), ("one.json", "one.wav"), ("two.csv", "two.mp4")]
    with pytest.raises(DiffusedHeadsError, match="expected motion files"):
        find_clips(tmp_path / "none")


def blinking(spans: list[tuple[int, int]], frames: int = 100) -> np.ndarray:
    values = np.zeros((frames, len(COLUMNS)), np.float32)
    for begin, end in spans:
        values[begin:end, LIDS] = 1
    return values


def test_blinks_are_counted_and_long_closures_are_none() -> None:
    spans = [(10, 13), (40, 44), (95, 100)]
    assert blink_spans(blinking([*spans, (60, 80)]), 25) == spans
    clip = Clip("a", blinking(spans), np.zeros((100, 4), np.float32), np.zeros(100))
    idle = Clip("b", blinking([]), np.zeros((100, 4), np.float32), np.zeros(100))
    assert blink_rate([clip, idle, idle], 25) == pytest.approx(0.375)  # people count alike


def test_blinks_that_follow_the_speech_are_found_to_do_so() -> None:
    rng, clips = np.random.default_rng(1), []
    for _ in range(60):
        level = np.repeat(rng.random(10) > 0.5, 15).astype(float)
        before = np.concatenate([np.zeros(5), level])[: len(level)]
        begins = np.flatnonzero(rng.random(len(level)) < 0.004 * np.exp(2.0 * before))
        audio = np.stack([level, 1 - level, level * 0, level * 0], 1).astype(np.float32)
        clips.append(Clip("a", blinking([(b, b + 3) for b in begins], len(level)), audio, level))
    model = fit_blinks(clips, 4, 25)
    found = model.likelihood(np.repeat([0.0, 1.0, 0.0, 1.0], 50), 25)
    assert found[70:95].mean() / found[20:45].mean() == pytest.approx(np.exp(2.0), rel=0.4)
    assert float(model.durations.median()) == pytest.approx(0.12, abs=0.001)
    level = model.speech_level(torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]]))
    assert level[0] > 0.8 and level[1] < 0.2


def test_a_sample_is_the_same_at_the_same_position_and_knows_its_past() -> None:
    samples = small([moving(70, 0.02, "a"), moving(80, 0.05, "b"), moving(40, 0.01, "c")])
    known_all = 0
    for position in range(60):
        one, again = samples[position], samples[position]
        assert all(torch.equal(one[name], again[name]) for name in one)
        assert torch.equal(one["past"], one["target"] * one["known"]) and not (one["known"] * one["learned"]).any()
        known = one["known"].flatten()
        assert not known[12:].any() and known[:12].sum() in (0, 1, 12)
        known_all += int(known[:12].all())
        assert one["label"] in (0, 1, 2) and one["own"].shape == (4,)
    assert 5 < known_all < 50


def test_a_portrait_that_is_turned_gives_motion_about_it_and_tells_its_pose() -> None:
    clip = moving(70)
    samples = small([clip])
    samples.config = replace(samples.config, reference=1.0, own_dropout=0.0, mirror=False, gain=0.0)
    sample = samples.sample(clip, np.random.default_rng(3))
    seen = sample["target"][samples.prior.columns.index("yaw"), 0] * samples.prior.deviations[0] + sample["own"][0]
    rows = clip.values[:, YAW]
    assert sample["own"][3] == 1 and all(np.abs(rows - value).min() < 1e-5 for value in seen.numpy())


def test_mirrored_heads_turn_the_other_way() -> None:
    clip = moving(70)
    samples = small([clip])
    samples.config = replace(samples.config, reference=0.0, gain=0.0)
    signs = set()
    for seed in range(20):
        yaw, pitch = samples.sample(clip, np.random.default_rng(seed))["target"][:2, 0].numpy()
        rows = clip.values[:, [YAW, PITCH]] / samples.scales[:2]
        same, other = (np.abs(sign * rows[:, 0] - yaw[30]) + np.abs(rows[:, 1] - pitch[30]) for sign in (1, -1))
        signs.add(same.min() < other.min())
    assert signs == {True, False} and YAW in MIRRORED and PITCH not in MIRRORED


def test_clips_of_little_motion_are_calm_and_of_much_lively() -> None:
    clips = [moving(70, size, str(size)) for size in (0.01, 0.02, 0.04)]
    samples = small(clips)
    samples.config = replace(samples.config, label_dropout=0.0)
    rng = np.random.default_rng(0)
    assert [samples._label(liveliness(clip, samples.angles), rng) for clip in clips] == [1, 0, 2]


def talkers(folder: Path) -> Path:
    rng = np.random.default_rng(2)
    for person in ("ann", "bob"):
        (folder / person).mkdir(parents=True)
        for number in range(2):
            write_motion(folder / person / f"{number}.npz", MotionClip.of_values(moving(70).values, 25))
            sound = (3000 * rng.standard_normal(int(2.8 * 16000))).astype("<i2")
            with wave.open(str(folder / person / f"{number}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(16000)
                file.writeframes(sound.tobytes())
    return folder


def test_a_run_resumes_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    data = talkers(tmp_path / "data")
    config = new_prior(checkpoints.load(checkpoints.find_model("portrait")).config).with_steps(4)
    config = replace(config, batch=2, save_every=2, sample_every=4, log_every=2, channels=16)

    def job(name: str) -> MotionJob:
        return MotionJob(data, tmp_path / name, config, licence="CC0", device="cpu", board=False, terms="made up")

    assert MotionTrainer(job("whole")).fit() == "done"
    assert MotionTrainer(job("parts")).fit(lambda progress: progress.step == 2) == "stopped"
    assert MotionTrainer(job("parts")).fit() == "done"
    whole, parts = (load_prior(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), parts.state_dict().values()))
    assert whole.licence == "CC0" and whole.summary["data"] == "made up" and whole.summary["people"] == 2
    assert whole.summary["steps"] == 4 and len(whole.sample_motion(torch.zeros(30, 128))) == 30
