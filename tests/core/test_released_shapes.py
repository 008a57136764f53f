"""Architecture from names and shapes: the published ones, and those that mean nothing or two things."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from diffused_heads.diffused_heads_core.config import AudioConfig, FeatureGroup, ModelConfig, UNetConfig
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.released import convert as released

DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.mark.parametrize(
    "name, attention, gray", [("middle_attention_rgb_motion", (), False), ("attention_at_32_gray_motion", (2,), True)]
)
def test_the_published_shapes_give_the_published_configuration(
    name: str, attention: tuple[int, ...], gray: bool
) -> None:
    manifest = json.loads((DATA / "official_unet_manifest.json").read_text())[name]
    shapes = {n: tuple(torch.empty(shape, device="meta").shape) for n, shape in manifest.items()}
    config = released.infer(shapes)
    released.compare(shapes, config.unet)
    assert config.unet == UNetConfig(attention_levels=attention, spatial=config.unet.spatial)
    assert {s.name: s.channels for s in config.unet.spatial} == {"motion": 2 if gray else 6, "identity": 3}
    assert config == ModelConfig(
        unet=config.unet, audio=AudioConfig(kind="torchscript", embedding=256), motion_gray=gray
    )
    assert config.unet.features == (FeatureGroup("audio", 256, 2),)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"extra.weight": (3,)}, "1 unexpected (for example extra.weight)"),
        ({"middle_block.0.in_layers.0.bias": None}, "1 missing (for example middle_block.0.in_layers.0.bias)"),
        ({"middle_block.2.in_layers.0.bias": (5,)}, "1 of another shape (for example middle_block.2.in_layers.0.bias)"),
        ({"input_blocks.0.0.weight": (256, 9, 3, 3)}, "1 RGB or 3 gray"),
        ({"input_blocks.0.0.weight": (256, 4, 3, 3)}, "x_t and the identity frame alone need 6"),
        ({"audio_embed.0.weight": (1024, 1283)}, "1283 wide"),
        ({"audio_embed.0.weight": None}, "expected a tensor audio_embed.0.weight"),
        ({"out.2.weight": (6,)}, "out.2.weight of 4 dimensions"),
    ],
)
def test_shapes_that_do_not_fit_are_named(change: dict, words: str) -> None:
    shapes = {
        n: tuple(s)
        for n, s in json.loads((DATA / "official_unet_manifest.json").read_text())[
            "middle_attention_rgb_motion"
        ].items()
    }
    shapes = {n: s for n, s in {**shapes, **change}.items() if s is not None}
    with pytest.raises(DiffusedHeadsError) as caught:
        released.compare(shapes, released.infer(shapes).unet)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "channels, gray, want",
    [
        (0, None, (0, False)),
        (1, None, (1, True)),
        (2, None, (2, True)),
        (6, None, (2, False)),
        (3, False, (1, False)),
        (3, True, (3, True)),
        (9, False, (3, False)),
        (6, True, (6, True)),
    ],
)
def test_motion_channels(channels: int, gray: bool | None, want: tuple[int, bool]) -> None:
    assert released._motion(channels, gray) == want


@pytest.mark.parametrize(
    "width, given, want",
    [(1280, None, (256, 2)), (768, None, (256, 1)), (160, None, (32, 2)), (2560, None, (512, 2)), (96, 32, (32, 1))],
)
def test_audio_windows(width: int, given: int | None, want: tuple[int, int]) -> None:
    assert released._window(width, given) == want
