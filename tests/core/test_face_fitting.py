"""Landmark passes against a network whose answers are known: it sees a face well only if its crop is nearly right."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.face.crops import Pyramid, Square
from diffused_heads.diffused_heads_core.face.detector import Candidate
from diffused_heads.diffused_heads_core.face.fitting import Fit, agrees, checked, converge, look_again
from diffused_heads.diffused_heads_core.face.mesh import POINTS, square_of_landmarks, stable_landmarks

PYRAMID = Pyramid(np.zeros((400, 400, 3), np.uint8))


def upright() -> np.ndarray:
    """Landmarks (468, 3) of a face whose crop is the square of side 1 around (0, 0)."""
    points = np.zeros((POINTS, 3))
    points[:, :2] = np.random.default_rng(0).uniform(-0.2, 0.2, (POINTS, 2))
    points[[33, 133], :2], points[[362, 263], :2] = (-0.15, -0.1), (0.15, -0.1)
    points[0, :2], points[2, :2] = (-1 / 3, -1 / 3), (1 / 3, 1 / 3)
    return points


class Network:
    """Stands for the landmark network: a face in ``truth``; each answer keeps a part of the crop's error."""

    def __init__(self, truth: Square, kept: float, noise: float = 0.0) -> None:
        self.truth, self.kept, self.noise, self.calls = truth, kept, noise, 0

    def find(self, pyramid: Pyramid, square: Square) -> tuple[np.ndarray, float]:
        self.calls += 1
        told = [t + self.kept * (g - t) for t, g in zip(_numbers(self.truth), _numbers(square))]
        landmarks = upright()
        landmarks[:, :2] = Square(*told).to_picture(upright()[:, :2] + 0.5)
        random = np.random.default_rng(self.calls)
        return landmarks + self.noise * self.truth.side * random.normal(size=landmarks.shape), 20.0


def _numbers(square: Square) -> tuple[float, float, float, float]:
    return square.x, square.y, square.side, square.angle


TRUTH = Square(200, 150, 90, 0.2)


@pytest.mark.parametrize("kept", [0.3, 0.6])
@pytest.mark.parametrize("degrees", [0, 20, -45])
def test_passes_go_on_until_the_crop_stands_still(kept: float, degrees: float) -> None:
    start = Square(210, 145, 110, 0.2 + math.radians(degrees))
    network = Network(TRUTH, kept)
    found = square_of_landmarks(converge(network, PYRAMID, start).landmarks)
    assert math.degrees(abs(found.angle - TRUTH.angle)) < 0.6 and found.side == pytest.approx(TRUTH.side, rel=0.01)
    assert math.hypot(found.x - TRUTH.x, found.y - TRUTH.y) < 0.01 * TRUTH.side


def test_few_passes_are_enough_for_a_good_start() -> None:
    network = Network(TRUTH, 0.3)
    assert converge(network, PYRAMID, TRUTH).spread == 0 and network.calls == 1


@pytest.mark.parametrize("kept", [1.3, -1.0])
def test_passes_that_do_not_settle_end_and_say_so(kept: float) -> None:
    network = Network(TRUTH, kept)
    assert math.isinf(converge(network, PYRAMID, Square(205, 150, 100, 0.5)).spread) and network.calls <= 15


def test_other_crops_tell_how_far_landmarks_can_be_trusted() -> None:
    steady, shaky = Network(TRUTH, 0.0), Network(TRUTH, 0.0, noise=0.05)
    good, bad = (checked(each, PYRAMID, converge(each, PYRAMID, TRUTH, 0.5)) for each in (steady, shaky))
    assert good.spread < 0.01 and 0.05 < bad.spread < 1
    unsettled = Fit(upright(), 20.0, TRUTH, math.inf)
    assert checked(steady, PYRAMID, unsettled) is unsettled


def test_landmarks_of_a_small_face_are_a_mean() -> None:
    network = Network(TRUTH, 0.0, noise=0.02)
    fit = converge(network, PYRAMID, TRUTH, 0.5)
    true = stable_landmarks(Network(TRUTH, 0.0).find(PYRAMID, TRUTH)[0])
    before, after = (
        np.linalg.norm(stable_landmarks(each.landmarks) - true, axis=1).mean()
        for each in (fit, checked(network, PYRAMID, fit))
    )
    assert after < 0.7 * before
    large = Fit(fit.landmarks, 20.0, Square(200, 150, 300, 0.2))
    assert (checked(network, PYRAMID, large).landmarks == fit.landmarks).all()


class FourLooks:
    """Stands for the detector: sees a face in the square that is turned by ``turn``, and another far away."""

    def __init__(self, turn: float) -> None:
        self.turn = turn

    def candidates(self, pyramid: Pyramid, squares: list[Square], threshold: float) -> tuple[list[Candidate], float]:
        assert len(squares) == 4 and all(each.side == pytest.approx(squares[0].side) for each in squares)
        scores = [0.9 if math.isclose(each.angle, self.turn) else 0.5 for each in squares]
        near = [Candidate(np.array([90.0, 90, 110, 110]), np.full((6, 2), score), score) for score in scores]
        return [*near, Candidate(np.array([300.0, 300, 320, 320]), np.zeros((6, 2)), 0.99)], 0.99


def test_a_candidate_is_looked_at_in_four_turns() -> None:
    seen = look_again(FourLooks(math.pi), PYRAMID, np.array([91.0, 90, 111, 110]))
    assert seen is not None and seen.score == 0.9 and seen.keypoints[0, 0] == 0.9
    assert look_again(FourLooks(0.0), PYRAMID, np.array([200.0, 20, 220, 40])) is None
    turned = look_again(FourLooks(0.3 + math.pi / 2), PYRAMID, np.array([91.0, 90, 111, 110]), 0.3)
    assert turned is not None and turned.score == 0.9


def test_landmarks_and_detector_have_to_agree() -> None:
    landmarks = upright() * 100  # eyes at (-15, -10) and (15, -10)
    fit = Fit(landmarks, 8.0, TRUTH)
    seen = Candidate(np.zeros(4), np.array([(-15.0, -4), (15, -10), (0, 0), (0, 0), (0, 0), (0, 0)]), 0.8)
    assert agrees(fit, seen) and not agrees(Fit(landmarks, 8.0, TRUTH, math.inf), seen)
    seen.keypoints[0] = (-15, -18)
    assert not agrees(fit, seen)
