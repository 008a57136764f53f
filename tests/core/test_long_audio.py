"""Long recordings are read when they are needed, and give what they give in memory."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.assets import RECORDINGS, bundled_file
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.media.audio import Audio, check_speech, load_audio
from diffused_heads.diffused_heads_core.media.long_audio import LONG, FileSamples, open_audio
from diffused_heads.diffused_heads_core.media.mixdown import resample
from diffused_heads.diffused_heads_core.media.video import frame_count, read_video, write_video
from diffused_heads.diffused_heads_core.pipeline import embed_speech
from diffused_heads.diffused_heads_core.talking_head import load_model

RATE = 24000


def sound(path: Path, seconds: float, gain: float = 0.7, codec: str = "") -> Path:
    """A stereo file of the bundled speech again and again; a WAV of float samples, or what the suffix usually holds."""
    speech = load_audio(bundled_file(RECORDINGS))
    mono = resample(speech.samples, speech.sample_rate, RATE)[0]
    long = gain * np.resize(mono, int(seconds * RATE)) / np.abs(mono).max()
    samples = np.stack([long, -0.4 * long]).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec or "pcm_f32le", rate=RATE, layout="stereo")
        for at in range(0, samples.shape[1], RATE):
            block = samples[:, at : at + RATE]
            packed = np.ascontiguousarray(block.T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, format="flt", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module", params=["a.wav", "a.m4a"])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sound(tmp_path_factory.mktemp("long") / request.param, LONG + 5.3, codec="aac" * request.param.endswith("a"))


def test_its_samples_are_those_of_the_recording_in_memory(file: Path) -> None:
    for part in ({}, {"start": 1.25}, {"start": 2.5, "duration": LONG + 1}):
        long, whole = open_audio(file, **part), load_audio(file, **part)
        assert isinstance(long.samples, FileSamples) and long.samples.shape == whole.samples.shape
        assert (long.sample_rate, long.name, long.duration) == (whole.sample_rate, whole.name, whole.duration)
        for begin, end in ((0, 10), (5, 30_000), (30_000, 30_000), (90_000, 200_000), (100, 200), (400_000, 10**9)):
            np.testing.assert_array_equal(long.samples[:, begin:end], whole.samples[:, begin:end])
        np.testing.assert_array_equal(np.asarray(long.samples), whole.samples)
        np.testing.assert_array_equal(long.samples[1:, 5:900:7], whole.samples[1:, 5:900:7])


def test_short_ones_and_short_parts_are_in_memory(tmp_path: Path, file: Path) -> None:
    assert isinstance(open_audio(file, duration=2).samples, np.ndarray)
    assert isinstance(open_audio(sound(tmp_path / "a.wav", 1)).samples, np.ndarray)


@pytest.mark.parametrize("name", ["portrait", "human"])
@pytest.mark.parametrize("gated", [True, False])
def test_its_embeddings_and_warnings_are_those_of_the_recording_in_memory(
    name: str, gated: bool, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, found, lines = load_model(name, engine="pytorch"), [], []
    for audio in (open_audio(file), load_audio(file)):
        caplog.clear()
        found.append(embed_speech(model, audio, gated))
        lines.append(caplog.messages)
    torch.testing.assert_close(*found, atol=2e-5, rtol=1e-4)
    assert len(found[0]) == frame_count(load_audio(file), model.config.fps) and lines[0] == lines[1]


def test_a_long_quiet_recording_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    embed_speech(load_model(engine="pytorch"), open_audio(sound(tmp_path / "a.wav", LONG + 1, gain=0.001)))
    assert "too quiet" in caplog.text


def test_its_sound_goes_into_a_video(file: Path, tmp_path: Path) -> None:
    frames = (np.full((16, 16, 3), 90, np.uint8) for _ in range(2 * int(LONG) + 10))
    write_video(tmp_path / "a.mp4", frames, 2, open_audio(file))
    heard, said = read_video(tmp_path / "a.mp4").audio, load_audio(file)
    assert heard is not None
    length = heard.samples.shape[1]
    assert length == 25 * RATE and np.abs(heard.samples - said.samples[:, :length]).mean() < 0.02


def test_too_loud_silent_and_damaged_ones_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loud = open_audio(sound(tmp_path / "loud.wav", LONG + 1, gain=3.0))
    assert "scaled down" in caplog.text and np.abs(np.asarray(loud.samples)).max() == pytest.approx(1, abs=1e-6)
    with pytest.raises(DiffusedHeadsError, match="silent"):
        check_speech(open_audio(sound(tmp_path / "silent.wav", LONG + 1, gain=1e-5)))
    with pytest.raises(DiffusedHeadsError, match="finite"):
        open_audio(sound(tmp_path / "nan.wav", LONG + 1, gain=np.nan))
    with pytest.raises(DiffusedHeadsError, match="beyond its end"):
        open_audio(sound(tmp_path / "short.wav", LONG + 1), start=100)


def test_memory_does_not_grow_with_its_length(tmp_path: Path) -> None:
    """Beyond the embeddings, which are 13 kB per second."""
    model, peaks = load_model(engine="pytorch"), []
    for seconds in (30, 90):
        path = sound(tmp_path / f"{seconds}.wav", seconds)
        tracemalloc.start()
        audio = open_audio(path)
        check_speech(audio)
        embed_speech(model, audio)
        for begin in range(0, audio.samples.shape[1], RATE):
            audio.samples[:, begin : begin + RATE]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2**20, peaks


def test_an_array_is_made_of_it_where_one_is_needed(file: Path) -> None:
    audio = open_audio(file)
    assert np.asarray(audio.samples).mean() == pytest.approx(load_audio(file).samples.mean())
    assert isinstance(audio, Audio) and len(audio.samples) == 2
