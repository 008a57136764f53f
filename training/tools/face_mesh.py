"""Make ``assets/face_mesh.npz`` of datasets with face meshes: the mean face, its triangles, and how mouths move.

``python -m diffused_heads.training.tools.face_mesh FILE DATA [DATA ...]``
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ...diffused_heads_core.data.shards import Dataset
from ...diffused_heads_core.errors import DiffusedHeadsError
from ...diffused_heads_core.files import atomic_path
from ...diffused_heads_core.mouth.face_mesh import EYE_CORNERS, POINTS, fit_similarity
from ...diffused_heads_core.mouth.warp import INNER_LIPS, OUTLINE
from ..mouth.movements import aligned, eye_distance, mouth_weights, movements

MIRROR = (-1, 1, 1)
PASSES = 4  # of generalised Procrustes analysis (Gower 1975)
PAIRINGS = 5  # passes that find each point's mirror image
EVERY = 5  # of how many frames one counts for the mean face
COMPONENTS = 12
MOST_ROWS = 20_000  # frames, with their mirror images, of which the components are computed
SCALE = 256.0  # OpenCV compares coordinates with a fixed tolerance
OPENED = 0.12  # eye distances by which the mouth is opened before its points are joined to triangles


def people_of(datasets: Sequence[Dataset]) -> list[list[np.ndarray]]:
    """The meshes (T, 468, 3) of each person's clips; clips without a face in some frame are left out.

    Raises DiffusedHeadsError if there are none.
    """
    people: dict[str, list[np.ndarray]] = {}
    for dataset in datasets:
        for clip in range(len(dataset)):
            mesh = dataset.annotations(clip).get("mesh")
            if mesh is not None and np.isfinite(mesh).all():
                person = f"{dataset.path} {dataset.meta(clip).get('identity', dataset.key(clip))}"
                people.setdefault(person, []).append(mesh.astype(np.float64))
    if not people:
        raise DiffusedHeadsError("expected datasets with the annotation mesh, found none")
    return list(people.values())


def mean_face(people: Sequence[Sequence[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The symmetric mean of people's faces (468, 3), in eye distances with the eyes' middle at 0, and the mirror image
    of each point, (468,).
    """
    meshes = [np.concatenate(clips)[::EVERY] for clips in people]
    mean = meshes[0][0]
    for _ in range(PASSES):
        mean = centred(np.mean([aligned(rows, mean).mean(0) for rows in meshes], 0))
    pairs = mirror_pairs(mean)
    mirrored = (mean * MIRROR)[pairs]
    mean = centred(levelled((mean + fit_similarity(mirrored, mean)(mirrored)) / 2, pairs))
    return (mean + (mean * MIRROR)[pairs]) / 2, pairs


def centred(mesh: np.ndarray) -> np.ndarray:
    """A mesh with the middle of the eyes' corners at 0 and the eye distance as unit."""
    return (mesh - mesh[EYE_CORNERS].mean(0)) / eye_distance(mesh)


def levelled(mesh: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """A mesh turned so that its plane of symmetry is x = 0."""
    across = mesh[pairs] - mesh  # along the normal of that plane
    x = (across * np.sign(across[:, :1])).sum(0)
    x /= np.linalg.norm(x)
    y = np.array([0.0, 1.0, 0.0]) - x[1] * x
    y /= np.linalg.norm(y)
    return mesh @ np.stack([x, y, np.cross(x, y)], 1)


def mirror_pairs(mesh: np.ndarray) -> np.ndarray:
    """The number of each point's mirror image, (468,): the nearest point of the mirrored mesh."""
    mirrored = mesh * MIRROR
    for _ in range(PAIRINGS):
        pairs = np.linalg.norm(mirrored[:, None] - mesh[None], axis=-1).argmin(1)
        mirrored = fit_similarity(mirrored, mesh[pairs])(mirrored)
    if (pairs[pairs] != np.arange(POINTS)).any():
        raise DiffusedHeadsError("expected a face whose points have mirror images, found one too far from symmetric")
    return pairs


def triangles(mean: np.ndarray) -> tuple[np.ndarray, int]:
    """Triangles (n, 3) of the mean face, those inside the mouth first, and how many these are.

    Delaunay's, of the face with its mouth opened a little so that the lips are not joined; all turn the same way.
    """
    points = mean[:, :2].copy()
    points[points[:, 1] > mean[[13, 14], 1].mean(), 1] += OPENED
    found = delaunay(points)
    middles = points[found].mean(1)
    found, middles = (rows[_within(middles, points[OUTLINE])] for rows in (found, middles))
    inside = np.isin(found, INNER_LIPS).all(1) & _within(middles, points[INNER_LIPS])
    return np.concatenate([found[inside], found[~inside]]), int(inside.sum())


def delaunay(points: np.ndarray) -> np.ndarray:
    """Delaunay triangles (n, 3) of points (m, 2), of positive area with x right and y down."""
    points = SCALE * np.asarray(points, np.float64)
    low, high = points.min(0) - SCALE, points.max(0) + SCALE
    plane = cv2.Subdiv2D((*map(float, low), *map(float, high - low)))  # type: ignore[arg-type]
    numbers = {}
    for number, (x, y) in enumerate(points.astype(np.float32).tolist()):
        numbers[plane.insert((x, y))] = number
    places = {tuple(plane.getVertex(vertex)[0]): number for vertex, number in numbers.items()}
    corners = np.array(plane.getTriangleList()).reshape(-1, 3, 2)
    found = [[places.get(tuple(map(float, corner))) for corner in each] for each in corners]
    rows = np.array([each for each in found if None not in each])
    across, down = points[rows[:, 1]] - points[rows[:, 0]], points[rows[:, 2]] - points[rows[:, 0]]
    turned = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0] < 0
    rows[turned] = rows[turned][:, ::-1]
    return rows


def _within(points: np.ndarray, contour: np.ndarray) -> np.ndarray:
    """Which points (n, 2) are inside a closed contour (m, 2)."""
    edge = contour.astype(np.float32)[:, None]
    return np.array([cv2.pointPolygonTest(edge, (float(x), float(y)), False) > 0 for x, y in points])


def components(
    people: Sequence[Sequence[np.ndarray]], mean: np.ndarray, pairs: np.ndarray, fps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of the mouths' movement, (COMPONENTS, 468, 3) orthonormal, and their deviations from the
    closed mouth, (COMPONENTS,) eye distances. Mirrored movements count too, so that no side is preferred.
    """
    moved = np.concatenate([rows for clips in people for rows in movements(clips, mean, fps)])
    moved = moved[:: -(-2 * len(moved) // MOST_ROWS)] * mouth_weights(mean)[:, None]
    moved = np.concatenate([moved, (moved * MIRROR)[:, pairs]])
    _, singular, basis = np.linalg.svd(moved.reshape(len(moved), -1), full_matrices=False)
    count = min(COMPONENTS, len(basis))
    return basis[:count].reshape(count, POINTS, 3), singular[:count] / np.sqrt(len(moved))


def make(file: Path, datasets: Sequence[Dataset]) -> None:
    """Write the face mesh of datasets."""
    people = people_of(datasets)
    mean, pairs = mean_face(people)
    faces, inside = triangles(mean)
    basis, deviations = components(people, mean, pairs, datasets[0].fps)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        mean=mean.astype(np.float32),
        pairs=pairs.astype(np.int16),
        triangles=faces.astype(np.int16),
        inside=np.int16(inside),
        basis=basis.astype(np.float32),
        deviations=deviations.astype(np.float32),
    )
    with atomic_path(file) as part:
        part.write_bytes(buffer.getvalue())


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="where face_mesh.npz is written")
    parser.add_argument("data", type=Path, nargs="+", help="datasets with face meshes")
    options = parser.parse_args()
    make(options.file, [Dataset(path) for path in options.data])


if __name__ == "__main__":
    main()
