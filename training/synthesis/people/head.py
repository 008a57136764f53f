"""Geometry of one person's head: identity, blend shapes, eyeballs, tongue, and its place in head coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ....diffused_heads_core.pose import HeadGeometry
from .face_model import PARTS, FaceModel

GEOMETRY = HeadGeometry()
SURFACE = 0.236  # depth of the head geometry's ellipsoid at the eyes, in head coordinates
SOFT = ("face", "head", "socket")
EYE_TURN = (0.42, 0.32)  # radians by which a gaze of 1 turns the eyes: sideways, up and down


@dataclass(frozen=True, eq=False)
class SoftMesh:
    """The soft parts, prepared for computing normals: triangles (f, 3); corners: the same, (3, f); order: the triangle
    of each corner, sorted by vertex; starts: where each vertex begins in that order; rows: the vertices.
    """

    triangles: np.ndarray
    corners: np.ndarray
    order: np.ndarray
    starts: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, triangles: np.ndarray) -> SoftMesh:
        """Prepare triangles (f, 3)."""
        flat = triangles.ravel()
        order = np.argsort(flat, kind="stable")
        rows, starts = np.unique(flat[order], return_index=True)
        return cls(triangles, np.ascontiguousarray(triangles.T), order // 3, starts, rows)

    def normals(self, points: np.ndarray) -> np.ndarray:
        """Unit normals (n, 3) of a mesh with vertices (n, 3); 0 at vertices of other parts."""
        first, second, third = self.corners
        columns = np.ascontiguousarray(points.T)  # one axis at a time: several times faster than rows of three
        ax, ay, az, bx, by, bz = (c.take(other) - c.take(first) for other in (second, third) for c in columns)
        cross = (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)
        total = np.stack([np.add.reduceat(axis.take(self.order), self.starts) for axis in cross])
        out = np.zeros_like(points)
        out[self.rows] = (total / np.maximum(np.sqrt(np.einsum("ij,ij->j", total, total)), 1e-12)).T
        return out


@dataclass(frozen=True, eq=False)
class Topology:
    """What is the same for all persons with one face model.

    used: (n,) model vertices that are drawn; row: (V,) their position in ``used``, or -1; triangles: part -> (f, 3)
    rows of ``used``; soft: the mesh of the soft parts; moving: (m,) rows that a blend shape moves; shapes: (57, 3 m)
    their offsets; identities: (100, 3 n) offsets of the identity components; tongue: (n,) 1 at the tongue's tip, 0
    elsewhere.
    """

    used: np.ndarray
    row: np.ndarray
    triangles: dict[str, np.ndarray]
    soft: SoftMesh
    moving: np.ndarray
    shapes: np.ndarray
    identities: np.ndarray
    tongue: np.ndarray


@lru_cache(maxsize=2)
def topology(model: FaceModel) -> Topology:
    """The topology of a face model, computed once."""
    used = np.unique(np.concatenate([model.triangles[model.part(name)].ravel() for name in PARTS] + [model.landmarks]))
    row = np.full(len(model.neutral), -1)
    row[used] = np.arange(len(used))
    triangles = {name: row[model.triangles[model.part(name)]] for name in PARTS}
    soft = SoftMesh.of(np.concatenate([triangles[name] for name in SOFT]))
    shapes = model.expression[:, used].astype(np.float32)
    moving = np.flatnonzero(np.abs(shapes).max((0, 2)) > 0.004)
    shapes = np.ascontiguousarray(shapes[:, moving].reshape(len(shapes), -1))
    identities = model.identity[:, used].astype(np.float32).reshape(len(model.identity), -1)
    return Topology(
        used, row, triangles, soft, moving, shapes, identities, _tongue(model, triangles["gums"], model.neutral[used])
    )


def _islands(triangles: np.ndarray, count: int) -> np.ndarray:
    """Connected components of a mesh: for each vertex (count,) the smallest vertex of its component."""
    label = np.arange(count)
    while True:
        new = label.copy()
        np.minimum.at(new, triangles.ravel(), np.repeat(label[triangles].min(1), 3))
        new = new[new]
        if (new == label).all():
            return label
        label = new


def _tongue(model: FaceModel, gums: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    """Weight (n,) of each used vertex that rises from 0 to 1 at the tongue's tip. The tongue is the flat component in
    the middle of the gums.
    """
    uv = model.triangle_uv[model.part("gums")]
    label = _islands(uv, len(model.uv))
    weight = np.zeros(len(neutral), np.float32)
    best, score = None, -1.0
    for name in np.unique(label[uv]):
        rows = np.unique(gums[label[uv[:, 0]] == name])
        points = neutral[rows]
        flat = np.ptp(points[:, 2]) - 0.5 * abs(points[:, 0].mean()) - 1.5 * np.ptp(points[:, 1])
        narrow = np.abs(points[:, 0]).max() < 0.85 * np.abs(neutral[gums].reshape(-1, 3)[:, 0]).max()
        if len(rows) > 60 and narrow and flat > score:
            best, score = rows, flat
    if best is not None:
        depth = neutral[best, 2]
        weight[best] = np.clip((depth - depth.min()) / max(np.ptp(depth), 1e-6), 0, 1)
    return weight


@lru_cache(maxsize=32)
def unwrapped(model: FaceModel, part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A part with its texture: rows (n,) of used vertices, texture coordinates (n, 2) in 0..1, triangles (f, 3)."""
    chosen = model.part(part)
    rows, uv = topology(model).row[model.triangles[chosen]], model.triangle_uv[chosen]
    pairs, inverse = np.unique(np.stack([rows.ravel(), uv.ravel()], 1), axis=0, return_inverse=True)
    coordinates = model.uv[pairs[:, 1]]
    return (
        pairs[:, 0],
        (coordinates - np.floor(np.median(coordinates, 0))).astype(np.float32),
        inverse.reshape(-1, 3).astype(np.int32),
    )


def all_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals (n, 3) at the vertices of any mesh."""
    a, b, c = (points[triangles[:, i]] for i in range(3))
    face, out = np.cross(b - a, c - a), np.zeros((len(points), 3))
    for axis in range(3):
        out[:, axis] = np.bincount(triangles.ravel(), np.repeat(face[:, axis], 3), len(points))
    return (out / np.maximum(np.linalg.norm(out, axis=1), 1e-12)[:, None]).astype(np.float32)


def grid_triangles(down: int, across: int) -> np.ndarray:
    """Triangles (2 down across, 3) of a grid of (down + 1, across + 1) vertices."""
    row = np.arange(down)[:, None] * (across + 1) + np.arange(across)
    below = row + across + 1
    return np.stack([row, below, row + 1, row + 1, below, below + 1], -1).reshape(-1, 3)


def follow(points: np.ndarray) -> np.ndarray:
    """How far points (n, 3), in cm of the face model, follow the head: 1 on the head, falling to 0 down the neck."""
    height = points[:, 1] + 0.35 * np.maximum(points[:, 2] - 2.0, 0.0)
    ramp = np.clip((height + 13.5) / 7.0, 0, 1)
    return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Face:
    """points: vertices (n, 3) in cm; normals: of the soft parts (n, 3); turn: rotation (3, 3) of the eyes."""

    points: np.ndarray
    normals: np.ndarray
    turn: np.ndarray


@lru_cache(maxsize=2)
def _masculinity(model: FaceModel) -> np.ndarray:
    """Unit vector (100,) of identity components that makes a face more masculine: a wider jaw, chin and nose, brows
    that are lower and further forward.
    """
    moved = model.identity[:, model.landmarks].astype(np.float32)

    def shift(a: int, b: int, axis: int) -> np.ndarray:
        return moved[:, a, axis] - moved[:, b, axis]

    features = [
        shift(12, 4, 0),
        shift(10, 6, 0),
        shift(35, 31, 0),
        shift(57, 8, 1),
        moved[:, [19, 24], 2].mean(1) - moved[:, [27], 2].mean(1),
        moved[:, [37, 44], 1].mean(1) - moved[:, [19, 24], 1].mean(1),
        shift(30, 27, 2),
        -shift(45, 36, 0),
    ]
    score = sum(f / max(np.linalg.norm(f), 1e-6) for f in features)
    return score / max(np.linalg.norm(score), 1e-6)


def sexed_identity(model: FaceModel, identity: np.ndarray, masculine: bool) -> np.ndarray:
    """An identity (100,) moved towards features that are more common in men, or in women."""
    direction = np.zeros(len(identity), np.float32)
    direction[: len(_masculinity(model))] = _masculinity(model)[: len(identity)]
    score = float(identity @ direction)
    wanted = abs(score) * 0.6 + 0.7
    return identity + direction * ((wanted if masculine else -wanted) - score)


class Head:
    """One person's head. Points are in cm of the face model; ``placed`` converts them to head coordinates."""

    def __init__(self, model: FaceModel, identity: np.ndarray) -> None:
        self.model, self.topology = model, topology(model)
        used = self.topology.used
        weights = np.zeros(len(model.identity), np.float32)
        weights[: len(identity)] = identity[: len(weights)]
        offset = (weights @ self.topology.identities).reshape(-1, 3)
        self.neutral = (model.neutral[used] + offset).astype(np.float32)
        self.marks = self.topology.row[model.landmarks]
        self._align()
        self._eyes()
        self.follow = follow(self.neutral)
        self._soft, self._moving, self._shapes = self.topology.soft, self.topology.moving, self.topology.shapes

    def focus(self, rows: np.ndarray) -> None:
        """Move only these rows from now on; the others stay at rest."""
        wanted = np.zeros(len(self.neutral), bool)
        wanted[rows] = True
        topo = self.topology
        self._soft = SoftMesh.of(topo.soft.triangles[wanted[topo.soft.triangles].any(1)])
        wanted[self._soft.triangles.ravel()] = True
        chosen = wanted[topo.moving]
        self._moving = topo.moving[chosen]
        shapes = topo.shapes.reshape(len(topo.shapes), -1, 3)
        self._shapes = np.ascontiguousarray(shapes[:, chosen]).reshape(len(shapes), -1)

    def offsets(self, weights: np.ndarray) -> np.ndarray:
        """Offsets (k, m, 3) of the moving rows for the blend-shape weights (k, 57) of k frames."""
        return (np.asarray(weights, np.float32) @ self._shapes).reshape(len(weights), -1, 3)

    def _align(self) -> None:
        """Scale and shift that bring the eyes' centres and the nose to the head geometry's, by least squares."""
        marks = self.neutral[self.marks]
        eyes = [marks[36:42].mean(0), marks[42:48].mean(0)]
        source = np.stack([*eyes, marks[30:36].mean(0)]).astype(np.float64)[:, :2] * (1, -1)
        target = np.array([GEOMETRY.left_eye, GEOMETRY.right_eye, GEOMETRY.nose]) - GEOMETRY.centre
        a, b = source - source.mean(0), target - target.mean(0)
        self.scale = float((a * b).sum() / (a * a).sum())
        shift = target.mean(0) - self.scale * source.mean(0)
        depth = SURFACE - self.scale * float(np.mean([eye[2] for eye in eyes]))
        self.offset = np.array([*shift, depth], np.float32)

    def _eyes(self) -> None:
        self.eyes = []
        for low, high in self.model.eyeballs:
            rows = self.topology.row[low:high]
            points = self.neutral[rows]
            # The sphere is fitted to the back half, since the cornea bulges.
            back = points[points[:, 2] < np.median(points[:, 2])]
            design = np.column_stack([2 * back, np.ones(len(back))])
            solution = np.linalg.lstsq(design, (back**2).sum(1), rcond=None)[0]
            radius = float(np.sqrt(max(solution[3] + (solution[:3] ** 2).sum(), 1e-6)))
            self.eyes.append((rows, solution[:3].astype(np.float32), radius))

    def placed(self, points: np.ndarray) -> np.ndarray:
        """Head coordinates (n, 3) of points in cm."""
        return points * np.array([self.scale, -self.scale, self.scale], np.float32) + self.offset

    def unplaced(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 3) in cm from head coordinates."""
        return ((points - self.offset) / np.array([self.scale, -self.scale, self.scale])).astype(np.float32)

    def rest(self) -> Face:
        """The face without any expression."""
        return self.posed(self.offsets(np.zeros((1, len(self.model.names)), np.float32))[0])

    def posed(self, offsets: np.ndarray, gaze: tuple[float, float] = (0.0, 0.0), tongue: float = 0.0) -> Face:
        """The face with ``offsets`` (m, 3); gaze: (right, down), -1..1; tongue: 0..1, raised to the teeth."""
        points = self.neutral.copy()
        points[self._moving] += offsets
        self._raise_tongue(points, tongue)
        turn = _turn(gaze[0] * EYE_TURN[0], gaze[1] * EYE_TURN[1])
        for rows, centre, _ in self.eyes:
            points[rows] = (points[rows] - centre) @ turn.T + centre
        return Face(points, self._soft.normals(points), turn)

    def _raise_tongue(self, points: np.ndarray, amount: float) -> None:
        rows = np.flatnonzero(self.topology.tongue)
        weight = self.topology.tongue[rows, None]
        low, high = np.array([0.0, -0.15, -0.35], np.float32), np.array([0.0, 0.55, 0.75], np.float32)
        points[rows] += weight**1.5 * (high * amount + low * (1 - amount))


def _turn(yaw: float, pitch: float) -> np.ndarray:
    """Rotation (3, 3) of the eyes: yaw to image right, pitch down, in the axes of the face model (y up)."""
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    around_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    around_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    return (around_y @ around_x).astype(np.float32)
