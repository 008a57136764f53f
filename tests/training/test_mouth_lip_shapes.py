"""Lip shapes: planted maps and movements are recovered."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.mouth.face_mesh import MIDDLE, face_mesh
from diffused_heads.diffused_heads_core.mouth.lip_shape import windows
from diffused_heads.training.mouth.lip_shapes import fit_lip_shape, opening_curve, ridge, weighted_quantiles
from diffused_heads.training.mouth.movements import aligned, mouth_weights, movements
from diffused_heads.training.mouth.presets import LipConfig

sys.path.insert(0, str(Path(__file__).parent))
from mouth_faces import OPEN, mouth_config, moved_mesh


def test_ridge_recovers_a_planted_map() -> None:
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(3, 6)), rng.normal(size=3)
    inputs = [5 + rng.normal(size=(n, 6)) * np.arange(1, 7) for n in (40, 70)]
    found, at_zero = ridge(inputs, [x @ weight.T + bias for x in inputs], [1.0, 2.0], 1e-9)
    np.testing.assert_allclose(found, weight, atol=1e-5)
    np.testing.assert_allclose(at_zero, bias, atol=1e-4)


def test_a_part_of_twice_the_weight_counts_as_if_it_were_there_twice() -> None:
    rng = np.random.default_rng(1)
    (x, y), (u, v) = ((rng.normal(size=(n, 4)), rng.normal(size=(n, 2))) for n in (30, 20))
    weighted, repeated = ridge([x, u], [y, v], [1, 2], 0.1), ridge([x, u, u], [y, v, v], [1, 1, 1], 0.1)
    for one, other in zip(weighted, repeated):
        np.testing.assert_allclose(one, other)


def test_a_strong_penalty_leaves_the_mean() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(50, 3)), rng.normal(size=(50, 2)) + 4
    weight, bias = ridge([x], [y], [1.0], 1e9)
    np.testing.assert_allclose(weight, 0, atol=1e-6)
    np.testing.assert_allclose(bias, y.mean(0), atol=1e-6)


def test_the_curve_maps_quantiles_of_openings() -> None:
    predicted = np.linspace(0.1, 0.2, 1001)
    measured, even = np.linspace(0, 1, 1001) ** 2, np.ones(1001)
    given, wanted = opening_curve(predicted, measured, even, 1.0)
    np.testing.assert_allclose(np.interp([0.15, 0.19], given, wanted), [0.25, 0.81], atol=0.005)
    np.testing.assert_array_equal(*opening_curve(predicted, measured, even, 0.0))
    half = opening_curve(predicted, measured, even, 0.5)[1]
    np.testing.assert_allclose(half, (given + wanted) / 2)
    assert (np.diff(given) > 0).all() and (np.diff(wanted) >= 0).all()


def test_weighted_quantiles_count_repeated_values() -> None:
    at, rng = np.linspace(0.1, 0.9, 5), np.random.default_rng(0)
    values, counts = rng.normal(size=500), rng.integers(1, 4, 500)
    repeated = np.quantile(np.repeat(values, counts), at)
    np.testing.assert_allclose(weighted_quantiles(values, counts.astype(float), at), repeated, atol=0.02)


def test_meshes_are_aligned_by_the_points_that_speech_does_not_move() -> None:
    rest, spoken = (moved_mesh(np.array([c, 0, 0, 0])) for c in (0.0, 0.7))
    moved = np.stack([moved_mesh(np.array([0.7, 0, 0, 0]), 1.2, 0.3, (5, -3)), spoken])
    for mesh in aligned(moved, rest):
        np.testing.assert_allclose(mesh, spoken, atol=0.05)


def test_movements_are_those_from_the_closed_mouth() -> None:
    amounts = np.concatenate([np.zeros(20), np.repeat(OPEN, 20)])
    clip = np.stack([moved_mesh(np.array([c, 0, 0, 0]), 1.1, 0.1, (2, 1)) for c in amounts])
    (found,) = movements([clip], face_mesh().mean, 25.0)
    basis = face_mesh().basis[0].ravel()
    np.testing.assert_allclose(found[:15].reshape(15, -1) @ basis, 0, atol=0.01)
    np.testing.assert_allclose(found[-10:].reshape(10, -1) @ basis, OPEN, atol=0.03)


def test_mouth_weights_leave_out_eyes_and_edges() -> None:
    weights = mouth_weights(face_mesh().mean)
    assert weights[[13, 14, 61, 291]].min() > 0.5 and weights[[33, 263, 10, 168]].max() == 0
    assert ((weights >= 0) & (weights <= 1)).all()


class PlantedCorpus:
    """Two people whose lip shape is a linear function of the embeddings; they hold the mouth differently."""

    people = ((0, 1), (2,))

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        self.map = rng.normal(size=(24, 4)) * [0.06, 0.04, 0.02, 0.02]
        self.embeddings = [rng.normal(size=(60, 8)).astype(np.float32) for _ in range(3)]

    def audio(self, clip: int) -> np.ndarray:
        return self.embeddings[clip]

    def shapes(self, clip: int) -> np.ndarray:
        seen = windows(torch.from_numpy(self.embeddings[clip])[None], 1)[0].numpy()
        return seen @ self.map - (0.3 if clip < 2 else 0.5) * np.array([1, 0, 0, 0])

    def meshes(self, clip: int) -> np.ndarray:
        return np.stack([moved_mesh(shape, 1.0 + 0.1 * clip) for shape in self.shapes(clip)]).astype(np.float32)


def test_lip_shapes_follow_a_planted_map(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, config = PlantedCorpus(), mouth_config()
    unsmoothed = SimpleNamespace(smoothed=lambda rows, *_: np.asarray(rows, np.float64))
    monkeypatch.setattr("diffused_heads.training.mouth.movements.smoothed", unsmoothed.smoothed)
    lips = fit_lip_shape([corpus], config, LipConfig(ridge=1e-4, spread=0.0))
    with torch.no_grad():
        found = lips(torch.from_numpy(corpus.audio(1))[None])[0].numpy()
    planted = corpus.shapes(1)
    for column in range(3):
        assert np.corrcoef(found[:, column], planted[:, column])[0, 1] > 0.97
    gaps = face_mesh().gaps(face_mesh().basis[:4])[:, MIDDLE].mean(1)
    np.testing.assert_allclose(lips.reading.numpy(), gaps, atol=1e-6)
    assert float(lips.reading @ lips.direction) == pytest.approx(1, abs=1e-4)
