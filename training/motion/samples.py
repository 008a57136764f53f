"""Samples of the motion prior's training. A sample depends on (seed, position) alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...diffused_heads_core.motion.prior_network import PriorConfig
from ...diffused_heads_core.motion.track import COLUMNS
from .clips import ANGLES, Clip, by_person, liveliness
from .presets import LABELS, MotionTrainConfig

STREAM = 6  # the random numbers of other trainings have streams of their own
MIRRORED = [COLUMNS.index(name) for name in ("yaw", "roll", "tx", "gaze_x")]
PAIRS = [[COLUMNS.index(f"{name}_{side}") for side in ("left", "right")] for name in ("blink", "brow")]


class MotionSamples(Dataset[dict[str, Tensor]]):
    """One window per position of the run; all people equally often.

    position, index, label () int64; target, past, noise (C, 1, N) in deviations; known, learned (1, 1, N): 1 where the
    track is given, and where it is to be found; audio (N, E); heard (N,); own (4,), as in ``prior_network.Given``.
    """

    def __init__(self, clips: Sequence[Clip], config: MotionTrainConfig, prior: PriorConfig):
        self.people, self.config, self.prior = list(by_person(clips).values()), config, prior
        self.numbers = [COLUMNS.index(name) for name in prior.columns]
        self.scales = np.array(prior.deviations, np.float32)
        self.angles = [prior.deviations[prior.columns.index(COLUMNS[number])] for number in ANGLES]
        self.thirds = np.quantile([liveliness(clip, self.angles) for clip in clips], (1 / 3, 2 / 3))
        self.spread = np.concatenate([clip.audio for clip in clips]).std(0)
        self.frames = sum(map(len, clips))

    def __len__(self) -> int:
        return self.frames

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self.config.seed, STREAM, position])
        clips = self.people[int(rng.integers(len(self.people)))]
        sample = self.sample(clips[int(rng.integers(len(clips)))], rng)
        return {"position": torch.tensor(position), **sample}

    def sample(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        """A random window of a clip; before the clip begins its first frame is repeated, as in sampling."""
        config, prior, count = self.config, self.prior, len(clip)
        gain = np.exp(rng.normal(0, config.gain))
        values, own = self._seen(clip.values * gain, rng)
        first = int(rng.integers(-prior.past, max(count - prior.window, 0) + 1))
        at = np.arange(first, first + prior.window)
        rows = at.clip(0, count - 1)
        learned, known, (all_known, last_known) = (
            (at >= 0) & (at < count),
            np.zeros(prior.window, bool),
            config.past_known,
        )
        draw = rng.random()
        if draw < all_known and first >= 0:
            known[: prior.past] = True
        elif draw < all_known + last_known:
            known[prior.past - 1] = True
        window = torch.from_numpy((values[rows][:, self.numbers] / self.scales).T[:, None].astype(np.float32))
        flags = {"known": known, "learned": learned & ~known}
        marked = {name: torch.from_numpy(flag.astype(np.float32))[None, None] for name, flag in flags.items()}
        return {
            "target": window,
            "past": window * marked["known"],
            **marked,
            **self._sound(clip.audio[rows], rng),
            "own": torch.from_numpy(own),
            "label": torch.tensor(self._label(gain * liveliness(clip, self.angles), rng)),
            "index": torch.tensor(int(rng.integers(prior.timesteps))),
            "noise": torch.from_numpy(rng.standard_normal(window.shape, np.float32)),
        }

    def _seen(self, values: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Columns (N, 16) relative to a portrait, and the portrait's pose (4,) as ``Given.own``."""
        values = values.copy()
        own = np.zeros(4, np.float32)
        if self.config.mirror and rng.random() < 0.5:
            values[:, MIRRORED] *= -1
            for left, right in PAIRS:
                values[:, [left, right]] = values[:, [right, left]]
        if rng.random() < self.config.reference:
            reference = values[int(rng.integers(len(values)))]
            own[:3] = reference[ANGLES]
            values -= reference
        own[3] = 1
        return values, own * np.float32(rng.random() >= self.config.own_dropout)

    def _label(self, lively: float, rng: np.random.Generator) -> int:
        """Number of the label from 1 on, 0 for none."""
        chosen = LABELS[0] if lively < self.thirds[0] else LABELS[-1] if lively > self.thirds[1] else None
        if chosen is None or rng.random() < self.config.label_dropout:
            return 0
        return self.prior.labels.index(chosen) + 1

    def _sound(self, audio: np.ndarray, rng: np.random.Generator) -> dict[str, Tensor]:
        """Embeddings with noise, and which of them are known: all, none, or those before a random frame."""
        config, count = self.config, len(audio)
        heard = np.ones(count, np.float32)
        if rng.random() < config.unheard:
            heard[int(rng.integers(self.prior.past, count)) :] = 0
        if rng.random() < config.audio_dropout:
            heard[:] = 0
        noise = config.audio_noise * self.spread * rng.standard_normal(audio.shape, np.float32)
        return {"audio": torch.from_numpy((audio + noise).astype(np.float32)), "heard": torch.from_numpy(heard)}
