"""The avatar benchmark's fixed sets and ablations: what they read, what they write, and that every variant is a valid network."""
from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.metrics_faces import LEFT_EYE, RIGHT_EYE, blinks, correlation
from diffused_heads.diffused_heads_core.unet import UNet
from diffused_heads.training.synthesis.avatar import sample_avatar
from diffused_heads.training.synthesis.corpus import Job
from diffused_heads.training.synthesis.expression import index, neutral
from diffused_heads.training.synthesis.motion import head_pose
from diffused_heads.training.synthesis.render import render

pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra 'evaluate')")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import ablations  # noqa: E402
import avatar_sets as sets  # noqa: E402
import sections  # noqa: E402

FRAMES = 75


@pytest.fixture(scope="module")
def person() -> SimpleNamespace:
    """A rendered avatar that talks, turns and blinks twice."""
    moments, expression = np.arange(FRAMES), neutral(FRAMES)
    expression[:, index("open")] = 0.3 + 0.3 * np.sin(moments / 2)
    shut = np.maximum(*(np.interp(moments - at, [0, 2, 3, 6], [0, 1, 1, 0], 0, 0) for at in (20, 52)))
    expression[:, index("blink_left")] = expression[:, index("blink_right")] = shut
    poses = head_pose(np.random.default_rng(4), np.zeros(0), FRAMES)
    avatar = sample_avatar(Job(77, 128, 3, True).stream(1, "identity"))
    frames, truths = zip(*(render(avatar, e, p, 128) for e, p in zip(expression, poses)))
    return SimpleNamespace(frames=frames, poses=poses, landmarks=np.stack([t.landmarks for t in truths]), mouth=np.array([t.mouth_open for t in truths]), shut=shut)


def test_the_pose_puts_the_eyes_where_they_are(person: SimpleNamespace) -> None:
    for pose, marks in zip(person.poses, person.landmarks):
        for found, part in zip(sets.eye_corners(pose, 128), (LEFT_EYE, RIGHT_EYE)):
            middle = (found[0] + found[3]) / 2
            assert np.abs(middle - marks[part].mean(0)).max() < 5


def test_mouth_and_lids_are_read_without_landmarks(person: SimpleNamespace) -> None:
    reader = sets.AvatarReader(person.poses)
    readings = [reader.read(frame) for frame in person.frames]
    assert correlation(np.array([r.mouth for r in readings]), person.mouth) > 0.95 and readings[0].landmarks is None
    found = blinks(np.array([r.eyes for r in readings]), 25)
    assert [round(25 * (b.start + b.duration / 2)) for b in found] == pytest.approx([23, 55], abs=1)


def test_ends_of_a_clip_are_compared() -> None:
    truth = np.tile(np.sin(np.arange(50.0)), 2)
    found = np.concatenate([truth[:50], -truth[50:]])
    side = SimpleNamespace(mouth=found, series={"sharpness": np.repeat([2.0, 1.0], 50)})
    group = SimpleNamespace(generated=[side], reference=SimpleNamespace(series={"sharpness": np.full(100, 4.0)}), mouth=truth, fps=25.0)
    assert sets.both_ends(group, 2.0) == pytest.approx({"r_first": 1, "r_last": -1, "sharp_first": 0.5, "sharp_last": 0.25})
    assert sets.shuffled([(truth, truth), (truth[:60], -truth[:80])]) == pytest.approx(0, abs=1e-9)  # +1 and -1


def test_sets_are_fixed() -> None:
    assert {name: (s.clips, s.seconds, s.seed, s.window) for name, s in sets.SETS.items()} == {
        "8x5s": (8, 5.0, 0, 1.0), "4x30s": (4, 30.0, 1, 3.0), "2x300s": (2, 300.0, 2, 10.0)}


def test_parts_of_the_results_leave_each_other_alone(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text("# Measured quality\n\nold text\n")
    sections.write("sets", "## Sets\n\nfirst", path)
    sections.write("quick", "# Measured quality\n\nnew text", path)
    sections.write("sets", "## Sets\n\nsecond", path)
    assert sections.read(path) == {"quick": "# Measured quality\n\nnew text", "sets": "## Sets\n\nsecond"}
    assert path.read_text().index("new text") < path.read_text().index("second") and "first" not in path.read_text()


def row(name: str, steps: int) -> dict[str, object]:
    values = dict.fromkeys([*sets.COLUMNS], 0.5)
    return {"set": name, "sampler": "ddim", "steps": steps, "cpu": 0.1, **values, "truth": dict.fromkeys(sets.SHOWN, 1.0)}


def test_the_tables_have_the_truth_beside_each_set() -> None:
    text = sets.document({"model": "avatar", "sha256": "a" * 64, "machine": "m", "rows": [row("8x5s", 2), row("8x5s", 4), row("4x30s", 4)]})
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["true", "ddim", "ddim", "true", "ddim"] and len({line.count("|") for line in lines}) == 1
    assert ablations.document({"steps": 10, "rows": {"base": row("8x5s", 4), "lip-0": row("8x5s", 4)}}).count("| no lip loss") == 1


def test_rows_are_kept_until_the_model_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "ROWS", tmp_path / "rows.json")
    monkeypatch.setattr(sets.sections, "write", lambda name, body: None)
    stamp, other = ({"model": "avatar", "sha256": digest * 64, "machine": "m"} for digest in "ab")
    for one in (row("4x30s", 4), row("8x5s", 8), row("8x5s", 4)):
        sets.keep(stamp, {sets.row_key(one): one})
    assert [(r["set"], r["steps"]) for r in sets.merged(stamp, {})["rows"]] == [("8x5s", 4), ("8x5s", 8), ("4x30s", 4)]
    sets.keep(other, {sets.row_key(row("8x5s", 4)): row("8x5s", 4)})
    assert len(sets.merged(other, {})["rows"]) == 1 and not sets.merged(stamp, {})["rows"]


@pytest.mark.parametrize("name", ablations.VARIANTS)
def test_every_ablation_changes_one_thing(name: str) -> None:
    base, config = ablations.configured("base", 100), ablations.configured(name, 100)
    changed = {"motion-0": "motion_frames", "motion-1": "motion_frames", "motion-gray": "motion_gray"}.get(name)
    assert (config == base) == (name == "base") and config.steps == 100
    if changed:
        assert getattr(config.model, changed) != getattr(base.model, changed) and config.loss == base.loss
    with torch.device("meta"):
        UNet(config.model.unet)
