"""What the trainer is asked to do, and what it reports after each step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from .config import TrainConfig
from .features import EmbedSpeech


@dataclass(frozen=True)
class Job:
    """What to train, on which data, and where the results go.

    data, run: a dataset and the run's folder. start: a bundled model's name or a checkpoint to begin with.
    audio_encoder: a checkpoint to take the audio encoder from. validation: a dataset for sample clips (default:
    ``data``). licence: of the trained model (default: that of ``start``). embed_speech: the frozen speech model, if
    features are not stored yet. cache_gb: the most that decoded frames may take on the disk (default: its free part);
    data that need more are decoded while training, and 0 always is. resume: "auto", or "never" to refuse a folder that
    has states. device: auto, cpu, cuda, mps. shard: divide the network among processes. board: write TensorBoard files.
    """

    data: Path
    run: Path
    config: TrainConfig
    preset: str = "own"
    start: str | Path | None = None
    audio_encoder: Path | None = None
    validation: Path | None = None
    licence: str | None = None
    embed_speech: EmbedSpeech | None = None
    cache_gb: float | None = None
    resume: str = "auto"
    device: str = "auto"
    shard: bool = False
    board: bool = True


@dataclass(frozen=True, eq=False)
class Progress:
    """After a step: ``step`` of ``steps`` are done.

    tensors: this process's mean losses of the step, on the device: total, simple, lip and, if the variance is learned,
    vlb. figures, sheet: figures and picture, uint8 (H, W, 3), of a validation round; None if none followed the step.
    """

    step: int
    steps: int
    tensors: dict[str, Tensor]
    figures: dict[str, float] | None = None
    sheet: np.ndarray | None = None

    @property
    def losses(self) -> dict[str, float]:
        """The step's mean losses, read from the device."""
        return {name: float(value) for name, value in self.tensors.items()}


OnStep = Callable[[Progress], bool | None]
Notify = Callable[[str, int, int], None]  # (what is done, items done, items in all)
