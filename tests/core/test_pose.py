"""Head pose: projection against hand-worked answers, and the warp against points painted on the ellipsoid."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from diffused_heads.diffused_heads_core.conditioning import COARSE
from diffused_heads.diffused_heads_core.pose import (
    HeadGeometry,
    face_maps,
    head_coordinates,
    project,
    rotation_matrix,
    warp,
    warp_offsets,
)

GEOMETRY = HeadGeometry()
SIZE = 128
NEUTRAL = (0.0,) * 5


def surface_points(reach: float, count: int = 5) -> np.ndarray:
    """Points of the ellipsoid's front within ``reach`` radii: (N, 3) head coordinates."""
    x, y = (a.ravel() for a in np.meshgrid(np.linspace(-reach, reach, count), np.linspace(-reach, reach, count)))
    keep = np.hypot(x, y) <= reach
    x, y = x[keep], y[keep]
    return np.stack([x * GEOMETRY.radii[0], y * GEOMETRY.radii[1], GEOMETRY.depth * np.sqrt(1 - x * x - y * y)], -1)


def dots(at: np.ndarray, width: float = 2.0) -> Tensor:
    """One picture a point, (N, 1, SIZE, SIZE), with a soft dot at frame fractions ``at`` (N, 2)."""
    axis = (torch.arange(SIZE) + 0.5) / SIZE
    x, y = torch.from_numpy(at).float().T[..., None, None]
    return torch.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) * SIZE**2 / (2 * width**2))[:, None]


def centres(pictures: Tensor) -> np.ndarray:
    """Where the dots are, in frame fractions (N, 2)."""
    axis = (torch.arange(SIZE) + 0.5) / SIZE
    light = pictures[:, 0].clamp(min=0).square()
    total = light.sum((1, 2))
    return torch.stack([(light.sum(1) * axis).sum(1) / total, (light.sum(2) * axis).sum(1) / total], -1).numpy()


def turned(pictures: Tensor, source: tuple[float, ...], target: tuple[float, ...], coarse: int = 1) -> Tensor:
    source_pose, target_pose = (torch.tensor([p], dtype=torch.float32) for p in (source, target))
    offsets = warp_offsets(head_coordinates(target_pose, SIZE // coarse, GEOMETRY), source_pose, target_pose, GEOMETRY)
    return warp(pictures, offsets.expand(len(pictures), -1, -1, -1))


def test_directions_of_the_angles() -> None:
    nose = np.array([0.0, 0.05, GEOMETRY.depth])

    def moved(*pose: float) -> np.ndarray:
        return project(nose, pose) - project(nose, NEUTRAL)

    assert moved(0.2, 0, 0, 0, 0)[0] > 0.03 and abs(moved(0.2, 0, 0, 0, 0)[1]) < 1e-9
    assert moved(0, 0.2, 0, 0, 0)[1] > 0.03 and abs(moved(0, 0.2, 0, 0, 0)[0]) < 1e-9
    assert moved(0, 0, 0.2, 0, 0)[0] > 0.03  # above the pivot a clockwise tilt goes right
    assert moved(0, 0, 0, 0.1, -0.05) == pytest.approx((0.1, -0.05))


def test_rotation_composes_roll_pitch_yaw() -> None:
    angles = (0.3, -0.2, 0.1)
    whole = rotation_matrix(*angles)
    np.testing.assert_allclose(whole @ whole.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(whole) == pytest.approx(1)
    yaw, pitch, roll = (rotation_matrix(*(a if i == k else 0 for i, a in enumerate(angles))) for k in range(3))
    np.testing.assert_allclose(whole, roll @ pitch @ yaw, atol=1e-12)
    np.testing.assert_allclose(rotation_matrix(math.pi / 2, 0, 0) @ [0, 0, 1], [1, 0, 0], atol=1e-12)
    assert rotation_matrix(np.zeros((4, 2)), 0.1, np.zeros(2)).shape == (4, 2, 3, 3)


def test_the_pivot_stays_and_a_quarter_turn_is_worked_by_hand() -> None:
    pivot, centre = np.array(GEOMETRY.pivot), np.array(GEOMETRY.centre)
    assert project(pivot, (0.4, 0.3, -0.2, 0, 0)) == pytest.approx(pivot[:2] + centre)
    assert project(pivot + [0, 0, 0.2], (math.pi / 2, 0, 0, 0.01, 0.02)) == pytest.approx(
        pivot[:2] + centre + [0.21, 0.02]
    )


POSES = {
    "yaw": (0.3, 0, 0, 0, 0),
    "pitch": (0, 0.15, 0, 0, 0),
    "roll": (0, 0, 0.15, 0, 0),
    "all": (-0.25, 0.1, 0.1, 0.02, -0.015),
}


@pytest.mark.parametrize("pose", POSES.values(), ids=POSES)
def test_head_coordinates_invert_the_projection(pose: tuple[float, ...]) -> None:
    found = head_coordinates(torch.tensor([pose], dtype=torch.float64), SIZE, GEOMETRY)[0].permute(1, 2, 0).numpy()
    axis = (np.arange(SIZE) + 0.5) / SIZE
    radius = np.hypot(found[..., 0] / GEOMETRY.radii[0], found[..., 1] / GEOMETRY.radii[1])
    error = np.abs(project(found, np.array(pose)) - np.stack(np.meshgrid(axis, axis), -1)).max(-1) * SIZE
    inside = radius < 0.8  # the rim, where the surface turns away, takes more than three steps
    assert inside.sum() > 2000 and error[inside].max() < 0.6 and error[radius < 0.6].max() < 0.15
    shape = (found / [*GEOMETRY.radii, GEOMETRY.depth])[inside]
    np.testing.assert_allclose((shape**2).sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize("pose", [NEUTRAL, *POSES.values()], ids=["neutral", *POSES])
def test_no_turn_changes_no_pixel(pose: tuple[float, ...]) -> None:
    picture = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    assert (turned(picture, pose, pose) - picture).abs().max() < 1e-3


@pytest.mark.parametrize("shift", [(5, 0), (0, -4), (3.5, 2.25)])
def test_a_translation_moves_by_that_many_pixels(shift: tuple[float, float]) -> None:
    at = project(surface_points(0.8), NEUTRAL)
    found = centres(turned(dots(at), NEUTRAL, (0, 0, 0, shift[0] / SIZE, shift[1] / SIZE)))
    np.testing.assert_allclose((found - at) * SIZE, np.broadcast_to(shift, at.shape), atol=0.05)


@pytest.mark.parametrize("coarse", [1, COARSE])
@pytest.mark.parametrize(
    "source, target",
    [
        (NEUTRAL, POSES["yaw"]),
        (NEUTRAL, POSES["pitch"]),
        (NEUTRAL, POSES["roll"]),
        (NEUTRAL, POSES["all"]),
        (POSES["all"], NEUTRAL),
        (POSES["yaw"], POSES["all"]),
    ],
)
def test_points_painted_on_the_head_land_where_they_project(
    source: tuple[float, ...], target: tuple[float, ...], coarse: int
) -> None:
    points = surface_points(0.7)
    found = centres(turned(dots(project(points, source)), source, target, coarse))
    error = np.hypot(*((found - project(points, target)) * SIZE).T)
    assert error.max() < 0.7, error.round(2)


def test_the_frame_far_from_the_head_stays() -> None:
    pose = torch.tensor([POSES["all"]])
    points = head_coordinates(pose, SIZE, GEOMETRY)
    offsets = warp_offsets(points, torch.zeros(1, 5), pose, GEOMETRY)[0].norm(dim=0) * SIZE
    radius = (points[0, :2] / torch.tensor(GEOMETRY.radii)[:, None, None]).norm(dim=0)
    assert (radius > 1.75).sum() > 200 and not offsets[radius > 1.75].any()
    assert offsets[radius < 1].max() > 5
    assert (offsets[1:] - offsets[:-1]).abs().max() < 1.5  # and nothing tears on the way out


@pytest.mark.parametrize("pose", [NEUTRAL, POSES["all"]], ids=["neutral", "all"])
def test_face_maps_lie_at_the_projected_eyes_and_brows(pose: tuple[float, ...]) -> None:
    points = head_coordinates(torch.tensor([pose], dtype=torch.float32), SIZE, GEOMETRY)

    def on_surface(x: float, y: float) -> np.ndarray:
        x, y = x - GEOMETRY.centre[0], y - GEOMETRY.centre[1]
        depth = GEOMETRY.depth * math.sqrt(1 - (x / GEOMETRY.radii[0]) ** 2 - (y / GEOMETRY.radii[1]) ** 2)
        return project(np.array([x, y, depth]), pose)

    for k, eye, lift, plane in (
        (0, GEOMETRY.left_eye, 0, 0),
        (1, GEOMETRY.right_eye, 0, 0),
        (4, GEOMETRY.left_eye, -0.075, 3),
        (5, GEOMETRY.right_eye, -0.075, 3),
    ):
        face = torch.zeros(1, 6)
        face[0, k] = 0.7
        disc = face_maps(points, face, SIZE, GEOMETRY)[0, plane]
        row, column = divmod(int(disc.argmax()), SIZE)
        assert disc.max() == pytest.approx(0.7, abs=0.01)
        coarse = face_maps(
            head_coordinates(torch.tensor([pose], dtype=torch.float32), SIZE // COARSE, GEOMETRY), face, SIZE, GEOMETRY
        )
        assert (coarse[0, plane] - disc).abs().max() < 0.1
        np.testing.assert_allclose(
            (np.array([column, row]) + 0.5) / SIZE, on_surface(eye[0], eye[1] + lift), atol=1.5 / SIZE
        )


def test_gaze_and_place_maps() -> None:
    points = head_coordinates(torch.zeros(1, 5), SIZE, GEOMETRY)
    found = face_maps(points, torch.tensor([[0, 0, -0.5, 1.0, 0, 0]]), SIZE, GEOMETRY)[0]
    assert not found[0].any() and not found[3].any()
    assert found[1].min() == pytest.approx(-0.5, abs=0.01) and found[2].max() == pytest.approx(1.0, abs=0.01)
    torch.testing.assert_close(found[4, 0, 64], torch.tensor(0.5 / SIZE / GEOMETRY.radii[0]), atol=1e-4, rtol=0)
    assert found[4:].abs().max() <= 1.5 and found[5, -1, 0] > 0 > found[5, 0, 0]
