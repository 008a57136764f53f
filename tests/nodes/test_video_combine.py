"""Video Combine, with stand-ins for the host's modules."""

from __future__ import annotations

import importlib
import json
import os
import sys
from fractions import Fraction
from types import ModuleType, SimpleNamespace

import av
import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.media.video import AI_GENERATED, read_video

MODULE = "diffused_heads.nodes.video_combine"
PROMPT = {"7": {"class_type": "DH_VideoCombine", "inputs": {"text": 'a {b "c" }} \\ é'}}}
EXTRA = {"workflow": {"nodes": [{"id": 7, "title": "}{{ 日本"}], "links": []}}


class Interrupted(BaseException):
    pass


class Recorded:
    """Stands for a class of the host: keeps what it was called with."""

    def __init__(self, *names, **options):
        self.names, self.options = names, options


class Host(SimpleNamespace):
    """The host's folders, counters, progress and interruption."""

    def save_path(self, prefix, output, width, height):
        prefix = prefix.replace("%width%", str(width)).replace("%height%", str(height))
        subfolder, name = os.path.split(os.path.normpath(prefix))
        folder = os.path.join(output, subfolder)
        os.makedirs(folder, exist_ok=True)
        numbers = [
            int(file[len(name) + 1 :].split(".")[0].split("_")[0])
            for file in os.listdir(folder)
            if file.startswith(name + "_")
        ]
        return folder, name, max(numbers, default=0) + 1, subfolder, prefix

    def check(self):
        if self.cancel_at is not None and len(self.updates) >= self.cancel_at:
            raise Interrupted


@pytest.fixture
def host(monkeypatch, tmp_path):
    host = Host(
        updates=[],
        cancel_at=None,
        args=SimpleNamespace(disable_metadata=False),
        output=tmp_path / "output",
        temp=tmp_path / "temp",
    )
    host.output.mkdir()
    host.temp.mkdir()
    modules = {
        name: ModuleType(name)
        for name in (
            "comfy",
            "comfy.utils",
            "comfy.model_management",
            "comfy.cli_args",
            "folder_paths",
            "comfy_api",
            "comfy_api.latest",
        )
    }
    comfy, latest, paths = modules["comfy"], modules["comfy_api.latest"], modules["folder_paths"]
    comfy.utils, comfy.model_management = modules["comfy.utils"], modules["comfy.model_management"]
    comfy.utils.ProgressBar = lambda total: SimpleNamespace(
        update_absolute=lambda done, total: host.updates.append((done, total))
    )
    comfy.model_management.throw_exception_if_processing_interrupted = host.check
    modules["comfy.cli_args"].args = host.args
    paths.get_output_directory, paths.get_temp_directory = lambda: str(host.output), lambda: str(host.temp)
    paths.get_save_image_path = host.save_path
    socket = SimpleNamespace(Input=Recorded, Output=Recorded)
    latest.io = SimpleNamespace(
        ComfyNode=object,
        Schema=Recorded,
        NodeOutput=lambda *values, ui: SimpleNamespace(values=values, ui=ui),
        Hidden=SimpleNamespace(prompt="prompt", extra_pnginfo="extra_pnginfo"),
        FolderType=SimpleNamespace(output="output", temp="temp"),
        **dict.fromkeys(("Image", "Audio", "Float", "Int", "Combo", "String", "Boolean", "Video"), socket),
    )
    latest.ui = SimpleNamespace(
        PreviewVideo=type("PreviewVideo", (Recorded,), {}),
        SavedImages=type("SavedImages", (Recorded,), {}),
        SavedResult=lambda *values: values,
    )
    latest.InputImpl = SimpleNamespace(
        VideoFromFile=type("VideoFromFile", (Recorded,), {}),
        VideoFromComponents=type("VideoFromComponents", (Recorded,), {}),
    )
    latest.Types = SimpleNamespace(VideoComponents=SimpleNamespace)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    host.module = importlib.import_module(MODULE)
    host.node = type(
        "Prepared", (host.module.VideoCombine,), {"hidden": SimpleNamespace(prompt=PROMPT, extra_pnginfo=EXTRA)}
    )
    yield host
    sys.modules.pop(MODULE, None)


def clip(count: int = 5, height: int = 64, width: int = 96, channels: int = 3) -> torch.Tensor:
    frames = torch.linspace(0.1, 0.9, count).view(-1, 1, 1, 1).expand(count, height, width, channels).clone()
    frames[..., 1] = 0.4
    return frames


def stereo(seconds: float = 0.2, rate: int = 44100) -> dict:
    return {"waveform": 0.2 * torch.sin(torch.arange(int(seconds * rate)) / 30).expand(1, 2, -1), "sample_rate": rate}


def files(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_schema(host):
    schema = host.module.VideoCombine.define_schema().options
    names = [entry.names[0] for entry in schema["inputs"]]
    assert names == [
        "images",
        "fps",
        "audio",
        "format",
        "quality",
        "filename_prefix",
        "save_output",
        "pingpong",
        "loop_count",
    ]
    assert (
        schema["node_id"] == "DH_VideoCombine"
        and schema["is_output_node"]
        and schema["hidden"] == ["prompt", "extra_pnginfo"]
    )
    assert all(entry.options["tooltip"] for entry in schema["inputs"] + schema["outputs"])
    assert [entry.names[0] for entry in schema["inputs"] if entry.options.get("advanced")] == ["pingpong", "loop_count"]
    assert schema["inputs"][1].options["step"] < 0.01 and schema["inputs"][2].options["optional"]
    assert schema["inputs"][3].options["options"] == ["mp4-h264", "mp4-h265", "webm-vp9", "gif", "webp", "png"]


@pytest.mark.parametrize(("format", "suffix"), [("mp4-h264", "mp4"), ("mp4-h265", "mp4"), ("webm-vp9", "webm")])
def test_a_video_is_one_file_that_plays_and_holds_the_workflow(host, format, suffix):
    result = host.node.execute(clip(), 25.0, format, audio=stereo(), filename_prefix="talks/%width%x%height%")
    assert files(host.output) == [f"talks/96x64_00001_.{suffix}"] and not files(host.temp)
    path = host.output / f"talks/96x64_00001_.{suffix}"
    assert type(result.ui).__name__ == "PreviewVideo" and result.ui.names == ([(path.name, "talks", "output")],)
    assert type(result.values[0]).__name__ == "VideoFromFile" and result.values[0].names == (str(path),)
    assert host.updates == [(i, 5) for i in range(1, 6)]
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


def test_nothing_is_overwritten_and_temporary_files_go_elsewhere(host):
    for _ in range(2):
        host.node.execute(clip(2), 25.0)
    result = host.node.execute(clip(2), 25.0, save_output=False, filename_prefix=" ")
    assert files(host.output) == ["video/diffused_heads_00001_.mp4", "video/diffused_heads_00002_.mp4"]
    assert files(host.temp) == ["diffused_heads_00001_.mp4"]
    assert result.ui.names == ([("diffused_heads_00001_.mp4", "", "temp")],)


def test_a_taken_name_is_passed_over(host, monkeypatch):
    (host.output / "a_00001_.mp4").write_bytes(b"mine")
    monkeypatch.setattr(
        sys.modules["folder_paths"], "get_save_image_path", lambda *_: (str(host.output), "a", 1, "", "a")
    )
    host.node.execute(clip(2), 25.0, filename_prefix="a")
    assert (
        files(host.output) == ["a_00001_.mp4", "a_00002_.mp4"]
        and (host.output / "a_00001_.mp4").read_bytes() == b"mine"
    )


@pytest.mark.parametrize(("format", "animated"), [("gif", False), ("webp", True)])
def test_animated_pictures_are_shown_as_pictures(host, format, animated):
    images, audio = clip(), stereo()
    result = host.node.execute(images, 12.5, format, audio=audio, filename_prefix="a", loop_count=2)
    assert files(host.output) == [f"a_00001_.{format}"]
    assert type(result.ui).__name__ == "SavedImages" and result.ui.options == {"is_animated": animated}
    parts = result.values[0].names[0]
    assert parts.images is images and parts.audio is audio and parts.frame_rate == Fraction(25, 2)


def test_pictures_go_to_a_folder_of_their_own(host):
    result = host.node.execute(clip(40, 8, 8), 25.0, "png", filename_prefix="sub/a")
    host.node.execute(clip(2, 8, 8), 25.0, "png", filename_prefix="sub/a")
    assert len(files(host.output)) == 42 and (host.output / "sub/a_00002_/00002.png").is_file()
    shown = result.ui.names[0]
    assert 1 < len(shown) <= 16 and shown[0] == ("00001.png", "sub/a_00001_", "output")


@pytest.mark.parametrize("format", ["mp4-h264", "gif"])
def test_pingpong_shows_no_end_twice(host, format):
    result = host.node.execute(clip(4), 25.0, format, filename_prefix="a", pingpong=True)
    path = host.output / files(host.output)[0]
    with av.open(str(path)) as container:
        levels = [frame.to_ndarray(format="rgb24")[..., 0].mean() / 255 for frame in container.decode(video=0)]
    wanted = clip(4)[[0, 1, 2, 3, 2, 1]]
    assert np.abs(np.array(levels) - wanted[:, 0, 0, 0].numpy()).max() < 0.05
    if format == "gif":
        assert torch.equal(result.values[0].names[0].images, wanted)


def test_odd_sizes_grow_by_the_edge(host):
    host.node.execute(clip(2, 33, 49), 25.0, filename_prefix="a")
    assert read_video(host.output / "a_00001_.mp4").size == (34, 50)
    images = clip(2, 33, 49)
    whole = host.module.Clip(images).whole()
    assert (
        whole.shape == (2, 34, 50, 3)
        and torch.equal(whole[:, :33, :49], images)
        and torch.equal(whole[:, 33, 49], images[:, 32, 48])
    )


def test_transparency_is_kept_by_pictures_and_white_in_videos(host):
    images = clip(2, channels=4)
    images[..., 3] = 0
    host.node.execute(images, 25.0, filename_prefix="a")
    assert next(iter(read_video(host.output / "a_00001_.mp4").frames)).min() > 250
    assert host.module.Clip(images, keep_alpha=True)[0].shape == (64, 96, 4)
    assert host.module.Clip(images).whole().shape == (2, 64, 96, 3)


def test_disable_metadata_leaves_the_note_alone(host):
    host.args.disable_metadata = True
    host.node.execute(clip(2), 25.0, filename_prefix="a")
    with av.open(str(host.output / "a_00001_.mp4")) as container:
        assert container.metadata["comment"] == AI_GENERATED and not {"prompt", "workflow"} & set(container.metadata)


def test_embedded_json_has_balanced_braces_for_readers_that_count_them(host):
    for text in host.module.workflow_metadata(PROMPT, EXTRA).values():
        depth = 0
        for at, letter in enumerate(text):
            depth += {"{": 1, "}": -1}.get(letter, 0)
            assert depth > 0 or at == len(text) - 1
        assert depth == 0 and text.isascii()
    assert {key: json.loads(text) for key, text in host.module.workflow_metadata(PROMPT, EXTRA).items()} == {
        "prompt": PROMPT,
        **EXTRA,
    }
    assert host.module.workflow_metadata(None, None) == {}


@pytest.mark.parametrize("format", ["mp4-h264", "mp4-h265", "webm-vp9", "gif", "webp", "png"])
def test_cancelling_stops_at_the_frame_and_leaves_nothing(host, format):
    host.cancel_at = 3
    with pytest.raises(Interrupted):
        host.node.execute(clip(9), 25.0, format)
    assert len(host.updates) == 3 and not files(host.output)
    host.cancel_at = None
    host.node.execute(clip(3), 25.0, format)
    assert files(host.output)


def test_wrong_inputs_are_named_and_leave_nothing(host):
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
            host.node.execute(images, fps, audio=audio)
    assert not files(host.output)


def test_frames_are_converted_one_at_a_time(host):
    frames = host.module.Clip(torch.rand(300, 64, 64, 3), pingpong=True)
    assert len(frames) == 598 and frames[0].dtype == np.uint8 and np.array_equal(frames[1], frames[597])
    images = torch.rand(3, 64, 64, 3)
    assert host.module.Clip(images).whole() is images
