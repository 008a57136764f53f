"""Figures of lips and jaw, and of mouths as pictures, on tracks and pictures whose answers are known."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from diffused_heads.diffused_heads_core.evaluation.metrics import intervals, lips, mouths

RNG = np.random.default_rng


def face(frames: int = 1) -> np.ndarray:
    """Landmarks (T, 68, 2): eyes 64 px apart, an oval mouth 40 px wide, 20 px high, with lips of 5 px, around (64, 64).

    In a crop they stay where they are: the eyes are one crop's scale apart and the mouth is in its middle.
    """
    marks = np.zeros((68, 2))
    turn = np.linspace(math.pi, 0, 17)
    marks[:17] = np.stack([64 + 60 * np.cos(turn), 40 + 70 * np.sin(turn)], 1)
    for start, x in ((36, 32.0), (42, 96.0)):
        marks[start : start + 6] = [(x - 8, 0), (x - 3, -3), (x + 3, -3), (x + 8, 0), (x + 3, 3), (x - 3, 3)]
    marks[30:36] = [(64, 30), (54, 36), (59, 37), (64, 38), (69, 37), (74, 36)]
    for part, count, width, height in ((slice(48, 60), 12, 20, 10), (slice(60, 68), 8, 15, 5)):
        angle = math.pi + np.arange(count) * 2 * math.pi / count
        marks[part] = np.stack([64 + width * np.cos(angle), 64 + height * np.sin(angle)], 1)
    return np.repeat(marks[None], frames, 0)


def lower(crops: np.ndarray) -> mouths.LowerFaces:
    return mouths.LowerFaces(crops, face(len(crops)))


def test_width_and_jaw_are_in_eye_distances() -> None:
    marks = 1.5 * face()
    assert lips.mouth_width(marks) == pytest.approx([40 / 64])
    assert lips.jaw_drop(marks) == pytest.approx([(110 - 38) / 64])


def test_with_depth_a_nod_and_a_turn_change_no_length() -> None:
    points = np.concatenate([face(), np.zeros((1, 68, 1))], 2)
    points[:, 8, 2] = 30  # the chin lies farther back than the nose
    nod, turn = ((math.cos(a), math.sin(a)) for a in (0.3, 0.4))
    turned = points @ np.array([[1, 0, 0], [0, nod[0], nod[1]], [0, -nod[1], nod[0]]])
    turned = turned @ np.array([[turn[0], 0, turn[1]], [0, 1, 0], [-turn[1], 0, turn[0]]])
    for length in (lips.mouth_width, lips.jaw_drop):
        assert length(turned) == pytest.approx(length(points))
    assert lips.jaw_drop(turned[..., :2]) < 0.95 * lips.jaw_drop(points[..., :2])


@pytest.mark.parametrize("lag", [-3, -1, 0, 2])
def test_a_constant_lag_is_found_and_taken_out(lag: int) -> None:
    truth = RNG(1).normal(size=80)
    late = np.roll(truth, lag)
    assert lips.best_lag(late, truth) == lag
    moved = lips.without_lag(late, lag)
    known = np.isfinite(moved)
    assert known.sum() == 80 - abs(lag)
    assert np.array_equal(moved[known], truth[known])


def test_a_lag_beyond_the_reach_is_not_taken_out() -> None:
    truth = np.sin(np.arange(100) / 5)
    assert abs(lips.best_lag(np.roll(truth, 5), truth)) == 3
    assert lips.best_lag(np.full(10, np.nan), truth[:10]) == 0


def test_gain_is_the_ratio_of_deviations() -> None:
    truth = RNG(2).normal(size=50)
    found = 3 + 0.4 * truth
    found[4] = np.nan
    assert lips.gain(found, truth) == pytest.approx(0.4)
    assert math.isnan(lips.gain(found, np.ones(50)))


def test_closures_lie_between_openings() -> None:
    track = np.full(60, 0.4)
    track[:5] = track[50:] = 0.0  # rest
    track[12:15] = 0.02
    track[20:24] = 0.15  # narrower, but not closed
    track[30], track[31], track[32] = 0.0, 0.12, 0.0  # one closure that trembles
    assert lips.closures(track) == [(12, 15), (30, 33)]
    assert lips.closures(np.zeros(20)) == []


def test_share_of_closures_that_close() -> None:
    made = np.full(60, 0.4)
    made[16] = 0.0  # one frame after the first span
    assert lips.share_closed(made, [(12, 16), (30, 33)], 0.1) == 0.5
    assert math.isnan(lips.share_closed(made, [], 0.1))
    assert lips.spans_of([(0.48, 0.6), (1.01, 1.05)], 25) == [(12, 15), (25, 27)]


def test_crops_undo_position_size_and_tilt() -> None:
    angle, size, marks = 0.3, 0.7, face(3)
    turned = marks @ (size * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]))
    turned += [200, 150]
    turned[1] = np.nan
    frame = np.zeros((300, 400, 3), np.uint8)
    found = mouths.lower_faces([frame] * 3, turned)
    assert found.known() == [0, 2]
    assert found.points[[0, 2]] == pytest.approx(marks[:2], abs=1e-9)
    assert mouths.mouth_squares(turned, 1.0)[0].side == pytest.approx(64 * size)


def test_a_crop_shows_the_picture_at_its_place() -> None:
    picture = RNG(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    found = mouths.lower_faces([picture], face())
    assert np.abs(found.crops[0].astype(int) - picture).max() <= 1


def test_regions_have_the_areas_of_their_polygons() -> None:
    points = face()[0]
    outer, inner = (k / 2 * math.sin(2 * math.pi / k) * a * b for k, a, b in ((12, 20, 10), (8, 15, 5)))
    assert mouths.inside_mouth(points).sum() == pytest.approx(inner, rel=0.15)
    assert mouths.lip_ring(points).sum() == pytest.approx(outer - inner, rel=0.15)
    skin = mouths.skin_around(points)
    assert not (skin & mouths.polygon(points[mouths.OUTER_LIPS])).any()
    assert skin[85, 64] and not skin[20, 64]


def test_change_is_that_of_noise_and_not_of_motion() -> None:
    y, x = np.mgrid[:128, :128].astype(float)
    mask = np.ones((128, 128), bool)
    smooth = lambda dx, dy: 128 + 60 * np.sin((x + dx) / 15) * np.cos((y + dy) / 18)  # noqa: E731
    assert np.abs(smooth(0.4, -0.3) - smooth(0, 0)).mean() > 0.7
    assert mouths.unexplained_change(smooth(0, 0), smooth(0.4, -0.3), mask) < 0.02
    noise = RNG(3).normal(0, 3, (2, 128, 128))
    found = mouths.unexplained_change(smooth(0, 0) + noise[0], smooth(0.4, -0.3) + noise[1], mask)
    assert found == pytest.approx(2 * 3 / math.sqrt(math.pi), rel=0.05)
    assert math.isnan(mouths.unexplained_change(noise[0], noise[1], np.zeros_like(mask)))


def test_flicker_looks_at_the_skin_and_not_at_the_lips() -> None:
    crops = np.full((6, 128, 128, 3), 120, np.uint8)
    crops[::2, 58:71, 50:79] = 200  # the mouth changes
    assert mouths.flicker(lower(crops)) == 0
    crops[::2] += 4  # brightness pumps
    assert mouths.flicker(lower(crops)) == pytest.approx(4, abs=1e-4)


def test_fine_texture_that_moves_does_not_flicker() -> None:
    texture = cv2.GaussianBlur(RNG(4).normal(128, 60, (140, 140, 3)), (0, 0), 0.7).clip(0, 255)
    moved = [cv2.getRectSubPix(texture.astype(np.float32), (128, 128), (69.5 + d, 69.5)) for d in (0, 0.5, -0.3, 0.2)]
    crops = np.stack(moved).round().astype(np.uint8)
    raw = np.abs(np.diff(crops.astype(float), axis=0)).mean()
    assert mouths.flicker(lower(crops)) < 0.15 * raw


def test_sharpness_is_of_the_lips_box() -> None:
    sharp = RNG(1).integers(100, 140, (2, 128, 128, 3), dtype=np.uint8)
    half = (120 + (sharp.astype(int) - 120) // 2).astype(np.uint8)  # half the contrast, a quarter of the variance
    assert mouths.lip_sharpness(lower(half)) / mouths.lip_sharpness(lower(sharp)) == pytest.approx(0.25, rel=0.05)
    elsewhere = sharp.copy()
    elsewhere[:, 45:83, 35:93] = half[:, 45:83, 35:93]
    assert mouths.lip_sharpness(lower(elsewhere)) == mouths.lip_sharpness(lower(half))


def test_colours_are_cielab_of_the_regions() -> None:
    red, dark = np.array([53.24, 80.09, 67.20]), np.array([0, 0, 0])
    assert mouths.to_lab(np.array([[255, 0, 0], [255, 255, 255]], np.uint8)) == pytest.approx(
        np.array([red, [100, 0, 0]]), abs=0.1
    )
    crops = np.zeros((2, 128, 128, 3), np.uint8)
    crops[:, mouths.lip_ring(face()[0])] = 255, 0, 0
    assert mouths.lip_colour(lower(crops)) == pytest.approx(red, abs=0.1)
    assert mouths.mouth_colour(lower(crops), [1]) == pytest.approx(dark, abs=0.1)
    assert mouths.colour_difference(red, dark) == pytest.approx(np.sqrt(np.square(red).sum()))
    assert np.isnan(mouths.mouth_colour(lower(crops), [])).all()


def test_without_a_face_there_are_no_figures() -> None:
    nothing = mouths.lower_faces([np.zeros((64, 64, 3), np.uint8)] * 2, np.full((2, 68, 2), np.nan))
    assert nothing.known() == []
    assert math.isnan(mouths.lip_sharpness(nothing)) and math.isnan(mouths.flicker(nothing))
    assert np.isnan(mouths.lip_colour(nothing)).all()


def test_mean_is_over_people() -> None:
    assert intervals.mean_of_groups({"a": [1, 1, 1, 1], "b": [3, float("nan")], "c": [float("nan")]}) == 2
    assert math.isnan(intervals.mean_of_groups({}))


def test_interval_is_that_of_the_normal_distribution() -> None:
    values = RNG(5).normal(2, 1, 100)
    groups = {str(n): [v] for n, v in enumerate(values)}
    half = 1.96 * values.std() / 10
    assert intervals.bootstrap_interval(groups) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.04)


def test_more_clips_of_the_same_people_do_not_narrow_the_interval() -> None:
    values = RNG(6).normal(0, 1, 30)
    few = intervals.bootstrap_interval({str(n): [v] for n, v in enumerate(values)})
    many = intervals.bootstrap_interval({str(n): [v] * 9 for n, v in enumerate(values)})
    assert many == pytest.approx(few, abs=0.06)
    assert intervals.bootstrap_interval({"a": [1.0, 1.0], "b": [1.0]}) == (1, 1)
    assert np.isnan(intervals.bootstrap_interval({"a": [1.0]})).all()
