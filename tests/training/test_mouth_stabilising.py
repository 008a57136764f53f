"""Stabilised frames, warps and framings of the mouth's training, against moves that are known."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffused_heads.diffused_heads_core.config import AudioConfig
from diffused_heads.diffused_heads_core.mouth.face_mesh import face_mesh
from diffused_heads.training.mouth.augmentation import drawn_framing, relit
from diffused_heads.training.mouth.presets import mouth_model
from diffused_heads.training.mouth.stabilising import Affine, Placed, placed_frames, to_geometry

sys.path.insert(0, str(Path(__file__).parent))
import mouth_faces

SIZE = 256
GEOMETRY = mouth_faces.GEOMETRY
MODEL = mouth_model(AudioConfig())
WINDOW = (80, 137, 96, 80)
CLOSED = np.zeros(4)


def moved_mesh(
    coefficients: np.ndarray, scale: float = 1.0, angle: float = 0.0, shift: tuple[float, float] = (0, 0)
) -> np.ndarray:
    return mouth_faces.moved_mesh(coefficients, scale, angle, shift, SIZE)


def texture(mesh: np.ndarray) -> np.ndarray:
    """A smooth pattern that is painted on the head and moves with it, (SIZE, SIZE, 3) uint8."""
    move = to_geometry(mesh[[33, 263, 1], :2], GEOMETRY, SIZE)
    rest = to_geometry(moved_mesh(CLOSED)[[33, 263, 1], :2], GEOMETRY, SIZE)
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    at = rest.inverse.after(move)(np.stack([x, y], -1))
    waves = [np.sin(at[..., 0] / 20) * np.cos(at[..., 1] / 28), np.sin(at[..., 1] / 24), np.cos(at.sum(-1) / 36)]
    return np.rint(127.5 + 100 * np.stack(waves, -1)).astype(np.uint8)


class MovingHead:
    """A store of one clip in which a still face moves through the picture at a constant speed."""

    lengths = np.array([16])

    def mesh(self, frame: int) -> np.ndarray:
        return moved_mesh(CLOSED, 1 + 0.004 * (frame - 8), 0.01 * (frame - 8), (1.6 * (frame - 8), 0.8 * (frame - 8)))

    def track(self, name: str, clip: int, frames: range) -> np.ndarray:
        return np.stack([self.mesh(frame) for frame in frames]).astype(np.float32)

    def pictures(self, clip: int, frames: list[int]) -> np.ndarray:
        return np.stack([texture(self.mesh(frame)) for frame in frames])


def test_a_moving_head_stands_still_and_where_the_model_has_it() -> None:
    frames = placed_frames(MovingHead(), 0, [7, 8, 9], MODEL)
    for frame in frames:
        np.testing.assert_allclose(frame.placed_mesh, frames[1].placed_mesh, atol=0.3)
        assert np.abs(frame.window(WINDOW).astype(int) - frames[1].window(WINDOW)).mean() < 2
    eyes = frames[1].placed_mesh[[33, 133, 362, 263], :2].reshape(2, 2, 2).mean(1) / SIZE
    np.testing.assert_allclose(eyes, [GEOMETRY.left_eye, GEOMETRY.right_eye], atol=0.02)


def test_only_the_neighbourhood_of_the_frames_is_read() -> None:
    whole, alone = placed_frames(MovingHead(), 0, range(16), MODEL), placed_frames(MovingHead(), 0, [3, 4], MODEL)
    for frame, other in zip(whole[3:5], alone):
        np.testing.assert_allclose(frame.placed_mesh, other.placed_mesh, atol=1e-9)


def test_the_warp_of_a_face_that_only_moved_is_the_moved_face() -> None:
    one, other = moved_mesh(CLOSED), moved_mesh(CLOSED, 1.05, 0.06, (6, -4))
    still = Affine(np.eye(2), np.zeros(2))
    portrait, target = (Placed(texture(mesh), mesh, still) for mesh in (one, other))
    found, want = portrait.warped_to(target.placed_mesh, WINDOW), target.window(WINDOW)
    assert np.abs(found.astype(int) - want).mean() < 1.5
    assert np.abs(portrait.window(WINDOW).astype(int) - want).mean() > 5


def test_a_warp_to_its_own_mesh_changes_nothing() -> None:
    mesh = moved_mesh(CLOSED, 1.03, -0.05)
    turned = Affine(np.array([[0.98, -0.1], [0.1, 0.98]]), np.array([8.0, -4.0]))
    face = Placed(texture(mesh), mesh, turned)
    error = np.abs(face.warped_to(face.placed_mesh, WINDOW).astype(int) - face.window(WINDOW))
    assert error.mean() < 0.2 and (error <= 2).mean() > 0.98  # pixels at the edges of thin triangles are off a little


def test_a_mirrored_face_is_a_face_and_its_warp_is_mirrored_too() -> None:
    mesh = moved_mesh(np.array([0.3, 0.1, 0.2, 0.0]))
    face = Placed(texture(mesh), mesh, Affine(np.eye(2), np.zeros(2)))
    left, _, width, _ = WINDOW
    mirror = Affine(np.diag([-1.0, 1.0]), np.array([2 * left + width, 0.0]))
    np.testing.assert_allclose(mirror.mesh(mirror.mesh(mesh)), mesh, atol=1e-9)
    np.testing.assert_array_equal(face.then(mirror).window(WINDOW), face.window(WINDOW)[:, ::-1])
    open_mesh = moved_mesh(np.array([-0.6, 0, 0, 0]))
    straight, flipped = face.warped_to(open_mesh, WINDOW), face.then(mirror).warped_to(mirror.mesh(open_mesh), WINDOW)
    assert np.abs(straight[:, ::-1].astype(int) - flipped).mean() < 0.5
    outline = mirror.mesh(moved_mesh(CLOSED))
    assert outline[33, 0] < outline[263, 0]  # the left eye is still the left one
    assert (face_mesh().pairs[[33, 61]] == [263, 291]).all()


def test_affine_moves_compose_and_agree_with_opencv() -> None:
    rng = np.random.default_rng(0)
    one, other = (Affine(rng.normal(size=(2, 2)), rng.normal(size=2)) for _ in range(2))
    points = rng.normal(size=(5, 2))
    np.testing.assert_allclose(one.after(other)(points), one(other(points)))
    np.testing.assert_allclose(one.inverse(one(points)), points)
    shift = Affine(np.eye(2), np.array([2.0, 1.0]))
    picture = rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)
    moved = cv2.warpAffine(picture, shift.indices(), (8, 8))
    np.testing.assert_array_equal(moved[1:, 2:], picture[:-1, :-2])


def test_framings_keep_the_centre_near_and_are_drawn_as_often_as_asked() -> None:
    centre = np.array([128.0, 177.0])
    framings = [drawn_framing(np.random.default_rng(n), 0.5, True, centre, SIZE) for n in range(400)]
    assert np.mean([framing.mirrors for framing in framings]) == pytest.approx(0.5, abs=0.08)
    unturned = [np.allclose(np.abs(framing.linear), np.eye(2)) for framing in framings]
    assert np.mean(unturned) == pytest.approx(0.5, abs=0.08)
    away = np.array([framing(centre) - centre for framing in framings])
    assert away.std(0) == pytest.approx([1.77, 1.77], abs=0.3) and np.abs(away).max() < 12


def test_light_is_the_same_for_all_pictures_of_a_sample() -> None:
    picture = np.linspace(-1, 1, 6 * 8 * 3, dtype=np.float32).reshape(6, 8, 3)
    lit = relit(np.stack([picture, picture]), np.random.default_rng(3), 1.0)
    np.testing.assert_array_equal(lit[0], lit[1])
    assert not np.allclose(lit[0], picture) and np.abs(lit).max() <= 1 and lit.dtype == np.float32
    np.testing.assert_array_equal(relit(picture[None], np.random.default_rng(3), 0.0)[0], picture)
