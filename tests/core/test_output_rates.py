"""Output rates: sound and head motion are taken at each frame's own time, and the sound stays in step to the end."""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode does not
from hard_inputs import save_tiny

import diffused_heads
from diffused_heads.diffused_heads_core.assets import PORTRAITS, RECORDINGS, bundled_file
from diffused_heads.diffused_heads_core.cli.parser import frame_rate
from diffused_heads.diffused_heads_core.conditioning import window_frames
from diffused_heads.diffused_heads_core.generator import AudioWindows
from diffused_heads.diffused_heads_core.media.audio import Audio, load_audio
from diffused_heads.diffused_heads_core.media.video import as_fps, frame_count, read_video, write_video
from diffused_heads.diffused_heads_core.motion import sample_track
from diffused_heads.diffused_heads_core.mouth.lip_shape import row_times
from diffused_heads.diffused_heads_core.talking_head import TalkingHead

FILM, TELEVISION = Fraction(24000, 1001), Fraction(30000, 1001)
RATES = [FILM, Fraction(24), Fraction(25), TELEVISION, Fraction(30), Fraction(50), Fraction(60), Fraction(12)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TalkingHead:
    return diffused_heads.load_model(save_tiny(tmp_path_factory.mktemp("model") / "tiny.safetensors"), "cpu")


@pytest.mark.parametrize("fps", RATES)
def test_embeddings_are_taken_at_each_frames_own_time(fps: Fraction) -> None:
    """Embeddings that are their own time in seconds: what a frame sees is its time and its neighbours' times."""
    seconds, neighbours = 3, 3
    own = (torch.arange(seconds * 25, dtype=torch.float64) + 0.5) / 25
    frames = frame_count(Fraction(seconds), fps)
    windows = AudioWindows(own[None, :, None], neighbours, row_times(frames, fps, 25))
    for n in range(frames):
        at = (n + 0.5) / float(fps) + np.arange(-neighbours, neighbours + 1) / 25
        assert np.abs(windows[n][0, :, 0].numpy() - at.clip(float(own[0]), float(own[-1]))).max() < 1e-9, n


def test_at_the_models_rate_they_are_the_rows_themselves() -> None:
    audio = torch.randn(2, 9, 4)
    windows = AudioWindows(audio, 2, row_times(9, Fraction(25), 25))
    for n in range(9):
        assert torch.equal(windows[n], audio[:, window_frames(n, 2, 9)])


@pytest.mark.parametrize("fps", [24, 50, 60])
def test_head_motion_is_the_same_curve_at_any_rate(fps: int) -> None:
    """At times that two rates share (middles of frames at fps and at 3 fps) the tracks agree."""
    slow, fast = sample_track(5 * fps, fps, 7), sample_track(15 * fps, 3 * fps, 7)
    assert np.abs(slow.pose - fast.pose[1::3]).max() < 1e-6
    assert np.abs(slow.face[:-fps] - fast.face[1::3][:-fps]).max() < 1e-6


@pytest.mark.parametrize("fps", RATES)
def test_a_clip_at_any_rate_is_as_long_as_its_sound(model: TalkingHead, tmp_path: Path, fps: Fraction) -> None:
    sound = load_audio(bundled_file(RECORDINGS), 0.5, 0.31)
    animation = diffused_heads.animate(bundled_file(PORTRAITS), sound, model, fps=fps, steps=1, whole_picture=False)
    assert animation.write(tmp_path / "a.mp4") == len(animation)
    assert 0 <= Fraction(len(animation)) / fps - sound.exact_duration < 1 / fps
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == fps and stream.frames == len(animation)


def test_the_models_rate_when_asked_for_changes_nothing(model: TalkingHead) -> None:
    sound = load_audio(bundled_file(RECORDINGS), 0.5, 0.2)
    made = [
        list(diffused_heads.animate(bundled_file(PORTRAITS), sound, model, **more).frames())
        for more in ({}, {"fps": 25})
    ]
    assert np.array_equal(*made)


@pytest.mark.parametrize("fps", [FILM, TELEVISION, Fraction(50)])
def test_after_a_minute_sound_and_picture_are_in_step(tmp_path: Path, fps: Fraction) -> None:
    """A click at 59.5 s lies in the time of the frame that is shown then."""
    samples = np.zeros((1, 60 * 16000), np.float32)
    samples[0, 952000:952400] = 0.9
    count = frame_count(Fraction(60), fps)
    flash = int(Fraction(119, 2) * fps)
    write_video(
        tmp_path / "a.mp4",
        (np.full((32, 32, 3), 255 * (n == flash), np.uint8) for n in range(count)),
        fps,
        Audio(samples, 16000),
    )
    with av.open(str(tmp_path / "a.mp4")) as container:
        shown = [float(frame.time) for frame in container.decode(video=0) if frame.to_ndarray().mean() > 100]
    heard = np.argmax(np.abs(read_video(tmp_path / "a.mp4").audio.samples[0]) > 0.3) / 16000
    assert len(shown) == 1 and 0 <= heard + 0.002 - shown[0] <= 1 / fps + 0.004 and abs(heard - 59.5) < 0.004


def test_rates_of_the_command_line_are_exact() -> None:
    want = {"23.976": FILM, "24000/1001": FILM, "29.97": TELEVISION, "59.94": Fraction(60000, 1001), "25": Fraction(25)}
    assert {text: frame_rate(text) for text in want} == want == {text: as_fps(rate) for text, rate in want.items()}
    for text in ("0", "1/0", "1000", "nan", "fast", "/"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected"):
            frame_rate(text)
