"""Landmark figures on hand-made tracks whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.evaluation.metrics import faces, pictures


def face(mouth: np.ndarray, eyes: np.ndarray, shift: np.ndarray | None = None, scale: float = 1.0) -> np.ndarray:
    """Landmarks (T, 68, 2): eyes 40 px apart and 10 px wide, ``eyes`` px high, inner lips ``mouth`` px apart."""
    count = len(mouth)
    marks = np.zeros((count, 68, 2))
    for start, x in ((36, 30.0), (42, 70.0)):
        half = np.asarray(eyes)[:, None] / 2
        for k, (dx, side) in enumerate(((-5, 0), (-2, -1), (2, -1), (5, 0), (2, 1), (-2, 1))):
            marks[:, start + k, 0] = x + dx
            marks[:, start + k, 1:] = 50 + side * half
    marks[:, 48:68, 0] = np.linspace(40, 60, 20)
    marks[:, 48:68, 1] = 90
    marks[:, 62], marks[:, 66] = (
        np.stack([np.full(count, 50), 90 - mouth / 2], -1),
        np.stack([np.full(count, 50), 90 + mouth / 2], -1),
    )
    marks[:, 30] = 50, 70
    return (marks + (0 if shift is None else shift[:, None])) * scale


def opening(
    blinks: list[tuple[int, int]], frames: int = 250, high: float = 6.0, low: float = 0.0, ramp: int = 2
) -> np.ndarray:
    """An eye ``high`` px open that falls to ``low`` in frames a .. b, linearly over ``ramp`` frames on either side."""
    track = np.full(frames, high)
    for a, b in blinks:
        track = np.minimum(
            track,
            np.interp(np.arange(frames), [a - ramp, a, b, b + ramp], [high, low, low, high], left=high, right=high),
        )
    return track


def test_openings_are_in_units_of_the_face() -> None:
    marks = face(np.array([0.0, 8.0]), np.array([4.0, 2.0]), scale=1.7)
    assert faces.mouth_opening(marks) == pytest.approx([0, 0.2])
    assert faces.eye_opening(marks) == pytest.approx([0.4, 0.2])
    assert faces.eye_distance(marks) == pytest.approx([68, 68])


def test_boxes_lie_around_their_parts() -> None:
    marks = face(np.array([8.0]), np.array([4.0]))
    assert faces.eye_boxes(marks, 0.1)[0] == pytest.approx(np.array([[21, 44, 39, 56], [61, 44, 79, 56]]))
    assert faces.mouth_boxes(marks, 0.1)[0] == pytest.approx(np.array([[36, 82, 64, 98]]))


@pytest.mark.parametrize("fps", [25.0, 30.0])
def test_blinks_of_a_hand_made_track(fps: float) -> None:
    track = opening([(50, 53), (120, 121), (200, 204)])
    found = faces.blinks(track, fps)
    assert [b.start * fps for b in found] == pytest.approx([49, 119, 199])  # half way down its two frames of closing
    assert [b.duration * fps for b in found] == pytest.approx([5, 3, 6])
    rate, duration = faces.blink_figures(track, fps)
    assert rate == pytest.approx(3 * fps / 250) and duration == pytest.approx(5 / fps)


def test_the_threshold_is_the_persons_own() -> None:
    events = [(60, 63), (150, 152)]
    for scale, floor in (
        (1.0, 0.0),
        (0.3, 0.0),
        (1.0, 2.5),
        (7.0, 0.0),
    ):  # small eyes, lids that never quite meet, other units
        assert len(faces.blinks(opening(events, low=floor) * scale, 25)) == 2
    assert not faces.blinks(opening(events, low=4.5), 25)  # a squint to 75%
    slow = opening(events) * np.linspace(1, 0.5, 250)  # smiling more and more
    assert len(faces.blinks(slow, 25)) == 2


def test_what_is_no_blink() -> None:
    assert not faces.blinks(opening([(60, 90)]), 25)  # 1.3 s: eyes closed
    assert not faces.blinks(opening([(0, 2), (248, 249)]), 25)  # cut by the clip's ends
    assert faces.blink_figures(np.full(100, 5.0), 25)[0] == 0 and np.isnan(
        faces.blink_figures(np.full(100, 5.0), 25)[1]
    )


def test_gaps_are_bridged_and_too_many_are_unknown() -> None:
    track = opening([(50, 53)])
    track[100:140] = np.nan
    assert len(faces.blinks(track, 25)) == 1
    track[60:] = np.nan
    assert np.isnan(faces.blink_figures(track, 25)).all()
    assert faces.bridged(np.array([1.0, np.nan, 3.0])) == pytest.approx([1, 2, 3])


def test_blink_frames_are_inside() -> None:
    assert np.flatnonzero(faces.blink_frames(opening([(50, 53)], 100), 25)).tolist() == [49, 50, 51, 52, 53, 54]


def test_lmd_is_the_mean_distance_after_the_means_are_matched() -> None:
    still, eyes = np.full(5, 4.0), np.full(5, 5.0)
    truth, wider = face(still, eyes), face(still + 6, eyes)
    assert faces.landmark_distance(truth, truth, 128) == 0
    assert faces.landmark_distance(wider, truth, 128) == pytest.approx(2 * 3 / 20)  # two of twenty points, 3 px each
    assert faces.landmark_distance(wider, truth, 256) == pytest.approx(3 / 20)  # told for 128 px
    moved = face(still, eyes, shift=np.random.default_rng(0).normal(0, 9, (5, 2)))
    assert faces.landmark_distance(moved, truth, 128) == pytest.approx(0, abs=1e-9)


def test_lmd_leaves_frames_without_a_face_out() -> None:
    truth, wider = face(np.full(5, 4.0), np.full(5, 5.0)), face(np.full(5, 10.0), np.full(5, 5.0))
    wider[1] = np.nan
    assert faces.landmark_distance(wider, truth, 128) == pytest.approx(0.3)
    wider[2:4] = np.nan
    assert np.isnan(faces.landmark_distance(wider, truth, 128))
    with pytest.raises(DiffusedHeadsError, match="one length"):
        faces.landmark_distance(wider[:3], truth, 128)
    with pytest.raises(DiffusedHeadsError, match=r"\(T, 68, 2\)"):
        faces.mouth_opening(np.zeros((4, 67, 2)))


@pytest.mark.parametrize("late", [-7, -1, 0, 3, 12])
def test_a_late_mouth_has_a_positive_lag(late: int) -> None:
    moments = np.arange(150) / 25
    truth, found = (
        np.sin(2 * np.pi * 1.3 * m) + 0.4 * np.sin(2 * np.pi * 3.1 * m) for m in (moments, moments - late / 25)
    )
    r, lag = faces.mouth_agreement(found, truth, 25)
    assert lag == late and r == pytest.approx(np.corrcoef(found, truth)[0, 1])
    assert faces.mouth_agreement(2 * found + 1, truth, 25) == pytest.approx((r, lag))


def test_a_still_mouth_agrees_with_nothing() -> None:
    truth = np.sin(np.arange(100))
    r, lag = faces.mouth_agreement(np.full(100, 0.2), truth, 25)
    assert r == 0 and np.isnan(lag)
    assert np.isnan(faces.mouth_agreement(np.full(100, np.nan), truth, 25)).all()
    gaps = truth.copy()
    gaps[10:40] = np.nan
    assert faces.mouth_agreement(gaps, truth, 25) == pytest.approx((1, 0))


def test_diversity_of_takes() -> None:
    black, grey = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 20, np.uint8)
    assert pictures.pixel_diversity(np.stack([black, black])) == 0
    assert pictures.pixel_diversity(np.stack([black, grey])) == pytest.approx(10)
    still, eyes = np.zeros(6), np.full(6, 5.0)
    left, right = (face(still, eyes, shift=np.full((6, 2), (x, 0.0))) for x in (-4, 4))
    assert faces.pose_diversity(np.stack([left, left])) == 0
    assert faces.pose_diversity(np.stack([left, right])) == pytest.approx(4 / 40)
    assert np.isnan(faces.pose_diversity(np.stack([left, right * np.nan])))


def test_diversity_of_blinks() -> None:
    a, b, none = opening([(50, 53)], 100), opening([(52, 55)], 100), opening([], 100)
    assert faces.blink_diversity(np.stack([a, a]), 25) == 0 and faces.blink_diversity(np.stack([none, none]), 25) == 0
    assert faces.blink_diversity(np.stack([a, none]), 25) == 1
    assert faces.blink_diversity(np.stack([a, b]), 25) == pytest.approx(1 - 4 / 8)  # frames 49..54 and 51..56
    assert np.isnan(faces.blink_diversity(np.stack([a, a * np.nan]), 25))
