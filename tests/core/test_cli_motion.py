"""``diffused-heads motion``, and ``generate`` with a motion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diffused_heads import main
from diffused_heads.diffused_heads_core.assets import PORTRAITS, RECORDINGS, bundled_file
from diffused_heads.diffused_heads_core.face import motion as face_motion
from diffused_heads.diffused_heads_core.face.motion import MeasuredMotion
from diffused_heads.diffused_heads_core.media.pictures import load_picture
from diffused_heads.diffused_heads_core.media.video import read_video
from diffused_heads.diffused_heads_core.motion import MotionClip, read_motion, write_motion
from diffused_heads.diffused_heads_core.motion.track import COLUMNS

PORTRAIT, SPEECH = str(bundled_file(PORTRAITS)), str(bundled_file(RECORDINGS))
YAW, SMILE, LID = (COLUMNS.index(name) for name in ("yaw", "smile", "blink_left"))


@pytest.fixture
def nod(tmp_path: Path) -> Path:
    """A motion of 10 frames at 25 frames/s that turns by 0 to 9 degrees."""
    values = np.zeros((10, len(COLUMNS)))
    values[:, YAW] = np.radians(np.arange(10))
    write_motion(tmp_path / "nod.json", MotionClip.of_values(values, 25))
    return tmp_path / "nod.json"


def yaw(path: Path) -> np.ndarray:
    return np.degrees(read_motion(path).track.values[:, YAW])


def test_a_motion_from_a_recording_is_as_long_and_comes_from_the_seed(tmp_path: Path) -> None:
    for name, seed in (("a.json", "1"), ("b.csv", "1"), ("c.npz", "2")):
        assert main(["motion", "from-audio", SPEECH, str(tmp_path / name), "--seed", seed, "--fps", "30"]) == 0
    one, same, other = (read_motion(tmp_path / name) for name in ("a.json", "b.csv", "c.npz"))
    assert one.fps == 30 and len(one) == len(other) > 200
    np.testing.assert_allclose(one.track.values, same.track.values, atol=1e-5)
    assert np.abs(one.track.pose - other.track.pose).max() > 0.02
    assert main(["motion", "from-audio", SPEECH, str(tmp_path / "d.json"), "--head-motion", "0", "--blinks", "0"]) == 0
    still = read_motion(tmp_path / "d.json").track
    assert not still.pose.any() and not still.face[:, :2].any()


def test_edit_makes_its_changes_in_order(nod: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys, out = tmp_path / "keys.csv", tmp_path / "out.csv"
    keys.write_text("time,smile\n0,0\n0.3,0.6\n")
    words = ["--start", "0.08", "--scale", "turn=2", "--offset", "yaw=1", "--keyframes", str(keys), "--length", "0.6"]
    assert main(["motion", "edit", str(nod), str(out), *words, "--end", "hold"]) == 0
    assert f"{out}: 15 frames at 25 frames/s, 0.60 s" in capsys.readouterr().out
    np.testing.assert_allclose(yaw(out), [2 * n + 1 for n in range(2, 10)] + [19] * 7, atol=0.01)
    assert read_motion(out).track.values[-1, SMILE] == pytest.approx(0.6, abs=0.02)
    assert main(["motion", "edit", str(out), str(out), "--mix", str(nod), "--share", "1", "--fps", "50"]) == 0
    assert read_motion(out).fps == 50 and yaw(out)[0] == pytest.approx(0, abs=0.01)
    assert main(["motion", "edit", str(nod), str(out), "--scale", "0.5", "--plus", str(nod)]) == 0
    np.testing.assert_allclose(yaw(out), 1.5 * np.arange(10), atol=0.01)


def test_show_says_the_figures_and_draws_the_curves(
    nod: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["motion", "show", str(nod), "--plot", str(tmp_path / "a.png"), "--width", "500"]) == 0
    out = capsys.readouterr().out
    assert "10 frames at 25 frames/s, 0.40 s, 0 blinks" in out and "yaw" in out and "9.000" in out
    assert load_picture(tmp_path / "a.png").shape[1] == 500


def test_a_video_is_measured_and_its_motion_used(
    nod: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def measure_video(path: Path, *how: object, on_frame: Callable[[int], None]) -> MeasuredMotion:
        on_frame(1)
        asked.append((path, *how))
        return MeasuredMotion(read_motion(nod), 3, [4])

    monkeypatch.setattr(face_motion, "measure_video", measure_video)
    words = ["motion", "measure", "actor.mp4", str(tmp_path / "m.json"), "--zero", "usual", "--face-index", "1"]
    assert main(words) == 0 and asked == [(Path("actor.mp4"), "usual", 1, face_motion.SMOOTHING)]
    assert "3 without a face" in capsys.readouterr().out and len(yaw(tmp_path / "m.json")) == 10


@pytest.mark.parametrize(
    "words, status, line",
    [
        (["motion", "show", "none.json"], 1, "there is no such file"),
        (["motion", "edit", "NOD", "a.mp4"], 1, "expected a motion file"),
        (["motion", "edit", "NOD", "a.json", "--scale", "nod=1"], 1, "'nod': expected one of yaw"),
        (["motion", "edit", "NOD", "a.json", "--keyframes", "NOD"], 1, "nod.json: line 2"),
        (["motion", "from-audio", SPEECH, "a.json", "--blinks", "3"], 1, "blinks=3.0: expected 0..2"),
        (["motion", "edit", "NOD", "a.json", "--scale", "x"], 2, "COLUMNS=NUMBER"),
        (["motion"], 2, "required"),
        (["generate", "--expression", "smile"], 2, "NAME=NUMBER"),
    ],
)
def test_what_is_wrong_ends_in_one_line(
    words: list[str], status: int, line: str, nod: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    words = [str(nod) if word == "NOD" else word for word in words]
    try:
        found = main(words)
    except SystemExit as end:
        found = end.code
    error = capsys.readouterr().err
    assert found == status and line in error and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nod.json"]


def generate(output: Path, *words: str) -> int | None:
    size = ["--max-side", "96", "--duration", "0.3", "--device", "cpu", "--engine", "pytorch"]
    try:
        return main(["generate", "--identity", PORTRAIT, "--audio", SPEECH, "--output", str(output), *size, *words])
    except SystemExit as end:
        return int(end.code or 0)


def test_generate_follows_a_motion_file_and_holds_an_expression(
    nod: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    fast = ["--model", "human", "--steps", "1", "--face", "whole"]
    assert generate(tmp_path / "a.mp4", *fast, "--motion", str(nod), "--expression", "smile=0.4,pitch=10") == 0
    assert len(list(read_video(tmp_path / "a.mp4").frames)) == 8
    assert "size and expression of the motion have no effect with the model human" in caplog.text
    assert generate(tmp_path / "b.mp4", "--motion", str(nod), "--motion-from", "x.mp4") == 1
    assert "--motion and --motion-from: expected one of the two" in capsys.readouterr().err
    assert generate(tmp_path / "b.mp4", "--expression", "smile=3") == 1
    assert "smile=3: expected -1 to 1" in capsys.readouterr().err
    assert generate(tmp_path / "b.mp4", "--speaker", "1:a.wav", "--motion", str(nod)) == 2
    assert "expected no" in capsys.readouterr().err and not (tmp_path / "b.mp4").exists()


def test_the_motion_of_a_video_is_measured_once(nod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffused_heads.diffused_heads_core.cli import request

    calls = []
    monkeypatch.setattr(
        face_motion, "measure_video", lambda path: calls.append(path) or MeasuredMotion(read_motion(nod))
    )
    request._measured.cache_clear()
    assert request._measured(Path("a.mp4")) is request._measured(Path("a.mp4")) and len(calls) == 1
    request._measured.cache_clear()
