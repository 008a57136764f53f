"""Extreme pictures, recordings and settings through the command line: a right video, or one line and nothing else.

DIFFUSED_HEADS_FUZZ multiplies the number of examples.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from hard_inputs import FPS, RIFF_FLOAT, RIFF_PCM, SIZE, Bench, Done, bench, frames_of, riff, voice

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.alignment import crop, whole_placement
from diffused_heads.diffused_heads_core.media.audio import check_speech, from_waveform, load_audio, to_mono_16k
from diffused_heads.diffused_heads_core.media.mixdown import normalise_level
from diffused_heads.diffused_heads_core.media.pictures import load_picture, load_picture_alpha
from diffused_heads.diffused_heads_core.media.video import read_video

MORE = int(os.environ.get("DIFFUSED_HEADS_FUZZ", "1"))
SIDES = st.sampled_from([1, 2, 3, 15, 16, 17, 31, 32, 33, 61, 128])
SUFFIXES = (".png", ".jpg", ".webp", ".bmp", ".tiff")
NUMBERS = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 2.0, 5e-324, 1e-9, 1e300, -1.0]), st.floats(-3, 12)
)


def fuzz(examples: int) -> Any:
    """Settings of every test here: the same examples each time, in no hurry on a busy machine."""
    return settings(
        max_examples=examples * MORE,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield from bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


def one_line(error: DiffusedHeadsError, *named: object) -> None:
    assert "\n" not in str(error) and all(str(name) in str(error) for name in named), error


def check(done: Done, output: Path, size: tuple[int, int] | None, seconds: float | None) -> None:
    """A video of that size and length and nothing beside it, or one line and nothing at all."""
    left = [path.name for path in output.parent.iterdir()]
    if done.status:
        assert done.line and not left
        return
    assert left == [output.name]
    if size is not None:
        assert read_video(output).size == size
    if seconds is not None:
        assert abs(frames_of(output) - math.ceil(seconds * FPS - 1e-6)) <= 1
    output.unlink()


@st.composite
def damage(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes as they were, cut, longer, or with some of them changed."""
    kind = draw(st.sampled_from(["none", "none", "cut", "longer", "changed", "changed"]))
    at = draw(st.integers(0, max(0, len(data) - 1)))
    if kind == "cut":
        return data[:at]
    if kind == "longer":
        return data + draw(st.binary(max_size=40))
    if kind == "changed":
        new = draw(st.binary(min_size=1, max_size=6))
        at = draw(st.integers(0, min(len(data) - 1, 200))) if draw(st.booleans()) else at
        return data[:at] + new + data[at + len(new) :]
    return data


def exif(orientation: int) -> bytes:
    body = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation % 256, 0, 0, 0]) + b"\0\0\0\0"
    return b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body


@st.composite
def pictures(draw: st.DrawFn) -> tuple[bytes, tuple[int, int] | None]:
    """The bytes of a picture file, and height and width as shown where the file is undamaged."""
    shape = draw(st.one_of(st.tuples(SIDES, SIDES), st.sampled_from([(1, 5000), (5000, 1), (2, 3000)])))
    kind = draw(st.sampled_from([np.uint8, np.uint8, np.uint16, np.float32]))
    suffixes = {np.uint8: SUFFIXES, np.uint16: (".png", ".tiff"), np.float32: (".tiff",)}
    suffix = draw(st.sampled_from(suffixes[kind]))
    with_alpha = suffix in (".png", ".webp", ".tiff") and kind != np.float32
    channels = draw(st.sampled_from([1, 3, 4] if with_alpha else [1, 3]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    size = (*shape, channels)
    levels = rng.normal(0.5, 1, size) if kind == np.float32 else rng.integers(0, np.iinfo(kind).max + 1, size)
    image = levels.astype(kind)
    if channels == 4 and draw(st.booleans()):
        image[..., 3] = draw(st.sampled_from([0, 1, 255]))
    if kind == np.float32 and draw(st.booleans()):
        image.flat[0] = draw(st.sampled_from([np.nan, np.inf, -np.inf, 1e30]))
    data = cv2.imencode(suffix, image)[1].tobytes()
    turn = draw(st.integers(0, 9)) if suffix == ".jpg" and draw(st.booleans()) else 1
    data = data[:2] + exif(turn) + data[2:] if turn != 1 else data
    shown = shape[::-1] if 5 <= turn <= 8 else shape
    hurt = draw(damage(data))
    return hurt, shown if hurt == data else None


@fuzz(120)
@given(pictures())
def test_picture_files(folder: Path, picture: tuple[bytes, tuple[int, int] | None]) -> None:
    data, shape = picture
    path = folder / "picture"
    path.write_bytes(data)
    try:
        rgb, alpha = load_picture_alpha(path)
        flat = load_picture(path)
    except DiffusedHeadsError as error:
        one_line(error, path)
        assert shape is None
        return
    finally:
        path.unlink()
    assert rgb.dtype == flat.dtype == np.uint8 and rgb.shape == flat.shape
    assert rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.size
    assert alpha is None or (alpha.dtype == np.uint8 and alpha.shape == rgb.shape[:2] and alpha.min() < 255)
    assert shape in (None, rgb.shape[:2]) and (alpha is None or (flat[alpha == 0] == 255).all())
    assert crop(flat, whole_placement(*flat.shape[:2]), SIZE).shape == (SIZE, SIZE, 3)


@fuzz(20)
@given(pictures(), st.sampled_from(["head", "picture"]), st.sampled_from([".mp4", ".webm", ".mkv", ".mov"]))
def test_pictures_through_the_command_line(
    tools: Bench, folder: Path, picture: tuple[bytes, tuple[int, int] | None], frame: str, suffix: str
) -> None:
    data, shape = picture
    path, output = tools.folder / "fuzzed.png", folder / f"a{suffix}"
    path.write_bytes(data)
    done = tools.generate(output, "--frame", frame, "--duration", 0.2, identity=path)
    even = None if shape is None else tuple(n + n % 2 for n in shape)
    assert done.status == 0 or shape is None
    check(done, output, even if frame == "picture" else (SIZE, SIZE), 0.2)


@st.composite
def recordings(draw: st.DrawFn) -> tuple[Path, float | None]:
    """A WAV file, and its length in seconds where its samples and its header are in order."""
    rate = draw(st.sampled_from([1, 11, 999, 8000, 11025, 16000, 22050, 44100, 48000, 50000, 96000, 384000]))
    codings = [*((RIFF_PCM, bits) for bits in (8, 16, 24, 32)), (RIFF_FLOAT, 32), (RIFF_FLOAT, 64)]
    kind, bits = draw(st.sampled_from(codings))
    channels = draw(st.sampled_from([1, 1, 2, 3, 4, 8, 9]))
    seconds = draw(st.sampled_from([0.0, 0.01, 0.05, 0.199, 0.2, 0.37]))
    level = draw(st.sampled_from([0.0, 1e-6, 3e-3, 0.3, 1.0, 50.0, 1e30]))
    one = voice(seconds, rate, level=1) * np.float64(level)
    samples = np.stack([np.roll(one, 7 * c) for c in range(channels)]) + draw(st.sampled_from([0, 0, 0.3, -0.9]))
    special = None
    if kind == RIFF_FLOAT and samples.size:
        special = draw(st.sampled_from([None, None, None, np.nan, np.inf, -np.inf, 1e300]))
    if special is not None:
        samples.flat[draw(st.integers(0, samples.size - 1))] = special
    declared = draw(st.sampled_from([None, None, None, 0, 10, 2**31 - 1, 2**32 - 1]))
    path = Path(tempfile.mkdtemp()) / "fuzzed.wav"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # 1e300 as float32
        data = riff(path, samples, rate, kind, bits, declared).read_bytes()
    hurt = draw(damage(data))
    path.write_bytes(hurt)
    sound = special is None and declared in (None, 2**32 - 1) and hurt == data
    sound = sound and level in (3e-3, 0.3, 1.0) and rate >= 8000 and bits > 8
    return path, samples.shape[1] / rate if sound else None


@fuzz(120)
@given(
    recordings(),
    st.sampled_from([0.0, 0.0, 0.1, 1e-9, 0.3, 1e12, 1e308]),
    st.sampled_from([None, None, 1e-9, 0.2, 1e12, 1e308]),
)
def test_sound_files(recording: tuple[Path, float | None], start: float, duration: float | None) -> None:
    path, seconds = recording
    try:
        audio = load_audio(path, start, duration)
        check_speech(audio)
        levelled = normalise_level(to_mono_16k(audio))
    except DiffusedHeadsError as error:
        one_line(error, path)
        assert seconds is None or min(seconds - start, duration or seconds) < 0.2 + 1e-4
        return
    finally:
        shutil.rmtree(path.parent)
    assert audio.samples.dtype == np.float32 and np.abs(audio.samples).max() <= 1 and np.isfinite(levelled).all()
    assert seconds is None or abs(audio.duration - min(seconds - start, duration or seconds)) <= 1.5 / audio.sample_rate
    assert len(levelled) == round(audio.exact_duration * 16000) and np.abs(levelled).max() < 64


@fuzz(15)
@given(recordings())
def test_recordings_through_the_command_line(tools: Bench, folder: Path, recording: tuple[Path, float | None]) -> None:
    path, seconds = recording
    done = tools.generate(folder / "a.mp4", audio=path)
    shutil.rmtree(path.parent)
    assert seconds is None or (done.status == 0) == (seconds >= 0.2 - 1e-9), done
    check(done, folder / "a.mp4", (SIZE, SIZE), seconds)


@fuzz(120)
@given(
    st.sampled_from([*map(np.dtype, ("f4", "f8", "f2", "i2", "i4", "u1", "?", "c8", "U1")), object]),
    st.lists(st.integers(0, 5), max_size=2),
    st.sampled_from([0, 1, 319, 320, 3200]),
    st.sampled_from([-1, 0, 1, 8000, 44100.0, math.nan, math.inf, 1e9]),
    st.sampled_from([0.0, 0.5, -3.0, math.nan, math.inf]),
)
def test_waveforms(kind: Any, front: list[int], samples: int, rate: float, value: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NaN as a whole number
        waveform = np.full((*front, samples), value).astype(kind)
    try:
        audio = from_waveform(waveform, rate, "voice")
    except DiffusedHeadsError as error:
        one_line(error, "voice")
        return
    assert audio.samples.dtype == np.float32
    assert audio.samples.shape in ((*front[-1:], samples), (1, samples))
    assert np.isfinite(audio.samples).all() and np.abs(audio.samples).max() <= 1 and audio.sample_rate == rate


OPTIONS = {
    "--seed": st.one_of(st.integers(-2, 2**65), st.sampled_from([2**64 - 1, 2**64])),
    "--steps": st.sampled_from([-1, 0, 1, 2, 3, 1001, 10**40]),
    "--sampler": st.sampled_from(["ancestral", "ddim", "dpm++2m", "", "DDIM"]),
    "--guidance": NUMBERS,
    "--eta": NUMBERS,
    "--colour-lock": NUMBERS,
    "--motion-anchor": NUMBERS,
    "--head-motion": NUMBERS,
    "--blinks": NUMBERS,
    "--start": NUMBERS,
    "--duration": NUMBERS,
    "--margin": NUMBERS,
    "--detail": NUMBERS,
    "--face-index": st.integers(-1, 10**30),
    "--frame": st.sampled_from(["head", "picture"]),
}
LIMITS = {
    "--guidance": (0, 10),
    "--eta": (0, 1),
    "--colour-lock": (0, 1),
    "--motion-anchor": (0, 1),
    "--head-motion": (0, 2),
    "--blinks": (0, 2),
    "--margin": (-0.3, 2),
    "--detail": (0, 1),
    "--start": (0, 0.3),
    "--duration": (0.2, math.inf),
    "--seed": (0, 2**64 - 1),
    "--steps": (1, 1000),
    "--face-index": (0, math.inf),
}


def fits(option: str, value: Any) -> bool:
    if option not in LIMITS:
        return value not in ("", "DDIM")
    low, high = LIMITS[option]
    return low <= value <= high and not (option == "--duration" and value == math.inf)


@fuzz(60)
@given(st.sampled_from(sorted(OPTIONS)).flatmap(lambda name: st.tuples(st.just(name), OPTIONS[name])))
def test_one_setting(tools: Bench, folder: Path, setting: tuple[str, Any]) -> None:
    option, value = setting
    done = tools.generate(folder / "a.mkv", "--duration", 0.2, f"{option}={value}")
    assert (done.status == 0) == fits(option, value), done
    check(done, folder / "a.mkv", None, None)


@fuzz(20)
@given(st.fixed_dictionaries({}, optional=OPTIONS))
def test_many_settings(tools: Bench, folder: Path, chosen: dict[str, Any]) -> None:
    words = [f"{option}={value}" for option, value in chosen.items()]
    done = tools.generate(folder / "a.mkv", "--duration", 0.2, *words)
    if all(fits(*pair) for pair in chosen.items()):
        assert done.status == 0
    check(done, folder / "a.mkv", None, None)


@fuzz(25)
@given(st.lists(NUMBERS, min_size=3, max_size=3), st.sampled_from(["head", "picture"]), NUMBERS)
def test_boxes(tools: Bench, folder: Path, box: list[float], frame: str, detail: float) -> None:
    possible = all(value >= 0 or math.isnan(value) for value in box)  # others look like options
    words = ["--box", *map(str, box)] if possible else [f"--detail={detail}"]
    done = tools.generate(folder / "a.mkv", "--duration", 0.2, "--frame", frame, *words)
    check(done, folder / "a.mkv", None if done.status else ((48, 40) if frame == "picture" else (SIZE, SIZE)), 0.2)
