"""Motion files: what is written is read again, people's files are understood, and errors name the place."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.motion import MotionClip, read_motion, sample_track, write_motion
from diffused_heads.diffused_heads_core.motion.files import SUFFIXES
from diffused_heads.diffused_heads_core.motion.track import COLUMNS


def some_motion(frames: int = 40, fps: Fraction = Fraction(30000, 1001)) -> MotionClip:
    values = sample_track(frames, float(fps), 3).values
    values[:, COLUMNS.index("smile")] = np.linspace(0, 1, frames)
    return MotionClip.of_values(values, fps)


def column(clip: MotionClip, name: str) -> np.ndarray:
    return clip.track.values[:, COLUMNS.index(name)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str) -> None:
    clip = some_motion()
    write_motion(tmp_path / f"a{suffix}", clip)
    again = read_motion(tmp_path / f"a{suffix}")
    assert again.fps == clip.fps
    np.testing.assert_allclose(again.track.values, clip.track.values, atol=1e-5)


def test_json_has_degrees_and_a_line_for_each_column(tmp_path: Path) -> None:
    values = np.zeros((2, len(COLUMNS)))
    values[1, COLUMNS.index("yaw")] = np.radians(10)
    write_motion(tmp_path / "a.json", MotionClip.of_values(values, 25))
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text)["columns"]["yaw"] == [0.0, 10.0] and json.loads(text)["fps"] == 25
    assert '    "yaw": [0.0, 10.0],\n' in text


def test_columns_that_a_file_leaves_out_are_0(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"fps": 30, "columns": {"pitch": [0, 45], "smile": [0.5, 1]}}')
    clip = read_motion(tmp_path / "a.json")
    assert clip.fps == 30 and column(clip, "pitch") == pytest.approx([0, np.pi / 4])
    assert column(clip, "smile") == pytest.approx([0.5, 1]) and not column(clip, "yaw").any()
    np.savez(tmp_path / "b.npz", fps=24, yaw=[0.1, 0.2])
    assert column(read_motion(tmp_path / "b.npz"), "yaw") == pytest.approx([0.1, 0.2])


@pytest.mark.parametrize(
    "text",
    [
        "# fps=25\nyaw,smile\n0,0.5\n10,1\n",
        "time,yaw,smile\n0.02,0,0.5\n0.06,10,1\n",
        '\ufeff"# fps=25; yaw in degrees",,\r\nFrame, Yaw, SMILE\r\n0, 0, 0.5\r\n1, 10, 1\r\n\r\n',
        "# fps=25;;\ntime;yaw;smile\n0,02;0,0;0,5\n0,06;10,0;1\n",
        "# fps=25\nyaw\tsmile\n0\t0.5\n10\t1\n",
    ],
    ids=["note", "times", "spreadsheet", "decimal commas", "tabs"],
)
def test_csv_as_people_and_spreadsheets_write_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    clip = read_motion(tmp_path / "a.csv")
    assert clip.fps == 25 and len(clip) == 2
    assert column(clip, "yaw") == pytest.approx([0, np.radians(10)]) and column(clip, "smile") == pytest.approx(
        [0.5, 1]
    )


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("a.csv", "# fps=25\nyaw,nod\n1,2\n", "'nod': expected one of yaw, pitch, roll, tx, ty, size"),
        ("a.csv", "# fps=25\nyaw,smile\n1,2\n3,oops\n", "line 4, smile: expected a finite number, found 'oops'"),
        ("a.csv", "# fps=25\nyaw\n1\nnan\n", "line 4, yaw"),
        ("a.csv", "# fps=25\nyaw,smile\n1,\n", "line 3, smile: expected a number, found an empty cell"),
        ("a.csv", "# fps=25\nyaw,smile\n1,2,3\n", "line 3: expected 2 values, found 3"),
        ("a.csv", "yaw\n1\n2\n", "# fps=25"),
        ("a.csv", "time,yaw\n0,1\n1,1\n1.5,2\n", "even steps"),
        ("a.csv", "# fps=0\nyaw\n1\n", "fps=0.0, expected 1 to 240"),
        ("a.csv", "# fps=25\nyaw,yaw\n1,2\n", "expected once"),
        ("a.csv", "# fps=25\n", "a line for each frame"),
        ("a.json", '{"fps": 25,\n "columns": {"yaw": [1, 2}}', "line 2: expected JSON"),
        ("a.json", '{"fps": 25}', 'expected {"fps": number'),
        ("a.json", '{"fps": 25, "columns": {"yaw": [1, "2"]}}', "column yaw, frame 1"),
        ("a.json", '{"fps": 25, "columns": {"yaw": [1, NaN]}}', "column yaw, frame 1: expected a finite number"),
        ("a.json", '{"fps": 25, "columns": {"yaw": [1, 2], "roll": [1]}}', "yaw 2, roll 1"),
        ("a.json", '{"fps": "fast", "columns": {"yaw": [1]}}', "fps='fast'"),
        ("a.json", '{"fps": 25, "columns": {}}', "one column or more"),
        ("a.json", '{"fps": 25, "columns": {"yaw": []}}', "one frame or more"),
        ("a.json", '{"fps": 25, "format": "other 2", "columns": {"yaw": [1]}}', "format 'other 2'"),
        ("a.npz", "no archive", "expected an NPZ file"),
        ("a.txt", "yaw", ".json, .csv, .npz"),
    ],
)
def test_an_error_names_the_file_and_the_place(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DiffusedHeadsError) as caught:
        read_motion(tmp_path / name)
    assert words in str(caught.value) and str(caught.value).startswith(str(tmp_path / name))
    assert str(caught.value).count(str(tmp_path)) == 1


def test_arrays_of_another_shape_and_missing_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", fps=24, yaw=np.zeros((2, 2)))
    np.savez(tmp_path / "b.npz", yaw=np.zeros(2))
    for name, words in {"a.npz": r"yaw: expected numbers \(N,\)", "b.npz": "no fps", "c.npz": "no such file"}.items():
        with pytest.raises(DiffusedHeadsError, match=words):
            read_motion(tmp_path / name)
    with pytest.raises(DiffusedHeadsError, match="expected a motion file"):
        write_motion(tmp_path / "a.mp4", some_motion())
