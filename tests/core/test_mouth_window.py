"""The painted window follows the lips; places on the jaws move as teeth do."""

from __future__ import annotations

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.config import HeadGeometry
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.mouth.face_mesh import LIPS, face_mesh, usual_mesh
from diffused_heads.diffused_heads_core.mouth.settings import MouthConfig
from diffused_heads.diffused_heads_core.mouth.window import CHIN, TEETH, TOOTH, closed_mesh, teeth_maps, window_at

SETTINGS = MouthConfig(window=(-40, -16, 80, 48), at_lips=True)
MESH = usual_mesh(HeadGeometry(), 256)


def test_the_window_follows_the_lips_and_stays_in_the_frame() -> None:
    x, y = np.rint(MESH[LIPS, :2].mean(0)).astype(int)
    assert window_at(MESH, SETTINGS) == (x - 40, y - 16, 80, 48)
    assert window_at(MESH + (9, -7, 0), SETTINGS) == (x - 31, y - 23, 80, 48)
    assert window_at(MESH + (500, 500, 0), SETTINGS) == (256 - 80, 256 - 48, 80, 48)
    fixed = MouthConfig()
    assert window_at(MESH + (9, -7, 0), fixed) == fixed.window


@pytest.mark.parametrize("window", [(-40, -16, 300, 48), (0, 0, 0, 48)])
def test_a_window_larger_than_the_frame_or_empty_is_refused(window: tuple[int, int, int, int]) -> None:
    with pytest.raises(DiffusedHeadsError, match="window"):
        MouthConfig(window=window, at_lips=True)


def test_upper_teeth_stay_and_lower_teeth_go_with_the_jaw() -> None:
    pose, window = face_mesh().pose(MESH), window_at(MESH, SETTINGS)
    closed = teeth_maps(MESH, MESH, pose, window)
    assert closed.shape == (TEETH, 48, 80) and closed.dtype == np.float32
    np.testing.assert_allclose(closed[1], closed[2])
    down, opened = pose.directions(np.array([0, 1.0, 0])), MESH.copy()
    opened[CHIN] += 0.1 * down  # a tenth of the eye distance
    lower = teeth_maps(MESH, opened, pose, window)
    np.testing.assert_allclose(lower[[0, 1, 3, 4, 5, 6]], closed[[0, 1, 3, 4, 5, 6]], atol=1e-5)
    inside = (np.abs(closed[1]) < 1.5) & (np.abs(lower[2]) < 1.5)
    np.testing.assert_allclose((closed[2] - lower[2])[inside], 3 * 0.1, atol=1e-5)


def test_teeth_repeat_across_in_eye_distances_and_turn_with_the_head() -> None:
    pose = face_mesh().pose(MESH)
    tooth = TOOTH * pose.scale  # px
    shifted = MESH + (2 * tooth, 0, 0)
    window = window_at(MESH, SETTINGS)
    one, other = teeth_maps(MESH, MESH, pose, window), teeth_maps(shifted, shifted, face_mesh().pose(shifted), window)
    np.testing.assert_allclose(one[3:], other[3:], atol=1e-4)  # two teeth further: the same waves
    angle = 0.2
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    turned = MESH @ turn.T
    maps = teeth_maps(turned, turned, face_mesh().pose(turned), (0, 0, 256, 256))
    middle = turned[LIPS, :2].mean(0)
    x, y = np.rint(middle + 20 * turn[:2, 0]).astype(int)  # 20 px along the lips
    assert maps[0, y, x] == pytest.approx(2 * 20 / pose.scale, abs=2 / pose.scale)
    assert maps[1, y, x] == pytest.approx(0, abs=3 / pose.scale)


def test_an_open_portrait_is_closed_first() -> None:
    face, pose = face_mesh(), face_mesh().pose(MESH)
    sign = np.sign(face.gaps(face.basis[0]).mean())
    opened = MESH + pose.directions(face.shape(sign * 3 * face.deviations * (np.arange(12) == 0)))
    closed = closed_mesh(opened, face.pose(opened), 12)
    before, after = (np.linalg.norm(mesh[LIPS[1]] - mesh[LIPS[0]]) for mesh in (opened, closed))
    assert before > 8 and after < 0.3 * before
