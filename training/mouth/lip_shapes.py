"""Fitting lip shapes to audio embeddings: a ridge regression, and the curve that gives openings their true range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...diffused_heads_core.config import ModelConfig
from ...diffused_heads_core.mouth.face_mesh import MIDDLE, FaceMesh, face_mesh
from ...diffused_heads_core.mouth.lip_shape import KNOTS, LipShape, new_lip_shape, windows
from .clips import Corpus
from .movements import mouth_weights, movements
from .presets import LipConfig

ENDS = 0.005  # share of the frames beyond the curve's first and last knot


def fit_lip_shape(
    corpora: Sequence[Corpus], config: ModelConfig, lips: LipConfig, shares: Sequence[float] | None = None
) -> LipShape:
    """The lip shape of a model's audio embeddings, from the measured mouths of datasets.

    shares: the weight of each dataset in the regression, by default the same for all; in a dataset every person counts
    alike. A person's own mean is taken out before the regression, since sound does not tell how somebody holds the
    mouth. The usual mouth and the distribution of openings are those of the first dataset, the real people's.
    """
    shape = new_lip_shape(config)
    face, components = face_mesh(), len(shape.reading)
    features, measured, centred, weights, means, first = [], [], [], [], [], 0
    for corpus, share in zip(corpora, shares or [1.0] * len(corpora), strict=True):
        for clips in corpus.people:
            found = person_coefficients(corpus, clips, face, components, config.fps)
            mean, frames = np.concatenate(found).mean(0), sum(map(len, found))
            if corpus is corpora[0]:
                means.append(mean)
                first += len(clips)
            for clip, coefficients in zip(clips, found):
                features.append(corpus.audio(clip))
                measured.append(coefficients)
                centred.append(coefficients - mean)
                weights.append(share / (len(corpus.people) * frames))
    mean = np.mean(means, 0)
    seen = [_windows(rows, shape.neighbours) for rows in features]
    weight, bias = ridge(seen, [rows + mean for rows in centred], weights, lips.ridge)
    reading = face.gaps(face.basis[:components])[:, MIDDLE].mean(1)
    shapes, each = np.concatenate(measured[:first]), np.repeat(weights[:first], [len(m) for m in measured[:first]])
    predicted = np.concatenate([(rows @ weight.T + bias) @ reading for rows in seen[:first]])
    curve = opening_curve(predicted, np.maximum(shapes @ reading, 0), each, lips.spread)
    direction = np.cov(shapes.T) @ reading
    values = {"linear.weight": weight, "linear.bias": bias, "reading": reading, "curve": curve}
    values["direction"] = direction / max(float(reading @ direction), 1e-12)
    shape.load_state_dict({name: torch.from_numpy(np.asarray(value, np.float32)) for name, value in values.items()})
    return shape.eval()


def person_coefficients(
    corpus: Corpus, clips: Sequence[int], face: FaceMesh, components: int, fps: float
) -> list[np.ndarray]:
    """Lip shapes of one person's clips, (T, components) each: how the mouth differs from that person's closed one."""
    weights = mouth_weights(face.mean)[:, None]
    basis = face.basis[:components].reshape(components, -1)
    moved = movements([corpus.meshes(clip) for clip in clips], face.mean, fps)
    return [(rows * weights).reshape(len(rows), -1) @ basis.T for rows in moved]


def _windows(rows: np.ndarray, neighbours: int) -> np.ndarray:
    return windows(torch.from_numpy(rows)[None], neighbours)[0].numpy().astype(np.float64)


def ridge(
    inputs: Sequence[np.ndarray], targets: Sequence[np.ndarray], weights: Sequence[float], strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """The linear map from inputs (T, F) to targets (T, K): weight (K, F) and bias (K,).

    The data come in parts, all frames of which have the same weight. Inputs are standardised. The penalty is
    ``strength`` times the mean variance of a standardised input.
    """
    rows = list(zip(inputs, targets, weights))
    total = sum(w * len(x) for x, _, w in rows)
    x_mean, y_mean = (sum(w * part.sum(0) for part, w in zip(parts, weights)) / total for parts in (inputs, targets))
    moment = sum(w * (x - x_mean).T @ (x - x_mean) for x, _, w in rows) / total
    mixed = sum(w * (x - x_mean).T @ (y - y_mean) for x, y, w in rows) / total
    scale = np.sqrt(np.diag(moment)) + 1e-6
    standard, penalty = moment / np.outer(scale, scale), strength * np.mean(np.diag(moment) / scale**2)
    solved = np.linalg.solve(standard + penalty * np.eye(len(scale)), mixed / scale[:, None])
    weight = (solved / scale[:, None]).T
    return weight, y_mean - weight @ x_mean


def opening_curve(predicted: np.ndarray, measured: np.ndarray, weights: np.ndarray, spread: float) -> np.ndarray:
    """The curve (2, KNOTS) from predicted openings (n,) to ones distributed as the measured (n,), as far as ``spread``.

    Both rows ascend. spread: 0 leaves the predicted openings as they are, 1 gives the measured distribution.
    """
    at = np.linspace(ENDS, 1 - ENDS, KNOTS)
    given, wanted = weighted_quantiles(predicted, weights, at), weighted_quantiles(measured, weights, at)
    given = np.maximum.accumulate(given + np.arange(KNOTS) * 1e-6)
    return np.stack([given, np.maximum.accumulate(spread * wanted + (1 - spread) * given)])


def weighted_quantiles(values: np.ndarray, weights: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Quantiles of values (n,) at the shares ``at``, each value with its weight."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return np.interp(at * reached[-1], reached, values[order])
