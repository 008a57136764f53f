"""Measures of landmarks that were drawn by hand, and the consistency of the index arrays."""

from __future__ import annotations

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face import mesh


def face(gap: float = 20.0, lids: float = 9.0) -> np.ndarray:
    """Eyes 30 px wide with centres 100 px apart, lids ``lids`` apart; inner lips ``gap`` apart; outer lips 80 x 40."""
    points = np.zeros((468, 3))
    for upper, lower, x in (
        (mesh.LEFT_EYE_UPPER, mesh.LEFT_EYE_LOWER, 100),
        (mesh.RIGHT_EYE_UPPER, mesh.RIGHT_EYE_LOWER, 200),
    ):
        for lid, sign in ((upper, -1), (lower, 1)):
            points[lid, :2] = np.stack([np.linspace(x - 15, x + 15, 9), np.full(9, 100 + sign * lids / 2)], 1)
        points[upper[[0, -1]], 1] = 100
    for upper, lower, width, height in (
        (mesh.OUTER_LIP_UPPER, mesh.OUTER_LIP_LOWER, 80, 40),
        (mesh.INNER_LIP_UPPER, mesh.INNER_LIP_LOWER, 60, gap),
    ):
        for lip, sign in ((upper, -1), (lower, 1)):
            points[lip, :2] = np.stack(
                [np.linspace(150 - width / 2, 150 + width / 2, 11), np.full(11, 200 + sign * height / 2)], 1
            )
        points[upper[[0, -1]], 1] = 200
    return points


def test_measures() -> None:
    points = face()
    assert mesh.eye_centres(points) == pytest.approx(np.array([[100, 100], [200, 100]]))
    assert mesh.eye_distance(points) == pytest.approx(100)
    assert mesh.mouth_opening(points) == pytest.approx(0.2)
    assert mesh.mouth_width(points) == pytest.approx(0.8)
    assert mesh.lip_box(points) == pytest.approx((110, 180, 190, 220))
    assert mesh.eye_opening(points) == pytest.approx((0.3, 0.3))


def test_measures_do_not_depend_on_size_place_and_turn() -> None:
    points, angle = face(), 0.7
    turned = 2.5 * points[:, :2] @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) + (
        30,
        -90,
    )
    assert mesh.mouth_opening(turned) == pytest.approx(0.2) and mesh.mouth_width(turned) == pytest.approx(0.8)
    assert mesh.eye_opening(turned) == pytest.approx((0.3, 0.3))


def test_one_eye_closed_and_lips_closed() -> None:
    points = face(gap=0)
    points[mesh.RIGHT_EYE, 1] = 100
    assert mesh.eye_opening(points) == pytest.approx((0.3, 0)) and mesh.mouth_opening(points) == 0


def test_contours_go_once_around() -> None:
    for contour, points in ((mesh.LEFT_EYE, 16), (mesh.RIGHT_EYE, 16), (mesh.OUTER_LIPS, 20), (mesh.INNER_LIPS, 20)):
        assert len(contour) == len(set(contour.tolist())) == points and contour.max() < mesh.POINTS
    drawn = face()[mesh.OUTER_LIPS, :2]
    following = np.roll(drawn, -1, 0)
    assert np.sum(drawn[:, 0] * following[:, 1] - drawn[:, 1] * following[:, 0]) > 0  # clockwise where y points down


def test_sixty_eight_points_have_the_usual_order() -> None:
    points = face()
    sixty_eight = mesh.to_68(points)
    assert sixty_eight.shape == (68, 3) and len(set(mesh.SIXTY_EIGHT.tolist())) == 68
    assert (
        sixty_eight[36, 0] == 85
        and sixty_eight[39, 0] == 115
        and sixty_eight[42, 0] == 185
        and sixty_eight[45, 0] == 215
    )
    assert sixty_eight[48, :2] == pytest.approx((110, 200)) and sixty_eight[54, :2] == pytest.approx((190, 200))
    assert sixty_eight[60, 0] == 120 and sixty_eight[64, 0] == 180
    assert (sixty_eight[[37, 38, 43, 44], 1] < 100).all() and (sixty_eight[[40, 41, 46, 47], 1] > 100).all()
    assert (sixty_eight[61:64, 1] == 190).all() and (sixty_eight[65:68, 1] == 210).all()
    assert mesh.to_68(points[:, :2]).shape == (68, 2)


@pytest.mark.parametrize("measure", [mesh.mouth_opening, mesh.lip_box, mesh.eye_opening, mesh.to_68, mesh.eye_centres])
def test_other_shapes_are_named(measure) -> None:
    with pytest.raises(DiffusedHeadsError, match=r"expected \(468, 2\) or \(468, 3\), found \(68, 2\)"):
        measure(np.zeros((68, 2)))
