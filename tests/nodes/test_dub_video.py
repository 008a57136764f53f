"""Dub Video: what the core gives, from a file or from pictures, with progress, and errors in one line."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from diffused_heads import load_model
from diffused_heads.diffused_heads_core.assets import ASSETS
from diffused_heads.diffused_heads_core.dubbing.dubbing import dub
from diffused_heads.diffused_heads_core.dubbing.source import VideoFile
from diffused_heads.diffused_heads_core.dubbing.timeline import Extent
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.finder import Face
from diffused_heads.diffused_heads_core.face.portrait_mesh import bundled_mesh
from diffused_heads.diffused_heads_core.media.audio import Audio, load_audio
from diffused_heads.diffused_heads_core.media.pictures import load_picture
from diffused_heads.diffused_heads_core.media.video import write_video
from diffused_heads.nodes.sockets import Model

PORTRAIT = load_picture(ASSETS / "portrait-noah.png")
SPEECH = load_audio(ASSETS / "speech-weather.wav", 0.4, 0.4)
FRAMES = np.stack([PORTRAIT] * 4)


class StillFinder:
    """Finds the bundled portrait's face in every picture."""

    def glance(self, picture: np.ndarray) -> list[Face]:
        mesh = bundled_mesh(PORTRAIT)
        assert mesh is not None
        low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
        return [Face((*low, *high), 1.0, np.zeros((6, 2)), mesh, 1.0)]

    def track(self, picture: np.ndarray, previous: Face) -> Face:
        return previous


def sound(audio: Audio = SPEECH) -> dict[str, Any]:
    return {"waveform": torch.from_numpy(audio.samples)[None], "sample_rate": audio.sample_rate}


def images(frames: np.ndarray = FRAMES) -> torch.Tensor:
    return torch.from_numpy(frames).float() / 255


@pytest.fixture
def run(host: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The node's outputs for its defaults but for changes; the face is found without the networks."""
    host.models.mkdir()
    host.node("load_model", "register_folder")()
    node, head = host.node("dub_video", "DubVideo"), load_model("portrait", "cpu", engine="pytorch")
    monkeypatch.setattr(host.node("dub_video", "runtime"), "lip_finder", StillFinder)
    widgets = {socket.id: socket.default for socket in node.define_schema().inputs if hasattr(socket, "default")}
    good = {**widgets, "audio": sound(), "model_name": "portrait", "model": Model("portrait", head, "patcher")}
    return lambda **changes: node.execute(**{**good, **changes}).args


class VideoFromFile:
    """A VIDEO that was loaded from a file."""

    def __init__(self, path: Path, window: tuple[float, float] = (0.0, 0.0)):
        self.path, self.window = path, window

    def get_stream_source(self) -> str:
        return str(self.path)

    def get_active_trim_window(self) -> tuple[float, float]:
        return self.window

    def get_components(self) -> SimpleNamespace:
        return SimpleNamespace(images=images(FRAMES[:2]), frame_rate=Fraction(30), audio=None)


def test_it_gives_what_the_core_gives(run: Any, host: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "clip.mov"
    write_video(path, FRAMES, 25)
    clip, audio, fps, video = run(video=VideoFromFile(path), when_short="loop")
    model = load_model("portrait", "cpu", engine="pytorch")
    made = dub(VideoFile(path), SPEECH, model, extent=Extent("audio", "loop"), finder=StillFinder)
    wanted = np.stack(list(made.frames()))
    assert clip.shape == (10, 512, 512, 3) and fps == 25
    assert np.abs((clip * 255).round().byte().numpy().astype(int) - wanted).max() <= 1
    assert video.components.frame_rate == 25 and torch.equal(video.components.images, clip)
    assert audio["waveform"].shape[-1] == round(0.4 * SPEECH.sample_rate)
    np.testing.assert_array_equal(audio["waveform"][0], SPEECH.samples)
    assert [value for value, total, _ in host.progress if total == 10] == list(range(1, 11))
    kind, preview, side = host.progress[0][2]
    assert kind == "JPEG" and preview.size == (512, 512) and side == 384
    assert "4 frames in 1 shot, the mouth is replaced in 4" in host.shown[host.executing]


def test_pictures_and_trimmed_videos_come_as_images(run: Any, tmp_path: Path) -> None:
    clip, audio, fps, _ = run(images=images(), fps=10.0, length="video")
    assert clip.shape[0] == 4 and fps == 10 and audio["waveform"].shape[-1] == round(0.4 * SPEECH.sample_rate)
    trimmed, _, fps, _ = run(video=VideoFromFile(tmp_path / "unread.mp4", (1.0, 0.5)), length="video")
    assert trimmed.shape[0] == 2 and fps == 30


def test_silence_follows_a_short_recording(run: Any) -> None:
    _, audio, _, _ = run(images=images(), fps=5.0, length="video")
    samples = audio["waveform"][0].numpy()
    np.testing.assert_array_equal(samples[:, : SPEECH.samples.shape[1]], SPEECH.samples)
    assert samples.shape[1] == round(0.8 * SPEECH.sample_rate) and not samples[:, SPEECH.samples.shape[1] :].any()


def test_large_pictures_are_made_smaller(run: Any) -> None:
    clip, *_ = run(images=torch.cat([images(), images()], 2), max_side=512, length="video")
    assert clip.shape == (4, 256, 512, 3)


def test_what_is_wrong_is_said_first(run: Any, host: SimpleNamespace) -> None:
    for changes, words in (
        ({}, "either video .* or images, found both or none"),
        ({"images": images(), "audio": None}, "audio: expected an AUDIO, found none"),
        ({"images": images(), "length": "long"}, "length='long'"),
        ({"images": images(), "model": None, "model_name": "nobody"}, "there is no model 'nobody'"),
        ({"images": images(), "model": None, "model_name": "avatar"}, "a model that paints the mouth alone"),
    ):
        with pytest.raises(DiffusedHeadsError, match=words):
            run(**changes)
    host.free_memory = 1000
    with pytest.raises(DiffusedHeadsError, match="4 frames of 512x512"):
        run(images=images(), length="video")
    host.stop_at = 0
    with pytest.raises(host.Stop):
        run(images=images())


def test_an_uneven_video_gets_even_frames(run: Any, tmp_path: Path) -> None:
    path, starts = tmp_path / "uneven.mp4", [Fraction(n, 100) for n in (0, 3, 11, 12, 30, 34)]
    write_video(path, islice([*FRAMES, *FRAMES], 6), 25, starts=iter(starts))
    clip, _, fps, _ = run(video=VideoFromFile(path), length="video")
    assert len(clip) == pytest.approx(0.38 * fps, abs=1.5)
