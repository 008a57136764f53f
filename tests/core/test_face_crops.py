"""Square crops: exact where nothing is resampled, unaliased where much is, turned the right way round."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from diffused_heads.diffused_heads_core.face.crops import Pyramid, Square


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)


def test_a_crop_at_the_pictures_own_scale_is_exact(noise: np.ndarray) -> None:
    assert (Pyramid(noise).crop(Square(40, 30, 20), 20) == noise[20:40, 30:50]).all()


def test_outside_is_black_or_the_border_repeated(noise: np.ndarray) -> None:
    assert not Pyramid(noise).crop(Square(-50, 30, 20), 20).any()
    repeated = Pyramid(noise).crop(Square(-50, 30, 20), 20, cv2.BORDER_REPLICATE)
    assert (repeated == noise[20:40, :1]).all()


def test_a_quarter_turn(noise: np.ndarray) -> None:
    turned = Pyramid(noise).crop(Square(40, 30, 20, math.pi / 2), 20)
    assert (
        turned == np.rot90(noise[20:40, 30:50])
    ).all()  # the square is turned clockwise, so the crop's content is not


def test_points_of_a_square() -> None:
    square = Square(10, 20, 8, math.pi / 2)
    assert square.to_picture(np.array([[0.5, 0.5], [0, 0.5], [0.5, 0]])) == pytest.approx(
        np.array([[10, 20], [10, 16], [14, 20]])
    )


@pytest.mark.parametrize("shrink", [2.0, 3.0, 8.0, 13.7])
def test_a_much_smaller_crop_does_not_alias(shrink: float) -> None:
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 200
    size = int(512 / shrink)
    crop = Pyramid(stripes).crop(Square(256, 256, size * shrink), size)[4:-4, 4:-4]
    assert np.abs(crop.astype(int) - 100).max() <= 3


def test_a_crop_lies_where_the_square_says_at_any_scale() -> None:
    ramp = np.repeat(np.linspace(0, 255, 256)[None, :, None], 256, 0).repeat(3, 2).astype(np.uint8)
    for size in (16, 40, 100, 256):
        square = Square(128, 128, 200)
        expected = square.to_picture(np.stack([(np.arange(size) + 0.5) / size, np.full(size, 0.5)], 1))[:, 0] - 0.5
        assert Pyramid(ramp).crop(square, size)[size // 2, :, 0] == pytest.approx(expected, abs=1.6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (700, 2)])
def test_thin_pictures(shape: tuple[int, int]) -> None:
    grey = np.full((*shape, 3), 90, np.uint8)
    crop = Pyramid(grey).crop(Square(shape[1] / 2, shape[0] / 2, max(shape)), 32, cv2.BORDER_REPLICATE)
    assert crop.shape == (32, 32, 3) and (crop == 90).all()


@pytest.mark.parametrize("angle", [0.0, 0.7, -2.5])
def test_points_go_there_and_back(angle: float) -> None:
    square, points = Square(30, -4, 17, angle), np.random.default_rng(0).uniform(-1, 2, (5, 2))
    assert square.to_fractions(square.to_picture(points)) == pytest.approx(points)


def test_differs() -> None:
    square = Square(10, 10, 100)
    assert Square(10, 10, 100, 0.11).differs(square, 0.1) and not Square(10, 10, 100, 0.09).differs(square, 0.1)
    assert not Square(10, 10, 100, math.pi - 0.02).differs(Square(10, 10, 100, 0.02 - math.pi), 0.1)
    assert not Square(19, 10, 105).differs(square, 0.1)
    assert Square(21, 10, 100).differs(square, 0.1) and Square(10, 10, 115).differs(square, 0.1)
