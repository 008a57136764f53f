"""What a training run is: frozen dataclasses that check themselves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..diffused_heads_core.config import ModelConfig, raise_problems

PARTS = ("audio", "conditioning", "attention", "body", "output")


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses. The squared error is weighted by the signal-to-noise ratio clipped to ``snr_weight`` (Hang
    et al. 2023) for x0 and v predictions; eps has weight 1. ``lip`` is lambda_ls, ``vlb`` lambda_vlb of the paper;
    ``lip_margin`` is in pixels around the lips' box."""

    lip: float = 0.2
    lip_margin: float = 5.0
    vlb: float = 1e-4
    simple: float = 1.0
    snr_weight: tuple[float, float] = (1.0, 5.0)

    def __post_init__(self) -> None:
        raise_problems(
            "loss",
            [
                *[
                    f"{name}={value}: expected 0 or more"
                    for name, value in (
                        ("lip", self.lip),
                        ("vlb", self.vlb),
                        ("simple", self.simple),
                        ("lip_margin", self.lip_margin),
                    )
                    if not value >= 0
                ],
                *(["simple=0 and lip=0: expected one above 0"] if not (self.simple or self.lip) else []),
            ],
        )


@dataclass(frozen=True)
class StabilityConfig:
    """How often (probability a sample) motion frames are made worse, so that the model survives its own mistakes.

    noise: Gaussian noise of up to ``noise_level`` is added; patch: a rectangle anywhere is overlaid with a colour or
    with another part of the picture; identity: they are replaced by the identity frame, as at a clip's start; own: the
    newest is replaced by the model's own prediction of it (from pure noise, EMA weights); stray: they come from another
    moment of the clip, so that sound and pose alone tell what the face does, and no mouth stays as it was. ``foreign``
    is of the identity frame: its mouth is another person's, so that no portrait's mouth shows through.
    """

    noise: float = 0.0
    noise_level: float = 0.1
    patch: float = 0.0
    identity: float = 0.0
    own: float = 0.0
    stray: float = 0.0
    foreign: float = 0.0


@dataclass(frozen=True)
class ValidationConfig:
    """What is generated every ``sample_every`` steps: the first ``seconds`` of the first ``clips`` of the validation
    data, from one seed. Training stops early when the best score is ``patience`` such rounds old; 0 never stops.
    """

    clips: int = 4
    seconds: float = 3.0
    patience: int = 0

    def __post_init__(self) -> None:
        raise_problems(
            "validation",
            [
                *([f"clips={self.clips}: expected at least 1"] if self.clips < 1 else []),
                *([f"seconds={self.seconds}: expected more than 0"] if not self.seconds > 0 else []),
                *([f"patience={self.patience}: expected 0 or more"] if self.patience < 0 else []),
            ],
        )


@dataclass(frozen=True)
class TrainConfig:
    """A training run. ``steps`` and ``batch`` count optimiser steps and samples over all processes; a process works on
    its share of a batch in ``accumulate`` parts. ``colour`` and ``reframe`` are the shares of samples that are seen in
    another light and framing. ``freeze`` names parts of the model that stay as they are (``PARTS``).
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
        shares = {
            "audio_dropout": self.audio_dropout,
            "decay": self.decay,
            "ema": self.ema,
            "colour": self.colour,
            "reframe": self.reframe,
            "stability.noise": self.stability.noise,
            "stability.patch": self.stability.patch,
            "stability.identity": self.stability.identity,
            "stability.own": self.stability.own,
            "stability.stray": self.stability.stray,
            "stability.foreign": self.stability.foreign,
        }
        counts = {
            "steps": self.steps,
            "batch": self.batch,
            "accumulate": self.accumulate,
            "save_every": self.save_every,
            "sample_every": self.sample_every,
            "log_every": self.log_every,
        }
        raise_problems(
            "training configuration",
            [
                *[f"{name}={value}: expected 0..1" for name, value in shares.items() if not 0 <= value <= 1],
                *[f"{name}={value}: expected at least 1" for name, value in counts.items() if value < 1],
                *(
                    [f"precision={self.precision!r}: expected 'bf16' or 'no'"]
                    if self.precision not in ("bf16", "no")
                    else []
                ),
                *([f"lr={self.lr}: expected more than 0"] if not self.lr > 0 else []),
                *[f"freeze={name!r}: expected some of {PARTS}" for name in self.freeze if name not in PARTS],
                *(["freeze: everything is frozen, nothing would be trained"] if set(self.freeze) == set(PARTS) else []),
            ],
        )

    def with_steps(self, steps: int) -> TrainConfig:
        """The same in so many steps, of which at most a quarter warm up."""
        return replace(self, steps=steps, warmup=min(self.warmup, max(steps // 4, 1)))

    def lr_at(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, then either the release's ``step_decays`` times x0.8, or constant
        with a linear decay to ``decay_to`` over the last ``decay`` of the run."""
        warm = min(1.0, (step + 1) / max(self.warmup, 1))
        if self.step_decays:
            return self.lr * warm * 0.8 ** (step * (self.step_decays + 1) // self.steps)
        left = (self.steps - step) / max(self.decay * self.steps, 1)
        return self.lr * warm * max(min(1.0, left), self.decay_to)
