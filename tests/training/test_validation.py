"""Figures of clips whose faults are known, and what depends on them: the best model and early stopping."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.checkpoints import load
from diffused_heads.diffused_heads_core.data.shards import Dataset
from diffused_heads.training import loop as module
from diffused_heads.training.config import ValidationConfig
from diffused_heads.training.state import states
from diffused_heads.training.validation import FIGURES, Pair, Scores, Validation, figures

sys.path.insert(0, str(Path(__file__).parent))
from small_run import open_run, small_config


def talking(frames: int = 12) -> Pair:
    """A noisy picture whose mouth opens and closes."""
    clip = np.tile(np.random.default_rng(0).integers(60, 190, (64, 64, 3), np.uint8), (frames, 1, 1, 1))
    for n in range(frames):
        clip[n, 42 : 44 + n % 4 * 2, 24:40] = 20
    return Pair(clip, clip.copy(), np.tile([22.0, 40.0, 42.0, 52.0], (frames, 1)))


def test_a_perfect_clip_is_perfect() -> None:
    found = figures([talking()])
    assert set(found) == set(FIGURES)
    assert (
        found["lip_r"] == pytest.approx(1)
        and found["sharpness"] == pytest.approx(1)
        and found["drift"] == pytest.approx(1)
        and found["psnr"] > 70
    )


def test_each_fault_changes_its_figure_and_lowers_the_score() -> None:
    pair = talking()
    still = Pair(pair.truth, np.repeat(pair.truth[:1], 12, 0), pair.boxes)
    late = Pair(pair.truth, np.roll(pair.truth, 2, 0), pair.boxes)
    blurred = Pair(pair.truth, np.stack([cv2.GaussianBlur(f, (0, 0), 1.5) for f in pair.truth]), pair.boxes)
    noise = np.random.default_rng(1).normal(size=pair.truth.shape) * np.linspace(0, 20, 12)[:, None, None, None]
    drifting = Pair(pair.truth, np.clip(pair.truth + noise, 0, 255).astype(np.uint8), pair.boxes)
    assert figures([still])["lip_r"] == pytest.approx(0, abs=1e-3) and figures([late])["lip_r"] < 0
    assert figures([blurred])["sharpness"] < 0.1 and figures([blurred])["lip_r"] > 0.8
    assert figures([drifting])["drift"] > 5 and figures([drifting])["sharpness"] > 1
    assert all(figures([pair])["score"] > figures([one])["score"] + 0.1 for one in (still, late, blurred, drifting))


def test_psnr_is_the_mean_squared_error_in_decibel() -> None:
    pair = talking()
    off = Pair(pair.truth, np.where(pair.truth > 128, pair.truth - 10, pair.truth + 10).astype(np.uint8), pair.boxes)
    assert figures([off])["psnr"] == pytest.approx(10 * np.log10(255**2 / 100), abs=1e-3)


def rows(*scores: float) -> list[dict[str, float]]:
    return [{name: 0.0 for name in FIGURES} | {"score": score} for score in scores]


def test_scores_remember_the_best_and_when_to_stop(tmp_path: Path) -> None:
    scores = Scores(tmp_path, 0)
    assert [scores.add(100 * (n + 1), row) for n, row in enumerate(rows(0.1, 0.5, 0.5, 0.2))] == [
        True,
        True,
        False,
        False,
    ]
    assert scores.best["step"] == 200 and scores.stale(2) and not scores.stale(3) and not scores.stale(0)
    again = Scores(tmp_path, 300)
    assert [row["step"] for row in again.rows] == [100, 200, 300] and not again.stale(2)
    assert not again.add(400, rows(0.2)[0]) and again.stale(2)
    assert Scores(tmp_path, 10).rows == [] and not Scores(tmp_path, 10).stale(1)


def test_a_run_that_gets_no_better_stops_early_and_keeps_its_best_model(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter(rows(0.3, 0.6, 0.5, 0.4, 0.9))
    monkeypatch.setattr(module, "figures", lambda pairs: next(found))
    config = small_config(steps=20, sample_every=2, save_every=2, validation=ValidationConfig(1, 0.2, patience=2))
    trainer = open_run(corpus, tmp_path, config)
    assert trainer.fit() == "early" and trainer.step == 8 and trainer.best_step == 4
    assert load(tmp_path / "best.safetensors").summary["steps"] == 4
    summary = load(tmp_path / "model.safetensors").summary["figures"]
    assert summary["best"]["step"] == 4 and summary["validation"]["score"] == 0.4
    assert open_run(corpus, tmp_path, config).fit() == "early" and next(found)["score"] == 0.9


def test_validation_clips_are_cut_and_written(corpus: Path, tmp_path: Path) -> None:
    run = open_run(corpus, tmp_path / "run", small_config())
    validation = Validation(Dataset(corpus), ValidationConfig(3, 0.2))
    pairs = validation.generate(run.talking_head())
    assert [p.made.shape for p in pairs] == [(5, 32, 32, 3)] * 3
    again = validation.generate(run.talking_head())
    assert all(np.array_equal(a.made, b.made) for a, b in zip(pairs, again))
    sheet = validation.write(pairs, tmp_path / "samples", "step-1")
    assert sheet.shape == (6 * 32, 10 * 32, 3) and {p.name for p in (tmp_path / "samples").iterdir()} == {
        "step-1.png",
        "step-1.mp4",
    }


def test_a_round_that_is_interrupted_is_repeated(corpus: Path, tmp_path: Path) -> None:
    class Stop(BaseException):
        pass

    seen: list[tuple[str, int, int]] = []

    def notify(what: str, done: int, total: int) -> None:
        seen.append((what, done, total))
        if seen[-2:] == [("validating", 1, 5), ("validating", 2, 5)]:
            raise Stop

    config = small_config(steps=4, sample_every=2)
    open_run(corpus, tmp_path / "whole", config).fit()
    with pytest.raises(Stop):
        open_run(corpus, tmp_path / "cut", config, notify).fit()
    assert reached(tmp_path / "cut") == 2 and not (tmp_path / "cut" / "validation.csv").exists()
    with pytest.raises(Stop):
        open_run(corpus, tmp_path / "cut", config, notify).fit()
    assert open_run(corpus, tmp_path / "cut", config).fit() == "done"
    assert (tmp_path / "cut" / "validation.csv").read_text() == (tmp_path / "whole" / "validation.csv").read_text()
    for name in ("best.safetensors", "model.safetensors"):
        found, want = (load(tmp_path / kind / name).tensors for kind in ("cut", "whole"))
        assert all(torch.equal(found[n], want[n]) for n in want), name


def reached(run: Path) -> int:
    return int(states(run)[-1].stem.removeprefix("state-"))
