"""What a training of the motion prior is: its settings, and the settings that work."""

from __future__ import annotations

from dataclasses import dataclass

from ...diffused_heads_core.config import ModelConfig
from ...diffused_heads_core.errors import raise_problems
from ...diffused_heads_core.motion.track import COLUMNS
from ..config import TrainConfig

LABELS = ("calm", "lively")  # the thirds of the clips in which the head turns least and most
# Blinks are sampled as events; corners of the mouth that go down are not in the data.
SAMPLED = tuple(name for name in COLUMNS if not name.startswith("blink") and name != "frown")


@dataclass(frozen=True)
class MotionTrainConfig(TrainConfig):
    """A training run of a motion prior; ``TrainConfig``'s names, with these meanings, and more.

    loss.simple: weight of the squared error; velocity: of that of its differences from frame to frame.
    audio_dropout: share of samples without speech; unheard: share whose speech is known to a random frame only, as
    while somebody still speaks. past_known: shares of samples in which the whole past, or only its last frame, is
    known. reference: share whose portrait is a random frame of the clip, and not the person's usual position.
    label_dropout, own_dropout: shares without label, and without the portrait's pose. gain: deviation of the logarithm
    by which a clip's motion is scaled. audio_noise: noise added to embeddings, in their deviations.
    """

    columns: tuple[str, ...] = SAMPLED
    window: int = 64
    past: int = 12
    channels: int = 96
    velocity: float = 1.0
    unheard: float = 0.25
    past_known: tuple[float, float] = (0.6, 0.25)
    reference: float = 0.5
    label_dropout: float = 0.4
    own_dropout: float = 0.4
    gain: float = 0.15
    audio_noise: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("unheard", "reference", "label_dropout", "own_dropout")
        shares = {name: getattr(self, name) for name in names}
        wrong = {f"{name}={value}: expected 0..1": not 0 <= value <= 1 for name, value in shares.items()}
        wrong |= {
            f"velocity={self.velocity}: expected 0 or more": not self.velocity >= 0,
            f"past_known={self.past_known}: expected two shares of at most 1 together": min(self.past_known) < 0
            or sum(self.past_known) > 1,
            "accumulate: expected 1": self.accumulate != 1,
        }
        raise_problems("training of the motion prior", wrong)


def new_prior(model: ModelConfig) -> MotionTrainConfig:
    """A prior from nothing, for the audio embeddings of a model."""
    return MotionTrainConfig(
        model=model,
        steps=2000,
        batch=24,
        lr=1e-3,
        warmup=100,
        decay=0.5,
        decay_to=0.02,
        weight_decay=0.02,
        ema=0.998,
        audio_dropout=0.1,
        precision="no",
        save_every=1000,
        sample_every=1000,
        workers=0,
    )
