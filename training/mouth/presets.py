"""What a training of the mouth is: its settings, and the settings that work."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from ...diffused_heads_core.config import AudioConfig, FeatureGroup, ModelConfig, MouthConfig, SpatialInput
from ...diffused_heads_core.errors import DiffusedHeadsError, raise_problems
from ...diffused_heads_core.mouth.window import TEETH
from ..config import LossConfig, TrainConfig
from ..presets import avatar_model


@dataclass(frozen=True)
class SharpnessConfig:
    """What makes painted mouths sharp, since the squared or absolute error alone gives the mean of all that fit.

    gradient: weight of the error of differences between neighbouring pixels. adversarial: weight of what the critic
    makes of a painted mouth (hinge loss, Lim & Ye 2017), relative to the other losses: 1 gives both gradients of the
    same norm. matching: weight of the error of the critic's features (Wang et al. 2018). Both begin after ``after``
    steps. critic_lr: the critic's learning rate; critic_channels: of its first layer.
    """

    gradient: float = 0.5
    adversarial: float = 6.0
    matching: float = 0.2
    after: int = 1500
    critic_lr: float = 1e-3
    critic_channels: int = 32

    def __post_init__(self) -> None:
        weights = {name: getattr(self, name) for name in ("gradient", "adversarial", "matching", "after")}
        wrong = {f"{name}={value}: expected 0 or more": not value >= 0 for name, value in weights.items()}
        wrong |= {
            f"critic_lr={self.critic_lr}: expected more than 0": not self.critic_lr > 0,
            f"critic_channels={self.critic_channels}: expected at least 1": self.critic_channels < 1,
        }
        raise_problems("sharpness", wrong)


@dataclass(frozen=True)
class LipConfig:
    """How lip shapes are fitted to audio embeddings.

    ridge: the penalty on the linear map, relative to the mean variance of what it reads. opening, width: by what share
    openings and widths are made larger than the regression's. closing: added to the log odds of closed lips.
    """

    ridge: float = 0.5
    opening: float = 0.15
    width: float = 0.4
    closing: float = 0.5

    def __post_init__(self) -> None:
        wrong = {
            f"ridge={self.ridge}: expected more than 0": not self.ridge > 0,
            f"opening={self.opening}: expected 0 or more": not self.opening >= 0,
            f"width={self.width}: expected 0 or more": not self.width >= 0,
            f"closing={self.closing}: expected a finite number": not math.isfinite(self.closing),
        }
        raise_problems("lip shapes", wrong)


@dataclass(frozen=True)
class MouthTrainConfig(TrainConfig):
    """A training run of a model with ``model.mouth``; ``TrainConfig``'s names, with these meanings.

    loss: ``simple`` and ``lip`` weigh absolute errors, of the window and around the lips. noised: share of samples
    whose input is the noisy target; the others begin with no noise, as sampling does. other_clip: share of samples
    whose identity frame comes from another clip of the person, if there is one. opened, closed: share of samples whose
    target has its mouth more open than half of the clip's frames, and whose identity frame has it closed: what a closed
    mouth hides is the hardest to paint.
    """

    sharpness: SharpnessConfig = field(default_factory=SharpnessConfig)
    lips: LipConfig = field(default_factory=LipConfig)
    noised: float = 0.25
    other_clip: float = 0.15
    opened: float = 0.5
    closed: float = 0.6

    def __post_init__(self) -> None:
        super().__post_init__()
        unet, mouth = self.model.unet, self.model.mouth
        wrong = {
            "model: expected one that paints the mouth alone": mouth is None,
            f"prediction={unet.prediction!r}: expected 'x0'": unet.prediction != "x0",
            f"motion_frames={self.model.motion_frames}: expected 0": self.model.motion_frames != 0,
            "audio: expected an encoder in the checkpoint, found TorchScript": self.model.audio.kind == "torchscript",
            "freeze: expected none, the audio encoder is never trained here": bool(self.freeze),
            "accumulate: expected 1": self.accumulate != 1,
        }
        shares = {name: getattr(self, name) for name in ("noised", "other_clip", "opened", "closed")}
        wrong |= {f"{name}={value}: expected 0..1": not 0 <= value <= 1 for name, value in shares.items()}
        raise_problems("training of the mouth", wrong)


def mouth_model(audio: AudioConfig) -> ModelConfig:
    """The bundled painter's architecture for an audio encoder: a small network on a window around the lips."""
    mouth, avatar = MouthConfig(window=(-40, -16, 80, 48), at_lips=True), avatar_model().unet
    others = tuple(entry for entry in avatar.spatial if entry.name in ("identity", "still"))
    unet = replace(
        avatar,
        image_size=mouth.window[2],
        image_height=mouth.window[3],
        model_channels=48,
        channel_mult=(1, 1, 2),
        head_channels=48,
        unshuffle=2,
        refine=16,
        skip=("identity",),
        spatial=(*others, SpatialInput("lips", 2), SpatialInput("teeth", TEETH)),
        features=(FeatureGroup("audio", audio.embedding, 2),),
    )
    sampling = {"head_motion": True, "motion_frames": 0, "sampler": "ddim", "steps": 1}
    return ModelConfig(unet=unet, audio=audio, mouth=mouth, **sampling)


def new_mouth(audio: AudioConfig) -> MouthTrainConfig:
    """A painter from nothing, on many people."""
    return MouthTrainConfig(
        model=mouth_model(audio),
        loss=LossConfig(lip=0.6, vlb=0.0),
        steps=16_000,
        batch=16,
        lr=4e-4,
        warmup=100,
        decay=0.3,
        decay_to=0.1,
        weight_decay=1e-4,
        ema=0.998,
        colour=0.8,
        reframe=1.0,
        precision="no",
        save_every=250,
    )


def person_mouth(model: ModelConfig) -> MouthTrainConfig:
    """A minute of one person on top of a painter of many."""
    if model.mouth is None:
        raise DiffusedHeadsError("--from: expected a model that paints the mouth alone, found one of whole frames")
    many = new_mouth(model.audio)
    return replace(
        many,
        model=model,
        steps=1500,
        lr=3e-4,
        warmup=50,
        colour=0.5,
        mirror=False,
        sharpness=replace(many.sharpness, after=300),
        other_clip=0.5,
        sample_every=500,
    )
