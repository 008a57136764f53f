"""Videos of painted people to datasets: the content, whatever the order, number of workers and interruptions."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from diffused_heads import main
from diffused_heads.diffused_heads_core.data.shards import Dataset
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.media import shots
from diffused_heads.training.preparation import packing, segments
from diffused_heads.training.preparation.prepare import find_videos, parse_shard, prepare
from diffused_heads.training.preparation.report import explain
from diffused_heads.training.preparation.settings import Settings

SCRIPT = Path(__file__).with_name("prepare_stage.py")
sys.path.insert(0, str(SCRIPT.parent))
from prepare_stage import RATE, DeadlyFinder, PaintFinder, Person, Shot, film, record, speech, usual_films  # noqa: E402
from small_run import slow  # noqa: E402

SMALL = Settings(size=32, validation=0.3)


def made(raw: Path, out: Path, settings: Settings = SMALL, **options: object) -> dict | None:
    return prepare(raw, out, settings, **{"workers": 1, "progress": False, "make_finder": PaintFinder, **options})


def contents(out: Path) -> dict[str, bytes]:
    """All files that a preparation promises."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and "work" not in path.relative_to(out).parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return usual_films(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module")
def whole(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    made(raw, out)
    return out


def test_datasets_are_whole_and_say_what_they_are(whole: Path) -> None:
    train, validation = Dataset(whole / "train"), Dataset(whole / "validation")
    train.verify()
    assert (len(train), len(validation), train.fps, train.size) == (2, 1, 25, 32)
    assert (
        train.header["info"]["measured"]
        and train.header["info"]["people"] == 2
        and set(train.header["annotations"]) >= {"pose", "expression", "lip_box"}
    )
    identities = [{data.meta(i)["identity"] for i in range(len(data))} for data in (train, validation)]
    assert not identities[0] & identities[1]
    meta = train.meta(0)
    assert (
        meta["source"].endswith(".mp4")
        and meta["licence"] == "unknown"
        and meta["start"] == 0
        and 0 < meta["quality"] <= 1
    )


def test_the_mouth_is_in_the_box_and_in_step_with_the_sound(whole: Path) -> None:
    data = Dataset(whole / "train")
    for i in range(len(data)):
        clip = data.clip(i)
        assert abs(len(clip.audio) / RATE - len(clip.frames) / 25) < 0.02 and clip.sample_rate == RATE
        colours = clip.frames.astype(int)
        mouth = (colours[..., 2] > 120) & (colours[..., 2] - colours[..., :2].max(-1) > 60)
        heights = mouth.sum((1, 2))
        for found, box in zip(mouth, clip.annotations["lip_box"]):
            rows, columns = np.nonzero(found)
            assert (
                box[0] - 1 <= columns.min()
                and columns.max() + 1 <= box[2] + 1
                and box[1] - 1 <= rows.min()
                and rows.max() + 1 <= box[3] + 1
            )
        assert np.corrcoef(heights, clip.annotations["mouth_open"])[0, 1] > 0.9
        loud = np.abs(clip.audio[: len(clip.frames) * 640].reshape(-1, 640)).mean(1)
        assert np.corrcoef(loud, clip.annotations["mouth_open"])[0, 1] > 0.8


def test_shards_can_be_read_as_a_stream(whole: Path) -> None:
    for shard in (whole / "train").glob("*.tar"):
        with shard.open("rb") as pipe, tarfile.open(fileobj=pipe, mode="r|") as stream:
            names = [member.name for member in stream if stream.extractfile(member).read()]
        keys = [name.rsplit(".", 1) for name in names]
        assert [suffix for _, suffix in keys] == ["mp4", "wav", "npz", "json"] * (len(keys) // 4)
        assert all(len({key for key, _ in keys[n : n + 4]}) == 1 for n in range(0, len(keys), 4))


def test_workers_and_shares_change_no_byte(raw: Path, whole: Path, tmp_path: Path) -> None:
    made(raw, tmp_path / "two", workers=2)
    assert made(raw, tmp_path / "shares", shard="2/3") is None and made(raw, tmp_path / "shares", shard="3/3") is None
    assert made(raw, tmp_path / "shares", shard="1/3")["clips"] == 3
    seen: list[tuple[int, int]] = []
    made(
        raw, tmp_path / "threads", workers=2, engine="threads", progress=lambda done, total: seen.append((done, total))
    )
    want = contents(whole)
    assert contents(tmp_path / "threads") == want and seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert contents(tmp_path / "two") == want and contents(tmp_path / "shares") == want
    assert {"report.json", "report.html", "train/dataset.json", "validation/shard-000000.tar"} <= set(want)


def test_the_same_call_again_does_nothing_and_restores_what_is_missing(raw: Path, whole: Path, tmp_path: Path) -> None:
    made(raw, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.bin")} | {
        path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tar")
    }
    (tmp_path / "train" / "shard-000000.json").unlink()
    next(tmp_path.rglob("*.bin")).write_bytes(b"cut")
    next((tmp_path / "validation").glob("*.tar")).write_bytes(b"cut")
    made(raw, tmp_path)
    assert contents(tmp_path) == contents(whole)
    assert sum(path.stat().st_mtime_ns == time_ for path, time_ in before.items()) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_a_caller_can_end_a_run_and_go_on(raw: Path, whole: Path, tmp_path: Path, workers: int) -> None:
    def enough(done: int, total: int) -> None:
        if done:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        made(raw, tmp_path, workers=workers, engine="threads", progress=enough)
    assert 1 <= len(list(tmp_path.rglob("*.bin"))) <= 3 and not (tmp_path / "train").exists()
    made(raw, tmp_path)
    assert contents(tmp_path) == contents(whole)


def test_new_videos_are_added_and_changed_ones_are_done_again(raw: Path, tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    for path in raw.iterdir():
        (films / path.name).write_bytes(path.read_bytes())
    assert made(films, tmp_path / "out")["clips"] == 3
    film(films / "later.mp4", [Shot(1.04, (replace(Person(), skin=(90, 90, 90)),), background=9)])
    film(films / "person0.mp4", [Shot(1.32)])
    report = made(films, tmp_path / "out")
    lengths = {source["name"]: source["clips"][0]["seconds"] for source in report["sources"]}
    assert report["clips"] == 4 and lengths["later.mp4"] == 1.04 and lengths["person0.mp4"] == 1.32
    (films / "later.mp4").unlink()
    made(films, tmp_path / "out")
    made(films, tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_other_settings_need_another_folder_but_another_split_does_not(raw: Path, tmp_path: Path) -> None:
    made(raw, tmp_path)
    with pytest.raises(DiffusedHeadsError, match="other size"):
        made(raw, tmp_path, replace(SMALL, size=64))
    assert (
        made(raw, tmp_path, replace(SMALL, validation=0.0))["validation_clips"] == 0
        and not (tmp_path / "validation" / "dataset.json").exists()
    )
    assert made(raw, tmp_path, replace(SMALL, licence="CC-BY-4.0"))["clips"] == 3
    assert Dataset(tmp_path / "train").meta(0)["licence"] == "CC-BY-4.0"


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    """A folder of everything that goes wrong, prepared."""
    folder, out = tmp_path_factory.mktemp("awkward"), tmp_path_factory.mktemp("awkward-out")
    still = Person(opening=lambda t: 0.5)
    left, right = Person(x=0.25, side=0.6), Person(x=0.75, side=0.6, opening=lambda t: 0.5)
    film(folder / "good.mp4", [Shot(1.0)])
    film(folder / "thirty.mkv", [Shot(1.0)], fps=30)
    film(folder / "mpeg1.mpg", [Shot(1.0)], codec="mpeg1video")
    film(folder / "no-sound.mp4", [Shot(1.0)], sound=None)
    film(folder / "silent.mp4", [Shot(1.0)], sound=np.zeros(round(RATE), np.float32))
    film(folder / "short.mp4", [Shot(0.5)])
    film(folder / "nobody.mp4", [Shot(1.0, ())], sound=speech(1.0))
    film(folder / "still.mp4", [Shot(1.0, (still,))], sound=speech(1.0))
    film(folder / "pair.mp4", [Shot(1.0, (left, right))], size=(200, 400), sound=speech(1.0, left))
    film(
        folder / "cuts.mp4",
        [Shot(1.0), Shot(0.4, (Person(x=0.4),), 1), Shot(1.0, (), 2), Shot(1.0, (Person(x=0.55),), 3)],
        sound=speech(3.4),
    )
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mov").write_text("no video at all")
    data = (folder / "good.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) // 3])
    (folder / "notes.txt").write_text("not looked at")
    return made(folder, out, replace(SMALL, shortest=0.8)), out


def test_no_damage_ends_a_run(raw: Path, tmp_path: Path) -> None:
    data, random_ = (raw / "person0.mp4").read_bytes(), np.random.default_rng(3)
    (tmp_path / "in").mkdir()
    for n in range(16):
        broken = bytearray(data)
        at, length = int(random_.integers(len(data))), int(random_.choice([1, 8, 200, 4000]))
        broken[at : at + length] = random_.bytes(len(broken[at : at + length]))
        (tmp_path / "in" / f"{n}.mp4").write_bytes(
            broken[: int(random_.integers(len(data) // 2, len(data)))] if n % 4 == 3 else broken
        )
    report = made(tmp_path / "in", tmp_path / "out")
    assert report["videos"] == 16 and all(source["clips"] or explain(source) for source in report["sources"])


@pytest.mark.parametrize(
    ("name", "clips", "text"),
    [
        ("good.mp4", 1, "1 clips"),
        ("thirty.mkv", 1, "1 clips"),
        ("mpeg1.mpg", 1, "1 clips"),
        ("no-sound.mp4", 0, "there is no sound"),
        ("silent.mp4", 0, "the sound is silent"),
        ("short.mp4", 0, "too short"),
        ("nobody.mp4", 0, "no face was found"),
        ("still.mp4", 0, "mouth does not move"),
        ("pair.mp4", 1, "mouth does not move|another face speaks"),
        ("cuts.mp4", 2, "too short"),
        ("empty.mp4", 0, "empty"),
        ("text.mov", 0, "expected a video file"),
        ("cut.mp4", 0, "expected a video file"),
    ],
)
def test_everything_awkward_is_explained(awkward: tuple[dict, Path], name: str, clips: int, text: str) -> None:
    import re

    source = next(each for each in awkward[0]["sources"] if each["name"] == name)
    assert len(source["clips"]) == clips and re.search(text, explain(source)), explain(source)


def test_faces_of_too_few_pixels_are_dropped(tmp_path: Path) -> None:
    film(tmp_path / "in" / "small.mp4", [Shot(1.0, (Person(side=0.6),))])
    report = made(tmp_path / "in", tmp_path / "out", replace(SMALL, size=128, shortest=0.8))
    assert (
        "too few pixels" in explain(report["sources"][0])
        and report["remarks"]
        and not (tmp_path / "out" / "train").exists()
    )


def test_the_report_shows_it(awkward: tuple[dict, Path]) -> None:
    report, out = awkward
    page = (out / "report.html").read_text(encoding="utf-8")
    assert json.loads((out / "report.json").read_text(encoding="utf-8")) == json.loads(json.dumps(report))
    assert (
        report["unreadable"] == 3
        and report["videos"] == 13
        and all(source["name"] in page for source in report["sources"])
    )
    assert page.count("data:image/jpeg;base64,/9j/") >= report["clips"] + 5
    assert report["seconds"] == pytest.approx(sum(c["seconds"] for s in report["sources"] for c in s["clips"]))


def test_a_clip_never_crosses_a_cut(awkward: tuple[dict, Path]) -> None:
    spans = [
        (c["start"], c["start"] + c["seconds"])
        for s in awkward[0]["sources"]
        if s["name"] == "cuts.mp4"
        for c in s["clips"]
    ]
    assert spans == [(0.0, 1.0), (2.4, 3.4)]


def babble(time: float | np.ndarray) -> float | np.ndarray:
    """An opening 0..1 that never repeats within seconds, as of speech."""
    return np.clip(0.5 + 0.3 * np.sin(17.0 * time) + 0.3 * np.sin(29.3 * time + 1) * np.sin(2.1 * time), 0, 1)


def test_the_parts_that_have_sound_are_used_and_the_gap_is_named(tmp_path: Path) -> None:
    film(tmp_path / "in" / "gap.mkv", [Shot(3.2)], without=(1.0, 1.6))
    film(tmp_path / "in" / "late.mkv", [Shot(2.0)], without=(0.0, 0.8))
    report = made(tmp_path / "in", tmp_path / "out", replace(SMALL, shortest=0.8))
    gap, late = report["sources"]
    assert [(c["start"], c["start"] + c["seconds"]) for c in gap["clips"]] == [
        (0.0, pytest.approx(1.0, abs=0.13)),
        (pytest.approx(1.6, abs=0.13), 3.2),
    ]
    assert [c["start"] for c in late["clips"]] == [pytest.approx(0.8, abs=0.13)]
    for source in (gap, late):
        assert [each["text"] for each in source["dropped"]] == ["there is no sound"]


@pytest.mark.parametrize("late", [0.12, -0.16])
def test_sound_that_is_out_of_step_is_moved_and_reported(late: float, tmp_path: Path) -> None:
    person = Person(opening=babble)
    time = np.arange(round(4 * RATE)) / RATE
    sound = (0.4 * babble(time - late) ** 2 * np.random.default_rng(0).uniform(-1, 1, len(time))).astype(np.float32)
    film(tmp_path / "in" / "film.mkv", [Shot(4.0, (person,))], sound=sound)
    report = made(tmp_path / "in", tmp_path / "out")
    source = report["sources"][0]
    assert source["facts"]["sound_moved"] == pytest.approx(late, abs=0.04), source["facts"]
    assert f"{abs(1000 * source['facts']['sound_moved']):.0f} ms" in explain(source) and "mended" in explain(source)
    assert any("out of step in 1 video " in remark for remark in report["remarks"])
    assert all(abs(clip["measures"]["lag"]) <= 0.04 for clip in source["clips"])
    stored, _ = Dataset(tmp_path / "out" / "train").audio(0)
    loud = np.sqrt(np.mean(stored[: stored.size // 640 * 640].reshape(-1, 640) ** 2, 1))
    opening = babble((np.arange(len(loud)) + 0.5) / 25 + source["clips"][0]["start"])
    assert np.corrcoef(loud, opening)[0, 1] > 0.8


def test_another_sound_track_can_be_chosen_and_a_missing_one_is_named(tmp_path: Path) -> None:
    film(tmp_path / "in" / "film.mkv", [Shot(1.0)])
    assert made(tmp_path / "in", tmp_path / "first", replace(SMALL, audio_track=1))["clips"] == 1
    lacking = made(tmp_path / "in", tmp_path / "third", replace(SMALL, audio_track=3))
    assert lacking["sources"][0]["problem"] == "audio track 3, expected 1 to 1"


def test_a_video_that_kills_its_worker_is_reported(raw: Path, tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    for path in sorted(raw.iterdir())[:2]:
        (films / path.name).write_bytes(path.read_bytes())
    record(films / "deadly.mp4", [np.zeros((64, 64, 3), np.uint8)] * 5, np.arange(5) / 25)
    report = made(films, tmp_path / "out", workers=2, make_finder=DeadlyFinder)
    assert report["clips"] == 2 and report["unreadable"] == 1
    assert "ended the process twice" in next(s["problem"] for s in report["sources"] if s["name"] == "deadly.mp4")


def kill_and_compare(raw: Path, whole: Path, out: Path, kills: int, seconds: float, seed: int) -> None:
    """Kill a preparation in two processes at random moments; then let it finish and compare."""
    moments, killed = random.Random(seed), 0
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, str(SCRIPT), str(raw), str(out), "2"], stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0.2, seconds))
        killed += process.poll() is None
        process.kill()
        process.wait()
        time.sleep(0.1)
    assert killed >= kills // 2
    subprocess.run([sys.executable, str(SCRIPT), str(raw), str(out), "2"], check=True, stderr=subprocess.DEVNULL)
    assert contents(out) == contents(whole)
    assert not list(out.rglob("*.part"))


def test_a_run_that_is_killed_ends_as_if_nothing_had_happened(raw: Path, whole: Path, tmp_path: Path) -> None:
    kill_and_compare(raw, whole, tmp_path, kills=2, seconds=4, seed=1)


@slow
def test_a_run_that_is_killed_twenty_times_ends_as_if_nothing_had_happened(
    raw: Path, whole: Path, tmp_path: Path
) -> None:
    for n in range(4):
        kill_and_compare(raw, whole, tmp_path / str(n), kills=5, seconds=7, seed=n)


@slow
def test_ray_gives_the_same_bytes(raw: Path, whole: Path, tmp_path: Path) -> None:
    if not find_spec("ray"):
        pytest.skip("the package ray is not installed")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from prepare_stage import *\n"
        "from diffused_heads.training.preparation.prepare import prepare\n"
        "from diffused_heads.training.preparation.settings import Settings\n"
        "settings, options = Settings(size=32, validation=0.3), {'progress': False, 'make_finder': PaintFinder}\n"
        "prepare(Path(sys.argv[2]), Path(sys.argv[3]), settings, 2, engine='ray', **options)"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(SCRIPT.parent), str(raw), str(tmp_path)],
        check=True,
        timeout=600,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "RAY_worker_niceness": "0", "PYTHONPATH": str(SCRIPT.parent)},
    )
    assert contents(tmp_path) == contents(whole)


def test_ray_that_is_not_there_is_named(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DiffusedHeadsError, match=r"diffused-heads\[ray\]"):
        made(raw, tmp_path, engine="ray")
    with pytest.raises(DiffusedHeadsError, match="engine='slurm'"):
        made(raw, tmp_path, engine="slurm")


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0"])
def test_bad_shares_are_named(text: str) -> None:
    with pytest.raises(DiffusedHeadsError, match="expected K/N"):
        parse_shard(text)


def test_folders_without_videos_are_named(tmp_path: Path) -> None:
    with pytest.raises(DiffusedHeadsError, match="no such folder"):
        find_videos(tmp_path / "none")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DiffusedHeadsError, match="found 1 other files"):
        find_videos(tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "Ä clip.MP4").write_text("")
    (video,) = find_videos(tmp_path)
    assert video.name == "b/Ä clip.MP4" and video.key.startswith("clip-") and video.key.isascii()


def test_the_command_reports_one_line_a_lost_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", str(tmp_path / "none"), str(tmp_path / "out")]) == 1
    assert "expected a folder of videos" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    assert "--shard K/N" in capsys.readouterr().out


def test_limits_agree() -> None:
    assert shots.MAYBE <= shots.CUT and segments.SMALLEST <= 1 and packing.CLIPS_PER_SHARD > 0
