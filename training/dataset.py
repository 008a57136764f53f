"""Training samples from a store of frames. A sample depends on (seed, position) alone, so a resumed run sees the same
data.

A position counts samples over the whole run; each epoch visits every frame once, in an order of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ..diffused_heads_core.audio_encoder import silence_level
from ..diffused_heads_core.audio_features import columns_a_frame
from ..diffused_heads_core.config import ModelConfig
from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.pose import FACE
from .config import StabilityConfig, TrainConfig
from .features import FeatureRows
from .mouths import with_mouth_of

POOL = 1 << 20  # frames that are shuffled together
BLOCK = 64  # neighbouring clips that go to the same pool: they lie in the same shard
log = logging.getLogger(__name__)


class Store(Protocol):
    """Where frames come from: ``cache.FrameStore`` (decoded) or ``streaming.ShardStore`` (read from the shards)."""

    lengths: np.ndarray
    tracks: frozenset[str]
    variants: int

    def pictures(self, clip: int, frames: Sequence[int]) -> np.ndarray:
        """The given frames of a clip, (n, S, S, 3) uint8."""

    def track(self, name: str, clip: int, frames: Sequence[int]) -> np.ndarray:
        """An annotation at the given frames of a clip, (n, …) float32."""

    def mel(self, clip: int, low: int, high: int, variant: int) -> np.ndarray:
        """Log-mel columns of frames low .. high - 1 of a clip, (mels, 4 (high - low)) float16."""


def check_tracks(config: TrainConfig, tracks: frozenset[str], name: object) -> None:
    """Raise DiffusedHeadsError where a dataset lacks annotations that this training needs; say what is done without."""
    missing = [
        *(
            ["pose (the model follows a head-motion track; `tiny-64` and `avatar-published-inputs` need none)"]
            if config.model.head_motion and "pose" not in tracks
            else []
        ),
        *(["lip_box (or the lip loss at 0)"] if config.loss.lip and "lip_box" not in tracks else []),
    ]
    if missing:
        raise DiffusedHeadsError(
            f"{name}: expected the annotations {', '.join(missing)}; found {', '.join(sorted(tracks)) or 'none'}"
        )
    if config.model.head_motion and "expression" not in tracks:
        log.warning("%s has no `expression` annotation: eyes and brows are taken as neutral", name)


class FrameSamples(Dataset[dict[str, Tensor]]):
    """One sample a position:

    position () int64; frames (m + 2, 3, S, S) uint8: the m + 1 frames before the target, oldest first, then the target;
    missing frames at a clip's start are copies of the identity frame; identity (3, S, S) uint8, a random frame of the
    same clip, with probability ``stability.foreign`` with the mouth of a neighbouring clip's random frame; with
    probability ``stability.stray`` the frames before the target are those before another, random one; poses (m + 2, 5),
    identity_pose (5,), faces (2, 6) of the last two frames; sound (channels, columns) around the last two frames with
    the audio window and the encoder's reach on either side: log-mel columns, or one row of ``features`` a frame;
    lip_box (4,) px of the target.
    """

    def __init__(
        self,
        store: Store,
        model: ModelConfig,
        seed: int = 0,
        features: FeatureRows | None = None,
        stability: StabilityConfig = StabilityConfig(),
    ):
        self.store, self.model, self.seed, self.features, self.stability = store, model, seed, features, stability
        self.order = Order(store.lengths, seed)
        self.reach = model.audio.reach + next(g for g in model.unet.features if g.name == "audio").neighbours

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        clip, frame = self.order.at(position)
        return {
            "position": torch.tensor(position),
            **self.sample(clip, frame, np.random.default_rng([self.seed, 1, position])),
        }

    def sample(self, clip: int, frame: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """The sample whose target is that frame of that clip."""
        store, length = self.store, int(self.store.lengths[clip])
        identity = int(rng.integers(length))
        last = int(rng.integers(length)) if self.stability.stray and rng.random() < self.stability.stray else frame
        wanted = [last - back if back <= last else identity for back in range(self.model.motion_frames + 1, 0, -1)] + [
            frame
        ]
        pictures = torch.from_numpy(self._seen(clip, wanted, identity, rng)).permute(0, 3, 1, 2)
        sample = {
            "frames": pictures[:-1],
            "identity": pictures[-1],
            "sound": self._sound(clip, frame, length, rng),
            "lip_box": self._track("lip_box", clip, [frame], 4)[0],
        }
        if self.model.head_motion:
            poses = self._track("pose", clip, [*wanted, identity], 5)
            sample |= {
                "poses": poses[:-1],
                "identity_pose": poses[-1],
                "faces": self._track("expression", clip, wanted[-2:], len(FACE)),
            }
        return sample

    def _seen(self, clip: int, wanted: Sequence[int], identity: int, rng: np.random.Generator) -> np.ndarray:
        """The wanted frames and last the identity frame, (n + 1, S, S, 3) uint8. Where the mouth is another's, so is it
        in the frames before the clip's start.
        """
        pictures = self.store.pictures(clip, [*wanted, identity])
        if "lip_box" not in self.store.tracks or not self.stability.foreign or rng.random() >= self.stability.foreign:
            return pictures
        first = clip // BLOCK * BLOCK  # a clip of the same shard, most often
        other = first + int(rng.integers(min(BLOCK, len(self.store.lengths) - first)))
        moment = int(rng.integers(self.store.lengths[other]))
        boxes = [self.store.track("lip_box", *at)[0] for at in ((clip, [identity]), (other, [moment]))]
        strange = with_mouth_of(pictures[-1], boxes[0], self.store.pictures(other, [moment])[0], boxes[1], rng)
        same = np.array([*wanted, identity]) == identity
        same[-2] = False  # the target stays
        pictures = np.array(pictures)
        pictures[same] = strange
        return pictures

    def _track(self, name: str, clip: int, frames: Sequence[int], columns: int) -> Tensor:
        """The last ``columns`` of an annotation, zeros where the dataset has none."""
        if name not in self.store.tracks:
            return torch.zeros(len(frames), columns)
        return torch.from_numpy(np.ascontiguousarray(self.store.track(name, clip, frames)[:, -columns:]))

    def _sound(self, clip: int, frame: int, length: int, rng: np.random.Generator) -> Tensor:
        first, last = frame - 1 - self.reach, frame + self.reach + 1
        variant = int(rng.integers(self.store.variants))
        if self.features is not None:
            return torch.from_numpy(self.features.rows(clip, np.arange(first, last).clip(0, length - 1)).T)
        low, high, columns = max(first, 0), min(last, length), columns_a_frame(self.model.audio)
        padding = ((0, 0), ((low - first) * columns, (last - high) * columns))
        return torch.from_numpy(
            np.pad(
                self.store.mel(clip, low, high, variant).astype(np.float32), padding, constant_values=silence_level()
            )
        )


class Order:
    """Where each position of a run lies: ``at(position)`` -> (clip, frame in it).

    Small data are shuffled whole. Larger ones are cut into pools of about ``POOL`` frames, blocks of clips at random
    and frames at random in each, so that the order needs little memory and a stretch of a run reads a part of the data
    alone.
    """

    def __init__(self, lengths: np.ndarray, seed: int, pool: int = POOL):
        self.lengths, self.seed = np.asarray(lengths, np.int64), seed
        self.starts, self.count = np.cumsum(self.lengths) - self.lengths, int(self.lengths.sum())
        self.pool, self.pools = pool, -(-self.count // pool)
        self._clips, self._frames = lru_cache(2)(self._clips_of), lru_cache(3)(self._frames_of)

    def __len__(self) -> int:
        return self.count

    def __reduce__(self) -> tuple[type, tuple[np.ndarray, int, int]]:
        return Order, (self.lengths, self.seed, self.pool)

    def at(self, position: int) -> tuple[int, int]:
        """Clip and frame of a position."""
        epoch, place = divmod(position, self.count)
        if self.pools == 1:
            row = int(self._frames(epoch, 0, self.count)[place])
            clip = int(np.searchsorted(self.starts, row, "right")) - 1
            return clip, row - int(self.starts[clip])
        clips, ends, edges = self._clips(epoch)
        number = int(np.searchsorted(edges, place, "right")) - 1
        low, high = int(edges[number]), int(edges[number + 1])
        row = low + int(self._frames(epoch, number, high - low)[place - low])
        at = int(np.searchsorted(ends, row, "right"))
        return int(clips[at]), row - int(ends[at] - self.lengths[clips[at]])

    def _clips_of(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Clips in an epoch's order, where each ends, and where the pools begin and end."""
        blocks = np.random.default_rng([self.seed, 4, epoch]).permutation(-(-len(self.lengths) // BLOCK))
        clips = (blocks[:, None] * BLOCK + np.arange(BLOCK)).ravel()
        clips = clips[clips < len(self.lengths)]
        ends = np.cumsum(self.lengths[clips])
        cuts = np.searchsorted(ends, np.arange(1, self.pools) * (self.count / self.pools))
        return clips, ends, np.unique(np.concatenate([[0], ends[cuts], [self.count]]))

    def _frames_of(self, epoch: int, number: int, count: int) -> np.ndarray:
        return np.random.default_rng([self.seed, 2, epoch, *([number] if number else [])]).permutation(count)


class StepBatches(Sampler[list[int]]):
    """Positions of each optimiser step from ``first`` to ``steps``: this process's share of the global batch, in
    ``parts``.
    """

    def __init__(self, first: int, steps: int, batch: int, rank: int = 0, processes: int = 1, parts: int = 1):
        if batch % (processes * parts):
            raise DiffusedHeadsError(f"batch={batch}: expected a multiple of {processes} processes x {parts} parts")
        self.first, self.steps, self.batch, self.parts = first, steps, batch, parts
        self.offsets = [range(rank + processes * part, batch, processes * parts) for part in range(parts)]

    def __len__(self) -> int:
        return (self.steps - self.first) * self.parts

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first, self.steps):
            yield from ([step * self.batch + offset for offset in part] for part in self.offsets)
