"""Layouts of the host and of the core, there and back, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.nodes.convert import (
    audio_to_core,
    audio_to_host,
    image_to_uint8,
    opaque_image,
    uint8_to_image,
    waveform_of,
)


def test_every_level_of_a_picture_survives() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, -1)
    image = uint8_to_image(levels)
    assert image.dtype == torch.float32 and float(image.max()) == 1
    assert np.array_equal(image_to_uint8(image), levels)


def test_transparency_becomes_white_and_gray_becomes_rgb() -> None:
    rgba = torch.tensor([[0.2, 0.4, 0.6, 1.0], [0.2, 0.4, 0.6, 0.0], [0.2, 0.4, 0.6, 0.5]])[None, None]
    want = torch.tensor([[0.2, 0.4, 0.6], [1.0, 1.0, 1.0], [0.6, 0.7, 0.8]])[None, None]
    torch.testing.assert_close(opaque_image(rgba), want)
    gray = torch.tensor([0.3, 1.5]).reshape(1, 1, 2, 1)
    assert torch.equal(opaque_image(gray), torch.tensor([0.3, 1.0]).reshape(1, 1, 2, 1).expand(1, 1, 2, 3))


@pytest.mark.parametrize(
    "image, word",
    [
        (None, "none"),
        (torch.zeros(4, 4, 3), "(4, 4, 3)"),
        (torch.zeros(1, 4, 4, 2), "(1, 4, 4, 2)"),
        (torch.zeros(0, 4, 4, 3), "(0, 4, 4, 3)"),
        (torch.full((1, 4, 4, 3), torch.nan), "NaN"),
    ],
)
def test_what_is_no_image(image: torch.Tensor | None, word: str) -> None:
    with pytest.raises(DiffusedHeadsError, match="image: expected") as caught:
        opaque_image(image)
    assert word in str(caught.value)


def test_sound_keeps_rate_and_channels(speech: dict[str, Any]) -> None:
    core = audio_to_core(speech)
    assert core.samples.shape == (2, 11025) and core.sample_rate == 22050
    back = audio_to_host(core)
    assert torch.equal(back["waveform"], speech["waveform"]) and back["sample_rate"] == 22050


@pytest.mark.parametrize(
    "audio, word",
    [
        (None, "found none"),
        ([1], "found list"),
        ({"waveform": torch.zeros(1, 1, 9)}, "found dict"),
        ({"waveform": torch.zeros(1, 2, 0), "sample_rate": 8000}, "empty"),
        ({"waveform": torch.zeros(3, 1, 9), "sample_rate": 8000}, "(3, 1, 9)"),
        ({"waveform": torch.zeros(1, 0, 9), "sample_rate": 8000}, "(1, 0, 9)"),
        ({"waveform": torch.zeros(1, 1, 9), "sample_rate": 0}, "0 Hz"),
    ],
)
def test_what_is_no_recording(audio: Any, word: str) -> None:
    with pytest.raises(DiffusedHeadsError, match="audio: expected") as caught:
        waveform_of(audio)
    assert word in str(caught.value)
