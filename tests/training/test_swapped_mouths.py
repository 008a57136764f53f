import numpy as np
import pytest

from diffused_heads.training.swapped_mouths import with_mouth_of

SIZE, BOX, OTHER = 64, np.array([22.0, 38, 42, 48]), np.array([20.0, 30, 44, 36])


def face(skin, lips, box):
    picture = np.full((SIZE, SIZE, 3), skin, np.uint8)
    x0, y0, x1, y1 = box.astype(int)
    picture[y0:y1, x0:x1] = lips
    return picture


@pytest.fixture
def changed():
    picture, other = face((200, 150, 120), (160, 60, 60), BOX), face((100, 75, 60), (20, 40, 10), OTHER)
    return picture, with_mouth_of(picture, BOX, other, OTHER, np.random.default_rng(0))


def test_what_is_not_red_is_the_others_in_the_pictures_light(changed):
    picture, out = changed
    inside = out[43, 32].astype(float)
    assert np.abs(inside / (2 * np.array([20, 40, 10])) - 1).max() < 0.3, "twice as bright as its skin is darker"
    assert out.shape == picture.shape and out.dtype == np.uint8


def test_lips_keep_the_pictures_tint_and_teeth_the_others():
    picture, other = face((200, 150, 120), (160, 60, 60), BOX), face((100, 75, 60), (90, 30, 60), OTHER)
    other[32:34, 24:40] = 110  # teeth between the lips
    out = with_mouth_of(picture, BOX, other, OTHER, np.random.default_rng(0)).astype(float)
    lips, teeth = out[41, 32], out[43, 32]
    assert np.abs(lips / np.array([160, 60, 60]) - 1).max() < 0.15 and teeth.min() > 150 > 1.5 * lips[1:].max()


def test_nothing_of_the_own_lips_is_left(changed):
    picture, out = changed
    red = out[..., 0].astype(int) - out[..., 1]
    assert ((picture[..., 0].astype(int) - picture[..., 1]) == 100).sum() == 200 and (red > 90).sum() < 10


def test_beyond_the_mouth_nothing_changes(changed):
    picture, out = changed
    away = np.ones((SIZE, SIZE), bool)
    away[28:58, 16:48] = False
    assert np.array_equal(picture[away], out[away]) and not np.array_equal(picture, out)


def test_faces_without_lips_stay():
    picture = face((200, 150, 120), (160, 60, 60), BOX)
    for boxes in ((BOX, np.zeros(4)), (np.zeros(4), OTHER)):
        assert with_mouth_of(picture, boxes[0], picture, boxes[1], np.random.default_rng(0)) is picture


def test_the_same_draws_give_the_same_mouth(changed):
    picture, other = face((200, 150, 120), (160, 60, 60), BOX), face((100, 75, 60), (20, 40, 10), OTHER)
    assert np.array_equal(with_mouth_of(picture, BOX, other, OTHER, np.random.default_rng(0)), changed[1])
