"""Distillation of a small audio encoder from Whisper's, on recorded and synthetic speech.

    python -m diffused_heads.training.tools.speech_distillation speech/librispeech=90 speech/grid espeak=30 \\
        --teacher whisper-tiny.en --output runs/audio.safetensors --judge grid/test

Linear layers on the embeddings learn the teacher's features of the clean sound, the lips that a linear map reads from
them, the measured lips of the people in the videos, and the exact mouths of synthetic speech. The sound comes through
other rooms, microphones, vocal tracts and noise. A folder may say how many minutes of it are used. Corpus and training
state are kept in ``--cache``: the same command continues an interrupted run. ``--judge`` names videos of people who are
in none of the folders: how well a linear map of the embeddings, fitted on the videos trained on, reads their lips. See
docs/TRAINING.md for data and licences.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ...diffused_heads_core.audio_encoder import COLUMNS_PER_FRAME
from ...diffused_heads_core.checkpoints import Checkpoint, save
from ...diffused_heads_core.config import AudioConfig
from ...diffused_heads_core.files import atomic_path, check_writable
from ...diffused_heads_core.pretrained_audio import new_encoder
from ..presets import preset
from ..provenance import code
from .speech_refining import varied
from .speech_teacher import FRAMES, LABELS, LIPS, VARIANTS, Corpus, Source, Whisper, stored_corpus

CONFIG = AudioConfig(kind="mel-streaming", mels=64, channels=288, embedding=128)
DIMENSIONS = 128  # principal components of the teacher's features
CROP, BATCH = 200, 8  # frames of a training sample, samples of a step
RATE = 2e-3  # greatest learning rate
MOUTH_WEIGHT, EMBEDDING_WEIGHT = 1.0, 1e-3  # of the losses beside the teacher's
NOISE = 0.05  # standard deviation of what is added to embeddings: no head may rely on small differences
SAVE_EVERY = 250  # steps
SIDE = 2  # frames on either side that the lips' linear map reads
RIDGE = 0.1


class LinearReadout:
    """Ridge regression of lips (N, L) from rows (N, C) of features, which are scaled to unit variance first."""

    def __init__(self, rows: np.ndarray, lips: np.ndarray):
        self.mean, self.spread = rows.mean(0), rows.std(0) + 1e-6
        scaled = (rows - self.mean) / self.spread
        ridge = RIDGE * len(rows) * np.eye(rows.shape[1])
        self.weights = np.linalg.solve(scaled.T @ scaled + ridge, scaled.T @ lips)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Lips (N, L) of rows (N, C)."""
        return (rows - self.mean) / self.spread @ self.weights


def around(features: np.ndarray) -> np.ndarray:
    """Features (F, C) of each frame and of SIDE frames before and after it: (F, (2 SIDE + 1) C)."""
    edged = np.pad(features.astype(np.float32), ((SIDE, SIDE), (0, 0)), mode="edge")
    return np.concatenate([edged[k : k + len(features)] for k in range(2 * SIDE + 1)], 1)


def measured(features: Iterable[np.ndarray], corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
    """Rows and lips of all frames of a corpus whose lips are measured, from features (FRAMES, C) of its windows."""
    known = np.isfinite(corpus.mouths[..., 0])
    rows = np.concatenate([around(window)[here] for window, here in zip(features, known)])
    return rows, corpus.mouths[known][:, : len(LIPS)]


@dataclass(frozen=True, eq=False)
class Targets:
    """What the student learns.

    basis (C, DIMENSIONS) and mean (C,): of the teacher's features. lips: per corpus (W, FRAMES, len(LIPS)), read from
    the teacher's features. spread (len(LABELS) + len(LIPS),): standard deviations of the mouths and of ``lips``.
    """

    basis: Tensor
    mean: Tensor
    spread: Tensor
    lips: list[np.ndarray]

    @classmethod
    def of(cls, corpora: Sequence[Corpus]) -> Targets:
        """Principal components, each scaled by the fourth root of its variance: none is ignored, none is only noise."""
        rows = np.concatenate([c.teacher[:, ::5].reshape(-1, c.teacher.shape[-1]) for c in corpora]).astype(np.float64)
        power, axes = np.linalg.eigh(np.cov(rows.T))
        power, axes = power[::-1][:DIMENSIONS], axes[:, ::-1][:, :DIMENSIONS]
        scale = power**-0.25 / np.sqrt(np.sqrt(power).mean())  # mean square of a target: 1
        lips = read_lips(corpora)
        labels = [np.concatenate((c.mouths, x), -1).reshape(-1, len(LABELS) + len(LIPS)) for c, x in zip(corpora, lips)]
        columns = [column[np.isfinite(column)] for column in np.concatenate(labels).T]
        spread = np.array([column.std() if len(column) else 1 for column in columns])
        basis = np.ascontiguousarray(axes * scale)
        return cls(*(torch.from_numpy(x).float() for x in (basis, rows.mean(0), spread)), lips)


def read_lips(corpora: Sequence[Corpus]) -> list[np.ndarray]:
    """The lips that a linear map reads from the teacher's features, per corpus (W, FRAMES, len(LIPS)) float32.

    The map is fitted where lips are measured, so that people whom nobody filmed teach lips too. NaN if none are.
    """
    filmed = [c for c in corpora if np.isfinite(c.mouths[..., 0]).any()]
    if not filmed:
        return [np.full((*c.mouths.shape[:2], len(LIPS)), np.nan, np.float32) for c in corpora]
    readout = LinearReadout(*(np.concatenate(x) for x in zip(*(measured(c.teacher, c) for c in filmed))))
    return [np.stack([readout(around(w)) for w in c.teacher]).astype(np.float32) for c in corpora]


class Student(nn.Module):
    """The encoder and the linear layers that are thrown away after training."""

    def __init__(self, config: AudioConfig):
        super().__init__()
        self.encoder = new_encoder(config)
        self.teacher = nn.Linear(config.embedding, DIMENSIONS)
        self.mouths = nn.Conv1d(config.embedding, len(LABELS) + len(LIPS), 2 * SIDE + 1, padding=SIDE)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Columns (B, mels, 4 F) -> embeddings, the teacher's features (B, F, DIMENSIONS), all mouths (B, F, L)."""
        embedding = self.encoder(mel)
        noisy = embedding + NOISE * torch.randn_like(embedding)
        return embedding, self.teacher(noisy), self.mouths(noisy.transpose(1, 2)).transpose(1, 2)


class Distillation:
    """A training run whose state is kept in a file. It draws windows evenly from all corpora."""

    def __init__(
        self, corpora: Sequence[Corpus], config: AudioConfig, steps: int, seed: int, state: Path | None = None
    ):
        self.corpora, self.steps, self.seed, self.state = corpora, steps, seed, state
        self.windows = [(c, w) for c, corpus in enumerate(corpora) for w in range(len(corpus.teacher))]
        self.targets = Targets.of(corpora)
        torch.manual_seed(seed)
        self.student, self.step = Student(config), 0
        self.optimizer = torch.optim.AdamW(self.student.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.01)
        self.plan = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, RATE, total_steps=steps, pct_start=0.1)
        if state is not None and state.is_file():
            self._resume(torch.load(state, weights_only=True))

    def run(self) -> nn.Module:
        """Train to the last step; returns the encoder."""
        bar = tqdm(range(self.step, self.steps), desc="distilling", unit="step")
        for _ in bar:
            losses = self._train_step()
            self.step += 1
            if self.step % 20 == 0:
                bar.set_postfix_str("teacher {:.3f}, mouths {:.3f}".format(*losses))
            if self.state is not None and (self.step % SAVE_EVERY == 0 or self.step == self.steps):
                self._save(self.state)
        return self.student.encoder.eval()

    def _train_step(self) -> tuple[float, float]:
        rng = np.random.default_rng([self.seed, self.step])
        torch.manual_seed(int(rng.integers(1 << 31)))  # for the noise of the embeddings
        mel, teacher, mouths = self._batch(rng)
        with torch.autocast("cpu", torch.bfloat16):
            embedding, *found = self.student(varied(mel, rng))
        inner = slice(self.student.encoder.reach, None)  # before that the crop hides what the embedding depends on
        embedding, features, lips = (x.float()[:, inner] for x in (embedding, *found))
        wanted, known = mouths[:, inner] / self.targets.spread, torch.isfinite(mouths[:, inner])
        teaching = (features - (teacher[:, inner] - self.targets.mean) @ self.targets.basis).square().mean()
        error = ((lips - wanted.nan_to_num()) * known).square().sum() / known.sum().clamp(min=1)
        loss = teaching + MOUTH_WEIGHT * error + EMBEDDING_WEIGHT * embedding.square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        self.plan.step()
        return float(teaching.detach()), float(error.detach())

    def _batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Columns (B, mels, 4 CROP), teacher's features (B, CROP, C), mouths and read lips (B, CROP, L)."""
        columns, features, mouths = [], [], []
        for pick in rng.integers(len(self.windows), size=BATCH):
            source, window = self.windows[pick]
            corpus, start, variant = self.corpora[source], int(rng.integers(FRAMES - CROP)), int(rng.integers(VARIANTS))
            frames = slice(start, start + CROP)
            part = slice(start * COLUMNS_PER_FRAME, frames.stop * COLUMNS_PER_FRAME)
            columns.append(corpus.mels[window, variant, :, part])
            features.append(corpus.teacher[window, frames])
            mouths.append(np.concatenate((corpus.mouths[window, frames], self.targets.lips[source][window, frames]), 1))
        mel, teacher, lips = (torch.from_numpy(np.stack(x).astype(np.float32)) for x in (columns, features, mouths))
        return mel, teacher, lips

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer | torch.optim.lr_scheduler.LRScheduler]:
        return {"student": self.student, "optimizer": self.optimizer, "plan": self.plan}

    def _save(self, path: Path) -> None:
        state = {name: part.state_dict() for name, part in self._parts().items()}
        with atomic_path(path) as unfinished:
            torch.save({**state, "step": self.step, "steps": self.steps}, unfinished)

    def _resume(self, state: dict) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.step = state["step"]


@torch.no_grad()
def lip_correlations(encoder: nn.Module, learned: Sequence[Corpus], judged: Sequence[Corpus]) -> dict[str, list[float]]:
    """Pearson r of lips read linearly from clean sound: per measure, one figure per corpus of ``judged``, which holds
    one person each. The linear map is fitted on ``learned``.
    """

    def embedded(corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
        columns = (torch.from_numpy(mels[:1].astype(np.float32)) for mels in corpus.mels)
        return measured((encoder(each)[0].numpy() for each in columns), corpus)

    fitted = [embedded(corpus) for corpus in learned if np.isfinite(corpus.mouths[..., 0]).any()]
    readout = LinearReadout(*(np.concatenate(x) for x in zip(*fitted)))
    figures: dict[str, list[float]] = {}
    for rows, lips in map(embedded, judged):
        for name, a, b in zip(LIPS, readout(rows).T, lips.T):
            figures.setdefault(name, []).append(round(float(np.corrcoef(a, b)[0, 1]), 3))
    return figures


def main(argv: list[str] | None = None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("sources", nargs="+", type=Source.parse, help="FOLDER or FOLDER=MINUTES; espeak=MINUTES for synthetic voices")
    add("--teacher", type=Path, required=True, help="folder with Whisper tiny.en in CTranslate2's format")
    add("--output", type=Path, required=True, help="checkpoint to write (audio encoder only)")
    add("--judge", type=Source.parse, nargs="*", default=[], help="folders with videos of one unseen person each")
    add("--cache", type=Path, default=Path("runs/speech"), help="folder for features and state (default: %(default)s)")
    add("--steps", type=int, default=3000, help="optimiser steps (default: %(default)s)")
    add("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    check_writable(options.output)
    options.cache.mkdir(parents=True, exist_ok=True)
    teacher = Whisper(options.teacher)
    learned, judged = (
        [stored_corpus(source, teacher, CONFIG.mels, options.cache) for source in sources]
        for sources in (options.sources, options.judge)
    )
    state = options.cache / f"{options.output.stem}.state"
    encoder = Distillation(learned, CONFIG, options.steps, options.seed, state).run()
    figures = lip_correlations(encoder, learned, judged) if judged else {}
    for name, people in figures.items():
        print(f"{name}: mean r {np.mean(people):.3f}, worst {min(people):.3f}")
    tensors = {f"audio_encoder.{name}": value for name, value in encoder.state_dict().items()}
    names = ", ".join(source.name for source in options.sources)
    summary = {"kind": "audio encoder", "data": names, "steps": options.steps, "correlation": figures, **code()}
    save(options.output, Checkpoint(replace(preset("avatar").model, audio=CONFIG), tensors, "Apache-2.0", summary))


if __name__ == "__main__":
    main()
