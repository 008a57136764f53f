"""Video Combine: the files, what the page gets to show, what is embedded, and cancelling."""

from __future__ import annotations

import json
import shutil
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.media.export import FORMATS, formats_here
from diffused_heads.diffused_heads_core.media.provenance import AI_GENERATED
from diffused_heads.diffused_heads_core.media.video import read_video

MODULE = "diffused_heads.nodes.video_combine"
PROMPT = {"7": {"class_type": "DH_VideoCombine", "inputs": {"text": 'a {b "c" }} \\ é'}}}
EXTRA = {"workflow": {"nodes": [{"id": 7, "title": "}{{ 日本"}], "links": []}}


@pytest.fixture
def video_host(host):
    """The stand-in host with the node's module, and the node as the host prepares it."""
    host.output.mkdir()
    host.temp.mkdir()
    node = host.node("video_combine", "VideoCombine")
    host.module = sys.modules[MODULE]
    host.prepared = type("Prepared", (node,), {"hidden": SimpleNamespace(prompt=PROMPT, extra_pnginfo=EXTRA)})
    return host


def clip(count: int = 5, height: int = 64, width: int = 96, channels: int = 3) -> torch.Tensor:
    frames = torch.linspace(0.1, 0.9, count).view(-1, 1, 1, 1).expand(count, height, width, channels).clone()
    frames[..., 1] = 0.4
    return frames


def stereo(seconds: float = 0.2, rate: int = 44100) -> dict:
    return {"waveform": 0.2 * torch.sin(torch.arange(int(seconds * rate)) / 30).expand(1, 2, -1), "sample_rate": rate}


def files(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def saved(results) -> list[tuple[str, str, str]]:
    return [(result.filename, result.subfolder, result.type) for result in results]


@pytest.mark.parametrize(("format", "suffix"), [("mp4-h264", "mp4"), ("mp4-h265", "mp4"), ("webm-vp9", "webm")])
def test_a_video_is_one_file_that_plays_and_holds_the_workflow(video_host, format, suffix):
    result = video_host.prepared.execute(clip(), 25.0, format, audio=stereo(), filename_prefix="talks/%width%x%height%")
    assert files(video_host.output) == [f"talks/96x64_00001_.{suffix}"] and not files(video_host.temp)
    path = video_host.output / f"talks/96x64_00001_.{suffix}"
    assert result.ui.called == "PreviewVideo" and saved(result.ui.values) == [(path.name, "talks", "output")]
    assert result.args[0].called == "VideoFromFile" and result.args[0].file == str(path)
    assert result.args[1] == [str(path)]
    assert [move[:2] for move in video_host.progress] == [(i, 5) for i in range(1, 6)]
    video = read_video(path)
    for frame, wanted in zip(video.frames, clip().numpy(), strict=True):
        assert np.abs(frame - 255 * wanted).mean() < 5
    assert video.audio.channels == 2 and video.audio.sample_rate == (48000 if suffix == "webm" else 44100)
    with av.open(str(path)) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    assert (
        json.loads(tags["prompt"]) == PROMPT
        and json.loads(tags["workflow"]) == EXTRA["workflow"]
        and tags["comment"] == AI_GENERATED
    )


def test_nothing_is_overwritten_and_temporary_files_go_elsewhere(video_host):
    for _ in range(2):
        video_host.prepared.execute(clip(2), 25.0)
    result = video_host.prepared.execute(clip(2), 25.0, save_output=False, filename_prefix=" ")
    assert files(video_host.output) == ["video/diffused_heads_00001_.mp4", "video/diffused_heads_00002_.mp4"]
    assert files(video_host.temp) == ["diffused_heads_00001_.mp4"]
    assert saved(result.ui.values) == [("diffused_heads_00001_.mp4", "", "temp")]


def test_a_taken_name_is_passed_over(video_host, monkeypatch):
    (video_host.output / "a_00001_.mp4").write_bytes(b"mine")
    monkeypatch.setattr(
        sys.modules["folder_paths"], "get_save_image_path", lambda *_: (str(video_host.output), "a", 1, "", "a")
    )
    video_host.prepared.execute(clip(2), 25.0, filename_prefix="a")
    assert (
        files(video_host.output) == ["a_00001_.mp4", "a_00002_.mp4"]
        and (video_host.output / "a_00001_.mp4").read_bytes() == b"mine"
    )


@pytest.mark.parametrize(("format", "animated"), [("gif", False), ("webp", True), ("apng", True)])
def test_animated_pictures_are_shown_as_pictures(video_host, format, animated):
    images, audio = clip(), stereo()
    result = video_host.prepared.execute(images, 12.5, format, audio=audio, filename_prefix="a", loop_count=2)
    beside = ["a_00001_.png"] if format == "gif" else []
    name = f"a_00001_{FORMATS[format].suffix}"
    assert files(video_host.output) == [name, *beside]
    assert [shown for shown, *_ in saved(result.ui.results)] == [name]
    assert result.ui.called == "SavedImages" and result.ui.is_animated == animated
    parts = result.args[0].components
    assert parts.images is images and parts.audio is audio and parts.frame_rate == Fraction(25, 2)


def test_pictures_go_to_a_folder_of_their_own(video_host):
    result = video_host.prepared.execute(clip(40, 8, 8), 25.0, "png", filename_prefix="sub/a")
    video_host.prepared.execute(clip(2, 8, 8), 25.0, "png", filename_prefix="sub/a")
    assert len(files(video_host.output)) == 42 and (video_host.output / "sub/a_00002_/00002.png").is_file()
    assert [Path(name).relative_to(video_host.output).as_posix() for name in result.args[1]] == [
        f"sub/a_00001_/{i:05}.png" for i in range(1, 41)
    ]
    shown = saved(result.ui.results)
    assert 1 < len(shown) <= 16 and shown[0] == ("00001.png", "sub/a_00001_", "output")


@pytest.mark.parametrize("format", ["mp4-h264", "gif"])
def test_pingpong_shows_no_end_twice(video_host, format):
    result = video_host.prepared.execute(clip(4), 25.0, format, filename_prefix="a", pingpong=True)
    path = video_host.output / files(video_host.output)[0]
    with av.open(str(path)) as container:
        levels = [frame.to_ndarray(format="rgb24")[..., 0].mean() / 255 for frame in container.decode(video=0)]
    wanted = clip(4)[[0, 1, 2, 3, 2, 1]]
    assert np.abs(np.array(levels) - wanted[:, 0, 0, 0].numpy()).max() < 0.05
    if format == "gif":
        assert torch.equal(result.args[0].components.images, wanted)


def test_odd_sizes_grow_by_the_edge(video_host):
    video_host.prepared.execute(clip(2, 33, 49), 25.0, filename_prefix="a")
    assert read_video(video_host.output / "a_00001_.mp4").size == (34, 50)
    images = clip(2, 33, 49)
    whole = video_host.module.Clip(images).whole()
    assert (
        whole.shape == (2, 34, 50, 3)
        and torch.equal(whole[:, :33, :49], images)
        and torch.equal(whole[:, 33, 49], images[:, 32, 48])
    )


def test_transparency_is_kept_by_pictures_and_white_in_videos(video_host):
    images = clip(2, channels=4)
    images[..., 3] = 0
    video_host.prepared.execute(images, 25.0, filename_prefix="a")
    assert next(iter(read_video(video_host.output / "a_00001_.mp4").frames)).min() > 250
    assert video_host.module.Clip(images, keep_alpha=True)[0].shape == (64, 96, 4)
    assert video_host.module.Clip(images).whole().shape == (2, 64, 96, 3)


@pytest.mark.parametrize("format", ["webm-vp9-alpha", "mov-prores4444"])
@pytest.mark.parametrize("way", ["channel", "mask", "masks", "none"])
def test_transparent_videos_hold_the_alpha(video_host, format, way):
    alpha = torch.zeros(64, 96)
    alpha[16:48, 24:72] = 1.0
    images = clip(4, channels=4 if way == "channel" else 3)
    if way == "channel":
        images[..., 3] = alpha
    mask = {"mask": alpha[None], "masks": alpha.expand(4, -1, -1)}.get(way)
    video_host.prepared.execute(images, 25.0, format, audio=stereo(), filename_prefix="a", mask=mask)
    path = video_host.output / files(video_host.output)[0]
    assert path.suffix == (".webm" if "webm" in format else ".mov")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = av.CodecContext.create("libvpx-vp9" if "webm" in format else "prores", "r")
        decoder.codec_tag = stream.codec_context.codec_tag
        packets = [packet for packet in container.demux(stream) if packet.size]
        found = [frame.to_ndarray(format="rgba")[..., 3] for p in (*packets, None) for frame in decoder.decode(p)]
        tags = {key.lower(): value for key, value in container.metadata.items()}
    wanted = 255 * (torch.ones_like(alpha) if way == "none" else alpha).numpy()
    assert len(found) == 4
    for got in found:
        assert np.abs(got - wanted)[22:42, 30:66].max() <= 2 and np.abs(got - wanted)[:10].max() <= 2
    assert json.loads(tags["prompt"]) == PROMPT


def test_a_mask_that_does_not_fit_is_named(video_host):
    for mask in (torch.ones(3, 64, 96), torch.ones(1, 64, 95), torch.ones(1, 1, 64, 96)):
        with pytest.raises(DiffusedHeadsError, match="mask: expected 1 or 5 of 64 x 96 pixels"):
            video_host.prepared.execute(clip(), 25.0, mask=mask)
    assert not files(video_host.output)


@pytest.mark.parametrize("format", ["gif", "mkv-ffv1"])
def test_a_picture_holds_the_workflow_beside_what_the_page_does_not_read(video_host, format):
    suffix = FORMATS[format].suffix
    video_host.prepared.execute(clip(), 25.0, format, filename_prefix="a")
    (video_host.output / "a_00002_.png").write_bytes(b"mine")
    video_host.prepared.execute(clip(), 25.0, format, filename_prefix="a")
    wanted = {f"a_00001_{suffix}", "a_00001_.png", "a_00002_.png", f"a_00003_{suffix}", "a_00003_.png"}
    assert set(files(video_host.output)) == wanted
    with Image.open(video_host.output / "a_00001_.png") as picture:
        assert (
            json.loads(picture.text["prompt"]) == PROMPT and json.loads(picture.text["workflow"]) == EXTRA["workflow"]
        )
        assert "trainedAlgorithmicMedia" in picture.text["XML:com.adobe.xmp"]
        assert np.array_equal(np.array(picture), video_host.module.Clip(clip())[0])
    video_host.args.disable_metadata = True
    video_host.prepared.execute(clip(), 25.0, format, filename_prefix="b")
    assert "b_00001_.png" not in files(video_host.output)


def test_disable_metadata_leaves_the_note_alone(video_host):
    video_host.args.disable_metadata = True
    video_host.prepared.execute(clip(2), 25.0, filename_prefix="a")
    with av.open(str(video_host.output / "a_00001_.mp4")) as container:
        assert container.metadata["comment"] == AI_GENERATED and not {"prompt", "workflow"} & set(container.metadata)


@pytest.mark.parametrize("format", list(formats_here()))
def test_the_switch_leaves_the_workflow_out_of_every_format(video_host, format):
    for wanted in (True, False):
        video_host.prepared.execute(clip(2), 25.0, format, filename_prefix=str(wanted), save_metadata=wanted)
        content = b"".join((video_host.output / name).read_bytes() for name in files(video_host.output))
        assert (b"DH_VideoCombine" in content) == wanted and b"AI-generated" in content
        shutil.rmtree(video_host.output)
        video_host.output.mkdir()


@pytest.mark.parametrize(
    ("length", "sound", "count"),
    [
        ("pictures", 0.3, 5),
        ("audio", 0.3, 8),
        ("audio", 0.13, 4),
        ("audio", 0.08, 2),
        ("shorter", 0.3, 5),
        ("shorter", 0.1, 3),
        ("longer", 0.3, 8),
        ("longer", 0.1, 5),
        ("audio", None, 5),
    ],
)
@pytest.mark.parametrize("format", ["mp4-h264", "mkv-ffv1", "gif", "png"])
def test_the_clip_is_as_long_as_asked(video_host, format, length, sound, count):
    """At 25 frames/s; the last frame is held, and the sound is cut or silent to the end of the last frame."""
    audio = None if sound is None else stereo(sound, 48000)
    result = video_host.prepared.execute(clip(5), 25.0, format, audio=audio, filename_prefix="a", length=length)
    assert len(video_host.progress) == count
    if format == "png":
        assert len(result.args[1]) == count
        return
    wanted = 255 * clip(5)[[min(i, 4) for i in range(count)], 0, 0, 0].numpy()
    with av.open(result.args[1][0]) as container:
        levels = [frame.to_ndarray(format="rgb24")[..., 0].mean() for frame in container.decode(video=0)]
    assert len(levels) == count and np.abs(levels - wanted).max() < 13  # a gif has few colours
    if audio is not None and format != "gif":
        samples = read_video(result.args[1][0]).audio.samples
        assert samples.shape == (2, count * 1920)
        assert np.abs(samples[:, int(sound * 48000) + 1100 :]).max(initial=0) < 0.01


@pytest.mark.parametrize("format", ["mov-prores4444", "mkv-ffv1", "mkv-ffv1-10bit"])
def test_what_browsers_cannot_play_is_shown_by_a_small_copy(video_host, format):
    result = video_host.prepared.execute(clip(5, 600, 1200), 25.0, format, audio=stereo(), filename_prefix="a")
    name = f"a_00001_{FORMATS[format].suffix}"
    beside = ["a_00001_.png"] if name.endswith(".mkv") else []
    assert saved(result.ui["files"]) == [(name, "", "output")] and files(video_host.output) == [name, *beside]
    ((shown, _, folder),) = saved(result.ui["images"])
    assert folder == "temp" and result.ui["animated"] == (True,)
    copy = read_video(video_host.temp / shown)
    assert copy.size == (256, 512) and len(list(copy.frames)) == 5 and copy.audio.channels == 2


@pytest.mark.parametrize("format", ["mp4-h265-10bit", "mp4-av1", "png-16bit", "mkv-ffv1-10bit"])
def test_more_than_eight_bits_reach_the_file(video_host, format):
    images = torch.linspace(0.3, 0.6, 512).expand(2, 64, -1)[..., None].expand(-1, -1, -1, 3)
    result = video_host.prepared.execute(images, 25.0, format, filename_prefix="a", quality=100)
    with av.open(result.args[1][0]) as container:
        found = next(container.decode(video=0)).to_ndarray(format="rgb48le")[32, :, 1]
    assert len(np.unique(found)) > 200 and np.abs(found / 65535 - images[0, 0, :, 0].numpy()).max() < 0.006


def test_rate_control_reaches_the_encoder(video_host):
    sizes = []
    noise = torch.rand(10, 64, 64, 3)
    for given in ({}, {"crf": 40}, {"rate_control": "crf", "crf": 40}, {"rate_control": "bitrate", "bitrate": 0.05}):
        result = video_host.prepared.execute(noise, 25.0, filename_prefix="a", **given)
        sizes.append(Path(result.args[1][0]).stat().st_size)
    assert sizes[0] == sizes[1] > 3 * sizes[2] and sizes[3] < sizes[0]
    with pytest.raises(DiffusedHeadsError, match="crf=52, mp4-h264 takes 0 to 51"):
        video_host.prepared.execute(noise, 25.0, rate_control="crf", crf=52)


def test_embedded_json_has_balanced_braces_for_readers_that_count_them(video_host):
    for text in video_host.module.workflow_metadata(PROMPT, EXTRA).values():
        depth = 0
        for at, letter in enumerate(text):
            depth += {"{": 1, "}": -1}.get(letter, 0)
            assert depth > 0 or at == len(text) - 1
        assert depth == 0 and text.isascii()
    assert {key: json.loads(text) for key, text in video_host.module.workflow_metadata(PROMPT, EXTRA).items()} == {
        "prompt": PROMPT,
        **EXTRA,
    }
    assert video_host.module.workflow_metadata(None, None) == {}


@pytest.mark.parametrize("format", list(formats_here()))
def test_cancelling_stops_at_the_frame_and_leaves_nothing(video_host, format):
    video_host.stop_at = 3
    with pytest.raises(video_host.Stop):
        video_host.prepared.execute(clip(9), 25.0, format)
    assert len(video_host.progress) == 3 and not files(video_host.output)
    video_host.stop_at = None
    video_host.prepared.execute(clip(3), 25.0, format)
    assert files(video_host.output)


def test_wrong_inputs_are_named_and_leave_nothing(video_host):
    cases = [
        (clip(0), 25.0, None, "images"),
        (clip()[0], 25.0, None, "images"),
        (clip(channels=2), 25.0, None, "images"),
        (None, 25.0, None, "images"),
        (clip(), 0.0, None, "fps"),
        (clip(), -1.0, None, "fps"),
        (clip(), float("nan"), None, "fps"),
        (clip(), 25.0, {"waveform": torch.zeros(1, 2, 0), "sample_rate": 44100}, "audio"),
        (clip(), 25.0, {"waveform": torch.zeros(2, 2, 9999), "sample_rate": 44100}, "audio"),
    ]
    for images, fps, audio, said in cases:
        with pytest.raises(DiffusedHeadsError, match=said):
            video_host.prepared.execute(images, fps, audio=audio)
    assert not files(video_host.output)


def test_frames_are_converted_one_at_a_time(video_host):
    frames = video_host.module.Clip(torch.rand(300, 64, 64, 3), pingpong=True)
    assert len(frames) == 598 and frames[0].dtype == np.uint8 and np.array_equal(frames[1], frames[597])
    images = torch.rand(3, 64, 64, 3)
    assert video_host.module.Clip(images).whole() is images
