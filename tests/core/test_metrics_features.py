"""Hand-crafted features: what changes them and what does not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from diffused_heads.diffused_heads_core.assets import ASSETS
from diffused_heads.diffused_heads_core.evaluation.metrics import features
from diffused_heads.diffused_heads_core.media.pictures import load_picture

PORTRAITS = [
    cv2.resize(load_picture(path), (128, 128), interpolation=cv2.INTER_AREA)
    for path in sorted(ASSETS.glob("portrait-*.png"))
]


def test_a_flat_picture_is_its_colour_alone() -> None:
    found = features.frame_features(np.full((70, 90, 3), (255, 0, 0), np.uint8))
    assert found.shape == (96,) and found.dtype == np.float32
    luminance, red, blue = found[:48].reshape(-1, 3).T
    assert luminance == pytest.approx(0.299, abs=1e-4)
    assert red == pytest.approx(0.713 * (1 - 0.299), abs=1e-3) and blue == pytest.approx(-0.564 * 0.299, abs=1e-3)
    assert found[48:] == pytest.approx(0)


def test_stripes_have_texture_in_their_direction_and_scale() -> None:
    fine = np.repeat(np.tile(np.array([0, 255], np.uint8), 64)[None], 128, 0)[..., None].repeat(3, 2)
    texture = features.frame_features(fine)[48:].reshape(4, 4, 3)  # level, field, kind
    across, down, curvature = texture.mean(1).T
    assert (
        down == pytest.approx(0)
        and across[1:] == pytest.approx(0)
        and curvature[0] == pytest.approx(4 * 4 * 0.5, rel=0.05)
    )
    stripes = np.repeat(np.tile(np.array([0, 255], np.uint8), 16), 4)
    coarse = features.frame_features(np.repeat(stripes[None], 128, 0)[..., None].repeat(3, 2))[48:].reshape(4, 4, 3)
    assert coarse.mean(1)[1, 0] > 1 and coarse.mean(1)[3, 0] == pytest.approx(0, abs=1e-6)


def test_frame_features_notice_blur_and_colour() -> None:
    plain = features.frame_features(PORTRAITS[0])
    blurred = features.frame_features(cv2.GaussianBlur(PORTRAITS[0], (0, 0), 1))
    warmer = features.frame_features(np.clip(PORTRAITS[0].astype(int) + (12, 0, -12), 0, 255).astype(np.uint8))
    assert np.abs(blurred - plain)[48:60].max() > 0.05 and np.abs(warmer - plain)[:48].max() > 0.03
    assert np.array_equal(plain, features.frame_features(PORTRAITS[0].copy()))


def test_a_face_is_more_similar_to_itself_than_to_others() -> None:
    def seen(frame: np.ndarray, angle: float = 0, shift: float = 0, gain: float = 1, blur: float = 0) -> np.ndarray:
        turn = cv2.getRotationMatrix2D((64, 64), angle, 1)
        turn[:, 2] += shift
        frame = np.clip(gain * cv2.warpAffine(frame, turn, (128, 128), borderMode=cv2.BORDER_REPLICATE), 0, 255).astype(
            np.uint8
        )
        return features.face_features(features.face_crop(cv2.GaussianBlur(frame, (0, 0), blur) if blur else frame))

    plain = [seen(p) for p in PORTRAITS]
    others = [features.cosine(a, b) for i, a in enumerate(plain) for b in plain[:i]]
    same = [features.cosine(seen(p, 3, 2, 0.95, 0.7), v) for p, v in zip(PORTRAITS, plain)]
    assert len(PORTRAITS) >= 4 and min(same) > max(others) and np.mean(same) > 0.85 > 0.7 > np.mean(others)
    assert features.cosine(plain[0], plain[0]) == pytest.approx(1)


def test_the_cosine_of_known_vectors() -> None:
    assert features.cosine(np.array([1.0, 0]), np.array([1.0, 1])) == pytest.approx(0.5**0.5)
    assert (
        features.cosine(np.array([1.0, 2]), np.array([-2.0, -4])) == pytest.approx(-1)
        and features.cosine(np.zeros(2), np.ones(2)) == 0
    )


def test_the_face_is_inside_its_box_or_where_heads_are() -> None:
    frame = np.arange(100 * 60 * 3, dtype=np.uint32).reshape(100, 60, 3).astype(np.uint8)
    assert np.array_equal(features.face_crop(frame, np.array([10.2, 20, 30, 40.4])), frame[20:40, 10:30])
    assert np.array_equal(
        features.face_crop(frame), frame[10 + 12 : 10 + 53, 12:48]
    )  # of the square that lies a quarter of the way down
    assert np.array_equal(features.face_crop(frame, np.full(4, np.nan)), features.face_crop(frame))
    assert features.face_crop(frame, np.array([70.0, 0, 90, 9])).shape == frame.shape
