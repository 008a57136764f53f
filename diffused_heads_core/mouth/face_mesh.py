"""The mean face mesh, how a measured mesh differs from it, and lip shapes as coefficients of it.

A mesh is (468, 3): the landmarks of ``face.mesh``, x right, y down, z away from the viewer. The mean face is symmetric,
looks ahead, has its origin between the eyes and the distance of the eyes as its unit; ``face_mesh.npz`` holds it, its
triangles, and the principal components of the lips' and the jaw's movement in speech, and ``closing.npz`` how open the
mouth of a portrait is. ``training.tools.face_mesh`` and ``training.tools.closing`` make these files.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..assets import ASSETS
from ..config import HeadGeometry
from ..errors import DiffusedHeadsError

FILE = ASSETS / "face_mesh.npz"
CLOSING = ASSETS / "closing.npz"
POINTS = 468
EYE_CORNERS = np.array([33, 133, 362, 263])
# Points of the upper face that speech does not move: eyes' corners, nose, brows, forehead, temples.
STABLE = np.array(
    [33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 327, 10, 338, 297, 332, 284, 251, 109, 67]
    + [103, 54, 21, 127, 356, 234, 454, 162, 389, 151, 9, 8, 107, 336, 69, 299, 104, 333, 68, 298]
)
UPPER_LIP = np.array([80, 81, 82, 13, 312, 311, 310])  # inner contour, from left to right, without the corners
LOWER_LIP = np.array([88, 178, 87, 14, 317, 402, 318])
MIDDLE = slice(2, 5)  # of these, the three at the mouth's middle
MOUTH_CORNERS = np.array([61, 291])
LIPS = np.array([13, 14])  # the middle of the upper and of the lower one
CLOSED = 0.006  # most gap between closed lips as the landmark network sees it, eye distances
SLACK = 0.008  # by which it may be wider
STIFFNESS = 1e-4  # of the components when a portrait's mouth is closed


@dataclass(frozen=True, eq=False)
class Similarity:
    """x -> scale * turn @ x + shift, of points (..., 3)."""

    scale: float
    turn: np.ndarray
    shift: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Moved points, (..., 3)."""
        return self.scale * points @ self.turn.T + self.shift

    def directions(self, vectors: np.ndarray) -> np.ndarray:
        """Turned and scaled vectors, (..., 3), without the shift."""
        return self.scale * vectors @ self.turn.T

    def inverse(self, points: np.ndarray) -> np.ndarray:
        """Points from which ``points`` come, (..., 3)."""
        return (points - self.shift) @ self.turn / self.scale


def fit_similarity(source: np.ndarray, target: np.ndarray) -> Similarity:
    """The similarity that carries points (n, 3) nearest to others (n, 3) (Umeyama 1991)."""
    middles = source.mean(0), target.mean(0)
    a, b = source - middles[0], target - middles[1]
    u, singular, v = np.linalg.svd(b.T @ a)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ v))])
    turn = (u * sign) @ v
    scale = float((singular * sign).sum() / np.square(a).sum())
    return Similarity(scale, turn, middles[1] - scale * turn @ middles[0])


@dataclass(frozen=True, eq=False)
class FaceMesh:
    """The contents of ``face_mesh.npz`` and of ``closing.npz``.

    mean: (468, 3). pairs: (468,), the mirror image of each point. triangles: (n, 3), those inside the mouth first, of
    which there are ``inside``. basis: (K, 468, 3), orthonormal; deviations: (K,), eye distances. lips: (L,), the points
    that tell how open a mouth is, by the linear map ``opens`` (K, L, 3) of their distance from the mean face, and
    ``usual`` (K,), the coefficients of the mean face's mouth.
    """

    mean: np.ndarray
    pairs: np.ndarray
    triangles: np.ndarray
    inside: int
    basis: np.ndarray
    deviations: np.ndarray
    lips: np.ndarray
    opens: np.ndarray
    usual: np.ndarray

    def pose(self, mesh: np.ndarray) -> Similarity:
        """From the mean face to a mesh (468, 3): where the head is and how it is turned."""
        return fit_similarity(self.mean[STABLE], np.asarray(mesh, np.float64)[STABLE])

    def shape(self, coefficients: np.ndarray) -> np.ndarray:
        """Movement of all points for coefficients (K,): (468, 3), eye distances of the mean face."""
        return np.tensordot(coefficients, self.basis[: len(coefficients)], 1)

    def gaps(self, shapes: np.ndarray) -> np.ndarray:
        """Distance down from the upper to the lower lip, (..., 468, 3) -> (..., 7), in the unit of the shapes."""
        return shapes[..., LOWER_LIP, 1] - shapes[..., UPPER_LIP, 1]

    def closing(self, mesh: np.ndarray, components: int) -> np.ndarray:
        """Coefficients (components,) of a portrait's mouth: by how much it differs from that person's closed mouth.

        They are what people with such lips have on average. If that leaves a gap between the lips, or makes one, they
        are changed so that the lips close.
        """
        own = self.pose(mesh).inverse(np.asarray(mesh, np.float64))
        seen = own[self.lips] - self.mean[self.lips]
        found = (self.usual + np.tensordot(self.opens, seen, 2))[:components]
        return found + self.shutting(own - self.shape(found), components, np.minimum(self.gaps(own), CLOSED))

    def shutting(self, own: np.ndarray, components: int, gaps: np.ndarray | float = CLOSED) -> np.ndarray:
        """Coefficients (components,) of what keeps lips more than ``gaps`` apart; own: a mesh in the mean face's place.

        Least squares of the gaps, the components held by their own deviations; 0 if the lips are hardly farther apart.
        """
        open_by = self.gaps(own) - gaps
        if open_by[MIDDLE].mean() < SLACK:
            return np.zeros(components)
        effect = self.gaps(self.basis[:components]).T * self.deviations[:components]
        normal = effect.T @ effect + STIFFNESS * np.eye(components)
        return self.deviations[:components] * np.linalg.solve(normal, effect.T @ open_by)


@lru_cache(maxsize=1)
def face_mesh() -> FaceMesh:
    """The bundled mean face."""
    with np.load(FILE, allow_pickle=False) as file, np.load(CLOSING, allow_pickle=False) as closing:
        return FaceMesh(
            file["mean"].astype(np.float64),
            file["pairs"].astype(np.int64),
            file["triangles"].astype(np.int64),
            int(file["inside"]),
            file["basis"].astype(np.float64),
            file["deviations"].astype(np.float64),
            closing["lips"].astype(np.int64),
            closing["opens"].astype(np.float64),
            closing["usual"].astype(np.float64),
        )


def usual_mesh(geometry: HeadGeometry, size: int) -> np.ndarray:
    """The mean face where ``geometry`` has eyes and mouth, (468, 3) px of a frame of ``size``."""
    mean = face_mesh().mean
    left, right, mouth = (np.array(at) for at in (geometry.left_eye, geometry.right_eye, geometry.mouth))
    across, middle = right[0] - left[0], (left + right) / 2
    down = (mouth[1] - middle[1]) / mean[LIPS, 1].mean()
    return size * (mean * (across, down, across) + (*middle, 0))


def check_mesh(mesh: np.ndarray, name: str = "face mesh") -> np.ndarray:
    """The mesh as float64 (468, 3). Raises DiffusedHeadsError for another shape or values that are not finite."""
    points = np.asarray(mesh, np.float64)
    if points.shape != (POINTS, 3) or not np.isfinite(points).all():
        raise DiffusedHeadsError(f"{name}: expected finite points ({POINTS}, 3), found {points.shape}")
    return points
