"""Several people in one picture through the node: what the core gives, with progress, and errors in one line."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from host_stub import PACKAGE

from diffused_heads import animate_several
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.finder import Search
from diffused_heads.diffused_heads_core.media.audio import Audio
from diffused_heads.diffused_heads_core.talking_head import TalkingHead
from diffused_heads.nodes.sockets import Model, Sampling

SQUARES = "0.2 0.5 0.9\n0.8, 0.5, 0.9\n"
BOXES = [(0.2, 0.5, 0.9), (0.8, 0.5, 0.9)]
PICTURE = np.random.default_rng(0).integers(0, 256, (60, 150, 3)).astype(np.uint8)


def sound(seconds: float, channels: int = 1) -> dict[str, Any]:
    time = torch.arange(round(16000 * seconds)) / 16000 * torch.arange(1, channels + 1)[:, None]
    return {"waveform": (0.3 * torch.sin(1100 * time) * (1 + torch.sin(25 * time)))[None], "sample_rate": 16000}


@pytest.fixture
def run(host: SimpleNamespace, head: TalkingHead) -> Any:
    """The node's outputs for a picture with two squares."""
    node = host.node("several_speakers", "SeveralSpeakers")
    good = {
        "image": torch.from_numpy(PICTURE).float()[None] / 255,
        "sound": host.node("several_speakers", "EACH"),
        "others": "listen",
        "model_name": "tiny",
        "quality": "balanced",
        "liveliness": 1.0,
        "seed": 3,
        "model": Model("tiny", head, "patcher"),
        "squares": SQUARES,
    }
    return lambda **changes: node.execute(**{**good, **changes}).args


def core_audio(audio: dict[str, Any]) -> Audio:
    return Audio(audio["waveform"][0].numpy(), 16000)


def test_the_node_gives_what_the_core_gives(run: Any, host: SimpleNamespace, head: TalkingHead) -> None:
    one, two = sound(0.4), sound(0.24)
    images, audio, fps, _, roles, numbers = run(audio_1=one, audio_2=two)
    recordings = {1: core_audio(one), 2: core_audio(two)}
    conversation = animate_several(PICTURE, recordings, head, boxes=BOXES, seed=3)
    wanted = np.stack(list(conversation.frames()))
    np.testing.assert_array_equal((images * 255).round().byte().numpy(), wanted)
    np.testing.assert_array_equal(audio["waveform"][0].numpy(), conversation.audio.samples)
    assert fps == 25 and roles.splitlines() == [
        "head 1 at 0.20 0.50: speaks audio 1",
        "head 2 at 0.80 0.50: speaks audio 2",
    ]
    assert numbers.shape == (1, 60, 150, 3) and (numbers[0] != images[0]).any()


def test_channels_and_listeners(run: Any, host: SimpleNamespace) -> None:
    channels = host.node("several_speakers", "CHANNELS")
    images, audio, _, _, roles, _ = run(audio_1=sound(0.2, 2), sound=channels)
    assert images.shape == (5, 60, 150, 3) and audio["waveform"].shape == (1, 2, 3200)
    assert "speaks audio 1, right channel" in roles
    images, *_, roles, _ = run(audio_2=sound(0.2), others="still")
    assert roles.startswith("head 1 at 0.20 0.50: still")
    still = torch.from_numpy(PICTURE).float()[:, :75] / 255
    assert torch.equal(images[:, :, :75], still.expand(5, -1, -1, -1))


def test_options_and_quality_reach_the_frames(run: Any) -> None:
    twice = run(audio_1=sound(0.2), options=Sampling(fps=50.0))
    assert twice[0].shape[0] == 10 and twice[2] == 50
    balanced, fast = (run(audio_1=sound(0.2), quality=quality)[0] for quality in ("balanced", "fast"))
    by_hand = run(audio_1=sound(0.2), options=Sampling({"steps": 1}))[0]
    assert not torch.equal(balanced, fast) and torch.equal(fast, by_hand)


def test_a_picture_without_faces_is_shown_with_a_square_to_begin_with(run: Any, host: SimpleNamespace) -> None:
    class Blank:
        def search(self, picture: np.ndarray) -> Search:
            return Search([], ("the whole picture",), 0.2)

    module = importlib.import_module(f"{PACKAGE}.several_speakers")
    module.runtime.face_finder, kept = Blank, module.runtime.face_finder
    try:
        with pytest.raises(DiffusedHeadsError, match=r"no face found.*squares, a line for each: 0.50 0.40 0.60 is"):
            run(audio_1=sound(0.2), squares="")
    finally:
        module.runtime.face_finder = kept


def test_the_preview_is_small_and_the_video_has_even_sides(run: Any, host: SimpleNamespace) -> None:
    wide = torch.rand(1, 301, 1201, 3, generator=torch.Generator().manual_seed(0))
    images, _, _, video, *_ = run(audio_1=sound(0.2), image=wide)
    previews = [preview for *_, preview in host.progress if preview is not None]
    assert previews and all(preview[1].size == (768, 192) for preview in previews)
    assert images.shape == (5, 301, 1201, 3) and video.components.images.shape == (5, 300, 1200, 3)


def test_a_large_picture_is_made_smaller(run: Any) -> None:
    assert run(audio_1=sound(0.2), max_side=100)[0].shape == (5, 40, 100, 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "audio 1 to audio 4: expected at least one recording"),
        ({"audio_3": sound(0.3)}, "head 3 is not in the picture: found 2 heads"),
        ({"audio_1": sound(0.3), "squares": "left"}, "squares: expected x y size in each line.*'left'"),
        ({"audio_1": sound(0.3), "image": torch.rand(2, 60, 60, 3)}, "one picture with all speakers in it, found 2"),
        ({"audio_1": sound(0.3), "sound": "channels of audio 1"}, "audio 1: expected two channels or more"),
        ({"audio_2": sound(0.3), "sound": "channels of audio 1"}, "expected audio 1 alone, found audio 2"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run: Any, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DiffusedHeadsError, match=words) as error:
        run(**changes)
    assert "\n" not in str(error.value)
