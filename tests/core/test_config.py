"""Configurations: they check themselves, report everything at once, and survive JSON."""

from __future__ import annotations

import json

import pytest

from diffused_heads.diffused_heads_core.checkpoints import from_json, to_json
from diffused_heads.diffused_heads_core.config import (
    AudioConfig,
    FeatureGroup,
    ModelConfig,
    SpatialInput,
    UNetConfig,
    preset_steps,
)
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError


def unusual() -> ModelConfig:
    """A configuration in which almost nothing is the default."""
    unet = UNetConfig(
        image_size=64,
        model_channels=32,
        channel_mult=(1, 2),
        res_blocks=1,
        attention_levels=(1,),
        head_channels=32,
        unshuffle=2,
        prediction="v",
        learned_variance=False,
        skip=("identity",),
        spatial=(SpatialInput("identity", 3), SpatialInput("face", 6), SpatialInput("motion", 3, 0.25)),
        features=(FeatureGroup("audio", 48, 3), FeatureGroup("mood", 4, 0)),
    )
    return ModelConfig(
        unet=unet,
        audio=AudioConfig(embedding=48),
        schedule="linear",
        timesteps=500,
        fps=30,
        motion_frames=3,
        motion_gray=True,
        head_motion=True,
        sampler="ddim",
        steps=7,
    )


@pytest.mark.parametrize("config", [ModelConfig(audio=AudioConfig(kind="torchscript", embedding=256)), unusual()])
def test_json_round_trip_gives_the_same_configuration(config: ModelConfig) -> None:
    again = from_json(ModelConfig, to_json(config))
    assert again == config and hash(again) == hash(config)  # equal down to the tuples: lists do not hash


def test_channels_of_the_published_network() -> None:
    assert (UNetConfig().in_channels, UNetConfig().out_channels) == (12, 6)
    assert (unusual().unet.in_channels, unusual().unet.out_channels) == (15, 4)
    assert FeatureGroup("audio", 256).window == 5


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(DiffusedHeadsError) as caught:
        UNetConfig(image_size=30, prediction="score", attention_levels=(7,), skip=("nothing",), model_channels=48)
    for word in ("image_size=30", "'score'", "(7,)", "'nothing'", "norm_groups=32"):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make, word",
    [
        (lambda: SpatialInput("x", 0), "channels"),
        (lambda: SpatialInput("x", 3, 1.5), "dropout=1.5"),
        (lambda: FeatureGroup("x", 8, -1), "neighbours"),
        (lambda: UNetConfig(prediction="x0"), "learned_variance"),
        (lambda: UNetConfig(spatial=(SpatialInput("audio", 3), SpatialInput("identity", 3))), "not unique"),
        (lambda: AudioConfig(kind="wav2vec"), "wav2vec"),
        (lambda: ModelConfig(audio=AudioConfig(embedding=64)), "audio embeddings have 64"),
        (lambda: ModelConfig(audio=AudioConfig(embedding=256), motion_frames=3), "3 motion frames need 9"),
        (lambda: ModelConfig(audio=AudioConfig(embedding=256), head_motion=True), "'face'"),
        (lambda: ModelConfig(audio=AudioConfig(embedding=256), steps=1001), "steps=1001"),
    ],
)
def test_one_problem_is_named(make, word: str) -> None:
    with pytest.raises(DiffusedHeadsError, match=".*") as caught:
        make()
    assert word in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", '{"nonsense": 1}', '{"unet": {"channel_mult": 3}}', '{"unet": 5}']
)
def test_damaged_json_is_one_line(text: str) -> None:
    with pytest.raises(DiffusedHeadsError) as caught:
        from_json(ModelConfig, text)
    assert "\n" not in str(caught.value)


def test_settings_that_are_gone_are_ignored_in_older_checkpoints() -> None:
    values = json.loads(to_json(ModelConfig()))
    values["audio"]["context"] = 4
    values["unet"]["features"][0]["dropout"] = 0.1
    assert from_json(ModelConfig, json.dumps(values)) == ModelConfig()
    values["audio"]["dropout"] = 0.1
    with pytest.raises(DiffusedHeadsError, match="AudioConfig: unknown setting 'dropout'"):
        from_json(ModelConfig, json.dumps(values))


@pytest.mark.parametrize(
    "steps, preset, wanted",
    [(4, "fast", 2), (4, "balanced", 4), (4, "reference", 8), (1, "fast", 1), (5, "fast", 3), (900, "reference", 1000)],
)
def test_presets_are_multiples_of_the_models_own_steps(steps: int, preset: str, wanted: int) -> None:
    assert preset_steps(ModelConfig(steps=steps), preset) == wanted


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(DiffusedHeadsError, match="preset='best': expected one of fast, balanced, reference"):
        preset_steps(ModelConfig(), "best")
