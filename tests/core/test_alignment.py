"""Alignment against known similarities, and cutting out against pictures whose every value is known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from diffused_heads.diffused_heads_core.checkpoints import from_json
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.alignment import (
    Placement,
    align,
    crop,
    head_mask,
    hold_inside,
    square_placement,
    whole_placement,
)
from diffused_heads.diffused_heads_core.media.pictures import load_picture, square_crop_resize
from diffused_heads.diffused_heads_core.pose import HeadGeometry

GEOMETRY = HeadGeometry()
STABLE = np.array([GEOMETRY.left_eye, GEOMETRY.right_eye, GEOMETRY.nose])
ROOT = Path(__file__).resolve().parents[2]
NETWORKS = ROOT.parent / "shared" / "face_models"
REAL = ROOT.parent / "shared" / "real_inputs" / "images"

angles = st.floats(-3.1, 3.1)
sides = st.floats(20, 3000)
places = st.floats(-500, 4000)


def turned(side: float, angle: float, x: float, y: float) -> Placement:
    """A frame of that side, turned clockwise, whose middle is at (x, y)."""
    turn = side * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    inverse = np.column_stack([turn, np.array([x, y]) - turn @ (0.5, 0.5)])
    back = np.linalg.inv(turn)
    return Placement(np.column_stack([back, -back @ inverse[:, 2]]))


def gradient(height: int, width: int) -> np.ndarray:
    """A picture whose channels are 40 + x / 4, 40 + y / 4 and 100 at the pixel centre (x, y)."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.rint(np.stack([40 + x / 4, 40 + y / 4, np.full_like(x, 100)], -1)).astype(np.uint8)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(height + width).integers(0, 256, (height, width, channels), dtype=np.uint8)


@given(sides, angles, places, places)
def test_a_placement_knows_its_inverse_side_and_angle(side: float, angle: float, x: float, y: float) -> None:
    placement = turned(side, angle, x, y)
    points = np.random.default_rng(0).uniform(-1, 2, (5, 2))
    assert placement.to_frame(placement.to_picture(points)) == pytest.approx(points, abs=1e-9)
    assert placement.side == pytest.approx(side) and placement.angle == pytest.approx(angle, abs=1e-6)
    assert placement.to_picture((0.5, 0.5)) == pytest.approx((x, y), abs=1e-6)
    assert np.vstack([placement.matrix, (0, 0, 1)]) @ np.vstack([placement.inverse, (0, 0, 1)]) == pytest.approx(
        np.eye(3), abs=1e-9
    )


@given(sides, angles, places, places)
def test_points_that_fit_are_met_exactly(side: float, angle: float, x: float, y: float) -> None:
    placement = turned(side, angle, x, y)
    found = align(placement.to_picture(STABLE), GEOMETRY)
    assert found.corners == pytest.approx(placement.corners, abs=1e-6 * side)


@given(st.integers(0, 2**31))
def test_points_that_do_not_fit_are_met_in_least_squares(seed: int) -> None:
    points = turned(300, 0.2, 400, 300).to_picture(STABLE) + np.random.default_rng(seed).normal(0, 15, (3, 2))
    rows = np.concatenate([[(x, -y, 1, 0), (y, x, 0, 1)] for x, y in points])  # w = a z + b over (a.real, a.imag, b)
    a, c, e, f = np.linalg.lstsq(rows, STABLE.ravel(), rcond=None)[0]
    assert align(points, GEOMETRY).matrix == pytest.approx(np.array([[a, -c, e], [c, a, f]]), abs=1e-9)


@given(st.floats(-0.3, 2), st.floats(-1, 1))
def test_margin_makes_the_frame_larger_around_the_head(margin: float, angle: float) -> None:
    points = turned(300, angle, 400, 300).to_picture(STABLE)
    plain, wide = align(points), align(points, margin=margin)
    assert wide.side == pytest.approx((1 + margin) * plain.side) and wide.angle == pytest.approx(plain.angle, abs=1e-9)
    assert wide.to_frame(plain.to_picture(GEOMETRY.centre)) == pytest.approx(GEOMETRY.centre)


@given(st.floats(-1, 1), st.floats(0, 1))
def test_without_level_the_frame_keeps_upright_around_the_same_head(angle: float, margin: float) -> None:
    points = turned(300, angle, 400, 300).to_picture(STABLE)
    level, upright = align(points, margin=margin), align(points, margin=margin, level=False)
    assert upright.angle == pytest.approx(0, abs=1e-9) and upright.side == pytest.approx(level.side)
    assert upright.to_picture(GEOMETRY.centre) == pytest.approx(level.to_picture(GEOMETRY.centre))


@pytest.mark.parametrize(
    "points", [np.zeros((3, 2)), np.full((3, 2), np.nan), np.zeros((2, 2)), np.array([(0, 0), (np.inf, 0), (1, 1)])]
)
def test_points_that_are_no_face(points: np.ndarray) -> None:
    with pytest.raises(DiffusedHeadsError, match="face points"):
        align(points)


@pytest.mark.parametrize("margin", [-0.6, 5, float("nan")])
def test_margins_out_of_range(margin: float) -> None:
    with pytest.raises(DiffusedHeadsError, match="margin"):
        align(STABLE, margin=margin)


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(3),
        np.full((2, 3), np.nan),
        [[1, 0, 0], [0, 2, 0]],
        [[1, 0, 0], [0, -1, 0]],
        [[1, 0.5, 0], [0, 1, 0]],
        np.zeros((2, 3)),
    ],
)
def test_matrices_that_are_no_placement(matrix: np.ndarray) -> None:
    with pytest.raises(DiffusedHeadsError, match="placement"):
        Placement(matrix)


@pytest.mark.parametrize("side", [0, -3, float("nan"), float("inf")])
def test_squares_without_a_side(side: float) -> None:
    with pytest.raises(DiffusedHeadsError, match="square"):
        square_placement(0, 0, side)


def test_an_older_geometry_without_a_nose_still_loads() -> None:
    old = {name: value for name, value in vars(GEOMETRY).items() if name != "nose"}
    assert from_json(HeadGeometry, json.dumps(old)) == GEOMETRY


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 70), st.sampled_from([3, 4]))
def test_the_whole_is_the_square_that_pictures_take(height: int, width: int, size: int, channels: int) -> None:
    picture = noise(height, width, channels)
    picture[..., 3:] = 255
    found = crop(picture, whole_placement(height, width), size).astype(int)
    assert (
        np.abs(found - square_crop_resize(picture, size)).max() <= channels - 3
    )  # OpenCV rounds four channels otherwise


@settings(max_examples=40, deadline=None)
@given(st.integers(-30, 60), st.integers(-30, 60), st.integers(8, 80))
def test_whole_pixels_are_copied(left: int, top: int, side: int) -> None:
    picture = noise(70, 90)
    placement = square_placement(left, top, side)
    if left + side <= 0 or top + side <= 0 or left >= 90 or top >= 70:
        return
    x0, y0, x1, y1 = placement.box(70, 90)
    assert np.array_equal(
        crop(picture, placement, side)[y0 - top : y1 - top, x0 - left : x1 - left], picture[y0:y1, x0:x1]
    )


@settings(max_examples=40, deadline=None)
@given(st.floats(40, 220), angles, st.sampled_from([16, 64, 128, 300]))
def test_a_gradient_comes_out_as_the_same_gradient(side: float, angle: float, size: int) -> None:
    placement = turned(side, angle, 250, 240)
    found = crop(gradient(480, 500), placement, size).astype(float)
    at = placement.to_picture((np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1) + 0.5) / size)
    assert np.abs(found[..., 0] - 40 - at[..., 0] / 4).max() < 1.2
    assert np.abs(found[..., 1] - 40 - at[..., 1] / 4).max() < 1.2


@pytest.mark.parametrize(("side", "angle"), [(600, 0.0), (600.4, 0.0), (600, 0.5), (1900, 0.3)])
def test_fine_patterns_shrink_to_their_average(side: float, angle: float) -> None:
    board = np.repeat((np.indices((2000, 2000)).sum(0) % 2 * 200)[..., None], 3, 2).astype(np.uint8)
    found = crop(board, turned(side, angle, 1000, 1000), 64)
    assert np.abs(found.astype(float) - 100).max() < 12


def test_a_picture_far_larger_than_the_frame() -> None:
    side = 9000
    ramp = np.repeat(np.linspace(20, 220, side).astype(np.uint8)[None, :, None], 400, 0).repeat(3, 2)
    found = crop(ramp, square_placement(0.5, -4000.25, side - 1), 48)
    assert np.abs(found[22, :, 0] - (20 + 200 * (np.arange(48) + 0.5) / 48)).max() < 4


@settings(max_examples=30, deadline=None)
@given(st.floats(30, 400), angles, st.floats(0, 100), st.floats(0, 100), st.sampled_from([3, 4]))
def test_one_colour_stays_that_colour_beyond_the_picture(
    side: float, angle: float, x: float, y: float, channels: int
) -> None:
    picture = np.full((100, 100, channels), (90, 160, 30, 255)[:channels], np.uint8)
    assert np.ptp(crop(picture, turned(side, angle, x, y), 64), axis=(0, 1)).max() <= 1


@pytest.mark.parametrize("turns", range(4))
def test_beyond_the_picture_its_colours_grow_blurry(turns: int) -> None:
    stripes = np.repeat(np.tile([40, 40, 200, 200], 25)[:, None], 100, 1)
    picture = np.ascontiguousarray(np.rot90(np.repeat(stripes[..., None], 3, 2), turns)).astype(np.uint8)
    shift = np.array([(60, 0), (0, -60), (-60, 0), (0, 60)][turns])
    frame = np.rot90(crop(picture, square_placement(*shift, 100), 100), -turns)[..., 0].astype(float)
    assert np.array_equal(frame[:, :40], np.rot90(picture, -turns)[:, 60:, 0])
    near, far = frame[20:80, 43].std(), frame[20:80, 90].std()
    assert frame.min() + 1 > 40 and frame.max() < 201 and near < 60 and far < 6


def test_transparent_pixels_count_for_nothing_and_come_out_white() -> None:
    picture = np.zeros((80, 80, 4), np.uint8)
    picture[:, :40] = (10, 200, 30, 255)
    picture[:, 40:, :3] = (250, 0, 250)
    found = crop(picture, turned(60, 0.3, 40, 40), 90)
    solid, clear = found[..., 3] > 200, found[..., 3] == 0
    assert solid.any() and clear.any()
    assert np.abs(found[solid][:, :3].astype(int) - (10, 200, 30)).max() <= 3
    assert (found[clear][:, :3] == 255).all()


def test_opaque_alpha_changes_no_colour() -> None:
    picture = noise(80, 90, 4)
    picture[..., 3] = 255
    picture = cv2.GaussianBlur(picture, (0, 0), 2)
    placement = turned(70, 0.4, 40, 45)
    found = crop(picture, placement, 50)
    assert (found[..., 3] == 255).all()
    assert np.abs(found[..., :3].astype(int) - crop(np.ascontiguousarray(picture[..., :3]), placement, 50)).max() <= 1


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 3), np.float32),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 5, 2), np.uint8),
    ],
)
def test_pictures_that_cannot_be_cut(picture: np.ndarray) -> None:
    with pytest.raises(DiffusedHeadsError, match="picture: expected uint8"):
        crop(picture, whole_placement(5, 5), 4)


def test_frames_outside_the_picture_and_sizes_below_one() -> None:
    with pytest.raises(DiffusedHeadsError, match="outside the picture of 50x40"):
        crop(noise(40, 50), square_placement(60, 0, 20), 16)
    with pytest.raises(DiffusedHeadsError, match="size=0"):
        crop(noise(40, 50), whole_placement(40, 50), 0)


@settings(max_examples=15, deadline=None)
@given(st.floats(40, 300), angles)
def test_the_mask_holds_the_head_and_ends_softly_within_the_frame(side: float, angle: float) -> None:
    placement = turned(side, angle, 300, 320)
    mask = head_mask(placement, 640, 600)
    assert mask.shape == (640, 600) and mask.dtype == np.float32 and mask.min() == 0 and mask.max() <= 1
    for place in (
        GEOMETRY.left_eye,
        GEOMETRY.right_eye,
        GEOMETRY.mouth,
        (0.5, 0.85),
        (0.5, 0.09),
        (0.19, 0.5),
        (0.81, 0.5),
    ):
        x, y = placement.to_picture(place).astype(int)
        assert mask[y, x] > 0.99
    y, x = np.mgrid[:640, :600] + 0.5
    inside = placement.to_frame(np.stack([x, y], -1))
    assert (mask[((inside < 0) | (inside > 1)).any(-1)] == 0).all()
    assert max(np.abs(np.diff(mask, axis=0)).max(), np.abs(np.diff(mask, axis=1)).max()) < 40 / side


def test_the_mask_does_not_fade_where_the_picture_ends() -> None:
    whole, larger = head_mask(whole_placement(200, 200), 200, 200), head_mask(square_placement(100, 100, 200), 400, 400)
    assert whole[0, 100] > 0.8 and larger[100, 200] < 0.01
    assert np.array_equal(whole[90:110, 30:170], larger[190:210, 130:270])


def test_masks_are_held_inside_the_frame() -> None:
    held = hold_inside(np.ones((100, 100), np.float32), square_placement(20, 30, 40))
    assert held[50, 40] == 1 and held[:30].max() == held[70:].max() == held[:, :20].max() == held[:, 60:].max() == 0
    assert hold_inside(np.ones((100, 100), np.float32), square_placement(200, 30, 40)).max() == 0
    assert head_mask(square_placement(200, 30, 40), 100, 100).max() == 0


@pytest.fixture(scope="module")
def finder() -> object:
    if not NETWORKS.exists():
        pytest.skip(f"{NETWORKS} is missing: the face networks")
    from diffused_heads.diffused_heads_core.face.finder import FaceFinder
    from diffused_heads.diffused_heads_core.face.networks import load_face_models

    return FaceFinder(load_face_models(NETWORKS))


def test_bundled_portraits_are_where_the_model_expects_them(finder: object) -> None:
    from diffused_heads.diffused_heads_core.face.finder import stable_points

    for path in sorted((ROOT / "diffused_heads_core" / "assets").glob("portrait-*.png")):
        picture = load_picture(path)
        placement = align(stable_points(finder.find(picture)[0]))
        assert placement.side == pytest.approx(len(picture), rel=0.04), path.name
        assert placement.to_picture((0.5, 0.5)) == pytest.approx((len(picture) / 2,) * 2, abs=0.02 * len(picture)), (
            path.name
        )


@pytest.mark.parametrize(("name", "side"), [("i230_people_0.png", 309), ("i203_art_0.png", 672)])
def test_three_points_of_frontal_faces_agree_on_one_similarity(finder: object, name: str, side: float) -> None:
    if not (REAL / name).exists():
        pytest.skip(f"{REAL / name} is missing")
    from diffused_heads.diffused_heads_core.face.finder import stable_points

    points = stable_points(finder.find(load_picture(REAL / name))[0])
    placement = align(points)
    assert np.abs(placement.to_frame(points) - STABLE).max() < 0.025
    assert placement.side == pytest.approx(side, rel=0.06)
