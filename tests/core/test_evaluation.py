"""Clips are paired, brought to one shape and rate, and measured in a stream; the result and its page follow from
numbers.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from evaluation_clips import FPS, SIZE, noise, result_of, talk

from diffused_heads.diffused_heads_core.data.shards import Clip, ShardWriter, finish_dataset
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.evaluation import sources as evaluation_sources
from diffused_heads.diffused_heads_core.evaluation.measure import Settings, envelope, measure, measured
from diffused_heads.diffused_heads_core.evaluation.meters import Thumbnails
from diffused_heads.diffused_heads_core.evaluation.metrics.faces import mouth_opening
from diffused_heads.diffused_heads_core.evaluation.metrics.names import METRICS, scoped
from diffused_heads.diffused_heads_core.evaluation.metrics.networks import NetworkFiles
from diffused_heads.diffused_heads_core.evaluation.readers import FaceReaders, Reading, face_readers
from diffused_heads.diffused_heads_core.evaluation.sources import (
    ArraySource,
    DatasetSource,
    Group,
    VideoSource,
    plan,
    sources,
)
from diffused_heads.diffused_heads_core.evaluation.totals import Curve, Totals
from diffused_heads.diffused_heads_core.media.audio import Audio
from diffused_heads.diffused_heads_core.media.video import write_video

SHARED = Path(__file__).resolve().parents[3] / "shared"


def named(*names: str) -> list[ArraySource]:
    return [ArraySource(name, [], 25) for name in names]


def test_clips_are_paired_by_name_and_takes_belong_together() -> None:
    found = plan(named("ann", "bob-seed1", "bob-seed22", "eve_seed3"), named("ann", "bob", "eve", "zoe"))
    assert [(g.name, [t.name for t in g.takes], g.reference.name) for g in found.groups] == [
        ("ann", ["ann"], "ann"),
        ("bob", ["bob-seed1", "bob-seed22"], "bob"),
        ("eve", ["eve_seed3"], "eve"),
    ]
    assert [s.name for s in found.others] == ["zoe"] and "zoe" in found.notes[0]


def test_one_and_one_belong_together_and_strangers_are_populations() -> None:
    assert plan(named("made"), named("true")).groups[0].reference.name == "true"
    found = plan(named("a", "b"), named("c", "d"))
    assert (
        [g.reference for g in found.groups] == [None, None]
        and len(found.others) == 2
        and "populations" in found.notes[0]
    )
    assert plan(named("a", "b")).notes == ()
    assert "without a reference of its name: b" in plan(named("a", "b"), named("a")).notes[0]


def test_sources_of_a_folder_a_file_and_a_dataset(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.mkv"):
        write_video(tmp_path / name, noise(3), 25)
    (tmp_path / "notes.txt").write_text("no video")
    assert [s.name for s in sources(tmp_path)] == ["a", "b"] and isinstance(sources(tmp_path / "b.mp4")[0], VideoSource)
    with ShardWriter(tmp_path / "data", 0, 25, 32, {}) as shard:
        shard.add(
            "clip-0",
            Clip(np.stack(noise(5)), np.zeros(3200, np.float32), 16000, {"landmarks": np.ones((5, 68, 2), np.float32)}),
        )
    finish_dataset(tmp_path / "data", 1)
    (found,) = sources(tmp_path / "data")
    opened = found.open()
    assert isinstance(found, DatasetSource) and len(list(opened.frames)) == 5
    assert opened.landmarks.shape == (5, 68, 2) and opened.audio.duration == 0.2


def test_a_datasets_pictures_are_decoded_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ShardWriter(tmp_path, 0, 25.0, 32) as writer:
        writer.add("x", Clip(np.stack(noise(31)), np.zeros(31 * 640, np.float32), 16000, {}, {}))
    finish_dataset(tmp_path, 1)
    data = evaluation_sources.open_dataset(tmp_path)
    monkeypatch.setattr(evaluation_sources, "RUN", 12)
    read, whole = data.decoded, data.clip(0).frames
    calls: list[int] = []
    monkeypatch.setattr(data, "decoded", lambda *what: calls.append(1) or read(*what))
    frames = evaluation_sources.pictures(data, 0)
    assert (next(frames) == whole[0]).all() and len(calls) == 1
    assert (np.stack(list(frames)) == whole[1:]).all() and len(calls) == 3
    assert (np.stack(list(evaluation_sources.pictures(data, 0, 20, 25))) == whole[20:25]).all()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda p: p / "none", "no such file"),
        (lambda p: p, "found none"),
        (lambda p: [(p / f"a{s}").write_bytes(b"x") for s in (".mp4", ".mkv")] and p, "several called a"),
    ],
)
def test_paths_that_hold_no_clips(tmp_path: Path, make: Any, words: str) -> None:
    with pytest.raises(DiffusedHeadsError, match=words):
        sources(make(tmp_path))


def test_sides_of_different_size_and_rate_are_matched() -> None:
    frames = [np.full((64, 64, 3), 10 * n, np.uint8) for n in range(12)]
    half = [f[::2, ::2].copy() for f in frames[::2]]
    found = measure(Group("a", (ArraySource("a", half, 12.5),), ArraySource("true", frames, 25)))
    assert found.generated[0].frames == 6 and found.fps == 12.5
    assert found.pairs[0]["background_error"] == pytest.approx(
        10
    )  # at 12.5 frames/s the middle of a moment is the later frame
    back = measure(Group("a", (ArraySource("a", frames, 25),), ArraySource("true", half, 12.5)))
    assert back.generated[0].frames == 12 and back.pairs[0]["background_error"] == pytest.approx(5)
    assert measure(Group("a", (ArraySource("a", frames, 25),)), Settings(size=32, seconds=0.2)).generated[0].frames == 5


def test_landmarks_are_scaled_with_their_frames() -> None:
    true = talk(0)
    small = measure(Group("a", (true.source(),), true.source()), Settings(size=SIZE // 2, seconds=0.4))
    whole = measure(Group("a", (true.source(),), true.source()), Settings(seconds=0.4))
    assert small.generated[0].landmarks * 2 == pytest.approx(whole.generated[0].landmarks, rel=1e-5)
    assert small.mouth == pytest.approx(mouth_opening(true.landmarks[:10]))


@pytest.mark.parametrize(
    "group, words",
    [
        (
            Group(
                "a",
                (ArraySource("a", noise(3, 32), 25),),
                ArraySource("b", [f[:, :20].copy() for f in noise(3, 32)], 25),
            ),
            "b: expected frames of the proportions|a: expected",
        ),
        (Group("a", (ArraySource("a", [], 25),)), "a: expected frames, found none"),
        (Group("a", (ArraySource("a", noise(3), 0),)), "fps=0"),
        (Group("a", (ArraySource("a", noise(3, 12), 25),)), "at least 16 px"),
    ],
)
def test_what_cannot_be_measured_is_named(group: Group, words: str) -> None:
    with pytest.raises(DiffusedHeadsError, match=words):
        measure(group)


@pytest.mark.parametrize(
    "values", [{"size": 8}, {"seconds": 0}, {"window": -1.0}, {"size": 9999, "seconds": float("nan")}]
)
def test_settings_check_themselves(values: dict[str, Any]) -> None:
    with pytest.raises(DiffusedHeadsError, match="expected"):
        Settings(**values)


def test_processes_measure_what_this_one_does() -> None:
    groups = [
        Group(
            str(seed),
            (ArraySource(str(seed), noise(6, seed=seed), 25),),
            ArraySource("true", noise(6, seed=seed + 50), 25),
        )
        for seed in range(3)
    ]
    alone, together = Totals(Settings()), Totals(Settings())
    for totals, workers in ((alone, 1), (together, 2)):
        for found in measured(groups, totals.settings, workers):
            totals.add(found)
    assert alone.result({}) == together.result({}) and [row["clip"] for row in together.rows] == ["0", "1", "2"]


def test_memory_does_not_grow_with_the_number_of_clips() -> None:
    def clips(count: int) -> Iterator[Group]:
        for n in range(count):
            yield Group(
                str(n),
                (ArraySource(str(n), (f for f in noise(6, 32, n)), 25),),
                ArraySource("true", (f for f in noise(6, 32, n + 99)), 25),
            )

    def peak(count: int) -> int:
        tracemalloc.start()
        totals = Totals(Settings())
        for found in measured(clips(count), totals.settings):
            totals.add(found)
        totals.result({})
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(1)
    few, many = peak(7), peak(21)  # from the seventh clip on neither sheets nor traces are kept
    assert many < few + 14 * 6_000  # a row of figures per clip


def test_progress_may_stop_it() -> None:
    class StopError(Exception):
        pass

    seen: list[int] = []

    def on_frame(done: int) -> None:
        seen.append(done)
        if done == 3:
            raise StopError

    with pytest.raises(StopError):
        measure(Group("a", (ArraySource("a", noise(9), 25),)), on_frame=on_frame)
    assert seen == [1, 2, 3]


def test_takes_are_compared_with_each_other() -> None:
    true = talk(0)
    shifted = ArraySource("b", [np.roll(f, 3, 1) for f in true.frames[:20]], FPS, None, true.landmarks[:20] + (3, 0))
    found = result_of(Group("a", (true.source(), shifted), true.source()))
    apart = float(
        np.mean(np.linalg.norm(true.landmarks[:20, 42:48].mean(1) - true.landmarks[:20, 36:42].mean(1), axis=-1))
    )
    assert found["metrics"]["diversity_pose"]["value"] == pytest.approx(1.5 / apart, rel=1e-2)
    assert found["metrics"]["diversity_pixel"]["value"] > 1 and found["metrics"]["diversity_blink"]["value"] == 0
    assert found["clips"] == 2 and found["references"] == 1


def test_populations_without_partners() -> None:
    totals = Totals(Settings())
    for person in (0, 1):
        totals.add(measure(Group("a", (talk(person).source(),))))
        totals.add_reference(measure(Group("b", (talk(person, looks=person + 5).source(),))))
    found = totals.result({})
    assert found["metrics"]["frechet"]["value"] > 0.5 and "ssim" not in found["metrics"]
    assert found["not_measured"]["ssim"] == "needs references that are paired with the clips"
    assert found["metrics"]["ofm"]["reference"] is not None and found["references"] == 2


def test_every_metric_is_measured_or_has_a_reason() -> None:
    found = result_of(Group("a", (ArraySource("a", noise(30), 25),)))
    assert set(found["metrics"]) | set(found["not_measured"]) == set(METRICS) and not set(found["metrics"]) & set(
        found["not_measured"]
    )
    reasons = found["not_measured"]
    assert reasons["fid"].startswith("needs weights (--inception") and reasons["ssim"] == "needs references"
    assert reasons["blinks_per_second"] == "no face networks were asked for" and "seeds" in reasons["diversity_pose"]
    of_faces = {"av_offset", "av_confidence", "blinks_per_second", "blink_duration", "sharpness_eyes"}
    assert {m.name for m in scoped("clip")} - of_faces == set(found["metrics"])


class Half:
    """A reader that finds a face in every other frame, or in none."""

    def __init__(self, every: int = 2):
        self.count, self.every = 0, every

    def read(self, frame: np.ndarray) -> Reading:
        self.count += 1
        return Reading(mouth=float(frame.mean())) if self.count % self.every else Reading()


def test_readers_tell_what_no_truth_tells() -> None:
    frames = [np.full((32, 32, 3), int(100 + 50 * np.sin(n)), np.uint8) for n in range(40)]
    group = Group("a", (ArraySource("a", frames, 25),), ArraySource("b", frames, 25))
    found = result_of(group, settings=Settings(readers=lambda: Half(4)))
    assert found["metrics"]["mouth_r"]["value"] == pytest.approx(1)
    assert found["not_measured"]["lmd"] == "no face was found in at least half of the frames"
    assert found["traces"][0]["generated"][3] is None and found["traces"][0]["generated"][0] == pytest.approx(100)


def test_truth_on_one_side_reads_both_and_keeps_the_true_mouth() -> None:
    true = talk(0)
    found = measure(Group("a", (true.source(known=False),), true.source()), Settings(readers=lambda: Half(99)))
    assert found.mouth == pytest.approx(mouth_opening(true.landmarks)) and np.isnan(found.reference.landmarks).all()
    assert found.pairs[0]["eye_error"] == 0  # around the true eyes


def test_face_networks_read_avatars_and_their_absence_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DiffusedHeadsError):
        monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
        face_readers(tmp_path)
    monkeypatch.setenv("DIFFUSED_HEADS_FACE_MODELS", str(tmp_path))
    readers, reason = face_readers()
    assert readers is None and "the face networks are not there" in reason
    if not (SHARED / "face_models").is_dir():
        pytest.skip("../shared/face_models is not there")
    true = talk(0)
    found = result_of(
        Group("a", (true.source(False),), true.source()),
        settings=Settings(readers=FaceReaders(SHARED / "face_models"), size=128),
    )
    assert found["metrics"]["mouth_r"]["value"] > 0.7 and abs(found["metrics"]["mouth_lag"]["value"]) <= 1
    assert found["metrics"]["lmd"]["value"] == 0 and found["metrics"]["blinks_per_second"]["value"] > 0


class Means(torch.nn.Module):
    """Stands for a feature network."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.float().flatten(2).mean(2)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_supplied_networks_give_their_distances(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Means()), str(tmp_path / "net.pt"))
    settings = Settings(networks=NetworkFiles(inception=tmp_path / "net.pt", i3d=tmp_path / "net.pt", trusted=True))
    rows = {
        name: np.random.default_rng(seed).integers(0, high, (64, 1, 1, 3))
        for name, seed, high in (("made", 0, 200), ("true", 1, 120))
    }
    frames = {name: list(np.broadcast_to(r, (64, 32, 32, 3)).astype(np.uint8)) for name, r in rows.items()}
    found = result_of(
        Group("a", (ArraySource("a", frames["made"], 25),), ArraySource("b", frames["true"], 25)), settings=settings
    )["metrics"]
    made, true = (rows[name][:, 0, 0].astype(float) for name in ("made", "true"))
    from scipy.linalg import sqrtm

    ca, cb = np.cov(made.T), np.cov(true.T)
    assert found["fid"]["value"] == pytest.approx(
        ((made.mean(0) - true.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * sqrtm(ca @ cb).real), rel=1e-4
    )
    assert found["kid"]["value"] > 0 and found["fvd"]["value"] > 0
    same = result_of(
        Group("a", (ArraySource("a", frames["true"], 25),), ArraySource("b", frames["true"], 25)), settings=settings
    )["metrics"]
    assert same["fid"]["value"] == same["fvd"]["value"] == 0 and abs(same["kid"]["value"]) < 0.1 * found["kid"]["value"]


def test_the_envelope_is_the_swing_and_silence_follows_the_end() -> None:
    sound = np.concatenate([np.full(640, 0.5), np.full(640, -0.25)]).astype(np.float32)
    assert envelope(Audio(sound[None], 16000), 3, 25) == pytest.approx([0.5] * 4 + [0.25] * 4 + [0] * 4)
    assert envelope(None, 3, 25).size == 0


def test_curves_are_means_over_seconds_and_clips() -> None:
    curve = Curve()
    curve.add(np.array([1.0, 3, 5, np.nan, 7]), 2)  # 2, 5, and a last second of half a length
    curve.add(np.array([4.0, 4]), 2)
    found = curve.result()
    assert found == {"mean": [3, 5], "spread": [1, 0]}


def test_thumbnails_are_evenly_spaced_over_any_length() -> None:
    for count in (1, 5, 8, 31, 32, 200):
        shown = Thumbnails()
        for n in range(count):
            shown.add(np.full((20, 10, 3), n, np.uint8))
        places = [int(t[0, 0, 0]) for t in shown.chosen()]
        assert len(places) == min(8, count) and places[0] == 0
        assert count == 1 or (places[-1] >= 0.85 * (count - 1) and np.ptp(np.diff(places)) <= max(2, count // 15))
        assert shown.chosen()[0].shape == (128, 64, 3)
