"""Lip shapes: planted maps and movements are recovered."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.checkpoints import Checkpoint
from diffused_heads.diffused_heads_core.config import ModelConfig
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.mouth.face_mesh import MIDDLE, MOUTH_CORNERS, face_mesh
from diffused_heads.diffused_heads_core.mouth.lip_shape import LipShape, windows
from diffused_heads.training.mouth.lip_shapes import Usual, fit_lip_shape, logistic, ridge, widening
from diffused_heads.training.mouth.movements import aligned, mouth_weights, movements
from diffused_heads.training.mouth.presets import LipConfig
from diffused_heads.training.tools import closing
from diffused_heads.training.tools.lip_shapes import with_lip_shape

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


def test_logistic_regression_finds_planted_odds() -> None:
    rng = np.random.default_rng(3)
    inputs = [2 + rng.normal(size=(n, 3)) * (1, 2, 3) for n in (4000, 6000)]
    odds = [2 * (rows[:, 0] - 2) - 1 for rows in inputs]
    targets = [rng.random(len(rows)) < 1 / (1 + np.exp(-rows)) for rows in odds]
    weight, bias = logistic(inputs, targets, [1.0, 1.0])
    assert 1.4 < weight[0] < 2.0 and np.abs(weight[1:]).max() < 0.05  # the penalty makes it smaller
    assert weight @ (2, 2, 2) + bias == pytest.approx(-1, abs=0.15)


def test_widening_changes_openings_and_widths_alone() -> None:
    rng, face = np.random.default_rng(4), face_mesh()
    rows = rng.normal(size=(200, 12)) @ rng.normal(size=(12, 12))
    usual = Usual(rows.mean(0), np.cov(rows.T))
    reading = face.gaps(face.basis)[:, MIDDLE].mean(1)
    width = face.basis[:, MOUTH_CORNERS[1], 0] - face.basis[:, MOUTH_CORNERS[0], 0]
    change, constant = widening(usual, reading, face, LipConfig(opening=0.2, width=0.0))
    np.testing.assert_allclose((rows @ change.T + constant) @ reading, 1.2 * rows @ reading)
    change, constant = widening(usual, reading, face, LipConfig(opening=0.0, width=0.5))
    moved = rows @ change.T + constant
    np.testing.assert_allclose(moved @ reading, rows @ reading)
    middle = usual.mean @ width
    np.testing.assert_allclose(moved @ width - middle, 1.5 * (rows @ width - middle))


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

    def versions(self, clip: int) -> tuple[np.ndarray, ...]:
        return (self.embeddings[clip],)

    def shapes(self, clip: int) -> np.ndarray:
        seen = windows(torch.from_numpy(self.embeddings[clip])[None], 1)[0].numpy()
        return seen @ self.map - (0.3 if clip < 2 else 0.5) * np.array([1, 0, 0, 0])

    def meshes(self, clip: int) -> np.ndarray:
        return np.stack([moved_mesh(shape, 1.0 + 0.1 * clip) for shape in self.shapes(clip)]).astype(np.float32)


def test_lip_shapes_follow_a_planted_map(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, config = PlantedCorpus(), mouth_config()
    unsmoothed = SimpleNamespace(smoothed=lambda rows, *_: np.asarray(rows, np.float64))
    monkeypatch.setattr("diffused_heads.training.mouth.movements.smoothed", unsmoothed.smoothed)
    lips = fit_lip_shape([corpus], config, LipConfig(ridge=1e-4, opening=0.0, width=0.0, closing=-20.0))
    with torch.no_grad():
        found = lips(torch.from_numpy(corpus.versions(1)[0])[None])[0].numpy()
    planted = corpus.shapes(1)
    for column in range(3):
        assert np.corrcoef(found[:, column], planted[:, column])[0, 1] > 0.97
    gaps = face_mesh().gaps(face_mesh().basis[:4])[:, MIDDLE].mean(1)
    np.testing.assert_allclose(lips.reading.numpy(), gaps, atol=1e-6)
    assert float(lips.reading @ lips.direction) == pytest.approx(1, abs=1e-4)


def test_lips_close_where_they_were_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = PlantedCorpus()
    monkeypatch.setattr("diffused_heads.training.mouth.movements.smoothed", lambda rows, *_: np.asarray(rows, float))
    lips = fit_lip_shape([corpus], mouth_config(), LipConfig())
    reading = lips.reading.numpy()
    gaps = np.concatenate([corpus.shapes(clip) for clip in (0, 1)]) @ reading
    seen = torch.cat([windows(torch.from_numpy(corpus.versions(clip)[0])[None], 1)[0] for clip in (0, 1)])
    with torch.no_grad():
        odds = lips.closure(seen)[:, 0].numpy()
    order = np.argsort(gaps)
    assert odds[order[:12]].mean() > odds[order[12:60]].mean() + 0.5 > odds[order[60:]].mean() + 1


def test_closing_is_learned_from_people_and_does_not_know_left_from_right() -> None:
    face, rng = face_mesh(), np.random.default_rng(6)
    people = []
    for person in range(4):
        amounts = np.concatenate([np.zeros(8), rng.uniform(OPEN, 0, 32)])
        people.append([np.stack([moved_mesh(np.array([c, 0, 0, 0]), 1 + 0.1 * person, size=256) for c in amounts])])
    found = closing.fit([people], [1.0], 25.0, face)
    mesh = moved_mesh(np.array([OPEN, 0, 0, 0]), size=256).astype(np.float64)
    mirrored = (mesh * (-1, 1, 1))[face.pairs]
    lips = found["lips"].astype(int)
    told = [
        found["usual"] + found["opens"].reshape(12, -1) @ closing.seen(m[None], face, lips)[0] for m in (mesh, mirrored)
    ]
    np.testing.assert_allclose(*told, atol=1e-4)
    assert told[0][0] == pytest.approx(OPEN, rel=0.3)


def test_a_model_gets_another_lip_shape_and_keeps_the_rest() -> None:
    config = mouth_config()
    shape = LipShape(config.audio.embedding, 4, 1)
    before = Checkpoint(config, {"unet.a": torch.ones(2), "lip_shape.old": torch.zeros(2, 17)})
    after = with_lip_shape(before, shape).tensors
    assert torch.equal(after["unet.a"], torch.ones(2)) and "lip_shape.old" not in after
    assert {name for name in after if name.startswith("lip_shape.")} == {f"lip_shape.{n}" for n in shape.state_dict()}
    with pytest.raises(DiffusedHeadsError, match="whole frames"):
        with_lip_shape(Checkpoint(ModelConfig(), {}), shape)
