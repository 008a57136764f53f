"""Settings that work, one preset a use."""

from __future__ import annotations

from dataclasses import replace

from ..diffused_heads_core.config import AudioConfig, FeatureGroup, ModelConfig, SpatialInput, UNetConfig
from ..diffused_heads_core.errors import DiffusedHeadsError
from .config import LossConfig, StabilityConfig, TrainConfig, ValidationConfig


def avatar_model() -> ModelConfig:
    """The bundled model's architecture: 4x4 pixel unshuffle, x0 prediction, identity and motion frames warped to the
    pose.
    """
    audio = AudioConfig(mels=64, channels=160, embedding=128)
    unet = UNetConfig(
        image_size=128,
        model_channels=64,
        channel_mult=(1, 2, 2),
        res_blocks=1,
        head_channels=64,
        norm_groups=8,
        dropout=0.0,
        unshuffle=4,
        refine=12,
        prediction="x0",
        learned_variance=False,
        skip=("identity", "still"),
        spatial=(
            SpatialInput("motion", 6),
            SpatialInput("identity", 3),
            SpatialInput("still", 3),
            SpatialInput("face", 6),
        ),
        features=(FeatureGroup("audio", audio.embedding, 2),),
    )
    return ModelConfig(unet=unet, audio=audio, head_motion=True, motion_region="mouth", sampler="ddim", steps=4)


def _published_inputs(model: ModelConfig) -> ModelConfig:
    spatial = tuple(s for s in model.unet.spatial if s.name in ("motion", "identity"))
    return replace(
        model, head_motion=False, motion_region="frame", unet=replace(model.unet, spatial=spatial, skip=("identity",))
    )


def _avatar() -> TrainConfig:
    return TrainConfig(
        model=avatar_model(),
        loss=LossConfig(lip=0.2, vlb=0.0),
        stability=StabilityConfig(noise=0.2, noise_level=0.15, patch=0.4, identity=0.15, predicted=0.4),
        steps=16_000,
        batch=32,
        lr=4e-4,
        warmup=300,
        decay=0.3,
        ema=0.998,
        freeze=("audio",),
        colour=0.5,
    )


def _avatar_published() -> TrainConfig:
    return replace(_avatar(), model=_published_inputs(avatar_model()))


def _crema() -> TrainConfig:
    return TrainConfig(
        steps=1_000_000,
        batch=10,
        lr=5e-5,
        warmup=0,
        step_decays=18,
        ema=0.9999,
        audio_dropout=0.0,
        mirror=False,
        model=ModelConfig(audio=AudioConfig()),
    )


def _tiny() -> TrainConfig:
    """A 64 px model of the paper's inputs that a laptop trains in minutes, its audio encoder included."""
    audio = AudioConfig(mels=64, channels=96, embedding=64)
    unet = UNetConfig(
        image_size=64,
        model_channels=64,
        channel_mult=(1, 2, 2),
        res_blocks=1,
        head_channels=64,
        norm_groups=8,
        dropout=0.0,
        unshuffle=4,
        refine=12,
        prediction="x0",
        learned_variance=False,
        skip=("identity",),
        features=(FeatureGroup("audio", audio.embedding, 2),),
    )
    return TrainConfig(
        model=ModelConfig(unet=unet, audio=audio, sampler="ddim", steps=4),
        loss=LossConfig(lip=0.2, lip_margin=2.5, vlb=0.0),
        stability=StabilityConfig(noise=0.2, noise_level=0.15, patch=0.2, identity=0.15, predicted=0.4),
        validation=ValidationConfig(clips=2),
        steps=4000,
        batch=16,
        lr=1e-3,
        warmup=100,
        decay=0.5,
        ema=0.995,
        mirror=False,
    )


def _human() -> TrainConfig:
    """People and avatars together, on top of a model that speaks; the model comes from ``--from``."""
    avatar = _avatar()
    return replace(
        avatar,
        loss=replace(avatar.loss, lip=0.3),
        stability=replace(avatar.stability, other_moment=0.35),
        steps=6000,
        lr=3e-4,
        warmup=100,
        decay=0.5,
        colour=0.7,
        reframe=0.6,
        save_every=250,
        sample_every=1000,
    )


def _finetune() -> TrainConfig:
    """A few minutes of one person on top of a model that can speak already; the model comes from ``--from``."""
    return TrainConfig(
        loss=LossConfig(lip=0.2, vlb=1e-4),
        stability=StabilityConfig(noise=0.2, noise_level=0.15, patch=0.2, identity=0.15, predicted=0.4),
        steps=3000,
        batch=16,
        lr=1e-4,
        warmup=100,
        decay=0.5,
        ema=0.998,
        audio_dropout=0.05,
        freeze=("audio",),
        mirror=False,
        save_every=250,
        sample_every=500,
    )


PRESETS = {
    "avatar": _avatar,
    "avatar-published-inputs": _avatar_published,
    "crema": _crema,
    "tiny-64": _tiny,
    "finetune": _finetune,
    "human": _human,
}

FROM_A_MODEL = ("finetune", "human")  # settings alone: the architecture is that of the model they begin with


def with_model(config: TrainConfig, model: ModelConfig) -> TrainConfig:
    """The same training of another model, such as the one that a run begins with, margins in its pixels.

    A model that predicts eps is trained without its own predictions as motion frames: from pure noise, one step of it
    makes no picture. Raises DiffusedHeadsError for a model that paints the mouth alone, which ``train-mouth`` trains.
    """
    if model.mouth is not None:
        raise DiffusedHeadsError(
            "this model paints the mouth alone: expected one that paints whole frames, such as human or avatar; "
            "`diffused-heads train-mouth` trains models of the mouth"
        )
    stability = replace(config.stability, predicted=0.0) if model.unet.prediction == "eps" else config.stability
    margin = config.loss.lip_margin * model.unet.image_size / config.model.unet.image_size
    return replace(config, model=model, stability=stability, loss=replace(config.loss, lip_margin=margin))


def with_audio(config: TrainConfig, audio: AudioConfig) -> TrainConfig:
    """The same training of a model with another audio encoder, which is then trained."""
    return replace(
        config,
        model=replace(config.model, audio=audio),
        freeze=tuple(part for part in config.freeze if part != "audio"),
    )


def preset(name: str) -> TrainConfig:
    """The training configuration of that name. Raises DiffusedHeadsError for an unknown one."""
    if name not in PRESETS:
        raise DiffusedHeadsError(f"preset={name!r}: expected one of {sorted(PRESETS)}")
    return PRESETS[name]()
