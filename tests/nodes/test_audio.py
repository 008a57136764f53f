"""The part of a recording that is taken, and the embeddings of it."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from diffused_heads.diffused_heads_core import talking_head
from diffused_heads.diffused_heads_core.config import AudioConfig
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.pipeline import embed_speech
from diffused_heads.diffused_heads_core.pretrained_audio import SpeechFeatures, new_encoder
from diffused_heads.diffused_heads_core.talking_head import TalkingHead
from diffused_heads.nodes.convert import audio_to_core


@pytest.fixture
def trim(host: SimpleNamespace) -> Callable[..., dict[str, Any]]:
    return host.node("audio", "trim")


@pytest.fixture
def encode(host: SimpleNamespace) -> Callable[..., Any]:
    return host.node("audio", "encode")


@pytest.mark.parametrize(
    "start, duration, begin, end",
    [(0.0, 0.0, 0, 11025), (0.1, 0.0, 2205, 11025), (0.1, 0.2, 2205, 6615), (0.3, 9.0, 6615, 11025)],
)
def test_trimming_is_exact_and_copies(
    trim: Any, speech: dict[str, Any], start: float, duration: float, begin: int, end: int
) -> None:
    part = trim(speech, start, duration)
    assert torch.equal(part["waveform"], speech["waveform"][..., begin:end]) and part["sample_rate"] == 22050
    part["waveform"].zero_()
    assert speech["waveform"][..., begin:end].any()


@pytest.mark.parametrize(
    "start, duration, word",
    [
        (0.5, 0.0, "beyond the end of the recording at 0.500 s"),
        (-1.0, 0.0, "start=-1"),
        (math.nan, 0.0, "start=nan"),
        (0.0, math.inf, "duration=inf"),
    ],
)
def test_parts_that_cannot_be(trim: Any, speech: dict[str, Any], start: float, duration: float, word: str) -> None:
    with pytest.raises(DiffusedHeadsError) as caught:
        trim(speech, start, duration)
    assert word in str(caught.value)


def test_one_embedding_per_frame(encode: Any, trim: Any, head: TalkingHead, speech: dict[str, Any]) -> None:
    found = encode(head, "tiny", speech)
    assert found.frames.shape == (13, 8) and found.model == "tiny"  # ceil(0.5 s * 25)
    assert torch.equal(found.frames, embed_speech(head, audio_to_core(speech)))
    assert encode(head, "tiny", trim(speech, 0.1, 0.2)).frames.shape == (5, 8)


@pytest.mark.parametrize(
    "change, word",
    [
        (lambda w: torch.zeros_like(w), "silent"),
        (lambda w: w[..., :2205], "0.100 s"),
        (lambda w: w[..., :10], "10 samples"),
        (lambda w: w * torch.nan, "NaN"),
    ],
)
def test_recordings_that_cannot_drive_a_mouth(
    encode: Any, head: TalkingHead, speech: dict[str, Any], change: Any, word: str
) -> None:
    with pytest.raises(DiffusedHeadsError) as caught:
        encode(head, "tiny", {**speech, "waveform": change(speech["waveform"])})
    assert word in str(caught.value) and str(caught.value).startswith("audio")


def test_a_model_without_its_encoder_says_what_to_do(encode: Any, head: TalkingHead, speech: dict[str, Any]) -> None:
    head.audio_encoder = None
    with pytest.raises(DiffusedHeadsError, match="trust_torchscript"):
        encode(head, "crema.safetensors", speech)


def test_the_node(host: SimpleNamespace, head: TalkingHead, speech: dict[str, Any]) -> None:
    node, model = host.node("audio", "EncodeAudio"), SimpleNamespace(head=head, name="tiny", patcher="patcher")
    embedding, part = node.execute(model, speech, 0.1, 0.2).args
    assert embedding.frames.shape == (5, 8) and part["waveform"].shape == (1, 2, 4410)
    assert host.loaded == [["patcher"]]
    with pytest.raises(DiffusedHeadsError, match="found none"):
        node.execute(model, None, 0.0, 0.0)


class FrozenSpeechModel:
    """Gives half a second of features."""

    def to(self, device: Any) -> FrozenSpeechModel:
        return self

    def features(self, mono: Any) -> SpeechFeatures:
        return SpeechFeatures(torch.ones(26, 768), "hubert-base", 6)


def test_the_frozen_speech_model_of_some_models_is_freed_after_use(
    host: SimpleNamespace, head: TalkingHead, speech: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    def load(*arguments: Any) -> FrozenSpeechModel:
        model = FrozenSpeechModel()
        loaded.append(weakref.ref(model))
        return model

    monkeypatch.setattr(talking_head, "load_speech_model", load)
    audio = AudioConfig(kind="features", embedding=8, source="hubert-base", layer=6, width=768)
    config = replace(head.config, audio=audio)
    frozen = TalkingHead(config, head.unet, new_encoder(audio).eval(), speech_weights=Path("hubert-base.pt"))
    model = SimpleNamespace(head=frozen, name="frozen", patcher="patcher")
    for times in (1, 2):
        assert host.node("audio", "embed")(model, speech).frames.shape == (13, 8)
        assert len(loaded) == times and loaded[-1]() is None
