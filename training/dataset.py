"""Training samples from a frame store. A sample depends on (seed, position) alone, so a resumed run sees the same data.

A position counts samples over the whole run; each epoch visits every frame once, in an order of its own.
"""
from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ..diffused_heads_core.audio_encoder import COLUMNS_A_FRAME, silence_level
from ..diffused_heads_core.config import ModelConfig
from ..diffused_heads_core.pose import FACE
from .cache import FrameStore


class FrameSamples(Dataset[dict[str, Tensor]]):
    """One sample a position:

    frames (m + 2, 3, S, S) uint8: the m + 1 frames before the target, oldest first, then the target; missing frames at
    a clip's start are copies of the identity frame; identity (3, S, S) uint8, a random frame of the same clip;
    poses (m + 2, 5), identity_pose (5,), faces (2, 6) of the last two frames; mel (mels, columns) around the last
    two frames with the audio window and the encoder's context on either side; lip_box (4,) px of the target.
    """

    def __init__(self, store: FrameStore, model: ModelConfig, seed: int = 0):
        self.store, self.model, self.seed = store, model, seed
        self.clip_of = store.clip_of()
        self.reach = model.audio.context + next(g for g in model.unet.features if g.name == "audio").neighbours

    def __len__(self) -> int:
        return len(self.clip_of)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        row = int(order(self.seed, position // len(self), len(self))[position % len(self)])
        return self.sample(row, np.random.default_rng([self.seed, 1, position]))

    def sample(self, row: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """The sample whose target is frame ``row`` of the store."""
        store, clip = self.store, self.clip_of[row]
        start, length = int(store.starts[clip]), int(store.lengths[clip])
        identity = start + int(rng.integers(length))
        wanted = [row - back if row - back >= start else identity for back in range(self.model.motion_frames + 1, -1, -1)]
        pictures = torch.from_numpy(store.frames[[*wanted, identity]]).permute(0, 3, 1, 2)
        sample = {"frames": pictures[:-1], "identity": pictures[-1], "mel": self._mel(row, start, length, rng),
                  "lip_box": torch.from_numpy(store.annotations["lip_box"][row])}
        if self.model.head_motion:
            pose, face = store.annotations["pose"], store.annotations["expression"][:, -len(FACE):]
            sample |= {"poses": torch.from_numpy(pose[wanted]), "identity_pose": torch.from_numpy(pose[identity]),
                       "faces": torch.from_numpy(face[wanted[-2:]])}
        return sample

    def _mel(self, row: int, start: int, length: int, rng: np.random.Generator) -> Tensor:
        first, last = row - 1 - self.reach, row + self.reach + 1
        low, high = max(first, start), min(last, start + length)
        columns = self.store.mels[int(rng.integers(len(self.store.mels))), :, low * COLUMNS_A_FRAME : high * COLUMNS_A_FRAME]
        padding = ((0, 0), ((low - first) * COLUMNS_A_FRAME, (last - high) * COLUMNS_A_FRAME))
        return torch.from_numpy(np.pad(columns.astype(np.float32), padding, constant_values=silence_level()))


@lru_cache(maxsize=2)
def order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order in which an epoch visits ``count`` frames."""
    return np.random.default_rng([seed, 2, epoch]).permutation(count)


class StepBatches(Sampler[list[int]]):
    """Positions of each optimiser step from ``first`` to ``steps``: this process's share of the global batch."""

    def __init__(self, first: int, steps: int, batch: int, rank: int = 0, processes: int = 1):
        self.first, self.steps, self.batch, self.rank, self.processes = first, steps, batch, rank, processes

    def __len__(self) -> int:
        return self.steps - self.first

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first, self.steps):
            yield list(range(step * self.batch + self.rank, (step + 1) * self.batch, self.processes))
