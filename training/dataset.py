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

from ..diffused_heads_core.conditioning import window_frames
from ..diffused_heads_core.config import ModelConfig
from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.pose import FACE, POSE
from ..diffused_heads_core.pretrained_audio import ENCODERS, columns_per_frame
from .config import StabilityConfig, TrainConfig
from .features import FeatureRows
from .swapped_mouths import with_mouth_of

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
    """One sample per position of the run:

    position () int64; frames (m + 2, 3, S, S) uint8: the m + 1 frames before the target, oldest first, then the target,
    missing frames at a clip's start being copies of the identity frame; identity (3, S, S) uint8, a random frame of the
    same clip; poses (m + 2, 5), identity_pose (5,), faces (2, 6) of the last two frames; lip_box (4,) px of the target;
    sound (channels, columns): log-mel columns, or one row of ``features`` per frame, of all frames that the embeddings
    of the last two frames depend on; windows (2, 2a + 1) int64: which of those frames' embeddings the frame before the
    target and the target see.

    The sound ends where the clip ends, and the encoder then repeats the edge as it does in sampling. ``stability``
    tells how often motion frames come from another moment and the identity frame has another person's mouth.
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
        self.context = ENCODERS[model.audio.kind].reach + model.unet.audio_neighbours

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        clip, frame = self.order.at(position)
        sample = self.sample(clip, frame, np.random.default_rng([self.seed, 1, position]))
        return {"position": torch.tensor(position), **sample}

    def sample(self, clip: int, frame: int, rng: np.random.Generator, identity: int | None = None) -> dict[str, Tensor]:
        """The sample whose target is that frame of that clip, by default with a random identity frame of it."""
        store, length, elsewhere = self.store, int(self.store.lengths[clip]), self.stability.other_moment
        identity = int(rng.integers(length)) if identity is None else identity
        last = int(rng.integers(length)) if elsewhere and rng.random() < elsewhere else frame
        before = [last - back for back in range(self.model.motion_frames + 1, 0, -1)]
        wanted = [*(n if n >= 0 else identity for n in before), frame]
        pictures = self._with_swapped_mouth(store.pictures(clip, [*wanted, identity]), clip, wanted, identity, rng)
        pictures = torch.from_numpy(pictures).permute(0, 3, 1, 2)
        sample = {"frames": pictures[:-1], "identity": pictures[-1], **self._sound(clip, frame, length, rng)}
        sample["lip_box"] = self._track("lip_box", clip, [frame], 4)[0]
        if self.model.head_motion:
            poses = self._track("pose", clip, [*wanted, identity], len(POSE))
            faces = self._track("expression", clip, wanted[-2:], len(FACE))
            sample |= {"poses": poses[:-1], "identity_pose": poses[-1], "faces": faces}
        return sample

    def _with_swapped_mouth(
        self, pictures: np.ndarray, clip: int, wanted: Sequence[int], identity: int, rng: np.random.Generator
    ) -> np.ndarray:
        """The wanted frames and the identity frame, (n + 1, S, S, 3) uint8, in some samples with another's mouth.

        The identity frame gets the mouth of a random frame of a neighbouring clip, and so do its copies at the clip's
        start.
        """
        probability = self.stability.swapped_mouth
        if "lip_box" not in self.store.tracks or not probability or rng.random() >= probability:
            return pictures
        first = clip // BLOCK * BLOCK  # a clip of the same shard, most often
        other = first + int(rng.integers(min(BLOCK, len(self.store.lengths) - first)))
        moment = int(rng.integers(self.store.lengths[other]))
        boxes = [self.store.track("lip_box", *at)[0] for at in ((clip, [identity]), (other, [moment]))]
        swapped = with_mouth_of(pictures[-1], boxes[0], self.store.pictures(other, [moment])[0], boxes[1], rng)
        copies = np.array([*wanted, identity]) == identity
        copies[-2] = False  # the target stays
        pictures = np.array(pictures)
        pictures[copies] = swapped
        return pictures

    def _track(self, name: str, clip: int, frames: Sequence[int], columns: int) -> Tensor:
        """The last ``columns`` of an annotation, zeros if the dataset has none."""
        if name not in self.store.tracks:
            return torch.zeros(len(frames), columns)
        return torch.from_numpy(np.ascontiguousarray(self.store.track(name, clip, frames)[:, -columns:]))

    def _sound(self, clip: int, frame: int, length: int, rng: np.random.Generator) -> dict[str, Tensor]:
        variant, neighbours = int(rng.integers(self.store.variants)), self.model.unet.audio_neighbours
        wide = 2 * self.context + 2
        low = min(max(frame - 1 - self.context, 0), max(length - wide, 0))
        high, lacking = min(low + wide, length), max(wide - length, 0)
        if self.features is None:
            columns = self.store.mel(clip, low, high, variant).astype(np.float32)
        else:
            columns = self.features.rows(clip, np.arange(low, high)).T
        # A clip shorter than the others' stretch is filled up, as all samples of a batch are of one size.
        filler = columns[:, -1:].repeat(lacking * columns_per_frame(self.model.audio), 1)
        windows = [window_frames(max(n, 0), neighbours, length) for n in (frame - 1, frame)]
        return {"sound": torch.from_numpy(np.concatenate([columns, filler], 1)), "windows": torch.tensor(windows) - low}


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
