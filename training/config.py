"""What a training run is: frozen dataclasses that check themselves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeVar

from ..diffused_heads_core.config import ModelConfig
from ..diffused_heads_core.errors import raise_problems

PARTS = ("audio", "conditioning", "attention", "body", "output")
PRECISIONS = ("bf16", "no")
Config = TypeVar("Config", bound="TrainConfig")


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses.

    simple: of the whole frame's squared error. lip: lambda_ls of the paper, of the squared error around the lips.
    lip_margin: pixels around the lips' box that belong to it. vlb: lambda_vlb of the paper. snr_weight: for x0 and v
    predictions the squared error is weighted by the signal-to-noise ratio clipped to this range (Hang et al. 2023).
    """

    lip: float = 0.2
    lip_margin: float = 5.0
    vlb: float = 1e-4
    simple: float = 1.0
    snr_weight: tuple[float, float] = (1.0, 5.0)

    def __post_init__(self) -> None:
        weights = {name: getattr(self, name) for name in ("lip", "vlb", "simple", "lip_margin")}
        wrong = {
            **{f"{name}={value}: expected 0 or more": not value >= 0 for name, value in weights.items()},
            "simple=0 and lip=0: expected one above 0": not (self.simple or self.lip),
        }
        raise_problems("loss", wrong)


@dataclass(frozen=True)
class StabilityConfig:
    """Probabilities per sample that the frames shown to the network are degraded, so that it survives its own errors.

    Of the motion frames: noise, Gaussian noise of up to ``noise_level`` is added; patch, a rectangle is overlaid with a
    colour or another part of the picture; identity, the identity frame replaces them, as at a clip's start; predicted,
    the model's own one-step prediction replaces the newest (scheduled sampling, with EMA weights); other_moment, they
    come from another moment of the clip, so that only sound and pose tell what the face does. Of the identity frame:
    swapped_mouth, its mouth is another person's, so that the portrait's mouth does not show through.
    """

    noise: float = 0.0
    noise_level: float = 0.1
    patch: float = 0.0
    identity: float = 0.0
    predicted: float = 0.0
    other_moment: float = 0.0
    swapped_mouth: float = 0.0


@dataclass(frozen=True)
class ValidationConfig:
    """What is generated every ``sample_every`` steps: the first ``seconds`` of the first ``clips`` validation clips.

    Training stops early when the best score is ``patience`` such rounds old; 0 never stops.
    """

    clips: int = 4
    seconds: float = 3.0
    patience: int = 0

    def __post_init__(self) -> None:
        wrong = {
            f"clips={self.clips}: expected at least 1": self.clips < 1,
            f"seconds={self.seconds}: expected more than 0": not self.seconds > 0,
            f"patience={self.patience}: expected 0 or more": self.patience < 0,
        }
        raise_problems("validation", wrong)


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    steps, batch: optimiser steps, and samples per step over all processes; a process works on its share of a batch in
    ``accumulate`` parts. decay: share of the run over which the learning rate falls to ``decay_to``; step_decays: the
    release's schedule instead. colour, reframe: shares of samples seen in another light and framing. freeze: parts of
    the model (``PARTS``) that are not trained. save_every, sample_every, log_every: in steps. workers: processes that
    load data.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    stability: StabilityConfig = field(default_factory=StabilityConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    steps: int = 100_000
    batch: int = 32
    accumulate: int = 1
    lr: float = 1e-4
    warmup: int = 500
    decay: float = 0.2
    decay_to: float = 0.05
    step_decays: int = 0
    weight_decay: float = 0.0
    clip_gradient: float = 1.0
    ema: float = 0.999
    audio_dropout: float = 0.1
    freeze: tuple[str, ...] = ()
    mirror: bool = True
    colour: float = 0.0
    reframe: float = 0.0
    precision: str = "bf16"
    seed: int = 0
    save_every: int = 500
    sample_every: int = 2000
    log_every: int = 50
    workers: int = 1

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("audio_dropout", "decay", "ema", "colour", "reframe")}
        shares |= {f"stability.{name}": value for name, value in vars(self.stability).items() if name != "noise_level"}
        names = ("steps", "batch", "accumulate", "save_every", "sample_every", "log_every")
        counts = {name: getattr(self, name) for name in names}
        wrong = {
            **{f"{name}={value}: expected 0..1": not 0 <= value <= 1 for name, value in shares.items()},
            **{f"{name}={value}: expected at least 1": value < 1 for name, value in counts.items()},
            f"precision={self.precision!r}: expected 'bf16' or 'no'": self.precision not in PRECISIONS,
            f"lr={self.lr}: expected more than 0": not self.lr > 0,
            **{f"freeze={name!r}: expected some of {PARTS}": name not in PARTS for name in self.freeze},
            "freeze: everything is frozen, nothing would be trained": set(self.freeze) == set(PARTS),
        }
        raise_problems("training configuration", wrong)

    def with_steps(self: Config, steps: int) -> Config:
        """The same run with that many steps, of which at most a quarter warm up."""
        return replace(self, steps=steps, warmup=min(self.warmup, max(steps // 4, 1)))

    def lr_at(self, step: int) -> float:
        """Learning rate of a step, after a linear warm-up.

        Either the release's ``step_decays`` times x0.8, or constant with a linear decay to ``decay_to`` over the last
        ``decay`` of the run.
        """
        warm = min(1.0, (step + 1) / max(self.warmup, 1))
        if self.step_decays:
            return self.lr * warm * 0.8 ** (step * (self.step_decays + 1) // self.steps)
        left = (self.steps - step) / max(self.decay * self.steps, 1)
        return self.lr * warm * max(min(1.0, left), self.decay_to)
