"""What clips tell of blinks: how long they are, and how they follow the speech."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...diffused_heads_core.motion.blinks import QUANTILES, SPANS, BlinkModel, span_means
from ...diffused_heads_core.motion.track import COLUMNS
from ..mouth.lip_shapes import ridge
from .clips import Clip, person_weights

LIDS = [COLUMNS.index(name) for name in ("blink_left", "blink_right")]
HALF = 0.5  # closure from which an eye counts as shut
LONGEST = 0.32  # seconds: what is longer is no blink
RIDGE, ROUNDS = 0.3, 20
SMOOTHING = 2.0  # blinks that are added to the counts, against extremes


def blink_spans(values: np.ndarray, fps: float) -> list[tuple[int, int]]:
    """First frame and the one after the last of each blink in a track's columns (N, 16)."""
    shut = values[:, LIDS].mean(1) > HALF
    edges = np.flatnonzero(np.diff(np.concatenate([[0], shut.astype(int), [0]])))
    pairs = zip(edges[::2].tolist(), edges[1::2].tolist())
    return [(begin, end) for begin, end in pairs if end - begin <= LONGEST * fps]


def blink_rate(clips: Sequence[Clip], fps: float) -> float:
    """Blinks per second, every person counted alike."""
    rates = [len(blink_spans(clip.values, fps)) * fps / len(clip) for clip in clips]
    return float(person_weights(clips) @ rates)


def fit_blinks(clips: Sequence[Clip], embedding: int, fps: float) -> BlinkModel:
    """Level of speech from embeddings, how blinks follow it (Poisson regression), and their durations."""
    model, weights = BlinkModel(embedding), person_weights(clips)
    weight, bias = ridge(
        [clip.audio.astype(np.float64) for clip in clips],
        [clip.level[:, None] for clip in clips],
        [w / len(clip) for w, clip in zip(weights, clips)],
        RIDGE,
    )
    model.level.weight.data, model.level.bias.data = (torch.from_numpy(x).float() for x in (weight, bias))
    spans = [blink_spans(clip.values, fps) for clip in clips]
    means = np.concatenate([span_means(model.speech_level(torch.from_numpy(c.audio)), fps) for c in clips])
    begins = np.concatenate([_marks(len(clip), each) for clip, each in zip(clips, spans)])
    model.urge.copy_(torch.from_numpy(_poisson(means, begins)))
    lasting = np.array([(end - begin) / fps for each in spans for begin, end in each])
    if len(lasting):
        each = np.repeat(weights, [len(s) for s in spans])
        between = weighted_quantiles(lasting, each, np.linspace(0.02, 0.98, QUANTILES))
        model.durations.copy_(torch.from_numpy(np.maximum.accumulate(between)))
    return model


def weighted_quantiles(values: np.ndarray, weights: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Quantiles of values (n,) at the shares ``at``, each value with its weight."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return np.interp(at * reached[-1], reached, values[order])


def _marks(frames: int, spans: list[tuple[int, int]]) -> np.ndarray:
    marks = np.zeros(frames)
    marks[[begin for begin, _ in spans]] = 1
    return marks


def _poisson(features: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Coefficients (k,) of log rate = features (n, k) @ coefficients + constant, by Newton's method, little damped."""
    rows = np.column_stack([features - features.mean(0), np.ones(len(features))])
    found = np.zeros(rows.shape[1])
    found[-1] = np.log(max(counts.mean(), 1e-6))
    damping = SMOOTHING * np.eye(len(found))
    damping[-1, -1] = 0
    for _ in range(ROUNDS):
        rate = np.exp(rows @ found)
        gradient = rows.T @ (counts - rate) - damping @ found
        found = found + np.linalg.solve((rows * rate[:, None]).T @ rows + damping, gradient).clip(-2, 2)
    assert len(found) == len(SPANS) + 1
    return found[:-1]
