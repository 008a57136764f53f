"""Export: each format comes back frame for frame with its tags, and a failed one leaves nothing."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
from collections.abc import Sequence
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.media.audio import Audio
from diffused_heads.diffused_heads_core.media.encoders import CODECS
from diffused_heads.diffused_heads_core.media.export import FORMATS, ExportOptions, export, formats_here, play_order
from diffused_heads.diffused_heads_core.media.provenance import AI_GENERATED, PNG_KEYWORD, XMP
from diffused_heads.diffused_heads_core.media.video import read_video

TAGS = {"prompt": json.dumps({"1": {"class_type": "A"}}), "workflow": json.dumps({"nodes": [], "note": "é}"})}
HERE = formats_here()
VIDEOS = [name for name, format in HERE.items() if format.codec]


class Frames(Sequence):
    """A moving gradient whose frame i has the red level 20 + 9 i; counts how often each frame is asked for."""

    def __init__(self, count: int, height: int = 64, width: int = 96, channels: int = 3):
        self.count, self.shape, self.asked = count, (height, width, channels), []

    def __len__(self):
        return self.count

    def __getitem__(self, i: int) -> np.ndarray:
        self.asked.append(i)
        frame = np.full(self.shape, (20 + 9 * i) % 256, np.uint8)
        frame[..., 1] = np.linspace(0, 200, self.shape[1], dtype=np.uint8)
        frame[..., 2] = 90
        return frame


def target(folder, format: str):
    return folder / f"clip{FORMATS[format].suffix}"


def webp_chunks(data: bytes):
    at = 12
    assert data[:4] == b"RIFF" and struct.unpack("<I", data[4:8])[0] == len(data) - 8
    while at < len(data):
        size = struct.unpack("<I", data[at + 4 : at + 8])[0]
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    assert at == len(data)


def exif_strings(data: bytes) -> dict[int, str]:
    assert data[:4] == b"II*\0"
    found = {}
    for n in range(struct.unpack("<H", data[8:10])[0]):
        tag, kind, length, at = struct.unpack("<HHII", data[10 + 12 * n : 22 + 12 * n])
        assert kind == 2 and data[at + length - 1] == 0
        found[tag] = data[at : at + length - 1].decode()
    return found


def decoded(path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


STREAMS = {  # decoder, its pixels without and with alpha
    "mp4-h264": ("h264", "yuv420p"),
    "mp4-h265": ("hevc", "yuv420p"),
    "mp4-h265-10bit": ("hevc", "yuv420p10le"),
    "mp4-av1": ("libdav1d", "yuv420p10le"),
    "webm-vp9": ("vp9", "yuv420p"),
    "webm-av1": ("libdav1d", "yuv420p10le"),
    "webm-vp9-alpha": ("vp9", "yuv420p"),
    "mov-prores4444": ("prores", "yuv444p12le"),
    "mkv-ffv1": ("ffv1", "bgr0"),
    "mkv-ffv1-10bit": ("ffv1", "gbrp10le"),
    "mp4-h264-nvenc": ("h264", "yuv420p"),
    "mp4-h265-nvenc": ("hevc", "yuv420p"),
    "mp4-av1-nvenc": ("libdav1d", "yuv420p"),
}


def test_every_format_is_described_here() -> None:
    assert set(STREAMS) == {name for name, format in FORMATS.items() if format.codec}
    assert {format.codec for format in FORMATS.values() if format.codec} == set(CODECS)
    assert set(FORMATS) - set(HERE) <= {name for name in FORMATS if name.endswith("nvenc")}


@pytest.mark.parametrize("format", VIDEOS)
def test_videos_come_back_with_frames_sound_and_tags(tmp_path, format):
    sound = Audio((0.3 * np.sin(np.arange(48000) / 20)).astype(np.float32)[None].repeat(2, 0), 48000)
    path, frames, seen = target(tmp_path, format), Frames(25), []
    export(path, frames, 25, ExportOptions(format), sound, TAGS, seen.append)
    video = read_video(path)
    read = list(video.frames)
    assert len(read) == 25 and video.fps == 25 and seen == list(range(1, 26)) and frames.asked == list(range(25))
    for i, frame in enumerate(read):
        assert np.abs(frame.astype(int) - Frames(25)[i]).mean() < 4, i
    assert (video.audio.channels, video.audio.sample_rate) == (2, 48000) and abs(video.audio.duration - 1) < 0.03
    with av.open(str(path)) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
        stream = container.streams.video[0].codec_context
        assert (stream.name, stream.format.name) == STREAMS[format]
        assert stream.name != "hevc" or stream.codec_tag == "hvc1"
    assert tags["comment"] == AI_GENERATED and {key: tags[key] for key in TAGS} == TAGS


@pytest.mark.parametrize("fps", [24, Fraction(30000, 1001), 59.94])
@pytest.mark.parametrize("format", VIDEOS)
def test_frame_rate_and_length_of_the_sound_are_exact(tmp_path, format, fps):
    """Sound of 44100 Hz, longer than the picture, is cut to the sample; Opus counts in 48000 Hz.

    Matroska (WebM) has the time of a frame in nanoseconds, of which FFmpeg makes the nearest small fraction.
    """
    path = target(tmp_path, format)
    export(path, Frames(29), fps, ExportOptions(format), Audio(np.full((1, 60000), 0.1, np.float32), 44100))
    video = read_video(path)
    rate = {24: Fraction(24), 59.94: Fraction(60000, 1001)}.get(fps, fps)
    assert video.fps == rate or (path.suffix in (".webm", ".mkv") and abs(video.fps - rate) < 1e-5)
    assert abs(video.audio.samples.shape[1] - 29 / rate * video.audio.sample_rate) <= 1


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("format", [name for name in HERE if name.startswith(("mkv", "png", "apng"))])
def test_lossless_formats_lose_nothing_in_any_size(tmp_path, format, bits):
    if bits > HERE[format].bits:
        pytest.skip("stores 8 bits")
    kind = {8: np.uint8, 16: np.uint16}[bits]
    wanted = np.random.default_rng(0).integers(0, 2**bits, (3, 33, 45, 4), kind)
    if format == "mkv-ffv1-10bit":
        wanted = (wanted >> bits - 8).astype(kind) * {8: 1, 16: 257}[bits]  # values that 10 bits hold
    path = target(tmp_path, format)
    for channels in (4, 3):
        folder = path.with_name(f"{channels}{path.name}")
        export(folder, wanted[..., :channels], 25, ExportOptions(format))
        read = pixels(folder, channels, bits)
        assert np.abs(np.array(read).astype(int) - wanted[..., :channels]).max() <= (0 if "10bit" not in format else 64)


def pixels(path, channels: int, bits: int) -> list[np.ndarray]:
    """The frames of a file or folder, decoded by FFmpeg or OpenCV."""
    if path.is_dir():
        code = cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGRA2RGBA
        return [cv2.cvtColor(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), code) for file in sorted(path.iterdir())]
    name = {(3, 8): "rgb24", (4, 8): "rgba", (3, 16): "rgb48le", (4, 16): "rgba64le"}[channels, bits]
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format=name) for frame in container.decode(video=0)]


@pytest.mark.parametrize("format", [name for name in HERE if "10bit" in name or "av1" in name or "prores" in name])
def test_formats_of_ten_bits_tell_more_than_256_levels(tmp_path, format):
    levels = np.linspace(20000, 40000, 512).astype(np.uint16)
    frame = np.repeat(levels[None, :, None], 64, 0).repeat(3, 2)
    export(target(tmp_path, format), [frame] * 3, 25, ExportOptions(format, 100))
    with av.open(str(target(tmp_path, format))) as container:
        found = next(container.decode(video=0)).to_ndarray(format="rgb48le")
    assert len(np.unique(found[32, :, 1])) > 200  # 79 of 256 levels lie between
    assert np.abs(found[32, :, 1].astype(int) - levels).max() < 400


@pytest.mark.parametrize("plays", [0, 1, 3])
def test_an_animated_png_keeps_time_tags_and_plays_as_often_as_asked(tmp_path, plays):
    path, rate = target(tmp_path, "apng"), Fraction(30000, 1001)
    export(path, Frames(7, 45, 61), rate, ExportOptions("apng", plays=plays), metadata=TAGS)
    with Image.open(path) as picture:
        assert picture.n_frames == 7 and picture.info["loop"] == plays
        assert {key: picture.text[key] for key in TAGS} == TAGS and picture.text["comment"] == AI_GENERATED
        total = 0.0
        for i in range(7):
            picture.seek(i)
            total += picture.info["duration"]
            assert np.array_equal(np.array(picture.convert("RGB")), Frames(7, 45, 61)[i])
    assert abs(total - 7000 / rate) < 0.01


@pytest.mark.parametrize("format", [name for name in VIDEOS if HERE[name].worst_crf])
def test_rate_factor_and_bitrate_are_those_asked_for(tmp_path, format):
    noise = np.random.default_rng(0).normal(0, 1, (160, 160, 3)).astype(np.float32)
    noise = np.clip(128 + 400 * cv2.GaussianBlur(noise, (0, 0), 2), 0, 255).astype(np.uint8)
    frames = [noise[i % 7 : i % 7 + 128, i % 5 : i % 5 + 128] for i in range(75)]
    worst, sizes = HERE[format].worst_crf, []
    for changes in ({"crf": worst}, {"crf": 12}, {"crf": 2}, {"bitrate": 50_000}, {"bitrate": 150_000}):
        export(target(tmp_path, format), frames, 25, ExportOptions(format, **changes))
        sizes.append(target(tmp_path, format).stat().st_size)
    assert sizes[0] < sizes[1] < sizes[2]
    assert 0.45 < sizes[4] / (150_000 / 8 * 3) < 1.8  # encoders are that far off in three seconds
    assert sizes[4] > 1.5 * sizes[3]
    with pytest.raises(DiffusedHeadsError, match=f"crf={worst + 1}, {format} takes 0 to {worst}"):
        ExportOptions(format, crf=worst + 1)


@pytest.mark.parametrize("fps", [8, 12.5, 25, Fraction(30000, 1001), 50, 100])
def test_a_gif_keeps_time_and_colours(tmp_path, fps):
    path = target(tmp_path, "gif")
    export(path, Frames(20, 45, 61), fps, ExportOptions("gif"))
    with av.open(str(path)) as container:
        stamps = [float(frame.time) for frame in container.decode(video=0)]
        duration = container.duration / 1e6
    kept = [i for i in range(20) if fps <= 50 or i % 2 == 0]
    assert len(stamps) == len(kept) and np.abs(np.array(stamps) - np.array(kept) / float(fps)).max() <= 0.0051
    assert abs(duration - 20 / float(fps)) < 0.03
    errors = [np.abs(frame.astype(int) - Frames(20, 45, 61)[i]).mean() for i, frame in zip(kept, decoded(path))]
    assert max(errors) < 14
    assert AI_GENERATED.encode() in path.read_bytes()


@pytest.mark.parametrize(("plays", "repeats"), [(0, 0), (1, None), (2, 1), (7, 6)])
def test_a_gif_plays_as_often_as_asked(tmp_path, plays, repeats):
    export(target(tmp_path, "gif"), Frames(3), 10, ExportOptions("gif", plays=plays))
    data = target(tmp_path, "gif").read_bytes()
    at = data.find(b"NETSCAPE2.0")
    assert (struct.unpack("<H", data[at + 13 : at + 15])[0] if at >= 0 else None) == repeats


def test_fewer_colours_make_a_smaller_gif(tmp_path):
    sizes = []
    for quality in (10, 80):
        export(target(tmp_path, "gif"), Frames(6), 10, ExportOptions("gif", quality))
        sizes.append(target(tmp_path, "gif").stat().st_size)
    assert sizes[0] < sizes[1]
    assert (ExportOptions("gif", 0).colours, ExportOptions("gif", 80).colours, ExportOptions("gif", 100).colours) == (
        8,
        256,
        256,
    )


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("count", [1, 12])
def test_a_webp_has_every_frame_and_the_tags_where_the_page_reads_them(tmp_path, count, channels):
    path = target(tmp_path, "webp")
    export(path, Frames(count, 45, 61, channels), 30, ExportOptions("webp", plays=3), metadata=TAGS)
    chunks = list(webp_chunks(path.read_bytes()))
    header = dict(chunks)[b"VP8X"]
    assert chunks[0][0] == b"VP8X" and header[0] & 0x08 and bool(header[0] & 0x10) == (channels == 4)
    assert [1 + int.from_bytes(header[i : i + 3], "little") for i in (4, 7)] == [61, 45]
    strings = exif_strings(dict(chunks)[b"EXIF"])
    assert strings == {
        0x0110: "prompt:" + TAGS["prompt"],
        0x010F: "workflow:" + TAGS["workflow"],
        0x0131: "comment:" + AI_GENERATED,
    }
    if count > 1:
        durations = [int.from_bytes(data[12:15], "little") for kind, data in chunks if kind == b"ANMF"]
        assert len(durations) == count and sum(durations) == 1000 * count // 30
        assert struct.unpack("<H", dict(chunks)[b"ANIM"][4:6])[0] == 3
    else:
        assert np.abs(cv2.imread(str(path))[..., ::-1].astype(int) - Frames(1, 45, 61)[0]).mean() < 6


@pytest.mark.parametrize("channels", [3, 4])
def test_pictures_are_lossless_and_tagged(tmp_path, channels):
    path, frames = target(tmp_path, "png"), Frames(4, 45, 61, channels)
    export(path, frames, 25, ExportOptions("png"), metadata={"prompt": TAGS["prompt"]})
    files = sorted(path.iterdir())
    assert [file.name for file in files] == ["00001.png", "00002.png", "00003.png", "00004.png"]
    for i, file in enumerate(files):
        code = cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGRA2RGBA
        assert np.array_equal(cv2.cvtColor(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), code), frames[i])
        data = file.read_bytes()
        assert b"tEXtprompt\0" + TAGS["prompt"].encode() in data and b"tEXtcomment\0" + AI_GENERATED.encode() in data
    with pytest.raises(DiffusedHeadsError, match="it exists"):
        export(path, frames, 25, ExportOptions("png"))


def test_a_picture_holds_tags_of_any_language(tmp_path):
    export(target(tmp_path, "png"), Frames(1), 25, ExportOptions("png"), metadata={"note": "日本 é"})
    with Image.open(target(tmp_path, "png") / "00001.png") as picture:
        assert picture.text == {"comment": AI_GENERATED, "note": "日本 é", PNG_KEYWORD: XMP}


@pytest.mark.parametrize("format", HERE)
@pytest.mark.parametrize("count", [1, 5])
def test_every_frame_is_reported_when_it_was_taken(tmp_path, format, count):
    seen = []
    export(target(tmp_path, format), Frames(count), 25, ExportOptions(format), on_frame=seen.append)
    assert seen == list(range(1, count + 1))


class Stop(BaseException):
    pass


@pytest.mark.parametrize("format", HERE)
def test_a_cancelled_export_leaves_nothing(tmp_path, format):
    def cancel(done: int) -> None:
        if done == 5:
            raise Stop

    with pytest.raises(Stop):
        export(target(tmp_path, format), Frames(9), 25, ExportOptions(format), on_frame=cancel)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", HERE)
def test_what_cannot_be_written_is_named(tmp_path, format):
    cases = [
        (target(tmp_path, format), Frames(0), 25, "no frames"),
        (target(tmp_path, format), Frames(2), 0, "fps=0"),
        (target(tmp_path / "no", format), Frames(2), 25, "does not exist"),
    ]
    for path, frames, fps, said in cases:
        with pytest.raises(DiffusedHeadsError) as caught:
            export(path, frames, fps, ExportOptions(format))
        assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_pictures_with_a_name_that_cannot_be(tmp_path):
    for name, said in (("a\0", "null"), ("x" * 300, "too long"), ("no/a", "does not exist"), (".", "it exists")):
        with pytest.raises(DiffusedHeadsError, match=f"cannot write here, .*{said}"):
            export(tmp_path / name, Frames(1), 25, ExportOptions("png"))
    assert not list(tmp_path.iterdir())


def test_h265_refuses_sizes_that_its_encoder_cannot_take(tmp_path):
    for height, width in ((32, 48), (50, 34), (48, 640)):
        with pytest.raises(DiffusedHeadsError, match="64 x 64 and more"):
            export(target(tmp_path, "mp4-h265"), Frames(3, height, width), 25, ExportOptions("mp4-h265"))
    assert not list(tmp_path.iterdir())
    export(target(tmp_path, "mp4-h265"), Frames(3, 63, 65), 25, ExportOptions("mp4-h265"))
    assert read_video(target(tmp_path, "mp4-h265")).size == (64, 66)


def test_options_report_everything_found():
    with pytest.raises(DiffusedHeadsError, match="quality=101.*; plays=-1.*; crf=52.*; bitrate=0"):
        ExportOptions("mp4-h264", 101, -1, 52, 0)
    with pytest.raises(DiffusedHeadsError, match="format=avi, expected one of mp4-h264, "):
        ExportOptions("avi")


def test_better_quality_makes_larger_files(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (6, 64, 64, 3), np.uint8)
    for format in [name for name, format in HERE.items() if format.lossy and name != "gif"]:
        sizes = []
        for quality in (20, 80, 100):
            export(target(tmp_path, format), noise, 25, ExportOptions(format, quality))
            sizes.append(target(tmp_path, format).stat().st_size)
        assert sizes == sorted(sizes) and sizes[0] < sizes[2], format


def test_pingpong_shows_no_end_twice():
    assert play_order(4) == [0, 1, 2, 3] and play_order(4, True) == [0, 1, 2, 3, 2, 1]
    assert [play_order(n, True) for n in (0, 1, 2)] == [[], [0], [0, 1]]


@pytest.mark.parametrize("format", HERE)
def test_memory_does_not_grow_with_the_clip(tmp_path, format):
    channels = 4 if HERE[format].alpha else 3  # Pillow keeps arrays with alpha as they are: they are counted
    tracemalloc.start()
    export(target(tmp_path, format), Frames(120, 128, 128, channels), 25, ExportOptions(format))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 * 128 * 128 * channels


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="this system has no scheduling policies")
@pytest.mark.parametrize("format", [name for name in HERE if not name.endswith("nvenc")])
def test_no_encoder_changes_how_the_process_is_scheduled(tmp_path, format):
    """SVT-AV1, run by root, makes its threads real-time ones; they and later processes would starve the machine."""
    export(target(tmp_path, format), Frames(3), 25, ExportOptions(format))
    policies = {os.sched_getscheduler(int(task)) for task in os.listdir("/proc/self/task")}
    assert not policies & {os.SCHED_FIFO, os.SCHED_RR}
