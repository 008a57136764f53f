"""``generate`` with several people in one picture, from the command line to the video."""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode does not
from hard_inputs import save_tiny

from diffused_heads import main
from diffused_heads.diffused_heads_core.conversation import animation
from diffused_heads.diffused_heads_core.media.pictures import load_picture, save_picture
from diffused_heads.diffused_heads_core.media.video import read_video

BOXES = ["--speaker-box", "0.2", "0.5", "0.9", "--speaker-box", "0.8", "0.5", "0.9"]


def write_wave(path: Path, seconds: float, channels: int = 1) -> None:
    time = np.arange(round(16000 * seconds))[:, None] / 16000 * np.arange(1, channels + 1)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, 16000, 0, "NONE", ""))
        file.writeframes((9000 * np.sin(1100 * time)).astype("<i2").tobytes())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a picture of two, recordings and a tiny model."""
    monkeypatch.chdir(tmp_path)
    save_tiny(tmp_path / "tiny.safetensors")
    picture = np.random.default_rng(0).integers(0, 256, (60, 150, 3)).astype(np.uint8)
    save_picture("two.png", picture)
    write_wave(tmp_path / "a.wav", 0.4)
    write_wave(tmp_path / "b.wav", 0.24)
    write_wave(tmp_path / "both.wav", 0.32, channels=2)
    return tmp_path


def generate(*words: str) -> int:
    common = ("--model", "tiny.safetensors", "--device", "cpu", "--no-voice-gate")
    return main(["generate", "--identity", "two.png", *words, *common])


@pytest.mark.parametrize(
    ("words", "frames", "channels"),
    [
        (["--speaker", "1:a.wav", "--speaker", "2:b.wav"], 10, 1),
        (["--speaker", "2:b.wav", "--others", "still"], 6, 1),
        (["--speaker", "1:a.wav", "--speaker", "2", "--duration", "0.2"], 5, 1),
        (["--speakers-from", "both.wav"], 8, 2),
    ],
)
def test_a_video_of_several_people(folder: Path, words: list[str], frames: int, channels: int) -> None:
    assert generate(*words, *BOXES, "--output", "talk.mp4") == 0
    video = read_video(folder / "talk.mp4")
    pictures = list(video.frames)
    assert len(pictures) == frames and pictures[0].shape == (60, 150, 3)
    assert video.audio is not None and video.audio.channels == channels


def test_the_engine_that_was_asked_for_computes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load, asked = animation.load_model, []
    monkeypatch.setattr(animation, "load_model", lambda *words: load(*asked.append(words[-1]) or words))
    assert generate("--speaker", "1:a.wav", *BOXES, "--engine", "pytorch", "--output", "talk.mp4") == 0
    assert asked == ["pytorch"]


def test_numbers_are_shown_without_a_video(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(*BOXES, "--show-numbers", "numbers.png") == 0
    assert "2 heads, 1 at 0.20 0.50, 2 at 0.80 0.50" in capsys.readouterr().out
    assert load_picture("numbers.png").shape == (60, 150, 3) and not list(folder.glob("*.mp4"))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--speaker", "3:a.wav"], "two.png: head 3 is not in the picture: found 2 heads (1 at 0.20 0.50"),
        (["--speaker", "1:c.wav"], "c.wav: expected an audio file, there is no such file"),
        (["--speakers-from", "a.wav"], "a.wav: expected two channels or more"),
        (["--speaker", "1"], "expected speech for at least one head"),
    ],
)
def test_bad_input_ends_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], found: str
) -> None:
    assert generate(*words, *BOXES, "--output", "talk.mp4") == 1
    assert found in capsys.readouterr().err and not (folder / "talk.mp4").exists()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--speaker", "ada:a.wav", "--output", "a.mp4"], "expected N:FILE"),
        (["--speaker", "0:a.wav", "--output", "a.mp4"], "expected N:FILE"),
        (["--speaker", "1:a.wav", "--speaker", "1:b.wav", "--output", "a.mp4"], "head 1 is named more than once"),
        (["--speaker", "1:a.wav", "--audio", "b.wav", "--output", "a.mp4"], "expected no --audio"),
        (["--speaker", "1:a.wav", "--alpha", "--output", "a.mov"], "expected no --alpha"),
        (["--speaker", "1:a.wav", "--output-folder", "videos"], "expected no --output-folder"),
        (["--speaker", "1:a.wav", "--speakers-from", "both.wav", "--output", "a.mp4"], "expected either"),
        (["--speaker", "1:a.wav"], "required: --output"),
        ([*BOXES, "--output", "a.mp4"], "expected either"),
    ],
)
def test_bad_usage_ends_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], found: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        generate(*words)
    assert stop.value.code == 2 and found in capsys.readouterr().err
