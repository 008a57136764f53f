"""The tool that makes the mean face, against the bundled one and against planted movements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial import Delaunay

from diffused_heads.diffused_heads_core.data.shards import Dataset
from diffused_heads.diffused_heads_core.mouth.face_mesh import FILE, face_mesh
from diffused_heads.training.tools import face_mesh as tool


def unordered(triangles: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(sorted(each)) for each in triangles.tolist()}


def test_triangles_and_mirror_images_are_the_bundled_ones() -> None:
    face = face_mesh()
    found, inside = tool.triangles(face.mean)
    assert inside == face.inside and unordered(found) == unordered(face.triangles)
    assert unordered(found[:inside]) == unordered(face.triangles[:inside])
    np.testing.assert_array_equal(tool.mirror_pairs(face.mean), face.pairs)


def test_delaunay_triangles_are_scipys() -> None:
    points = np.random.default_rng(0).normal(size=(60, 2))
    found = tool.delaunay(points)
    missing = unordered(Delaunay(points).simplices) - unordered(found)
    hull = set(Delaunay(points).convex_hull.ravel().tolist())
    assert unordered(found) <= unordered(Delaunay(points).simplices)
    assert all(len(hull & set(each)) >= 2 for each in missing)  # slivers at the border alone
    across, down = points[found[:, 1]] - points[found[:, 0]], points[found[:, 2]] - points[found[:, 0]]
    assert (across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0] > 0).all()


def planted_people() -> list[list[np.ndarray]]:
    """People of the mean face, each otherwise turned and sized, who move along the first two components."""
    face, people = face_mesh(), []
    for person in range(3):
        rng = np.random.default_rng(person)
        amounts = np.abs(rng.normal(size=(150, 2))) * (0.5, 0.2)
        amounts[:30] = 0
        yaw = 0.1 * (person - 1)
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        shapes = face.mean + np.tensordot(amounts, face.basis[:2], 1)
        people.append([shapes @ turn.T * (50 + 10 * person) + 100])
    return people


def test_the_mean_face_is_symmetric_level_and_in_eye_distances() -> None:
    mean, pairs = tool.mean_face(planted_people())
    np.testing.assert_allclose((mean * (-1, 1, 1))[pairs], mean, atol=1e-12)
    assert np.abs(tool.centred(mean) - mean).max() < 1e-9
    upper = face_mesh().mean[:, 1] < 0.3  # where speech moves nothing
    np.testing.assert_allclose(mean[upper], face_mesh().mean[upper], atol=0.02)


def test_components_span_the_planted_movements() -> None:
    face = face_mesh()
    basis, deviations = tool.components(planted_people(), face.mean, face.pairs, 25.0)
    flat = basis.reshape(len(basis), -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-6)
    planted = face.basis[:1].reshape(1, -1)
    assert np.linalg.norm(planted @ flat[:3].T) > 0.95
    assert (np.diff(deviations) <= 1e-9).all()


def test_the_file_holds_a_face_mesh(tmp_path: Path, monkeypatch) -> None:
    people = planted_people()
    monkeypatch.setattr(tool, "people_of", lambda datasets: people)
    dataset = Dataset.__new__(Dataset)
    dataset.fps = 25.0
    tool.make(tmp_path / "face_mesh.npz", [dataset])
    with np.load(tmp_path / "face_mesh.npz") as file, np.load(FILE) as bundled:
        assert set(file.files) == set(bundled.files)
        assert all(file[name].dtype == bundled[name].dtype for name in file.files)
        assert file["basis"].shape == bundled["basis"].shape
