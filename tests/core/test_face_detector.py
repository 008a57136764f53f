"""Anchors, decoding, merging and placing of the detector's candidates, against values worked out by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.face import detector as face_detector
from diffused_heads.diffused_heads_core.face.crops import Pyramid, Square
from diffused_heads.diffused_heads_core.face.detector import (
    ANCHORS,
    Candidate,
    Detector,
    decode,
    merge,
    overlap,
    sigmoid,
)


def test_anchors_lie_in_the_middles_of_two_grids() -> None:
    assert ANCHORS.shape == (16 * 16 * 2 + 8 * 8 * 6, 2)
    assert ANCHORS[0] == pytest.approx((1 / 32, 1 / 32)) and (ANCHORS[0] == ANCHORS[1]).all()
    assert ANCHORS[2] == pytest.approx((3 / 32, 1 / 32))  # x runs first
    assert ANCHORS[511] == pytest.approx((31 / 32, 31 / 32))
    assert ANCHORS[512] == pytest.approx((1 / 16, 1 / 16)) and (ANCHORS[512:518] == ANCHORS[512]).all()
    assert ANCHORS[-1] == pytest.approx((15 / 16, 15 / 16))


def test_decode_adds_the_anchor_to_offsets_in_pixels() -> None:
    regressors = np.zeros((1, 16))
    regressors[0, :4] = 64, -32, 128, 64  # centre +0.25, -0.125; size 0.5 x 0.25
    regressors[0, 4:6] = 25.6, 51.2
    points = decode(regressors, np.array([[0.5, 0.5]]))[0]
    assert points[0] == pytest.approx((0.5, 0.25)) and points[1] == pytest.approx((1.0, 0.5))
    assert points[2] == pytest.approx((0.6, 0.7)) and points[3] == pytest.approx((0.5, 0.5))


def test_sigmoid() -> None:
    assert sigmoid(np.array([-1000.0, 0.0, math.log(3), 1000.0])) == pytest.approx([0, 0.5, 0.75, 1])


def test_overlap_is_intersection_over_union() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [2, 2, 4, 4], [0.5, 0.5, 1.5, 1.5]], float)
    assert overlap(boxes[0], boxes) == pytest.approx([1, 1 / 3, 0, 1 / 4])


def candidate(x: float, score: float, side: float = 10.0) -> Candidate:
    return Candidate(np.array([x, 0, x + side, side]), np.full((6, 2), x), score)


def test_merge_takes_the_mean_by_score_and_the_best_score() -> None:
    merged = merge([candidate(2, 0.3), candidate(100, 0.5), candidate(0, 0.9)])
    assert [each.score for each in merged] == [0.9, 0.5]
    assert merged[0].box == pytest.approx([0.5, 0, 10.5, 10]) and merged[0].keypoints == pytest.approx(
        np.full((6, 2), 0.5)
    )
    assert merged[1].box == pytest.approx([100, 0, 110, 10])


def test_merge_keeps_neighbours_apart_and_takes_nothing() -> None:
    assert len(merge([candidate(0, 0.9), candidate(6, 0.8)])) == 2  # they share a quarter
    assert merge([]) == []


class Network:
    """Stands for the network: one face at an anchor, centred there, with the left eye 0.1 of the canvas to its left."""

    def __init__(self, anchor: int, logit: float) -> None:
        self.output = np.zeros((1, 896, 17), np.float32)
        self.output[..., -1] = -100
        self.output[0, anchor, 2:4] = 64
        self.output[0, anchor, 4] = -25.6
        self.output[0, anchor, -1] = logit

    def setInput(self, blob: np.ndarray) -> None:  # noqa: N802 (OpenCV's name)
        assert blob.shape == (1, 3, 256, 256) and np.abs(blob).max() <= 1
        self.seen = blob

    def forward(self) -> np.ndarray:
        return self.output


@pytest.fixture
def detector_of(monkeypatch: pytest.MonkeyPatch):
    def build(network: Network) -> Detector:
        monkeypatch.setattr(face_detector, "join_outputs", lambda model: model)
        monkeypatch.setattr(
            face_detector.cv2,
            "dnn",
            SimpleNamespace(readNetFromTFLite=lambda data: network, blobFromImage=face_detector.cv2.dnn.blobFromImage),
        )
        return Detector(b"model")

    return build


def test_a_candidate_is_placed_in_the_picture(detector_of) -> None:
    detector = detector_of(Network(0, math.log(4)))  # at 1/32, 1/32
    found, best = detector.candidates(Pyramid(np.zeros((100, 200, 3), np.uint8)), [Square(100, 50, 320)], 0.5)
    assert best == pytest.approx(0.8) and len(found) == 1 and found[0].score == pytest.approx(0.8)
    assert found[0].box == pytest.approx([-90, -140, -10, -60])  # the square begins at (-60, -110)
    assert found[0].keypoints[0] == pytest.approx([-82, -100])


def test_a_candidate_in_a_turned_square_turns_with_it(detector_of) -> None:
    detector = detector_of(Network(0, 2.0))
    found, _ = detector.candidates(Pyramid(np.zeros((100, 100, 3), np.uint8)), [Square(50, 50, 320, math.pi / 2)], 0.5)
    assert found[0].box == pytest.approx([160, -140, 240, -60])  # clockwise: the top left comes to the top right
    assert found[0].keypoints[0] == pytest.approx([200, -132])


def test_of_four_squares_the_right_one_counts(detector_of) -> None:
    detector = detector_of(Network(2 * (4 * 16 + 12), 2.0))  # at 25/32, 9/32: the second square, its middle + 1/16
    squares = [Square(x, 0, 160) for x in (0, 1000, 2000, 3000)]
    found, _ = detector.candidates(Pyramid(np.zeros((100, 100, 3), np.uint8)), squares, 0.5)
    assert found[0].box == pytest.approx([1010 - 40, 10 - 40, 1010 + 40, 10 + 40])
    assert found[0].keypoints[0] == pytest.approx([1010 - 32, 10])


def test_below_the_threshold_there_is_nothing_but_the_best_score(detector_of) -> None:
    detector = detector_of(Network(0, 0.0))
    found, best = detector.candidates(Pyramid(np.zeros((9, 9, 3), np.uint8)), [Square(4, 4, 9)], 0.6)
    assert found == [] and best == 0.5
