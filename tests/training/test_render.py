"""The renderer of avatars: its truth against its pixels, determinism, and every style."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from diffused_heads.diffused_heads_core import pose as head_pose
from diffused_heads.training.synthesis.avatars import avatar as appearance
from diffused_heads.training.synthesis.avatars.draw import Painter
from diffused_heads.training.synthesis.avatars.hair import STYLES
from diffused_heads.training.synthesis.avatars.render import render
from diffused_heads.training.synthesis.expression import EXPRESSION, RANGES, index

STILL = np.zeros(5)


def expression(**channels: float) -> np.ndarray:
    values = np.zeros(len(EXPRESSION))
    for name, value in channels.items():
        values[index(name)] = value
    return values


@pytest.fixture(scope="module")
def people() -> list[appearance.Avatar]:
    rng = np.random.default_rng(11)
    return [appearance.sample_avatar(rng) for _ in range(8)]


def changed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Columns and rows (n, 2), in pixels, where two pictures differ visibly."""
    return np.argwhere(np.abs(first.astype(int) - second).max(-1) > 6)[:, ::-1] + 0.5


def test_the_same_request_gives_the_same_bytes(people):
    pose = np.array([0.2, -0.1, 0.05, 0.01, 0.0])
    for person in people[:3]:
        first, second = (render(person, expression(open=0.4, smile=0.3), pose, 128) for _ in range(2))
        assert first[0].tobytes() == second[0].tobytes() and (first[1].landmarks == second[1].landmarks).all()


def test_painter_projects_as_the_pose_module_does():
    pose, points = np.array([0.3, -0.2, 0.15, 0.02, -0.01]), np.random.default_rng(0).normal(0, 0.2, (20, 3))
    placed = Painter(np.zeros((8, 8, 3), np.uint8), pose).place(points)
    np.testing.assert_allclose(placed, head_pose.project(points, pose), atol=1e-12)


def test_neutral_features_lie_where_the_geometry_says(people):
    geometry = head_pose.HeadGeometry()
    for person in people:
        marks = render(person, expression(), STILL, 128)[1].landmarks / 128
        np.testing.assert_allclose(marks[36:42].mean(0), geometry.left_eye, atol=0.016)
        np.testing.assert_allclose(marks[42:48].mean(0), geometry.right_eye, atol=0.016)
        np.testing.assert_allclose(marks[48:60].mean(0), geometry.mouth, atol=0.016)
        assert abs(marks[8, 1] - 0.83) < 0.02


@pytest.mark.parametrize("other", [{}, {"teeth": 1.0}, {"tongue": 1.0}, {"wide": -1.0}, {"smile": 1.0}, {"press": 0.5}])
def test_mouth_opening_rises_with_open(people, other):
    gaps = [render(people[0], expression(open=o, **other), STILL, 64)[1].mouth_open for o in np.linspace(0, 1, 11)]
    assert (np.diff(gaps) > 0).all()


def test_a_closed_mouth_measures_zero_and_spreading_widens_it(people):
    for person in people:
        narrow, rest, wide = (render(person, expression(wide=w), STILL, 64)[1] for w in (-1, 0, 1))
        assert rest.mouth_open == pytest.approx(0, abs=1e-9)
        assert narrow.mouth_width < rest.mouth_width < wide.mouth_width


def test_opening_changes_only_mouth_and_jaw(people):
    for person in people:
        (shut, _), (wide, truth) = (render(person, expression(open=o), STILL, 128) for o in (0, 1))
        moved, box, marks = changed(shut, wide), truth.lip_box, truth.landmarks
        assert (moved[:, 1] > marks[28, 1]).all(), "something above the jaw's hinge moved"
        inside = ((moved > box[:2] - 2) & (moved < box[2:] + 2)).all(1)
        assert inside.sum() > 150
        assert (box[:2] <= marks[48:].min(0) + 1e-6).all() and (box[2:] >= marks[48:].max(0) - 1e-6).all()


def test_lip_box_matches_the_painted_lips(people):
    bare = replace(people[0], beard="none", freckles=0.0, age=0.0)
    for channels in ({}, {"open": 1.0}, {"wide": -1.0, "open": 0.4}, {"smile": 1.0}):
        plain, truth = render(bare, expression(**channels), STILL, 256)
        painted, _ = render(replace(bare, lips=(0, 255, 0)), expression(**channels), STILL, 256)
        where = changed(plain, painted)
        np.testing.assert_allclose([*where.min(0), *where.max(0)], truth.lip_box, atol=3.0)


def test_blinking_changes_only_that_eye(people):
    for person in people:
        (awake, truth), (asleep, _) = (render(person, expression(blink_left=b), STILL, 128) for b in (0, 1))
        moved, eye = changed(awake, asleep), truth.landmarks[36:42]
        assert len(moved) > 20
        assert (np.abs(moved - eye.mean(0)) < (14, 12)).all()


def test_a_positive_yaw_turns_the_nose_right(people):
    for person in people[:3]:
        tips = [
            render(person, expression(), np.array([y, 0, 0, 0, 0]), 64)[1].landmarks[30, 0] for y in (-0.35, 0, 0.35)
        ]
        assert tips[0] < tips[1] < tips[2]


def test_sizes_agree(people):
    for person in people:
        small, truth = render(person, expression(open=0.5), STILL, 128)
        large, double = render(person, expression(open=0.5), STILL, 256)
        halved = cv2.resize(large, (128, 128), interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - halved).mean() < 2.5
        np.testing.assert_allclose(double.landmarks, 2 * truth.landmarks)


@pytest.mark.parametrize("channel", EXPRESSION)
def test_no_channel_pops(people, channel):
    low, high = RANGES[channel]
    frames = [
        render(people[1], expression(**{channel: v}), STILL, 64)[0].astype(int) for v in np.linspace(low, high, 41)
    ]
    steps = [np.abs(b - a).mean() for a, b in pairwise(frames)]
    assert max(steps) < 0.35
    assert np.abs(frames[-1] - frames[0]).mean() > 0.01


CHOICES = {
    "hair_style": appearance.HAIR_STYLES,
    "beard": appearance.BEARDS,
    "glasses": appearance.GLASSES,
    "earrings": appearance.EARRINGS,
    "collar": appearance.COLLARS,
    "backdrop": appearance.BACKDROPS,
}


@pytest.mark.parametrize("field, value", [(field, value) for field, values in CHOICES.items() for value in values])
def test_every_style_is_drawn_differently_from_the_others(people, field, value):
    pose = np.array([0.3, -0.2, 0.1, 0, 0])
    bare = replace(people[2], hair_style="short", glasses="none", beard="none")
    image = render(replace(bare, **{field: value}), expression(), pose, 64)[0]
    other = next(v for v in CHOICES[field] if v != value)
    assert (
        image.shape == (64, 64, 3)
        and np.abs(image.astype(int) - render(replace(bare, **{field: other}), expression(), pose, 64)[0]).max() > 10
    )


def test_every_hair_style_is_drawn():
    assert set(appearance.HAIR_STYLES) == set(STYLES)


@pytest.mark.parametrize("bad", [np.zeros(11), np.full(12, np.nan)])
def test_a_wrong_expression_is_named(people, bad):
    with pytest.raises(ValueError, match="expression"):
        render(people[0], bad, STILL, 64)
