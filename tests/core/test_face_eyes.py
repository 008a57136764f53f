"""Lids seen in the picture: painted eyes that blink at known moments."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from diffused_heads.diffused_heads_core.evaluation.metrics.faces import blinks
from diffused_heads.diffused_heads_core.face import eyes

CORNERS = np.array([[(40.0, 50.0), (80.0, 50.0)], [(120.0, 50.0), (160.0, 50.0)]])


def face(opening: float, skin: tuple[int, int, int]) -> np.ndarray:
    """Two painted eyes, 40 px wide and ``opening`` (0..1) of an open eye's height high, in even skin with a line of
    lashes.
    """
    picture = np.full((100, 200, 3), skin, np.uint8)
    for (left, y), (right, _) in CORNERS:
        middle, size = (round((left + right) / 2), round(y)), (20, max(1, round(8 * opening)))
        lid = cv2.ellipse(np.zeros_like(picture), middle, size, 0, 0, 360, (1, 1, 1), -1)
        picture[lid[..., 0] > 0] = 235
        picture[(cv2.circle(np.zeros_like(picture), middle, 8, (1, 1, 1), -1) * lid)[..., 0] > 0] = (60, 40, 30)
        picture = cv2.ellipse(picture, middle, size, 0, 180, 360, (60, 40, 35), 1)
    return cv2.GaussianBlur(picture, (0, 0), 0.8)


@pytest.mark.parametrize("skin", [(228, 190, 165), (150, 105, 80), (75, 50, 40)])
def test_painted_blinks_are_seen_when_they_are(skin: tuple[int, int, int]) -> None:
    true = np.ones(150)
    true[[40, 41, 42, 43]] = 0.5, 0.0, 0.0, 0.5
    true[[100, 101]] = 0.0, 0.1
    rng = np.random.default_rng(0)
    shots = [np.clip(face(t, skin) + rng.normal(0, 3, (100, 200, 3)), 0, 255).astype(np.uint8) for t in true]
    found = eyes.lid_opening(np.stack([eyes.lid_signs(shot, CORNERS) for shot in shots]))
    assert found[true == 1].min() > 0.8 and found[true == 0].max() < 0.4
    told = blinks(found, 25)
    assert [round(25 * (b.start + b.duration / 2)) for b in told] == pytest.approx([42, 101], abs=1)
    assert [b.duration for b in told] == pytest.approx([3 / 25, 2 / 25], abs=1.2 / 25)


def test_frames_without_a_face_stay_unknown() -> None:
    signs = np.tile([0.2, 0.3, 9.0], (20, 1)) + np.random.default_rng(0).normal(0, 0.005, (20, 3))
    signs[5] = np.nan
    signs[12] = 0.8, 0.8, 3.0
    found = eyes.lid_opening(signs)
    assert np.isnan(found[5]) and np.isnan(eyes.lid_opening(signs[5:6])).all()
    assert found[12] < 0.1 and np.delete(found, [5, 12]).min() == 1


def test_eye_contrast_is_for_iris_and_white() -> None:
    corners, gray = np.array([(20.0, 30.0), (40.0, 30.0)]), np.full((60, 60), 150, np.uint8)
    closed = eyes.eye_contrast(gray, corners)
    cv2.ellipse(gray, (30, 30), (10, 5), 0, 0, 360, 240, -1)
    cv2.circle(gray, (30, 30), 4, 30, -1)
    opened = eyes.eye_contrast(gray, corners)
    assert closed == 0 and opened > 10
    turned = cv2.rotate(gray, cv2.ROTATE_90_CLOCKWISE)
    assert eyes.eye_contrast(turned, np.stack([60 - corners[:, 1], corners[:, 0]], 1)) == pytest.approx(opened, rel=0.1)
