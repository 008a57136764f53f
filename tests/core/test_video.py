"""Video: what is written is what is read, frame for frame and in step, or nothing is left behind."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.files import atomic_path, check_writable
from diffused_heads.diffused_heads_core.media.audio import Audio
from diffused_heads.diffused_heads_core.media.encoders import Coding
from diffused_heads.diffused_heads_core.media.provenance import AI_GENERATED
from diffused_heads.diffused_heads_core.media.video import as_fps, check_output, frame_count, read_video, write_video

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real_inputs"
COLOURS = [(200, 40, 40), (40, 180, 60), (50, 60, 210), (128, 128, 128), (235, 200, 170)]


def flat(n: int, height: int = 64, width: int = 64):
    for i in range(n):
        yield np.full((height, width, 3), COLOURS[i % len(COLOURS)], np.uint8)


def voice(seconds: float, rate: int = 44100, channels: int = 2) -> Audio:
    time = np.arange(round(seconds * rate)) / rate
    return Audio(
        np.stack([0.4 * np.sin(2 * np.pi * 150 * (c + 2) * time) for c in range(channels)]).astype(np.float32), rate
    )


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("fps", [25, Fraction(30000, 1001), 12.5])
def test_frames_rate_colours_and_sound_come_back(tmp_path, suffix, fps):
    path = tmp_path / f"a{suffix}"
    assert write_video(path, flat(31), fps, voice(2)) == 31
    video = read_video(path)
    frames = list(video.frames)
    assert len(frames) == len(list(video.frames)) == 31
    assert (video.fps, video.size) == (as_fps(fps), (64, 64))
    for i, frame in enumerate(frames):
        assert np.abs(frame.astype(int) - COLOURS[i % 5]).max() <= 6, i
    assert abs(video.audio.duration - float(31 / as_fps(fps))) < 0.03
    assert video.audio.sample_rate == (48000 if suffix == ".webm" else 44100) and video.audio.channels == 2


@pytest.mark.parametrize("seconds", [0.1, 1.0, 5.0])
def test_sound_is_as_long_as_the_picture(tmp_path, seconds):
    write_video(tmp_path / "a.mp4", flat(25), 25, voice(seconds))
    with av.open(str(tmp_path / "a.mp4")) as container:
        sound, picture = container.streams.audio[0], container.streams.video[0]
        assert abs(sound.duration * sound.time_base - 1) < Fraction(1, 500)
        assert picture.frames == 25 and picture.duration * picture.time_base == 1


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("fps", [25, Fraction(30000, 1001)])
def test_a_flash_and_a_click_coincide(tmp_path, suffix, fps):
    samples = np.zeros((1, 48000 * 2), np.float32)
    at = 17
    onset = round(at / fps * 48000)
    samples[0, onset : onset + 480] = np.random.default_rng(0).uniform(-0.9, 0.9, 480)
    frames = (np.full((64, 64, 3), 255 if i == at else 0, np.uint8) for i in range(40))
    write_video(tmp_path / f"a{suffix}", frames, fps, Audio(samples, 48000))
    video = read_video(tmp_path / f"a{suffix}")
    bright = [frame.mean() for frame in video.frames]
    assert int(np.argmax(bright)) == at
    heard = np.argmax(np.abs(video.audio.samples[0]) > 0.2) / video.audio.sample_rate
    assert abs(heard - at / float(fps)) < 0.5 / float(fps)


@pytest.mark.parametrize(
    ("rate", "channels"),
    [
        (8000, 1),
        (11127, 1),
        (16000, 2),
        (22050, 3),
        (48000, 4),
        (48000, 5),
        (48000, 6),
        (44100, 7),
        (48000, 8),
        (96000, 2),
        (192000, 1),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_sound_of_every_rate_and_number_of_channels(tmp_path, rate, channels, suffix):
    write_video(tmp_path / f"a{suffix}", flat(20, 32, 32), 25, voice(0.8, rate, channels))
    audio = read_video(tmp_path / f"a{suffix}").audio
    assert audio.channels == channels and abs(audio.duration - 0.8) < 0.07
    for c, samples in enumerate(audio.samples):
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
        loudest = np.argmax(spectrum) * audio.sample_rate / len(samples)
        effects = channels >= 6 and c == 3  # encoders keep its lowest frequencies alone
        assert effects or abs(loudest - 150 * (c + 2)) < 5, (c, loudest)


def test_odd_sizes_grow_by_a_copied_edge(tmp_path):
    write_video(tmp_path / "a.mp4", flat(3, 65, 33), 25)
    video = read_video(tmp_path / "a.mp4")
    assert video.size == (66, 34) and video.audio is None
    assert np.abs(next(iter(video.frames)).astype(int) - COLOURS[0]).max() <= 6


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
def test_the_file_says_that_it_is_generated(tmp_path, suffix):
    write_video(tmp_path / f"a{suffix}", flat(2), 25, metadata={"seed": "7"})
    with av.open(str(tmp_path / f"a{suffix}")) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    assert tags["comment"] == AI_GENERATED and tags["seed"] == "7"


@pytest.mark.parametrize("codec", [None, "h265"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_clips_of_a_few_frames_with_sound(tmp_path, codec, suffix, count):
    for _ in range(2):  # what an encoder leaves unset is zero at first
        write_video(tmp_path / f"a{suffix}", flat(count), 25, voice(1), Coding(codec))
        assert len(list(read_video(tmp_path / f"a{suffix}").frames)) == count


def test_mp4_starts_fast_and_is_plain_h264(tmp_path):
    write_video(tmp_path / "a.mp4", flat(5), 25, voice(1))
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        assert container.streams.audio[0].codec_context.name == "aac"
        assert next(container.decode(video=0)).colorspace == 1  # BT.709, said in the file


def test_frames_are_taken_one_by_one(tmp_path):
    alive = []

    def frames():
        for i in range(200):
            alive.append(i)
            yield np.full((256, 256, 3), i, np.uint8)

    import tracemalloc

    tracemalloc.start()
    write_video(tmp_path / "a.mp4", frames(), 25)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(alive) == 200 and peak < 20 * 256 * 256 * 3


class Stop(BaseException):
    pass


@pytest.mark.parametrize("error", [RuntimeError, Stop, KeyboardInterrupt])
@pytest.mark.parametrize("older", [None, b"older"])
def test_a_failure_half_way_leaves_the_folder_as_it_was(tmp_path, error, older):
    def frames():
        yield from flat(10)
        raise error("half-way")

    target = tmp_path / "a.mp4"
    if older:
        target.write_bytes(older)
    with pytest.raises(error, match="half-way"):
        write_video(target, frames(), 25, voice(1))
    assert [p.name for p in tmp_path.iterdir()] == (["a.mp4"] if older else [])
    assert not older or target.read_bytes() == older


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder.mp4").mkdir()
    fine = voice(1)
    cases = [
        ("a.gif", flat(2), 25, fine, ".mp4"),
        ("a", flat(2), 25, fine, "no suffix"),
        ("no/a.mp4", flat(2), 25, fine, "does not exist"),
        ("file/a.mp4", flat(2), 25, fine, "not a folder"),
        ("folder.mp4", flat(2), 25, fine, "found a folder"),
        ("a.mp4", iter(()), 25, fine, "no frames"),
        ("a.mp4", flat(2), 0, fine, "fps"),
        ("a.mp4", flat(2), float("nan"), fine, "fps"),
        ("a.mp4", [np.zeros((8, 8), np.uint8)], 25, fine, "(H, W, 3)"),
        ("a.mp4", [np.zeros((8, 8, 3))], 25, fine, "uint8"),
        ("a.mp4", [*flat(1, 64, 64), *flat(1, 32, 32)], 25, fine, "frame 1"),
        ("a.mp4", flat(2), 25, voice(1, 16000, 9), "9 channels"),
    ]
    for name, frames, fps, audio, said in cases:
        with pytest.raises(DiffusedHeadsError) as caught:
            write_video(tmp_path / name, frames, fps, audio)
        assert said in str(caught.value) and "\n" not in str(caught.value), caught.value
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.mp4"]


def test_outputs_are_checked_before_the_work(tmp_path):
    check_output(tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())
    with pytest.raises(DiffusedHeadsError, match="does not exist"):
        check_output(tmp_path / "no" / "a.mp4")
    with pytest.raises(DiffusedHeadsError, match=r"found \.gif"):
        check_output(tmp_path / "a.gif")


def test_what_is_writable_stays_as_it_is(tmp_path):
    (tmp_path / "old.txt").write_text("old")
    for name in ("old.txt", "new.txt", "no suffix"):
        check_writable(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["old.txt"] and (tmp_path / "old.txt").read_text() == "old"
    for name, said in (
        ("", "found a folder"),
        ("no/a", "does not exist"),
        ("old.txt/a", "not a folder"),
        ("\0", "null"),
    ):
        with pytest.raises(DiffusedHeadsError, match=f"cannot write here, .*{said}"):
            check_writable(tmp_path / name)


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_new_files_have_the_usual_permissions_and_links_stay_links(tmp_path):
    with atomic_path(tmp_path / "a.txt") as temporary:
        assert temporary.suffix == ".txt" and temporary.parent == tmp_path
        temporary.write_text("new")
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    with atomic_path(tmp_path / "link.txt") as temporary:
        temporary.write_text("newer")
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "a.txt").read_text() == "newer"


def test_frame_counts_are_ceilings_without_float_error():
    assert frame_count(4.0, 25) == 100 and frame_count(1.1, 10) == 11 and frame_count(0.28, 25) == 7
    assert frame_count(Audio(np.zeros((1, 64000), np.float32), 16000), 25) == 100
    assert frame_count(Audio(np.zeros((1, 64001), np.float32), 16000), 25) == 101
    assert frame_count(Audio(np.zeros((1, 441000), np.float32), 44100), 29.97) == 300  # 299.7 frames
    assert frame_count(Fraction(1001, 1000), 29.97) == 30


def test_television_rates_are_exact():
    assert as_fps(29.97) == as_fps(30000 / 1001) == Fraction(30000, 1001)
    assert as_fps(23.976) == Fraction(24000, 1001) and as_fps(59.94) == Fraction(60000, 1001)
    assert as_fps(25.0) == 25 and as_fps(12.5) == Fraction(25, 2)


def test_uneven_frames_are_read_at_a_constant_rate(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for pts in (0, 1, 2, 10, 11, 12, 13, 14):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 10 * pts, np.uint8), format="rgb24").reformat(
                format="yuv420p"
            )
            frame.pts, frame.time_base = pts, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    video = read_video(path)
    means = [frame.mean() for frame in video.frames]
    assert video.fps == 25 and len(means) == 15
    assert abs(means[9] - 20) < 6 and abs(means[10] - 100) < 6 and abs(means[14] - 140) < 6


def test_what_is_no_video_is_named(tmp_path):
    (tmp_path / "text.mp4").write_text("hello " * 100)
    (tmp_path / "empty.mp4").touch()
    write_video(tmp_path / "whole.mp4", flat(30), 25)
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "whole.mp4").read_bytes()[:600])
    for name in ("text.mp4", "empty.mp4", "cut.mp4", "missing.mp4", "."):
        with pytest.raises(DiffusedHeadsError) as caught:
            read_video(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


def test_real_videos():
    if not REAL.is_dir():
        pytest.skip("../shared/real_inputs is not beside this repository")
    for path in sorted((REAL / "video").iterdir()):
        video = read_video(path)
        count = sum(1 for _ in video.frames)
        assert count > 70, path.name
        if video.audio is not None:
            assert abs(video.audio.duration - count / video.fps) < 0.1, path.name
