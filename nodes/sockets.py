"""What travels between the nodes: the types of the sockets, and the values that they carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..diffused_heads_core.face.alignment import Placement
from ..diffused_heads_core.motion import MotionClip, MotionOptions
from ..diffused_heads_core.pose import HeadGeometry
from ..diffused_heads_core.talking_head import TalkingHead

CATEGORY = "Diffused Heads"
ROOMS = ("step by step", "motion", "evaluation", "training")
PARTS, MOTIONS, EVALUATION, TRAINING = (f"{CATEGORY}/{name}" for name in ROOMS)
MODEL, IDENTITY, AUDIO_EMBEDDING = "DH_MODEL", "DH_IDENTITY", "DH_AUDIO_EMBEDDING"
SAMPLING = "DH_SAMPLING_OPTIONS"
MOTION = "DH_MOTION"  # carries a core MotionClip
DATASET, LOSS = "DH_DATASET", "DH_LOSS"  # DH_LOSS carries a training.config.LossConfig


@dataclass(frozen=True, eq=False)
class Model:
    """On DH_MODEL: a model and its name in the list; the host's ``patcher`` moves it between devices."""

    name: str
    head: TalkingHead
    patcher: Any


@dataclass(frozen=True, eq=False)
class Identity:
    """On DH_IDENTITY: the pictures to animate, uint8 (B, S, S, 3), where S is the size of the model's frames.

    For pasting back: ``source``, the IMAGE (B, H, W, 3 or 4) that they were cut from; ``placements``, from where; the
    head's soft ``masks`` (B, H, W); and the model's ``geometry``. meshes: (B, 468, 3), the faces' meshes in the pixels
    of ``pictures``, for a model that paints the mouth alone.
    """

    pictures: np.ndarray
    source: Tensor
    placements: tuple[Placement, ...]
    masks: Tensor
    geometry: HeadGeometry
    meshes: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class AudioEmbedding:
    """On DH_AUDIO_EMBEDDING: speech encoded by the model ``model``, float32 (N, C) on the CPU, one row per frame."""

    frames: Tensor
    model: str


@dataclass(frozen=True)
class Sampling:
    """On DH_SAMPLING_OPTIONS: ``changes`` to the model's default ``SamplingOptions``, by name; how the head moves; the
    frames' rate in frames per second, None for the model's. track: a given motion in place of one made from the seed.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    motion: MotionOptions = MotionOptions()
    fps: float | None = None
    track: MotionClip | None = None


@dataclass(frozen=True)
class DatasetFolders:
    """On DH_DATASET: the folders of the clips to train on, and of those to validate with, if there are any."""

    train: Path
    validation: Path | None = None
