"""Recordings of every kind through the command line: each gives a video of its length, or the right error line."""

from __future__ import annotations

import math
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from hard_inputs import FPS, REAL, RIFF_FLOAT, SIZE, Bench, bench, encode, frames_of, riff, voice

from diffused_heads.diffused_heads_core import checkpoints, talking_head
from diffused_heads.diffused_heads_core.media.audio import Audio, load_audio, to_mono_16k
from diffused_heads.diffused_heads_core.media.mixdown import normalise_level
from diffused_heads.diffused_heads_core.media.video import read_video

LENGTH = 0.31  # seconds: 8 frames
SAMPLES = round(LENGTH * 16000)
CODED = {
    "wav 16": ("wav", "pcm_s16le"),
    "wav 24": ("wav", "pcm_s24le"),
    "wav 32": ("wav", "pcm_s32le"),
    "wav f32": ("wav", "pcm_f32le"),
    "wav f64": ("wav", "pcm_f64le"),
    "flac": ("flac", "flac"),
    "mov": ("mov", "pcm_s16le"),
    "m4a": ("m4a", "aac"),
    "mp3": ("mp3", "libmp3lame"),
    "opus": ("opus", "libopus"),
    "ogg": ("ogg", "libopus"),
    "mka": ("mka", "ac3"),
    "wav law": ("wav", "pcm_alaw"),
    "wav adpcm": ("wav", "adpcm_ms"),
    "mov aac": ("mov", "aac"),
    "aiff": ("aiff", "pcm_s24be"),
}
MATRIX = [  # kind, rate, channels: each rate and each number of channels many times, as far as codecs take them
    *[
        (kind, rate, channels)
        for kind, row in {
            "wav 16": ((8000, 1), (11025, 2), (16000, 3), (22050, 4), (44100, 1), (48000, 2), (50000, 3)),
            "wav 24": ((8000, 4), (50000, 1)),
            "wav 32": ((16000, 2), (48000, 3)),
            "wav f32": ((11025, 3), (44100, 4)),
            "wav f64": ((22050, 1), (50000, 2)),
            "flac": ((8000, 2), (44100, 3), (50000, 4)),
            "mov": ((16000, 4), (50000, 2)),
            "m4a": ((8000, 1), (22050, 2), (44100, 3), (48000, 4)),
            "mp3": ((8000, 1), (11025, 2), (44100, 2), (48000, 1)),
            "opus": ((16000, 1), (48000, 2)),
            "ogg": ((8000, 2),),
            "mka": ((48000, 3),),
            "wav law": ((8000, 1),),
            "wav adpcm": ((22050, 2),),
            "mov aac": ((44100, 2),),
            "aiff": ((11025, 1),),
        }.items()
        for rate, channels in row
    ]
]


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield from bench(tmp_path_factory.mktemp("bench"))


def check_video(path: Path, seconds: float, tolerance: int = 0) -> None:
    """As many frames as cover the recording, and sound as long as they are."""
    count, video = frames_of(path), read_video(path)
    assert abs(count - math.ceil(round(seconds * FPS, 6))) <= tolerance and video.size == (SIZE, SIZE)
    assert abs(video.audio.duration - count / FPS) <= 1 / FPS and [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(("kind", "rate", "channels"), MATRIX)
def test_every_codec_rate_and_number_of_channels(
    tools: Bench, tmp_path: Path, kind: str, rate: int, channels: int
) -> None:
    suffix, codec = CODED[kind]
    source = encode(
        tools.folder / f"{codec}-{rate}-{channels}.{suffix}", np.stack([voice(LENGTH, rate)] * channels), rate, codec
    )
    assert tools.generate(tmp_path / "a.mp4", audio=source).status == 0
    check_video(tmp_path / "a.mp4", LENGTH, 0 if codec.startswith("pcm") or codec == "flac" else 1)
    assert read_video(tmp_path / "a.mp4").audio.channels == channels


def singing(rate: int) -> np.ndarray:
    time = np.arange(round(LENGTH * rate)) / rate
    return 0.5 * np.sin(2 * np.pi * 330 * time + 4 * np.sin(2 * np.pi * 6 * time)) * np.minimum(1, 8 * time)


def spread(one: np.ndarray, channel: int, channels: int) -> np.ndarray:
    """A voice in one of many channels, faint noise in the others."""
    return np.stack(
        [one if c == channel else np.random.default_rng(c).normal(0, 3e-4, len(one)) for c in range(channels)]
    )


CONTENTS: dict[str, Callable[[], np.ndarray]] = {
    "noise": lambda: np.random.default_rng(0).normal(0, 0.1, (1, SAMPLES)),
    "tone": lambda: 0.2 * np.sin(np.arange(SAMPLES) / 5)[None],
    "singing": lambda: singing(16000)[None],
    "an offset": lambda: 0.4 + voice(LENGTH, 16000, level=0.1)[None],
    "an offset alone": lambda: np.full((1, SAMPLES), 0.4),
    "silence": lambda: np.zeros((2, SAMPLES)),
    "very quiet": lambda: voice(LENGTH, 16000, level=0.01)[None],
    "fainter than -70 dB": lambda: voice(LENGTH, 16000, level=2e-4)[None],
    "full scale": lambda: np.sign(voice(LENGTH, 16000))[None],
    "beyond full scale": lambda: 40 * voice(LENGTH, 16000)[None],
    "opposite phases": lambda: np.stack([voice(LENGTH, 16000), -voice(LENGTH, 16000)]),
    "one sample that is no number": lambda: np.where(np.arange(SAMPLES) == 99, np.nan, voice(LENGTH, 16000))[None],
    "one infinite sample": lambda: np.where(np.arange(SAMPLES) == 99, -np.inf, voice(LENGTH, 16000))[None],
    "one sample beyond float32": lambda: np.where(np.arange(SAMPLES) == 99, 1e300, voice(LENGTH, 16000).astype(float))[
        None
    ],
    "nothing": lambda: np.zeros((1, 0)),
    "a click": lambda: voice(0.05, 16000)[None],
    "a syllable": lambda: voice(0.2, 16000)[None],
    "just too short": lambda: voice(0.19995, 16000)[None],
}
REFUSED = {
    "an offset alone": "silent",
    "silence": "silent",
    "fainter than -70 dB": "silent",
    "one sample that is no number": "NaN",
    "one infinite sample": "infinity",
    "one sample beyond float32": "infinity",
    "nothing": "empty",
    "a click": "0.050 s of sound, expected speech of",
    "just too short": "0.199 s of sound, expected speech of at least 0.2 s",
}


@pytest.mark.parametrize("content", CONTENTS)
def test_every_content(tools: Bench, tmp_path: Path, content: str) -> None:
    samples = CONTENTS[content]()
    source = riff(tools.folder / "content.wav", samples.astype(np.float64), 16000, RIFF_FLOAT, 64)
    done = tools.generate(tmp_path / "a.mp4", audio=source)
    if content in REFUSED:
        assert str(source) in done.line and REFUSED[content] in done.line and not list(tmp_path.iterdir())
    else:
        assert done.status == 0, done
        check_video(tmp_path / "a.mp4", samples.shape[1] / 16000)


def cut(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path


def files(folder: Path) -> dict[str, tuple[Path, float | str]]:
    """Files that are not what they say: each with the seconds that are in it, or a word of the line that refuses it."""
    one, two = voice(2, 48000)[None], np.stack([voice(LENGTH, 44100)] * 2)
    made = {
        "wav named mp3": (encode(folder / "wav.mp3", two, 44100, "pcm_s16le", "wav"), LENGTH),
        "mp3 named wav": (encode(folder / "mp3.wav", two, 44100, "libmp3lame", "mp3"), LENGTH),
        "m4a named flac": (encode(folder / "m4a.flac", two, 44100, "aac", "mp4"), LENGTH),
        "no suffix": (encode(folder / "recording", two, 44100, "flac", "flac"), LENGTH),
        "cover picture": (encode(folder / "cover.mp3", two, 44100, "libmp3lame", cover=True), LENGTH),
        "length of 4 GB declared": (riff(folder / "streamed.wav", two, 44100, declared=2**32 - 1), LENGTH),
        "length of 2 GB declared": (riff(folder / "huge.wav", two, 44100, declared=2**31 - 16), LENGTH),
        "no length declared": (riff(folder / "open.wav", two, 44100, declared=0), LENGTH),
        "64-bit integers": (encode(folder / "s64.nut", two, 44100, "pcm_s64le"), LENGTH),
        "8 bits": (riff(folder / "eight.wav", two, 44100, bits=8), LENGTH),
        "9 channels": (riff(folder / "nine.wav", spread(voice(LENGTH, 8000), 8, 9), 8000), LENGTH),
        "100 Hz": (riff(folder / "slow.wav", voice(LENGTH, 100, 30)[None], 100), LENGTH),
        "1 MHz": (riff(folder / "fast.wav", voice(LENGTH, 1_000_000)[None], 1_000_000), LENGTH),
    }
    for name, codec, seconds in (
        ("a.mp3", "libmp3lame", 1),
        ("a.flac", "flac", 1),
        ("a.ogg", "libopus", 1),
        ("a.wav", "pcm_s16le", 1),
        ("a.m4a", "aac", "damaged"),
        ("a.mov", "pcm_s16le", "damaged"),
    ):
        made[f"{name} cut short"] = (cut(encode(folder / name, one, 48000, codec), 0.5), seconds)
    (folder / "header.wav").write_bytes((folder / "open.wav").read_bytes()[:30])
    (folder / "noise.mp3").write_bytes(np.random.default_rng(0).bytes(5000))
    return {
        **made,
        "a header alone": (folder / "header.wav", "damaged"),
        "random bytes": (folder / "noise.mp3", "damaged"),
    }


def test_files_that_are_not_what_they_say(tools: Bench, tmp_path: Path) -> None:
    for case, (source, found) in files(tools.folder).items():
        done = tools.generate(tmp_path / "a.mp4", audio=source)
        if isinstance(found, str):
            assert str(source) in done.line and found in done.line and not list(tmp_path.iterdir()), case
        else:
            assert done.status == 0, (case, done)
            check_video(tmp_path / "a.mp4", found, 12 if "cut" in case else 1)
            (tmp_path / "a.mp4").unlink()


@pytest.mark.parametrize("offset", [0.0, 0.3, -0.6])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_speech_in_any_channel_gives_the_signal_of_that_channel_alone(channels: int, offset: float) -> None:
    alone, rate = voice(2, 16000, level=0.02), 16000
    wanted = normalise_level(to_mono_16k(Audio(alone[None], rate)))
    for channel in range(channels):
        mixed = to_mono_16k(Audio((spread(alone, channel, channels) + offset).astype(np.float32), rate))
        found = normalise_level(mixed)[rate // 2 :]
        assert np.corrcoef(found, wanted[rate // 2 :])[0, 1] > 0.97
        assert abs(np.log10(found.std() / wanted[rate // 2 :].std())) < 0.1


def test_an_offset_is_taken_off_and_nothing_else() -> None:
    plain = voice(3, 16000)
    assert np.array_equal(to_mono_16k(Audio(plain[None], 16000)), plain)
    shifted = to_mono_16k(Audio(plain[None] / 30 + np.float32(0.5), 16000))
    assert np.abs(shifted - plain / 30).max() < 1e-3


def test_ten_minutes_take_no_more_memory_than_their_samples() -> None:
    audio = Audio(np.tile(voice(10, 8000), (2, 60)), 8000)
    tracemalloc.start()
    mono = to_mono_16k(audio)
    levelled = normalise_level(mono)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(levelled) == 600 * 16000 and peak < mono.nbytes + levelled.nbytes + 2**25


def test_a_lying_header_does_not_take_memory(tmp_path: Path) -> None:
    source = riff(tmp_path / "a.wav", voice(LENGTH, 48000)[None], 48000, declared=2**32 - 20)
    tracemalloc.start()
    load_audio(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


@pytest.fixture(scope="module")
def bundled() -> talking_head.TalkingHead:
    names = sorted(checkpoints.bundled_models())
    if not names:
        pytest.skip("no model is bundled here")
    return talking_head.load_model(names[0], "cpu")


@pytest.fixture(scope="module")
def speech() -> Audio:
    return load_audio(sorted(checkpoints.ASSETS.glob("speech-*.wav"))[0], duration=2)


@pytest.mark.parametrize("decibel", [-46, -30, -6])
def test_the_embedding_of_speech_does_not_depend_on_its_loudness(
    bundled: talking_head.TalkingHead, speech: Audio, decibel: float
) -> None:
    level = 10 * np.log10(np.square(speech.samples).mean())
    other = Audio(speech.samples * np.float32(10 ** ((decibel - level) / 20)), speech.sample_rate)
    plain, found = (bundled.encode_audio(audio) for audio in (speech, other))
    assert float((plain - found).norm() / (plain - plain.mean(0)).norm()) < 0.15


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_silence_before_the_speech_has_the_embedding_of_silence(
    bundled: talking_head.TalkingHead, speech: Audio, noise: float
) -> None:
    rate = speech.sample_rate
    lead = (
        np.random.default_rng(0).normal(0, noise, (1, rate)).astype(np.float32)
        if noise
        else np.zeros((1, rate), np.float32)
    )
    late = bundled.encode_audio(Audio(np.concatenate([lead, speech.samples], 1), rate))
    silent = bundled.encode_audio(Audio(np.concatenate([lead, np.zeros_like(speech.samples)], 1), rate))
    assert float((late[:20] - silent[:20]).abs().max()) < 1e-4
    spoken = float((late[30:] - silent[:20].mean(0)).norm(dim=1).mean())
    assert float((silent[1:20] - silent[1:20].mean(0)).norm(dim=1).max()) < 0.5 * spoken


def test_real_recordings(tools: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (REAL / "audio").is_dir():
        pytest.skip("../shared/real_inputs/audio is not beside this repository")

    def blank(
        self: talking_head.TalkingHead, identity: np.ndarray, speech: object, *_: object, **__: object
    ) -> Iterator[np.ndarray]:
        return iter([identity] * len(speech))

    monkeypatch.setattr(talking_head.TalkingHead, "generate", blank)
    for source in sorted((REAL / "audio").iterdir()):
        part = () if source.stat().st_size < 2_500_000 else ("--start", 100, "--duration", 5)
        assert tools.generate(tmp_path / "a.mp4", *part, audio=source).status == 0
        check_video(tmp_path / "a.mp4", 5 if part else load_audio(source).duration)
        (tmp_path / "a.mp4").unlink()
