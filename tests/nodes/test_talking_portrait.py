"""Talking Portrait: the frames of the separate nodes, one clip per picture, and a video of them with the sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from diffused_heads.diffused_heads_core.assets import PORTRAITS, bundled_file
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.media.pictures import load_picture
from diffused_heads.diffused_heads_core.media.video import read_video
from diffused_heads.diffused_heads_core.motion import MotionOptions
from diffused_heads.nodes.sockets import Sampling


@pytest.fixture
def separate(host: SimpleNamespace, make_model: Callable[..., Path]) -> SimpleNamespace:
    """The separate nodes, and the model of models/diffused_heads/tiny.safetensors."""
    host.node("load_model", "register_folder")()
    make_model(host.models / "diffused_heads" / "tiny.safetensors")
    names = {
        "load": ("load_model", "LoadModel"),
        "identity": ("identity", "LoadIdentity"),
        "encode": ("audio", "EncodeAudio"),
        "sample": ("sampler", "DiffusedHeadsSampler"),
        "paste": ("paste_back", "PasteBack"),
    }
    nodes = {name: host.node(*place).execute for name, place in names.items()}
    return SimpleNamespace(**nodes, model=nodes["load"]("tiny.safetensors").args[0])


def talk(host: SimpleNamespace, image: Any, audio: Any, **changes: Any) -> tuple[Any, ...]:
    """The node's outputs for its defaults but for these changes; no face is looked for."""
    node = host.node("talking_portrait", "TalkingPortrait")
    widgets = {socket.id: socket.default for socket in node.define_schema().inputs if hasattr(socket, "default")}
    given = {**widgets, "model_name": "tiny.safetensors", "seed": 5, "face": "whole", **changes}
    return node.execute(image=image, audio=audio, **given).args


def test_it_gives_what_the_separate_nodes_give(
    host: SimpleNamespace, separate: SimpleNamespace, portraits: torch.Tensor, speech: dict[str, Any]
) -> None:
    identity = separate.identity(portraits, separate.model, face="whole").args[0]
    embedding, sound = separate.encode(separate.model, speech, 0.0, 0.0).args
    clips, fps = separate.sample(separate.model, identity, embedding, 5).args
    (pasted,) = separate.paste(clips, [identity], [fps]).args
    for frame, wanted in (("whole picture", pasted), ("head only", clips)):
        images, audio, rate, videos = talk(host, portraits, speech, frame=frame)
        assert rate == fps == 25 and torch.equal(audio["waveform"], sound["waveform"])
        assert len(images) == len(videos) == 2 and all(torch.equal(a, b) for a, b in zip(images, wanted))
        assert [video.components.frame_rate for video in videos] == [25, 25]
        assert all(torch.equal(video.components.images, clip) for video, clip in zip(videos, images))


def test_quality_sets_the_steps_unless_the_options_do(
    host: SimpleNamespace, separate: SimpleNamespace, portraits: torch.Tensor, speech: dict[str, Any]
) -> None:
    for quality, options, steps in (
        ("fast", None, 1),
        ("balanced", None, 2),
        ("reference", Sampling(), 4),
        ("reference", Sampling({"steps": 3}), 3),
    ):
        host.progress.clear()
        talk(host, portraits[:1], speech, quality=quality, options=options, frame="head only")
        assert host.progress[-1][0] == 13 * steps


def test_liveliness_multiplies_the_head_motion_of_the_options(host: SimpleNamespace) -> None:
    livelier = host.node("talking_portrait", "livelier")
    assert livelier(Sampling(), 0.5).motion == MotionOptions(head=0.5)
    options = Sampling({"steps": 3}, MotionOptions(head=1.5, blinks=0.1), 30.0)
    assert livelier(options, 2.0) == Sampling({"steps": 3}, MotionOptions(head=2.0, blinks=0.1), 30.0)


def test_a_loaded_model_takes_the_place_of_the_chosen_one(
    host: SimpleNamespace, separate: SimpleNamespace, portraits: torch.Tensor, speech: dict[str, Any]
) -> None:
    host.loaded.clear()
    talk(host, portraits[:1], speech, model=separate.model, model_name="nobody")
    assert host.loaded and all(models == [separate.model.patcher] for models in host.loaded)


def test_large_pictures_are_made_smaller_and_transparent_ones_put_on_white(
    host: SimpleNamespace, separate: SimpleNamespace, portraits: torch.Tensor, speech: dict[str, Any]
) -> None:
    clear = torch.cat([portraits[:1], torch.zeros(1, 80, 60, 1)], -1)
    (clip,), *_ = talk(host, clear, speech, max_side=64)
    assert clip.shape == (13, 64, 48, 3) and float(clip[:, :4].min()) == pytest.approx(1)


def test_the_video_of_an_odd_picture_has_even_sides_for_the_encoder(host: SimpleNamespace) -> None:
    clip = torch.rand(2, 9, 11, 3)
    video = host.node("talking_portrait", "video_of")(clip, {}, 25)
    assert torch.equal(video.components.images, clip[:, :8, :10])


def test_what_is_wrong_is_said_before_sampling(
    host: SimpleNamespace, separate: SimpleNamespace, portraits: torch.Tensor, speech: dict[str, Any]
) -> None:
    node = host.node("talking_portrait", "TalkingPortrait")
    assert node.validate_inputs("tiny.safetensors") is True and "nobody" in node.validate_inputs("nobody")
    assert node.fingerprint_inputs("nobody") == node.fingerprint_inputs("nobody", seed=3) != ""
    for changes, words in (
        ({"model_name": "nobody"}, "there is no model 'nobody'"),
        ({"quality": "best"}, "preset='best'"),
        ({"options": Sampling({"eta": 2.0})}, "eta=2.0"),
        ({"seed": -1}, "seed=-1"),
    ):
        with pytest.raises(DiffusedHeadsError, match=words):
            talk(host, portraits, speech, **changes)
    with pytest.raises(DiffusedHeadsError, match="audio: expected an AUDIO, found none"):
        talk(host, portraits, None)
    host.free_memory = 1000
    with pytest.raises(DiffusedHeadsError, match="26 frames of 60x80"):
        talk(host, portraits, speech)
    assert not host.progress


def test_a_model_of_the_mouth_moves_the_head_in_the_pictures_own_pixels(
    host: SimpleNamespace, speech: dict[str, Any]
) -> None:
    host.node("load_model", "register_folder")()
    picture = torch.from_numpy(load_picture(bundled_file(PORTRAITS))).float()[None] / 255
    given = {"model_name": "portrait", "quality": "fast", "face": "auto"}
    still = host.node("sockets", "Sampling")(motion=MotionOptions(0.0, 0.0, 0.0, 0.0))
    (clip,), _, fps, (video,) = talk(host, picture, speech, options=still, **given)
    assert fps == 25 and clip.shape[1:] == picture.shape[1:] and torch.equal(video.components.images, clip)
    change = (clip - picture).abs().amax((0, -1))
    height = change.shape[0]
    assert float(change[: height // 3].max()) < 0.01  # hair and background are the picture's own
    assert float(change[height // 2 :].max()) > 0.1  # the mouth moves


@pytest.fixture
def in_prompt(host: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the node be number 7 of the prompt that runs, of which these other inputs are connected."""
    import server

    def connect(*links: Any) -> None:
        nodes = {str(n): {"inputs": {"given": link, "x": 3}} for n, link in enumerate(links, 20)}
        running = {0: (0, "id", {"7": {"inputs": {}}, **nodes}, {}, [])}
        monkeypatch.setattr(server.PromptServer, "instance", server.PromptServer.instance, raising=False)
        monkeypatch.setattr(
            server.PromptServer.instance, "prompt_queue", SimpleNamespace(currently_running=running), raising=False
        )
        node = host.node("talking_portrait", "TalkingPortrait")
        monkeypatch.setattr(node, "hidden", SimpleNamespace(unique_id="7"), raising=False)

    return connect


def test_a_video_alone_is_written_while_it_is_made(
    host: SimpleNamespace, separate: SimpleNamespace, portraits: torch.Tensor, speech: dict[str, Any], in_prompt: Any
) -> None:
    """Its frames are those of the images, but for the coding; nothing is in memory."""
    images = talk(host, portraits, speech)[0]
    in_prompt(["7", 3], ["7", 1], ["9", 0])
    host.progress.clear()
    none, _, rate, videos = talk(host, portraits, speech)
    assert none == [] and rate == 25 and len(videos) == 2 and host.progress[-1][0] == host.progress[-1][1]
    for video, clip in zip(videos, images):
        found = read_video(video.file)
        frames = torch.from_numpy(np.stack(list(found.frames)).astype(np.float32) / 255)
        height, width = clip.shape[1:3]
        apart = (frames[:, :height, :width] - clip).movedim(-1, 1)
        assert len(frames) == len(clip) and avg_pool2d(apart, 8).abs().mean() < 0.02  # coding blurs colours
        assert found.audio is not None and Path(video.file).is_relative_to(host.temp)


def test_images_are_made_if_something_takes_them(
    host: SimpleNamespace, separate: SimpleNamespace, portraits: torch.Tensor, speech: dict[str, Any], in_prompt: Any
) -> None:
    """And what was made without them is not taken from the host's store."""
    node = host.node("talking_portrait", "TalkingPortrait")
    in_prompt(["7", 3])
    before = node.fingerprint_inputs("tiny.safetensors")
    in_prompt(["7", 3], ["7", 0])
    assert node.fingerprint_inputs("tiny.safetensors") != before
    assert len(talk(host, portraits[:1], speech)[0][0]) == 13


def test_the_bundled_model_gives_the_command_s_frames(host: SimpleNamespace, speech: dict[str, Any]) -> None:
    from diffused_heads.diffused_heads_core.pipeline import animate

    host.node("load_model", "register_folder")()
    picture = load_picture(bundled_file(PORTRAITS))
    image = torch.from_numpy(picture.astype(np.float32) / 255)[None]
    settings = {"model_name": "portrait", "face": "auto", "max_side": 1920}
    images = talk(host, image, speech, **settings)[0][0]
    wanted = list(animate(picture, host.node("convert", "audio_to_core")(speech), seed=5, engine="pytorch").frames())
    assert len(images) == len(wanted)
    for frame, expected in zip(images, wanted):
        assert (frame * 255 - torch.from_numpy(expected)).abs().mean() < 0.5
