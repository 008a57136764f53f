"""The quality benchmark: its figures on known answers, and the mouth meter on people that it was not trained on."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffused_heads.diffused_heads_core.data.shards import Clip
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.training.synthesis.avatars.avatar import sample_avatar
from diffused_heads.training.synthesis.avatars.render import render
from diffused_heads.training.synthesis.corpus import Job
from diffused_heads.training.synthesis.expression import index, neutral
from diffused_heads.training.synthesis.motion import head_pose

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import mouth_meter
import quality
import quality_report

FRAMES = 50


def talking(person: int) -> object:
    """A held-out identity at rest, and its clip with a mouth that opens at random; needs no speech engine."""
    job, rng = Job(77, 128, FRAMES / 25, True), np.random.default_rng(person)
    avatar, expression = sample_avatar(job.stream(person, "identity")), neutral(FRAMES)
    moments = np.arange(FRAMES) / 25
    expression[:, index("open")] = (
        0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(1.5, 3) * moments + rng.uniform(0, 6))
    ) * rng.uniform(0.3, 0.7)
    expression[:, index("wide")] = 0.5 * np.sin(2 * np.pi * rng.uniform(0.5, 1) * moments)
    expression[:, index("smile")] = rng.uniform(0, 0.5)
    pose = head_pose(rng, np.zeros(0), FRAMES)
    frames, truths = zip(*(render(avatar, e, p, 128) for e, p in zip(expression, pose)))
    truth = {
        name: np.array([getattr(t, name) for t in truths], np.float32)
        for name in ("landmarks", "lip_box", "mouth_open", "mouth_width")
    }
    annotations = {"pose": pose, "expression": expression, **truth}
    clip = Clip(
        np.stack(frames), np.zeros(FRAMES * 640, np.float32), 16000, annotations, {"voice": {"variant": "none"}}
    )
    return quality.Case(f"person-{person}", clip, render(avatar, neutral(), np.zeros(5), 128)[0])


@pytest.fixture(scope="module")
def people() -> list[object]:
    return [talking(person) for person in range(3)]


class Still:
    """As much of a model as ``figures`` asks for: one whose head follows the truth's track."""

    def __init__(self, cases: list[object]):
        self.tracks = [case.track for case in cases]

    def head_track(self, frames: int, seed: int) -> object:
        return self.tracks[seed]


def test_correlation_is_pearsons():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 200))
    assert quality.correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert quality.correlation(a, 3 - 2 * a) == pytest.approx(-1)
    assert quality.correlation(a, np.full(200, 0.3)) == 0


@pytest.mark.parametrize("late", [-4, -1, 0, 2, 5])
def test_a_late_mouth_has_a_positive_lag(late):
    moments = np.arange(100) / 25
    truth, found = (
        np.sin(2 * np.pi * 1.7 * m) + 0.3 * np.sin(2 * np.pi * 4.1 * m) for m in (moments, moments - late / 25)
    )
    curve = quality.lagged(found, truth)
    assert curve.argmax() - quality.REACH == late and curve.max() == pytest.approx(1)
    assert quality.speech_figures([found], [truth], [1.0])[0]["lag"] == late


def test_shuffled_control_is_the_mean_over_the_other_clips():
    tracks = list(np.random.default_rng(1).standard_normal((3, 60)))
    rows = quality.speech_figures(tracks, [tracks[1], tracks[0], tracks[2]], [1.0] * 3)
    assert rows[2]["r"] == pytest.approx(1) and rows[0]["r"] == pytest.approx(np.corrcoef(tracks[0], tracks[1])[0, 1])
    assert rows[0]["shuffled"] == pytest.approx((1 + np.corrcoef(tracks[0], tracks[2])[0, 1]) / 2)


def test_the_measures_of_flat_and_striped_pictures():
    flat = np.full((2, 32, 32, 3), 90, np.uint8)
    assert (quality.sharpness(quality.edges(flat)) == 0).all()
    changed = flat.copy()
    changed[:, :3, :3] = 141  # 3 px corner of a 32 px frame, 51 / 255 = 0.2
    assert quality.background_error(changed, flat[0]) == pytest.approx(0.04 / 4)
    assert quality.psnr(changed, flat) == pytest.approx(10 * np.log10(255**2 / (51**2 * 9 / 1024)))
    assert quality.psnr(changed, flat, np.full((2, 1, 4), (0, 0, 3, 3))) == pytest.approx(20 * np.log10(5))
    changed[:, 12:20, 12:20] = 0
    assert quality.background_error(changed, flat[0]) == pytest.approx(0.04 / 4)


def test_blur_lowers_sharpness_everywhere_and_noise_raises_it(people):
    case = people[0]
    frames, pose = case.clip.frames, case.track.pose
    soft = np.stack([cv2.GaussianBlur(f, (0, 0), 1) for f in frames])
    noisy = (frames + np.random.default_rng(0).normal(0, 12, frames.shape)).clip(0, 255).astype(np.uint8)
    low, mid, high = (quality.look_figures(f, case.identity, pose, 25) for f in (soft, frames, noisy))
    for name in ("sharp", "sharp_eyes", "sharp_mouth"):
        assert low[name] < 0.5 * mid[name] and mid[name] < high[name]
    assert 0.7 < mid["sharp"] < 1.4 and mid["background"] == 0
    fading = np.concatenate([frames[:25], soft[25:]])
    assert (
        quality.look_figures(fading, case.identity, pose, 25)["drift"]
        < 0.5
        < quality.look_figures(frames, case.identity, pose, 25)["drift"]
    )


def test_regions_follow_the_head(people):
    for case in people:
        found, true = quality.regions(case.track.pose, 128), quality.true_boxes(case)
        for name in ("eyes", "mouth"):
            centres = [(boxes[..., :2] + boxes[..., 2:]) / 2 for boxes in (found[name], true[name])]
            assert np.abs(centres[0] - centres[1]).max() < 8


def test_the_meter_reads_people_it_has_not_seen(people):
    for case in people:
        mouth = mouth_meter.read_mouth(case.clip.frames)
        assert quality.correlation(mouth.open, case.truth) > 0.9
        assert np.abs(mouth.box - case.clip.annotations["lip_box"]).mean() < 2
        assert np.abs(mouth.open - case.truth).mean() < 0.06
        assert (mouth_meter.measure(case.clip.frames) == mouth.open).all()


def test_true_frames_pass_the_bars_and_repeated_ones_do_not(people):
    frames = [case.clip.frames for case in people]
    rows = quality.figures(Still(people), people, frames, frames, 0)
    passed = {bar["bar"]: bar["passed"] for bar in quality.bars(rows)}
    assert all(passed[name] for name in passed if "another" not in name), passed
    assert rows[0]["lag"] == 0 and rows[0]["psnr"] > 60 and rows[0]["r"] == rows[0]["ceiling"]
    assert rows[0]["still_psnr"] < rows[0]["warp_psnr"] < 40
    still = [np.repeat(case.identity[None], FRAMES, 0) for case in people]
    failed = quality.bars(quality.figures(Still(people), people, still, [], 0))
    assert not failed[0]["passed"] and not failed[1]["passed"]
    run = {
        "sampler": "ddim",
        "steps": 4,
        "frames_per_second": 9.0,
        "clips": rows,
        "mean": quality.mean_of(rows),
        "bars": quality.bars(rows),
    }
    assert "| PASS" in quality_report.report(run) and "person-2" in quality_report.report(run)


def test_the_meter_says_what_is_wrong_with_its_input(tmp_path):
    with pytest.raises(DiffusedHeadsError, match="expected"):
        mouth_meter.measure(np.zeros((2, 64, 48, 3), np.uint8))
    (tmp_path / "other.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(DiffusedHeadsError, match="other.safetensors"):
        mouth_meter.load_meter(tmp_path / "other.safetensors")
    assert mouth_meter.WEIGHTS.stat().st_size <= 400_000
