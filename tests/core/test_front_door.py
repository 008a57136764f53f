"""The front door: what ``import diffused_heads`` gives, and the whole road from portrait and speech to frames."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import diffused_heads
from diffused_heads.diffused_heads_core.assets import PORTRAITS, RECORDINGS, bundled_file
from diffused_heads.diffused_heads_core.config import AudioConfig
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.alignment import head_mask
from diffused_heads.diffused_heads_core.face.placing import Placing
from diffused_heads.diffused_heads_core.layers import memory_format
from diffused_heads.diffused_heads_core.media.audio import load_audio
from diffused_heads.diffused_heads_core.media.pictures import load_picture
from diffused_heads.diffused_heads_core.media.video import read_video
from diffused_heads.diffused_heads_core.pipeline import Animation, embed_speech
from diffused_heads.diffused_heads_core.pretrained_audio import SpeechModel
from diffused_heads.diffused_heads_core.talking_head import TalkingHead

PORTRAIT, SPEECH = bundled_file(PORTRAITS), bundled_file(RECORDINGS)


@pytest.fixture(scope="module")
def model() -> TalkingHead:
    return diffused_heads.load_model("human", "cpu")


@pytest.fixture(scope="module")
def animation(model: TalkingHead) -> Animation:
    return diffused_heads.animate(PORTRAIT, SPEECH, model, start=0.5, duration=0.2, seed=4, steps=2)


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys, diffused_heads; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_other_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="'NODE_CLASS_MAPPINGS'"):
        diffused_heads.NODE_CLASS_MAPPINGS  # noqa: B018 (ComfyUI asks for it)


def test_the_whole_road_gives_the_picture_with_the_head_moving_in_it(animation: Animation) -> None:
    frames, picture = list(animation.frames()), load_picture(PORTRAIT)
    assert len(frames) == len(animation) == 5 and all(frame.shape == picture.shape for frame in frames)
    outside = head_mask(animation.portrait.placement, *picture.shape[:2], animation.model.config.geometry) == 0
    assert outside.mean() > 0.1 and np.array_equal(frames[-1][outside], picture[outside])
    assert not np.array_equal(frames[0], frames[-1])


def test_its_steps_give_the_same_as_the_whole(animation: Animation, model: TalkingHead) -> None:
    """Arrays in place of files, and the model's own calls in place of the road."""
    audio, picture = load_audio(SPEECH, 0.5, 0.2), load_picture(PORTRAIT)
    again = diffused_heads.animate(picture, audio, model, whole_picture=False, seed=4, steps=2)
    embeddings, options = embed_speech(model, audio), model.options(seed=4, steps=2)
    by_hand = list(model.generate(animation.portrait.frame, embeddings, options))
    assert np.array_equal(list(again.frames()), by_hand)


def test_the_video_is_written_with_its_sound_and_says_what_made_it(animation: Animation, tmp_path: Path) -> None:
    done: list[int] = []
    assert animation.write(tmp_path / "talk.mp4", done.append) == 5 and done == [1, 2, 3, 4, 5]
    video = read_video(tmp_path / "talk.mp4")
    assert len(list(video.frames)) == 5 and video.audio is not None
    assert animation.metadata["model"] == "human" and "seed 4" in animation.metadata["comment"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"steps": 0}, "steps=0"), ({"detail": 2.0}, "detail=2.0"), ({"start": 900.0}, "beyond its end")],
)
def test_what_is_wrong_is_named_before_anything_is_sampled(model: TalkingHead, changes: dict, word: str) -> None:
    with pytest.raises(DiffusedHeadsError, match=word):
        diffused_heads.animate(PORTRAIT, SPEECH, model, placing=Placing("whole"), **changes)


def test_half_weights_paint_nearly_the_same_frames(animation: Animation) -> None:
    """The network's weights are stored in bfloat16, with no conversion at each call; the encoder stays float32."""
    frame, speech = animation.portrait.frame, animation.embeddings[:3]
    half = diffused_heads.load_model("human", "cpu").to(dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16 and {p.dtype for p in half.unet.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in half.audio_encoder.parameters()} == {torch.float32}
    full, coarse = (list(m.generate(frame, speech, animation.options)) for m in (animation.model, half))
    assert 0 < np.abs(np.subtract(full, coarse, dtype=np.float32)).mean() < 1.5  # grey levels


def test_pictures_are_laid_out_as_the_device_likes() -> None:
    assert memory_format(torch.device("cpu")) == memory_format(torch.device("cuda")) == torch.channels_last
    assert memory_format(torch.device("mps")) == torch.contiguous_format


def test_a_frozen_speech_model_follows_its_device() -> None:
    model = SpeechModel(torch.nn.Linear(2, 2), AudioConfig(kind="features", source="hubert-base", layer=9, width=768))
    assert next(model.to("meta").network.parameters()).device.type == "meta"
