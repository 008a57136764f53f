"""Fitting lip shapes to audio embeddings: ridge regression, and logistic regression of closed lips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from ...diffused_heads_core.config import ModelConfig
from ...diffused_heads_core.mouth.face_mesh import MIDDLE, MOUTH_CORNERS, FaceMesh, face_mesh
from ...diffused_heads_core.mouth.lip_shape import LipShape, new_lip_shape, windows
from .clips import Corpus
from .movements import mouth_weights, movements
from .presets import LipConfig

EXTREMES = (5, 95)  # percentiles of a person's openings that count as shut and as wide open
CLOSED_BELOW = 0.2  # of the way from shut to wide open, lips are closed
LOGISTIC_PENALTY = 0.01  # times the squared weights, for standardised inputs
LOGISTIC_STEPS = 60


@dataclass(frozen=True, eq=False)
class Part:
    """A clip as it is fitted: what the lip shape reads (T, F), the coefficients' distance from the person's mean
    (T, K), where the lips are closed (T,) bool, and each frame's weight.
    """

    seen: np.ndarray
    moved: np.ndarray
    closed: np.ndarray
    weight: float


@dataclass(frozen=True, eq=False)
class Usual:
    """Real people's mouths: the mean of the coefficients (K,), and their covariance in one person (K, K)."""

    mean: np.ndarray
    covariance: np.ndarray


def fit_lip_shape(
    corpora: Sequence[Corpus], config: ModelConfig, lips: LipConfig, shares: Sequence[float] | None = None
) -> LipShape:
    """The lip shape of a model's audio embeddings, from the measured mouths of datasets.

    shares: the weight of each dataset, by default the same for all; in a dataset every person counts alike. A person's
    own mean is taken out before the regression, since sound does not tell how somebody holds the mouth. The usual mouth
    and how openings and widths vary are those of the first dataset, the real people's.
    """
    shape, face = new_lip_shape(config), face_mesh()
    components, parts, people = len(shape.reading), [], []
    reading = face.gaps(face.basis[:components])[:, MIDDLE].mean(1)
    for corpus, share in zip(corpora, shares or [1.0] * len(corpora), strict=True):
        for clips in corpus.people:
            found = person_coefficients([corpus.meshes(clip) for clip in clips], face, components, config.fps)
            if corpus is corpora[0]:
                people.append(np.concatenate(found))
            parts += _parts(corpus, clips, found, reading, shape.neighbours, share / len(corpus.people))
    usual = Usual(np.mean([rows.mean(0) for rows in people], 0), np.mean([np.cov(rows.T) for rows in people], 0))
    seen, weights = [part.seen for part in parts], [part.weight for part in parts]
    weight, bias = ridge(seen, [usual.mean + part.moved for part in parts], weights, lips.ridge)
    change, constant = widening(usual, reading, face, lips)
    closure, odds = logistic(seen, [part.closed for part in parts], weights)
    values = {"linear.weight": change @ weight, "linear.bias": change @ bias + constant, "reading": reading}
    values |= {"closure.weight": closure[None], "closure.bias": np.array([odds + lips.closing])}
    values["direction"] = _along(usual.covariance, reading[:, None])[:, 0]
    shape.load_state_dict({name: torch.from_numpy(np.asarray(value, np.float32)) for name, value in values.items()})
    return shape.eval()


def _parts(
    corpus: Corpus, clips: Sequence[int], found: list[np.ndarray], reading: np.ndarray, neighbours: int, share: float
) -> list[Part]:
    """One person's clips; ``found``: their coefficients."""
    together = np.concatenate(found)
    shut, wide = np.percentile(together @ reading, EXTREMES)
    level, mean = shut + CLOSED_BELOW * (wide - shut), together.mean(0)
    parts = []
    for clip, rows in zip(clips, found):
        versions = corpus.versions(clip)
        weight = share / (len(together) * len(versions))
        closed = rows @ reading < level
        parts += [Part(_windows(audio, neighbours), rows - mean, closed, weight) for audio in versions]
    return parts


def widening(usual: Usual, reading: np.ndarray, face: FaceMesh, lips: LipConfig) -> tuple[np.ndarray, np.ndarray]:
    """Matrix (K, K) and constant (K,) that make openings and widths larger by the shares that ``lips`` says.

    A regression moves too little. What moves along with an opening is what usually does; with a width it is that which
    leaves the opening alone. Openings grow from the closed mouth, widths around the usual one.
    """
    components = len(reading)
    ends = face.basis[:components, MOUTH_CORNERS, 0]
    width = ends[:, 1] - ends[:, 0]
    opens = _along(usual.covariance, reading[:, None])[:, 0]
    widens = _along(usual.covariance, np.stack([reading, width], 1))[:, 1]
    change = np.eye(components) + lips.opening * np.outer(opens, reading) + lips.width * np.outer(widens, width)
    return change, -lips.width * widens * float(width @ usual.mean)


def _along(covariance: np.ndarray, readings: np.ndarray) -> np.ndarray:
    """The coefficients' mean change (K, R) for a change of 1 in each of readings (K, R), the others unchanged."""
    mixed = covariance @ readings
    return mixed @ np.linalg.pinv(readings.T @ mixed)


def person_coefficients(clips: Sequence[np.ndarray], face: FaceMesh, components: int, fps: float) -> list[np.ndarray]:
    """Lip shapes of one person's clips (T, 468, 3), (T, components) each: how the mouth differs from the closed one."""
    weights = mouth_weights(face.mean)[:, None]
    basis = face.basis[:components].reshape(components, -1)
    return [(rows * weights).reshape(len(rows), -1) @ basis.T for rows in movements(clips, face.mean, fps)]


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


def logistic(
    inputs: Sequence[np.ndarray], targets: Sequence[np.ndarray], weights: Sequence[float]
) -> tuple[np.ndarray, float]:
    """Logistic regression of targets (T,) bool on inputs (T, F): weights (F,) and bias of the log odds.

    Parts, weights and standardised inputs are as of ``ridge``; the penalty is LOGISTIC_PENALTY.
    """
    each = np.repeat(np.asarray(weights, float), [len(rows) for rows in targets])
    x, y, each = np.concatenate(inputs), np.concatenate(targets), each / each.sum()
    mean = each @ x
    scale = np.sqrt(each @ np.square(x - mean)) + 1e-6
    rows, goal, share = (torch.from_numpy(v.astype(np.float32)) for v in ((x - mean) / scale, y, each))
    found = torch.zeros(x.shape[1] + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([found], max_iter=LOGISTIC_STEPS, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        errors = F.binary_cross_entropy_with_logits(rows @ found[:-1] + found[-1], goal, reduction="none")
        total = share @ errors + LOGISTIC_PENALTY * found[:-1].square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return float(total.detach())

    optimizer.step(loss)
    solved = found.detach().numpy().astype(np.float64)
    weight = solved[:-1] / scale
    return weight, float(solved[-1] - weight @ mean)
