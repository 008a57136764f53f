"""What a training run is: one frozen dataclass that checks itself, and one preset a use."""
from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..diffused_heads_core.config import AudioConfig, FeatureGroup, ModelConfig, SpatialInput, UNetConfig, report
from ..diffused_heads_core.errors import DiffusedHeadsError


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses. The squared error is weighted by the signal-to-noise ratio clipped to ``snr_weight`` (Hang
    et al. 2023) for x0 and v predictions; eps has weight 1. ``lip`` is lambda_ls, ``vlb`` lambda_vlb of the paper."""

    lip: float = 0.2
    lip_margin: float = 5.0
    vlb: float = 1e-4
    snr_weight: tuple[float, float] = (1.0, 5.0)


@dataclass(frozen=True)
class StabilityConfig:
    """How often (probability a sample) motion frames are made worse, so that the model survives its own mistakes.

    noise: Gaussian noise of up to ``noise_level`` is added; patch: a rectangle anywhere is overlaid with a colour or with
    another sample's picture; identity: they are replaced by the identity frame, as at a clip's start; own: the newest
    is replaced by the model's own prediction of it (from pure noise, EMA weights).
    """

    noise: float = 0.0
    noise_level: float = 0.1
    patch: float = 0.0
    identity: float = 0.0
    own: float = 0.0


@dataclass(frozen=True)
class TrainConfig:
    """A training run. ``steps`` and ``batch`` count optimiser steps and samples over all processes."""

    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    stability: StabilityConfig = field(default_factory=StabilityConfig)
    steps: int = 100_000
    batch: int = 32
    lr: float = 1e-4
    warmup: int = 500
    decay: float = 0.2
    decay_to: float = 0.05
    step_decays: int = 0
    weight_decay: float = 0.0
    clip_gradient: float = 1.0
    ema: float = 0.999
    audio_dropout: float = 0.1
    freeze_audio: bool = False
    mirror: bool = True
    colour: float = 0.0
    precision: str = "bf16"
    seed: int = 0
    save_every: int = 500
    sample_every: int = 2000
    log_every: int = 50
    workers: int = 1

    def __post_init__(self) -> None:
        shares = {"audio_dropout": self.audio_dropout, "decay": self.decay, "ema": self.ema, "colour": self.colour,
                  "stability.noise": self.stability.noise, "stability.patch": self.stability.patch, "stability.identity": self.stability.identity,
                  "stability.own": self.stability.own}
        counts = {"steps": self.steps, "batch": self.batch, "save_every": self.save_every, "sample_every": self.sample_every,
                  "log_every": self.log_every}
        report("training configuration", [
            *[f"{name}={value}: expected 0..1" for name, value in shares.items() if not 0 <= value <= 1],
            *[f"{name}={value}: expected at least 1" for name, value in counts.items() if value < 1],
            *([f"precision={self.precision!r}: expected 'bf16' or 'no'"] if self.precision not in ("bf16", "no") else []),
            *([f"lr={self.lr}: expected more than 0"] if self.lr <= 0 else []),
        ])

    def lr_at(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, then either the release's ``step_decays`` times x0.8, or constant
        with a linear decay to ``decay_to`` over the last ``decay`` of the run."""
        warm = min(1.0, (step + 1) / max(self.warmup, 1))
        if self.step_decays:
            return self.lr * warm * 0.8 ** (step * (self.step_decays + 1) // self.steps)
        left = (self.steps - step) / max(self.decay * self.steps, 1)
        return self.lr * warm * max(min(1.0, left), self.decay_to)


def avatar_model() -> ModelConfig:
    """The bundled model's architecture: 4x4 pixel unshuffle, x0 prediction, identity and motion frames warped to the pose."""
    audio = AudioConfig(mels=64, channels=160, embedding=128, context=4)
    unet = UNetConfig(
        image_size=128, model_channels=64, channel_mult=(1, 2, 2), res_blocks=1, head_channels=64, norm_groups=8,
        dropout=0.0, unshuffle=4, refine=12, prediction="x0", learned_variance=False, skip=("identity", "still"),
        spatial=(SpatialInput("motion", 6), SpatialInput("identity", 3), SpatialInput("still", 3), SpatialInput("face", 6)),
        features=(FeatureGroup("audio", audio.embedding, 2),))
    return ModelConfig(unet=unet, audio=audio, head_motion=True, motion_region="mouth", sampler="ddim", steps=4)


def _published_inputs(model: ModelConfig) -> ModelConfig:
    spatial = tuple(s for s in model.unet.spatial if s.name in ("motion", "identity"))
    return replace(model, head_motion=False, motion_region="frame", unet=replace(model.unet, spatial=spatial, skip=("identity",)))


def _avatar() -> TrainConfig:
    return TrainConfig(
        model=avatar_model(), loss=LossConfig(lip=0.2, vlb=0.0),
        stability=StabilityConfig(noise=0.2, noise_level=0.15, patch=0.4, identity=0.15, own=0.4),
        steps=16_000, batch=32, lr=4e-4, warmup=300, decay=0.3, ema=0.998, freeze_audio=True, colour=0.5)


def _avatar_published() -> TrainConfig:
    return replace(_avatar(), model=_published_inputs(avatar_model()))


def _crema() -> TrainConfig:
    return TrainConfig(steps=1_000_000, batch=10, lr=5e-5, warmup=0, step_decays=18, ema=0.9999, audio_dropout=0.0, mirror=False,
                       model=ModelConfig(audio=AudioConfig()))


PRESETS = {"avatar": _avatar, "avatar-published-inputs": _avatar_published, "crema": _crema}


def preset(name: str) -> TrainConfig:
    """The training configuration of that name; raises DiffusedHeadsError for an unknown one."""
    if name not in PRESETS:
        raise DiffusedHeadsError(f"preset={name!r}: expected one of {sorted(PRESETS)}")
    return PRESETS[name]()
