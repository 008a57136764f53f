"""``generate`` with a video: it is dubbed, and options of portraits are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import diffused_heads
from diffused_heads.diffused_heads_core.assets import ASSETS
from diffused_heads.diffused_heads_core.dubbing import dubbing
from diffused_heads.diffused_heads_core.face.finder import Face
from diffused_heads.diffused_heads_core.face.portrait_mesh import bundled_mesh
from diffused_heads.diffused_heads_core.media.pictures import load_picture
from diffused_heads.diffused_heads_core.media.video import read_video, write_video

PORTRAIT = load_picture(ASSETS / "portrait-noah.png")
SPEECH = str(ASSETS / "speech-weather.wav")


class StillFinder:
    """Finds the bundled portrait's face in every picture."""

    def glance(self, picture: np.ndarray) -> list[Face]:
        mesh = bundled_mesh(PORTRAIT)
        assert mesh is not None
        mesh = mesh * len(picture) / len(PORTRAIT)
        low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
        return [Face((*low, *high), 1.0, np.zeros((6, 2)), mesh, 1.0)]

    def track(self, picture: np.ndarray, previous: Face) -> Face:
        return previous


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A video of four frames; the program finds the face in it without the networks."""
    path = tmp_path / "clip.mov"
    write_video(path, [PORTRAIT] * 4, 25)
    monkeypatch.setattr(dubbing.dub, "__kwdefaults__", {**dubbing.dub.__kwdefaults__, "finder": StillFinder})
    return path


@pytest.mark.parametrize("command", ["generate", "dub"])
def test_a_video_is_dubbed(command: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.mp4"
    words = [command, "--identity", str(clip), "--audio", SPEECH, "--start", "0.4", "--duration", "0.4", "-o", str(out)]
    assert diffused_heads.main([*words, "--length", "audio", "--when-short", "loop", "--max-side", "256"]) == 0
    assert f"{out}: 10 frames, 0.40 s" in capsys.readouterr().out
    made = read_video(out)
    frames = np.stack(list(made.frames))
    assert frames.shape == (10, 256, 256, 3) and made.audio is not None and made.audio.duration == pytest.approx(0.4)
    change = np.ptp(frames.astype(int), 0).mean(-1)  # over time: the portrait stands still
    assert change[:100].mean() < 2 and change[165:200, 100:156].max() > 20


@pytest.mark.parametrize(
    "words, message",
    [
        (["--head-motion", "0.5"], "a video is dubbed, expected no --head-motion"),
        (["--box", "0.5", "0.5", "0.5", "--fps", "30"], "expected no --fps and no --box"),
        (["--expression", "smile=0.5"], "expected no --expression"),
        (["--face", "whole"], "expected no --face whole"),
    ],
)
def test_options_of_portraits_are_refused(
    words: list[str], message: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        diffused_heads.main(
            ["generate", "--identity", str(clip), "--audio", SPEECH, "-o", str(tmp_path / "a.mp4"), *words]
        )
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_options_of_dubbing_need_a_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = str(ASSETS / "portrait-noah.png")
    with pytest.raises(SystemExit):
        diffused_heads.main(
            ["generate", "--identity", picture, "--audio", SPEECH, "-o", str(tmp_path / "a.mp4"), "--length", "video"]
        )
    assert "--length: expected a video as --identity" in capsys.readouterr().err


def test_a_video_among_several_is_refused(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", "--identity", str(clip), "--audio", SPEECH, "--output-folder", str(tmp_path / "o")]
    assert diffused_heads.main([*words, "--all-pairs"]) == 1
    assert "a video is dubbed alone" in capsys.readouterr().err
