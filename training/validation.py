"""Fixed clips made by a model in training, and how good they are: cheap figures that choose a checkpoint.

Every clip is given its first frame, its sound and, for a model with head motion, its true head track, so that frames
can be compared with the truth one by one.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ..diffused_heads_core.data.shards import Clip, Dataset
from ..diffused_heads_core.evaluation.metrics.motion import luminance
from ..diffused_heads_core.evaluation.metrics.pictures import cut, laplacian_variance
from ..diffused_heads_core.files import atomic_path
from ..diffused_heads_core.media.audio import from_waveform
from ..diffused_heads_core.media.pictures import save_picture
from ..diffused_heads_core.media.video import write_video
from ..diffused_heads_core.motion import MotionTrack
from ..diffused_heads_core.pose import FACE
from ..diffused_heads_core.talking_head import TalkingHead
from .config import ValidationConfig
from .features import FeatureRows
from .preview import contact_sheet

FIGURES = ("score", "lip_r", "lip_psnr", "psnr", "sharpness", "drift")
MOUTH = (16, 12)  # pixels, across and down, at which mouths are compared
MARGIN = 0.04  # of the frame, around the lips
COLUMNS = 10


@dataclass(frozen=True, eq=False)
class Pair:
    """True and generated frames (T, S, S, 3) uint8 of a clip, and the mouth's box in each frame (T, 4) px."""

    truth: np.ndarray
    made: np.ndarray
    boxes: np.ndarray


class Validation:
    """The fixed clips of a dataset, generated and scored on demand."""

    def __init__(self, dataset: Dataset, config: ValidationConfig, features: FeatureRows | None = None):
        self.dataset, self.features = dataset, features
        self.frames = max(2, round(config.seconds * dataset.fps))
        self.clips = [self._cut(dataset.clip(i)) for i in range(min(config.clips, len(dataset)))]

    def _cut(self, clip: Clip) -> Clip:
        samples = round(min(self.frames, len(clip.frames)) / self.dataset.fps * clip.sample_rate)
        annotations = {name: rows[: self.frames] for name, rows in clip.annotations.items()}
        return Clip(clip.frames[: self.frames], clip.audio[:samples], clip.sample_rate, annotations, clip.meta)

    def generate(
        self, model: TalkingHead, seed: int = 0, notify: Callable[[int, int], None] | None = None
    ) -> list[Pair]:
        """Every clip, made by the model with its own sampler and steps. notify(frames done, frames) is called after
        each and may raise.
        """
        pairs: list[Pair] = []
        total = sum(len(clip.frames) for clip in self.clips)
        for index, clip in enumerate(self.clips):
            made: list[np.ndarray] = []
            before = sum(len(pair.made) for pair in pairs)
            for frame in model.generate(
                clip.frames[0],
                self._embeddings(model, index, clip),
                model.options(seed=seed + index),
                _track(model, clip),
            ):
                made.append(frame)
                if notify is not None:
                    notify(before + len(made), total)
            pairs.append(Pair(clip.frames, np.stack(made), _boxes(model, clip)))
        return pairs

    @torch.no_grad()
    def _embeddings(self, model: TalkingHead, index: int, clip: Clip) -> Tensor:
        if self.features is not None:
            rows = torch.from_numpy(self.features.rows(index, range(len(clip.frames)))).to(model.device)
            return rows if model.audio_encoder is None else model.audio_encoder(rows.T[None])[0]
        audio = from_waveform(clip.audio[None], clip.sample_rate, self.dataset.key(index))
        found = model.encode_audio(audio)[: len(clip.frames)]
        return torch.cat([found, found[-1:].expand(len(clip.frames) - len(found), -1)])

    def write(self, pairs: list[Pair], folder: Path, name: str) -> np.ndarray:
        """Write ``<name>.png`` (truth above generated, a pair a clip) and a video of the first clip; returns the
        picture.
        """
        folder.mkdir(parents=True, exist_ok=True)
        sheet = contact_sheet([frames for pair in pairs for frames in (pair.truth, pair.made)], COLUMNS)
        save_picture(folder / f"{name}.png", sheet)
        sound = from_waveform(self.clips[0].audio[None], self.clips[0].sample_rate, name)
        write_video(folder / f"{name}.mp4", list(pairs[0].made), self.dataset.fps, sound)
        return sheet


def _track(model: TalkingHead, clip: Clip) -> MotionTrack | None:
    """The clip's own head track, relative to its first frame being the identity frame as it stands."""
    if not model.config.head_motion:
        return None
    pose, size = clip.annotations["pose"].astype(np.float32), len(clip.frames)
    face = (
        clip.annotations["expression"][:, -len(FACE) :]
        if "expression" in clip.annotations
        else np.zeros((size, len(FACE)))
    )
    return MotionTrack(pose - pose[:1], np.asarray(face, np.float32))


def _boxes(model: TalkingHead, clip: Clip) -> np.ndarray:
    """Lip boxes with a margin, (T, 4) px; where there are no annotations, where the model's geometry expects the mouth."""
    size, margin = clip.frames.shape[1], MARGIN * clip.frames.shape[1] * np.array([-1, -1, 1, 1])
    if "lip_box" in clip.annotations:
        return clip.annotations["lip_box"] + margin
    x, y = (size * at for at in model.config.geometry.mouth)
    return np.tile(
        np.array([x - 0.1 * size, y - 0.06 * size, x + 0.1 * size, y + 0.06 * size]) + margin, (len(clip.frames), 1)
    )


def figures(pairs: list[Pair]) -> dict[str, float]:
    """Means over clips of ``FIGURES``.

    lip_r: Pearson's r of how the mouth region changes over time, pixel by pixel (1: exactly as in truth);
    lip_psnr, psnr: dB against the true frames; sharpness: variance of the Laplacian over the truth's, 1 is right;
    drift: mean squared error of the last third over the first's, 1 is none. score ranks checkpoints of one run:
    lip_r + psnr / 40 - |ln sharpness| / 4 - ln(drift) / 10 where that is above 0.
    """
    rows = [_clip_figures(pair) for pair in pairs]
    return {name: float(np.mean([row[name] for row in rows])) for name in FIGURES}


def _clip_figures(pair: Pair) -> dict[str, float]:
    error = np.square(pair.made.astype(np.float32) - pair.truth).mean((1, 2, 3)) + 1e-3
    mouths = [np.stack([_mouth(f, box) for f, box in zip(frames, pair.boxes)]) for frames in (pair.truth, pair.made)]
    third = max(len(error) // 3, 1)
    found = {
        "lip_r": _correlation(*(m - m.mean(0) for m in mouths)),
        "lip_psnr": _decibel(float(np.square(mouths[0] - mouths[1]).mean())),
        "psnr": _decibel(float(error.mean())),
        "sharpness": (_edges(pair.made) + 1e-3) / (_edges(pair.truth) + 1e-3),
        "drift": float(error[-third:].mean() / error[:third].mean()),
    }
    score = (
        found["lip_r"]
        + found["psnr"] / 40
        - abs(math.log(found["sharpness"])) / 4
        - max(math.log(found["drift"]), 0.0) / 10
    )
    return {"score": score, **found}


def _mouth(frame: np.ndarray, box: np.ndarray) -> np.ndarray:
    return cv2.resize(cut(frame, box).astype(np.float32), MOUTH, interpolation=cv2.INTER_AREA)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    size = math.sqrt(float((a**2).sum()) * float((b**2).sum()))
    return float((a * b).sum()) / size if size > 1e-9 else 0.0


def _decibel(squared: float) -> float:
    return 10 * math.log10(255**2 / max(squared, 1e-3))


def _edges(frames: np.ndarray) -> float:
    return float(np.mean([laplacian_variance(luminance(frame)) for frame in frames]))


class Scores:
    """``validation.csv`` of a run: a row a round. Rows beyond ``step`` are dropped when a run goes on from there."""

    def __init__(self, folder: Path, step: int):
        self.path = folder / "validation.csv"
        self.rows: list[dict[str, float]] = []
        if self.path.is_file():
            with self.path.open(newline="") as file:
                self.rows = [
                    {n: float(v) for n, v in row.items() if v}
                    for row in csv.DictReader(file)
                    if float(row["step"]) <= step
                ]

    def add(self, step: int, found: dict[str, float]) -> bool:
        """Keep a round's figures; whether its score is the best so far."""
        best = not self.rows or found["score"] > self.best["score"]
        self.rows = [row for row in self.rows if row["step"] < step] + [{"step": step, **found}]
        with atomic_path(self.path) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["step", *FIGURES], extrasaction="ignore")  # a run may be older than a figure
            writer.writeheader()
            writer.writerows({**row, "step": int(row["step"])} for row in self.rows)
        return best

    def known(self, step: int) -> bool:
        """Whether there was a round after that step."""
        return any(row["step"] == step for row in self.rows)

    @property
    def best(self) -> dict[str, float]:
        """The round of the best score; the first of equal ones."""
        return max(self.rows, key=lambda row: row["score"])

    def stale(self, patience: int) -> bool:
        """Whether the best round is ``patience`` rounds or more before the last; never with patience 0."""
        if not patience or not self.rows:
            return False
        return sum(row["step"] > self.best["step"] for row in self.rows) >= patience
