"""The avatar benchmark's fixed sets and ablations: what they read, what they write, and that every variant is a valid
network.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.evaluation.measure import GroupFigures, Settings, measure
from diffused_heads.diffused_heads_core.evaluation.metrics.faces import LEFT_EYE, RIGHT_EYE, blinks, correlation
from diffused_heads.diffused_heads_core.evaluation.readers import eye_openings
from diffused_heads.diffused_heads_core.evaluation.sources import ArraySource, Group
from diffused_heads.diffused_heads_core.evaluation.totals import Totals
from diffused_heads.diffused_heads_core.unet import UNet
from diffused_heads.training.synthesis.avatars.avatar import sample_avatar
from diffused_heads.training.synthesis.avatars.render import render
from diffused_heads.training.synthesis.corpus import Job
from diffused_heads.training.synthesis.expression import index, neutral
from diffused_heads.training.synthesis.motion import head_pose

pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra 'evaluate')")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import ablations
import avatar_sets as sets
import evaluation
import quality_report as report
import sections
import set_parts

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
    landmarks, mouth = np.stack([t.landmarks for t in truths]), np.array([t.mouth_open for t in truths])
    return SimpleNamespace(frames=frames, poses=poses, landmarks=landmarks, mouth=mouth, shut=shut)


def test_the_pose_puts_the_eyes_where_they_are(person: SimpleNamespace) -> None:
    for pose, marks in zip(person.poses, person.landmarks):
        for found, part in zip(sets.eye_corners(pose, 128), (LEFT_EYE, RIGHT_EYE)):
            assert np.abs(found.mean(0) - marks[part].mean(0)).max() < 5


def test_mouth_and_lids_are_read_without_landmarks(person: SimpleNamespace) -> None:
    reader = sets.AvatarReader(person.poses)
    readings = [reader.read(frame) for frame in person.frames]
    assert correlation(np.array([r.mouth for r in readings]), person.mouth) > 0.95 and readings[0].landmarks is None
    found = blinks(eye_openings(readings), 25)
    assert [round(25 * (b.start + b.duration / 2)) for b in found] == pytest.approx([23, 55], abs=1)


def test_ends_of_a_clip_are_compared() -> None:
    truth = np.tile(np.sin(np.arange(50.0)), 2)
    found = np.concatenate([truth[:50], -truth[50:]])
    side = SimpleNamespace(mouth=found, series={"sharpness": np.repeat([2.0, 1.0], 50)})
    group = SimpleNamespace(
        generated=[side], reference=SimpleNamespace(series={"sharpness": np.full(100, 4.0)}), mouth=truth, fps=25.0
    )
    assert sets.both_ends(group, 2.0) == pytest.approx(
        {"r_first": 1, "r_last": -1, "sharp_first": 0.5, "sharp_last": 0.25}
    )
    assert sets.shuffled([(truth, truth), (truth[:60], -truth[:80])]) == pytest.approx(0, abs=1e-9)  # +1 and -1


def test_sets_are_fixed() -> None:
    assert {name: (s.clips, s.seconds, s.seed, s.window) for name, s in sets.SETS.items()} == {
        "8x5s": (8, 5.0, 0, 1.0),
        "4x30s": (4, 30.0, 1, 3.0),
        "2x300s": (2, 300.0, 2, 10.0),
    }


def test_parts_of_the_results_leave_each_other_alone(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text("# Measured quality\n\nold text\n")
    sections.write("sets", "## Sets\n\nfirst", path)
    sections.write("quick", "# Measured quality\n\nnew text", path)
    sections.write("sets", "## Sets\n\nsecond", path)
    assert sections.read(path) == {"quick": "# Measured quality\n\nnew text", "sets": "## Sets\n\nsecond"}
    assert path.read_text().index("new text") < path.read_text().index("second") and "first" not in path.read_text()


def row(name: str, steps: int) -> dict[str, object]:
    values = dict.fromkeys([*sets.SPEECH, *sets.PICTURE, *sets.SHOWN], 0.5)
    return {
        "set": name,
        "sampler": "ddim",
        "steps": steps,
        "cpu": 0.1,
        **values,
        "truth": dict.fromkeys(sets.SHOWN, 1.0),
    }


def stamp(model: str, digest: str) -> dict[str, str]:
    return {"model": model, "sha256": digest * 64, "machine": "m"}


def rows_of(text: str) -> list[list[str]]:
    """Cells of all lines of tables, but for heads."""
    lines = [line for line in text.splitlines() if line.startswith("|") and "---" not in line and "frames" not in line]
    return [[c.strip() for c in line.strip("|").split("|")] for line in lines]


def test_the_tables_have_the_truth_above_the_models_of_each_set() -> None:
    models = [
        {**stamp("human", "a"), "rows": [row("8x5s", 2), row("4x30s", 4)]},
        {**stamp("avatar", "b"), "rows": [row("8x5s", 4)]},
    ]
    text = sets.document(models)
    assert [r[0] for r in rows_of(text)] == 2 * ["true", "`human`", "`avatar`"] + 2 * ["true", "`human`"]
    assert text.index("### 8x5s") < text.index("### 4x30s") and "2x300s" not in text and "SHA-256 bbbbbbbbbbbb" in text
    assert (
        ablations.document({"steps": 10, "clips": 8, "rows": {"base": row("8x5s", 4), "lip-0": row("8x5s", 4)}}).count(
            "| no lip loss"
        )
        == 1
    )


def test_rows_are_kept_by_model_until_the_model_of_that_name_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sets, "ROWS", tmp_path / "rows.json")
    written: list[str] = []
    monkeypatch.setattr(sets.sections, "write", lambda name, body: written.append(body))

    def kept() -> list[tuple[str, str, list[tuple[str, int]]]]:
        return [
            (m["model"], m["sha256"][0], [(r["set"], r["steps"]) for r in m["rows"]])
            for m in json.loads(sets.ROWS.read_text())["models"]
        ]

    for one in (row("4x30s", 4), row("8x5s", 8), row("8x5s", 4)):
        sets.keep(stamp("avatar", "a"), {sets.row_key(one): one})
    assert kept() == [("avatar", "a", [("8x5s", 4), ("8x5s", 8), ("4x30s", 4)])]
    for digest in "bc":
        sets.keep(stamp("human", digest), {sets.row_key(row("8x5s", 4)): row("8x5s", 4)})
    assert kept() == [("human", "c", [("8x5s", 4)]), ("avatar", "a", [("8x5s", 4), ("8x5s", 8), ("4x30s", 4)])]
    assert "`human`" in written[-1] and "`avatar`" in written[-1]


def equal(a: object, b: object) -> bool:
    """Whether two trees of dataclasses, dictionaries and sequences hold the same."""
    if hasattr(a, "__dataclass_fields__"):
        a, b = vars(a), vars(b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return np.array_equal(a, b, equal_nan=isinstance(a, np.ndarray) and a.dtype.kind == "f") or (a != a and b != b)


def figures_of(person: SimpleNamespace) -> GroupFigures:
    frames = list(person.frames[:30])
    softer = [np.uint8(0.9 * frame) for frame in frames]
    readers = iter([sets.AvatarReader(person.poses), sets.AvatarReader(person.poses)])
    return measure(
        Group("clip", (ArraySource("made", softer, 25.0),), ArraySource("true", frames, 25.0)),
        Settings(readers=lambda: next(readers)),
    )


def test_a_kept_clip_comes_back_as_it_was(person: SimpleNamespace, tmp_path: Path) -> None:
    found = figures_of(person)
    set_parts.save_part(tmp_path / "parts" / "one.npz", found, 1.5)
    again, spent = set_parts.load_part(tmp_path / "parts" / "one.npz")
    assert spent == 1.5 and equal(found, again)
    results = []
    for figures in (found, again):
        totals = Totals(Settings())
        totals.add(figures)
        results.append(totals.result({}))
    assert results[0] == results[1]


def test_a_stopped_set_goes_on_with_the_next_clip(
    person: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = SimpleNamespace(
        frames=lambda index: 30, annotations=lambda index: {"pose": person.poses}, path=tmp_path, keys=["a", "b"]
    )
    model = SimpleNamespace(
        options=lambda **asked: SimpleNamespace(sampler="ddim", steps=4),
        head_track=lambda length, seed: None,
        config=SimpleNamespace(frame_size=128, mouth=None),
    )
    monkeypatch.setitem(sets.SETS, "8x5s", sets.Set(2, 1.2, 0))
    monkeypatch.setattr(sets, "open_set", lambda chosen, size: (data, [person.frames[0]] * 2))
    made: list[str] = []

    def measured(group: Group, settings: Settings, on_frame: object) -> GroupFigures:
        if len(made) == 1 and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt
        made.append(group.name)
        return figures_of(person)

    stopped: list[bool] = []
    monkeypatch.setattr(sets, "measure", measured)
    run = sets.Run(model, "8x5s", {}, "a" * 64, tmp_path / "sets")
    with pytest.raises(KeyboardInterrupt):
        sets.run_set(run)
    assert [path.name[-5:] for path in (tmp_path / "sets" / "parts").iterdir()] == ["0.npz"]
    found = sets.run_set(run)
    assert made == ["a", "b"] and found["mouth_r"] > 0.9
    assert not list((tmp_path / "sets" / "parts").iterdir()) and (tmp_path / "sets" / "8x5s-ddim-4.html").is_file()


def quick(model: str, digest: str, steps: int, r: float) -> dict[str, object]:
    """As much of a result of quality.py as its report asks for."""
    names = [*report.SPEECH, *report.LOOKS, *report.REENACTED, *(f"truth_{n}" for n in report.LOOKS)]
    clip = {"clip": "one", "voice": "f1", **dict.fromkeys(names, 0.5), "r": r}
    bars = [{"bar": "mouth r, mean", "found": str(r), "expected": ">= 0.75", "passed": r > 0.75}]
    run = {
        "sampler": "ddim",
        "steps": steps,
        "frames_per_second": 7.0,
        "clips": [clip],
        "mean": dict(clip),
        "bars": bars,
    }
    return {
        **stamp(model, digest),
        "parameters": 7,
        "training": {"steps": 9},
        "clips": 8,
        "seconds": 5.0,
        "seed": 0,
        "runs": [run],
    }


def test_the_first_part_keeps_both_models(tmp_path: Path) -> None:
    kept, results = tmp_path / "quality.json", tmp_path / "RESULTS.md"
    for found in (
        quick("avatar", "a", 4, 0.91),
        quick("human", "b", 4, 0.6),
        quick("avatar", "a", 2, 0.82),
        quick("human", "c", 4, 0.83),
    ):
        report.keep(found, kept, results)
    models = json.loads(kept.read_text())["models"]
    assert [(m["model"], m["sha256"][0], [r["steps"] for r in m["runs"]]) for m in models] == [
        ("human", "c", [4]),
        ("avatar", "a", [2, 4]),
    ]
    text = results.read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    told = [
        line.split("|")[1].strip()
        for line in lines
        if any(f" {r:.2f} " in line for r in (0.82, 0.83, 0.91)) and "`" in line
    ]
    assert told == ["`human`", "`avatar`", "`avatar`"] and "| true " in text and "0.6" not in text.replace("0.65", "")
    assert "### Model `avatar`: ddim, 2 steps" in text and text.startswith("<!-- begin quick -->\n# Measured quality")


@pytest.mark.parametrize("cores, passed", [(1.9, ["PASS", "FAIL", "PASS"]), (0.2, ["PASS", "PASS"])])
def test_the_clock_is_a_bar_on_free_processors_only(cores: float, passed: list[str]) -> None:
    usual = {
        "frames": 1500,
        "clock_s": 190.0,
        "cores": cores,
        "cpu_ms_a_frame": 17.0,
        "peak_mib": 300.0,
        "peak_worker_mib": 310.0,
    }
    rows = [{**usual, "clips": 20, "cpu_s": 60.0}, {**usual, "clips": 100, "cpu_s": 260.0}]
    assert [bar["passed"] for bar in evaluation.bars(rows, 2)] == passed
    assert ("was busy" in evaluation.document(rows, 2, True)) == (cores < 1)
    assert [bar["passed"] for bar in evaluation.bars([rows[0], {**rows[1], "peak_mib": 600.0}], 2)][-1] == "FAIL"


def test_ablations_are_written_again_with_a_remark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablations, "ROWS", tmp_path / "rows.json")
    written: list[str] = []
    monkeypatch.setattr(ablations.sections, "write", lambda name, body: written.append(body))
    monkeypatch.setattr(ablations, "train", lambda name, options: tmp_path)
    monkeypatch.setattr(ablations, "measure", lambda path, device: row("8x5s", 4))
    asked = ["--steps", "10", "--clips", "8", "--only", "base", "lip-0"]
    assert ablations.main(asked) == 0 and len(written) == 2 and written[-1].count("| no lip loss") == 1
    monkeypatch.setattr(ablations, "train", None)
    assert ablations.main([*asked, "--remark", "They say nothing."]) == 0 and "They say nothing." in written[-1]
    assert ablations.main(asked) == 0 and "They say nothing." in written[-1]


@pytest.mark.parametrize("name", ablations.VARIANTS)
def test_every_ablation_changes_one_thing(name: str) -> None:
    base, config = ablations.configured("base", 100), ablations.configured(name, 100)
    changed = {"motion-0": "motion_frames", "motion-1": "motion_frames", "motion-gray": "motion_gray"}.get(name)
    assert (config == base) == (name == "base") and config.steps == 100
    if changed:
        assert getattr(config.model, changed) != getattr(base.model, changed) and config.loss == base.loss
    with torch.device("meta"):
        UNet(config.model.unet)
