"""Tracking, head poses, annotations and segments, with known landmarks."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.face import eyes
from diffused_heads.diffused_heads_core.face.alignment import align
from diffused_heads.diffused_heads_core.face.finder import Face
from diffused_heads.diffused_heads_core.face.mesh import SIXTY_EIGHT
from diffused_heads.diffused_heads_core.pose import HeadGeometry, rotation_matrix
from diffused_heads.training.preparation import annotations, head_pose, segments
from diffused_heads.training.preparation.segments import find_segments, observations, place, trajectory
from diffused_heads.training.preparation.settings import Settings
from diffused_heads.training.preparation.tracks import MOST_FACES, Track, Tracker
from diffused_heads.training.synthesis.expression import EXPRESSION, RANGES, index

sys.path.insert(0, str(Path(__file__).parent))
from prepare_stage import GEOMETRY, PaintFinder, Person, Shot, landmarks, paint

SETTINGS = Settings(size=64)
HEIGHT, WIDTH, SIDE = 480, 640, 300.0
GREY = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)


def face_of(points: np.ndarray) -> Face:
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    return Face((*map(float, low), *map(float, high)), 0.9, points[:6, :2], points, 1.0)


def track_of(
    poses: np.ndarray, openings: np.ndarray | None = None, centre: tuple[float, float] = (320, 240), side: float = SIDE
) -> Track:
    """A track of heads with known poses (T, 5), the frame around ``centre``."""
    track = Track(0, 0)
    for n, pose in enumerate(poses):
        track.add(GREY, face_of(landmarks(pose, 0.1 if openings is None else openings[n], centre, side)), 1.0)
    return track


def wander(count: int, reach: tuple[float, ...] = (0.2, 0.12, 0.1, 0.03, 0.02), seed: int = 0) -> np.ndarray:
    """Smooth poses (T, 5) with median 0."""
    rng, time = np.random.default_rng(seed), np.arange(count) / 25
    poses = np.stack([r * np.sin(2 * np.pi * rng.uniform(0.2, 0.5) * time + rng.uniform(0, 6)) for r in reach], 1)
    return poses - np.median(poses, 0)


def test_angles_undo_rotations() -> None:
    truth = np.random.default_rng(0).uniform(-0.8, 0.8, (50, 3))
    np.testing.assert_allclose(head_pose.angles(rotation_matrix(*truth.T)), truth, atol=1e-12)


def test_poses_are_recovered() -> None:
    truth = wander(150)
    track = track_of(truth)
    path = trajectory(track, SETTINGS)
    found = head_pose.head_poses(np.stack(track.rigid), place(path, slice(None)))
    assert (
        np.abs(found.pose[:, :3] - truth[:, :3]).max() < 0.02 and np.abs(found.pose[:, 3:] - truth[:, 3:]).max() < 0.012
    )
    assert found.error.max() < 0.004 and abs(found.yaw) < 0.02


@pytest.mark.parametrize(("axis", "sign"), [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)])
def test_poses_have_the_signs_of_the_house(axis: int, sign: int) -> None:
    truth = np.zeros((30, 5))
    truth[15:20, axis] = 0.1
    track = track_of(truth)
    found = head_pose.head_poses(np.stack(track.rigid), place(trajectory(track, SETTINGS), slice(None))).pose
    assert (
        found[17, axis] == pytest.approx(0.1, abs=0.015)
        and np.abs(np.delete(found[17], axis)).max() < 0.03
        and np.abs(found[:10]).max() < 1e-3
    )


def test_a_head_that_looks_aside_all_the_time_has_pose_zero_and_says_so() -> None:
    truth = wander(60) + (0.35, 0, 0, 0, 0)
    track = track_of(truth)
    path = trajectory(track, SETTINGS)
    found = head_pose.head_poses(np.stack(track.rigid), place(path, slice(None)))
    assert abs(np.median(found.pose[:, 0])) < 0.02 and found.yaw == pytest.approx(0.35, abs=0.05)
    assert np.median(path.turn[:, 0]) == pytest.approx(0.35, abs=0.05)


def test_the_frame_of_a_still_head_is_that_of_generation_and_does_not_tremble() -> None:
    track = track_of(np.zeros((40, 5)))
    single = align(track.stable[0], HeadGeometry())
    np.testing.assert_allclose(place(trajectory(track, SETTINGS), slice(None)).corners, single.corners, atol=1e-6)
    noise = np.random.default_rng(0)
    track.stable = [points + noise.normal(0, 1.5, (3, 2)) for points in track.stable]
    one, other = (place(trajectory(track, SETTINGS), slice(a, b)) for a, b in ((0, 20), (20, 40)))
    assert np.abs(one.corners - other.corners).max() < 4 and np.abs(one.corners - single.corners).max() < 4


def test_smoothing_has_no_delay() -> None:
    ramp = np.arange(40.0)
    np.testing.assert_allclose(annotations.smoothed(ramp, 25)[5:-5], ramp[5:-5], atol=1e-9)
    pulse = np.zeros((41, 2))
    pulse[20] = 1
    soft = annotations.smoothed(pulse, 25)
    np.testing.assert_allclose(soft, soft[::-1], atol=1e-12)
    assert (
        0.3 < soft[20, 0] < 0.6
        and soft[:, 0].sum() == pytest.approx(1)
        and len(annotations.smoothed(pulse[:1], 25)) == 1
    )


def test_annotations_have_the_avatars_names_shapes_and_ranges() -> None:
    truth, openings = wander(80), 0.17 * (1 + np.sin(np.arange(80) / 3))
    track = track_of(truth, openings)
    path = trajectory(track, SETTINGS)
    segment = segments.Segment(track, 0, 80, place(path, slice(None)))
    notes, _ = annotations.annotate(observations(segment, path), segment.placement, 64, 25)
    expected = {
        "pose": (5,),
        "expression": (12,),
        "landmarks": (68, 2),
        "lip_box": (4,),
        "mouth_open": (),
        "mouth_width": (),
        "mesh": (468, 3),
    }
    assert {n: a.shape for n, a in notes.items()} == {n: (80, *s) for n, s in expected.items()}
    assert set(annotations.UNITS) == set(expected) and notes["mesh"].dtype == np.float16
    assert all(a.dtype == np.float32 for n, a in notes.items() if n != "mesh")
    np.testing.assert_allclose(notes["mesh"][:, SIXTY_EIGHT, :2], notes["landmarks"], atol=0.05)
    low, high = np.array([RANGES[name] for name in EXPRESSION], np.float32).T
    assert (notes["expression"] >= low).all() and (notes["expression"] <= high).all()
    np.testing.assert_allclose(notes["mouth_open"], openings, atol=0.03)
    assert np.corrcoef(notes["expression"][:, index("open")], openings)[0, 1] > 0.99
    lips = notes["landmarks"][:, 48:]
    assert (lips.min(1) >= notes["lip_box"][:, :2]).all() and (lips.max(1) <= notes["lip_box"][:, 2:]).all()
    assert np.abs(np.median(notes["landmarks"][:, 36:48].mean(1), 0) / 64 - (0.5, 0.45)).max() < 0.02
    silent = [n for n in EXPRESSION if n not in annotations.MEASURED]
    assert not notes["expression"][:, [index(n) for n in silent]].any()


def test_brows_are_told_from_nods() -> None:
    truth = np.zeros((60, 5))
    truth[:, 1] = 0.15 * np.sin(np.arange(60) / 4)
    raised = np.clip(np.sin(np.arange(60) / 7), 0, 1)
    above = np.zeros((60, 2, 3))
    above[..., 1], above[..., 2] = -0.38 - 0.1 * raised[:, None], 0.12
    turned = np.einsum("tij,tsj->tsi", rotation_matrix(*truth[:, :3].T), above)
    found = annotations.brows(turned, truth, 25)[:, 0]
    assert np.abs(found - (raised - np.median(raised)))[3:-3].max() < 0.06


def eye(opening: float, skin: tuple[int, int, int]) -> np.ndarray:
    """A painted eye, corners at (60, 60) and (140, 60), lids ``opening`` of the corners' distance apart."""
    import cv2

    picture = np.full((120, 200, 3), skin, np.uint8)
    cv2.ellipse(picture, (100, 58), (40, max(1, int(40 * opening))), 0, 0, 360, (235, 235, 230), -1)
    iris = np.zeros_like(picture)
    cv2.circle(iris, (100, 58), 15, (1, 1, 1), -1)
    lid = cv2.ellipse(np.zeros_like(picture), (100, 58), (40, max(1, int(40 * opening))), 0, 0, 360, (1, 1, 1), -1)
    picture[(iris * lid) > 0] = 30
    return picture


@pytest.mark.parametrize("skin", [(228, 190, 165), (150, 105, 80), (75, 50, 40)])
def test_a_shut_eye_shows_skin(skin: tuple[int, int, int]) -> None:
    corners = np.array([(60.0, 60.0), (140.0, 60.0)])
    shares = [eyes.skin_share(eyes.eye_patch(eye(opening, skin), corners)) for opening in (0.4, 0.2, 0.02)]
    assert shares[0] < shares[1] < shares[2] and shares[0] < 0.35 < 0.7 < shares[2]


def test_closure_is_relative_to_the_persons_own_eyes() -> None:
    blink = np.zeros(200)
    blink[[50, 51, 52, 120, 121]] = 0.5, 1, 0.4, 1, 0.6
    shares = np.stack([0.2 + 0.5 * blink, 0.35 + 0.4 * blink], 1) + np.random.default_rng(0).normal(0, 0.01, (200, 2))
    found = eyes.closure(shares)
    assert found[[51, 120]].min() > 0.85 and found[blink == 0].max() < 0.05 and 0.2 < found[50] < 0.85
    assert eyes.closure(np.full((50, 2), 0.4)).max() == 0


def follow(shots: list[Shot], fps: float = 25, search: tuple[int, ...] = ()) -> Tracker:
    tracker, number = Tracker(PaintFinder(), SETTINGS), 0
    for shot in shots:
        for n in range(round(shot.seconds * fps)):
            tracker.step(number, paint(shot, n / fps, 160, 320), 2.0, number in search)
            number += 1
    return tracker


def test_people_are_followed_apart_and_in_the_videos_pixels() -> None:
    left, right = Person(x=lambda t: 0.25 + 0.02 * t), Person(x=0.75, side=0.6)
    tracker = follow([Shot(1.0, (left, right))])
    assert [len(t) for t in tracker.tracks] == [25, 25] and tracker.most_faces == 2
    first = min(tracker.tracks, key=lambda t: t.stable[0][0, 0])
    np.testing.assert_allclose(first.stable[0][:2].mean(0) / 2, [0.25 * 320, 80 - 0.02 * 128], atol=2)


def test_newcomers_are_found_and_leavers_end() -> None:
    one, other = Person(x=0.25, side=0.6), Person(x=0.75, side=0.6)
    tracker = follow([Shot(1.4, (one,)), Shot(2.0, (one, other)), Shot(1.0, (other,))])
    spans = sorted((t.first, t.stop) for t in tracker.tracks)
    assert spans[0] == (0, 85) and 35 <= spans[1][0] <= 60 and spans[1][1] == 110


def test_a_gap_in_the_pictures_ends_a_track_and_a_repeat_does_not() -> None:
    tracker, picture = Tracker(PaintFinder(), SETTINGS), paint(Shot(1.0), 0, 160, 200)
    for number in (0, 1, 2):
        tracker.step(number, picture, 1.0)
    tracker.again(3)
    tracker.step(9, picture, 1.0)
    assert [(t.first, t.stop) for t in tracker.tracks] == [(0, 4), (9, 10)] and tracker.tracks[0].fresh == [
        True,
        True,
        True,
        False,
    ]


def test_a_crowd_is_not_followed_as_a_whole() -> None:
    crowd = tuple(Person(x=0.1 + 0.16 * n, side=0.45) for n in range(6))
    tracker = follow([Shot(0.4, crowd)])
    assert len(tracker.tracks) == MOST_FACES and tracker.most_faces == 6


def stretches(
    track: Track, cuts: tuple[int, ...] = (), **changes: float
) -> tuple[list[tuple[int, int]], list[tuple[int, int, str]]]:
    settings = replace(SETTINGS, **changes)
    found, lost = find_segments(
        track, trajectory(track, settings), np.array(cuts, int), np.array([], int), HEIGHT, WIDTH, settings
    )
    return [(s.first, s.stop) for s in found], [(d.first, d.stop, d.reason) for d in lost]


def test_long_stretches_are_cut_into_equal_clips() -> None:
    found, lost = stretches(track_of(wander(160, (0.05,) * 3 + (0.01,) * 2)), seconds=3.0)
    assert found == [(0, 53), (53, 107), (107, 160)] and lost == []


def test_shots_are_never_joined() -> None:
    found, lost = stretches(track_of(np.zeros((100, 5))), cuts=(30, 45))
    assert found == [(0, 30), (45, 100)] and lost == [(30, 45, "short")]


def test_profiles_small_and_cut_off_faces_are_dropped_with_their_reason() -> None:
    aside = np.zeros((90, 5))
    aside[30:50, 0] = 0.9
    assert stretches(track_of(aside)) == ([(0, 30), (50, 90)], [(30, 50, "profile")])
    assert stretches(track_of(np.zeros((40, 5)), side=35.0)) == ([], [(0, 40, "small")])
    assert stretches(track_of(np.zeros((40, 5)), centre=(40, 240)))[1] == [(0, 40, "edge")]


def test_a_head_that_moves_on_gets_another_frame_and_a_restless_one_none() -> None:
    moved = np.zeros((100, 5))
    moved[50:, 3] = 0.3
    found, _ = stretches(track_of(moved))
    assert found == [(0, 50), (50, 100)]
    restless = np.zeros((60, 5))
    restless[:, 3] = 0.2 * np.sin(np.arange(60) / 3)
    assert stretches(track_of(restless)) == ([], [(0, 60, "moving")])


def test_too_few_different_pictures_are_dropped() -> None:
    track = track_of(np.zeros((60, 5)))
    track.fresh = [n % 3 == 0 for n in range(60)]
    assert stretches(track)[1] == [(0, 60, "repeated")]


def test_most_of_the_frame_must_lie_in_the_picture() -> None:
    assert segments.outside(align(np.array([(0.375, 0.45), (0.625, 0.45), GEOMETRY.nose]) * 100), 100, 100) == 0
    assert segments.outside(
        align(np.array([(0.375, 0.45), (0.625, 0.45), GEOMETRY.nose]) * 100 - (50, 0)), 100, 100
    ) == pytest.approx(0.5, abs=0.04)
