"""How the pixels of a picture move with a head: one smooth field over the picture, made once per portrait.

The head is a surface: the portrait's face mesh, and around it a skull. Each point of the picture belongs to the head by
a weight from 1 to 0. In the plane (roll, size, shift) hair moves as the face does, and all fades to nothing in the
shoulders and the background. Out of the plane (yaw, pitch) the face turns inside the outline of the head, as the
outline of a ball stays where it is. The field is continuous and its surface nowhere steeper than ``STEEPEST``, so it
does not fold: nothing is seen twice, and what a turn uncovers is stretched.
"""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np

from ..config import HeadGeometry
from ..pose import smooth
from .face_mesh import EYE_CORNERS, Similarity, face_mesh
from .warp import OUTLINE, sampled

NOSE = np.array([1, 98, 97, 2, 326, 327])  # its tip and base
NODES = 96  # of the grid, along the longer side of the region that can move
# Canonical units: eye distances of the mean face, whose origin is between the eyes, y down.
MIDDLE = (0.0, 0.0)  # of the head
INNER, OUTER = (1.35, 1.8, 1.65), (2.6, 3.3, 2.9)  # sideways, up, down: the head ends, nothing moves
FACE_MIDDLE, FACE_RADII = (0.0, 0.4), (1.15, 1.4)
TURNS = (0.85, 1.6)  # of these radii, between which turning out of the plane becomes a shift
FORWARD = 0.3  # of the pivot: the depth with which that shift goes
SKULL_MIDDLE, SKULL_RADII = (0.0, -0.35, 1.05), (1.25, 1.5, 1.4)
RINGS = (1.25, 1.6, 2.1, 3.0)  # of the outline, at which the skull's depth is given
NARROWEST = 0.15  # of the space between two nodes, that a turn leaves
SMOOTHING = 3e-4  # of the depth, square units of the thin plate
BORDER = 0.45  # canonical units over which motion across the picture's border fades
STEPS, LONGEST, CLOSE = 7, 3.0, 0.005  # of Newton's method, and nodes that one goes at most, and that are near enough


def skull_depth(points: np.ndarray) -> np.ndarray:
    """Depth (n,) of the skull at points (n, 2) or of what is beside it, canonical units, away from the viewer."""
    off = (points - SKULL_MIDDLE[:2]) / np.array(SKULL_RADII[:2])
    return SKULL_MIDDLE[2] - SKULL_RADII[2] * np.sqrt(np.clip(1 - (off**2).sum(-1), 0, None))


def _surface_points(mesh: np.ndarray, pose: Similarity) -> np.ndarray:
    """Points (n, 3) of the head's surface: the mesh's, and rings around its outline at the skull's depth."""
    mean, rings = face_mesh().mean, []
    outline = mean[OUTLINE, :2] - FACE_MIDDLE
    for size in RINGS:
        flat = size * outline + FACE_MIDDLE
        rings.append(pose(np.column_stack([flat, skull_depth(flat)])))
    return np.concatenate([mesh, *rings])


def _kernel(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    squares = ((points[:, None] - centres) ** 2).sum(-1)
    return squares * np.log(squares + 1e-9)


def thin_plate(centres: np.ndarray, values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A smooth function (k,) at points (k, 2), near ``values`` (n,) at ``centres`` (n, 2): a thin plate's bending."""
    count = len(centres)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _kernel(centres, centres) + SMOOTHING * count * np.eye(count)
    system[:count, count:] = np.column_stack([np.ones(count), centres])
    system[count:, :count] = system[:count, count:].T
    weights = np.linalg.solve(system, np.concatenate([values, np.zeros(3)]))
    return (
        _kernel(points, centres) @ weights[:count] + np.column_stack([np.ones(len(points)), points]) @ weights[count:]
    )


def unfolded(moved: np.ndarray) -> np.ndarray:
    """Displacements (rows, columns, 2), in nodes, near others, that keep the nodes' order in each row and column.

    Neighbours come no nearer to each other than ``NARROWEST``. Where that holds already, nothing changes.
    """
    found = np.empty_like(moved)
    for axis, plane in ((1, 0), (0, 1)):
        ramp = np.arange(moved.shape[axis], dtype=np.float32) * np.float32(1 - NARROWEST)
        ramp = ramp[None, :] if axis == 1 else ramp[:, None]
        at = moved[..., plane] + ramp
        upper = np.maximum.accumulate(at, axis)
        lower = np.flip(np.minimum.accumulate(np.flip(at, axis), axis), axis)
        found[..., plane] = (upper + lower) / 2 - ramp
    return found


class HeadField:
    """The motion of a portrait's head in its picture.

    mesh: (468, 3), pixels of the model's frame of ``size`` pixels. matrix: (2, 3), from pixels of the picture, of
    ``height`` x ``width``, to frame fractions. weights: float (height, width), 0..1, by which all motion is multiplied,
    where other heads are near. ``region`` is left, top, right, bottom of what can move, picture pixels.
    """

    def __init__(
        self,
        mesh: np.ndarray,
        matrix: np.ndarray,
        size: int,
        height: int,
        width: int,
        geometry: HeadGeometry,
        weights: np.ndarray | None = None,
    ):
        self.matrix, self.frame_size, self.shape = matrix, size, (height, width)
        self._back = np.linalg.inv(matrix[:, :2])  # of vectors
        self.pose = face_mesh().pose(mesh)
        self.flat = _affine(face_mesh().mean[:, :2], mesh[:, :2])
        self.region = self._extent()
        left, top, right, bottom = self.region
        step = max(right - left, bottom - top, 1) / NODES
        self.nodes = max(4, round((right - left) / step)), max(4, round((bottom - top) / step))
        self.step = np.array([(right - left) / self.nodes[0], (bottom - top) / self.nodes[1]])
        self._places = (self._node_numbers + 0.5) * self.step + (left, top)
        self._tables(mesh, geometry, weights)

    def _extent(self) -> tuple[int, int, int, int]:
        """The part of the picture in which anything can move."""
        sides, up, down = OUTER
        corners = np.array([(-sides, -up), (sides, -up), (sides, down), (-sides, down)]) + MIDDLE
        frame = (corners @ self.flat[:, :2].T + self.flat[:, 2]) / self.frame_size
        points = (frame - self.matrix[:, 2]) @ self._back.T
        limits = self.shape[1], self.shape[0]
        low = np.floor(np.clip(points.min(0), 0, limits)).astype(int)
        high = np.ceil(np.clip(points.max(0), 0, limits)).astype(int)
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])

    def _tables(self, mesh: np.ndarray, geometry: HeadGeometry, weights: np.ndarray | None) -> None:
        frame = (self._places @ self.matrix[:, :2].T + self.matrix[:, 2]) * self.frame_size
        turn = np.linalg.inv(self.flat[:, :2])
        flat = (frame - self.flat[:, 2]) @ turn.T
        unit = self.pose.scale
        depth = self._depth(mesh, frame, unit)
        self.pivot, self._unit = pivot_of(mesh, geometry, self.frame_size)
        around = np.concatenate([frame - self.pivot[:2], (self.pivot[2] - depth)[..., None]], -1) / self.frame_size
        self._around = around.astype(np.float32)
        share = np.ones(depth.shape) if weights is None else self._sampled(weights)
        self._in_plane = (share * _fade(flat - MIDDLE, INNER, OUTER)).astype(np.float32)
        radius = np.linalg.norm((flat - FACE_MIDDLE) / FACE_RADII, axis=-1)
        turns = smooth((TURNS[1] - radius) / (TURNS[1] - TURNS[0]))
        self._turns = turns.astype(np.float32)
        self._forward = np.float32(FORWARD * unit / self.frame_size)
        self._to_picture = self._back.astype(np.float32)
        self._border = self._border_fade(unit / self.frame_size * np.hypot(*self._back[0]))

    def _depth(self, mesh: np.ndarray, frame: np.ndarray, unit: float) -> np.ndarray:
        """Depth of the head's surface at each node, frame pixels."""
        points = _surface_points(mesh, self.pose)
        middle = self.pose.shift[:2]
        count = max(8, round(len(frame) / 2)), max(8, round(frame.shape[1] / 2))
        rows, columns = (np.linspace(0, n - 1, k).round().astype(int) for n, k in zip(frame.shape, count))
        coarse = frame[np.ix_(rows, columns)].reshape(-1, 2)
        found = thin_plate((points[:, :2] - middle) / unit, points[:, 2] / unit, (coarse - middle) / unit)
        depth = cv2.resize(found.reshape(count), frame.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        return depth * unit

    def _sampled(self, weights: np.ndarray) -> np.ndarray:
        places = (self._places - 0.5).astype(np.float32)
        return sampled(weights.astype(np.float32), places, cv2.BORDER_REPLICATE)

    def _border_fade(self, unit: float) -> np.ndarray:
        """By how much motion along x and y is held at the picture's borders, (rows, columns, 2)."""
        height, width = self.shape
        ends = np.array([width, height])
        distance = np.minimum(self._places, ends - self._places)
        return smooth(distance / (BORDER * unit)).astype(np.float32)

    def displacement(self, turn: np.ndarray, size: float, shift: np.ndarray) -> np.ndarray:
        """How far each node moves, (rows, columns, 2) float32 picture pixels.

        turn: (3, 3), rotation in the frame's axes (x right, y down, z toward the viewer); size: factor; shift: (2,)
        fractions of a frame in which the head is as large as usual.
        """
        roll = np.arctan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1])
        flat = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0]])
        around = self._around.reshape(-1, 3)
        in_plane = around @ (size * flat - np.eye(2, 3)).T.astype(np.float32) + (self._unit * shift).astype(np.float32)
        tilt = (size * (turn[:2] - flat)).astype(np.float32)
        turns = self._turns.reshape(-1, 1)
        out = turns * (around @ tilt.T) + (1 - turns) * (self._forward * tilt[:, 2])
        moved = self._in_plane.reshape(-1, 1) * (in_plane + out)
        moved = (moved @ self._to_picture.T).reshape(self._border.shape) * self._border
        step = self.step.astype(np.float32)
        return step * unfolded(moved / step)

    def inverse(self, displacement: np.ndarray) -> np.ndarray:
        """For each node, how far away the point of the picture lies that moves to it: (rows, columns, 2) pixels.

        Newton's method from one step of ``-displacement`` on.
        """
        step = self.step.astype(np.float32)
        moved = displacement / step
        nodes = self._node_numbers
        down, across = np.gradient(moved, axis=0), np.gradient(moved, axis=1)
        a, b, c, d = across[..., 0] + 1, down[..., 0], across[..., 1], down[..., 1] + 1
        determinant = np.maximum(a * d - b * c, 0.1)
        slopes = np.stack([d, -b, -c, a], -1) / determinant[..., None]
        table = np.concatenate([moved, slopes], -1).astype(np.float32)
        at = nodes - moved
        for _ in range(STEPS):
            here = sampled(table, at, cv2.BORDER_REPLICATE)
            error = at + here[..., :2] - nodes
            if max(float(error.max()), -float(error.min())) < CLOSE:
                break
            right, down = error[..., 0], error[..., 1]
            at[..., 0] -= np.clip(here[..., 2] * right + here[..., 3] * down, -LONGEST, LONGEST)
            at[..., 1] -= np.clip(here[..., 4] * right + here[..., 5] * down, -LONGEST, LONGEST)
        return (at - nodes) * step

    @cached_property
    def centres(self) -> np.ndarray:
        """The nodes as array indices of the region, (rows, columns, 2) float32."""
        return ((self._node_numbers + 0.5) * self.step - 0.5).astype(np.float32)

    @cached_property
    def _node_numbers(self) -> np.ndarray:
        columns, rows = self.nodes
        return np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).astype(np.float32)


def _fade(points: np.ndarray, inner: tuple[float, ...], outer: tuple[float, ...]) -> np.ndarray:
    """1 inside an egg, 0 outside another; sideways, up, down radii."""
    inside, outside = (
        np.hypot(points[..., 0] / r[0], points[..., 1] / np.where(points[..., 1] < 0, r[1], r[2]))
        for r in (inner, outer)
    )
    # On a ray from the middle the inner radius is 1 / inside of the way, the outer one 1 / outside.
    near, far = 1 / np.maximum(inside, 1e-6), 1 / np.maximum(outside, 1e-6)
    return smooth((far - 1) / np.maximum(far - near, 1e-6))


def _affine(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The affine map (2, 3) that takes points (n, 2) nearest to others."""
    extended = np.column_stack([source, np.ones(len(source))])
    return np.linalg.lstsq(extended, target, rcond=None)[0].T


def pivot_of(mesh: np.ndarray, geometry: HeadGeometry, size: int) -> tuple[np.ndarray, float]:
    """What the head of a mesh (468, 3) turns about, (3,) px of a frame of ``size``, z away from the viewer.

    It is ``geometry``'s, carried along with eyes and nose where the head is not placed as usual (``face.alignment``);
    second how large the head is then, 1 as usual.
    """
    eyes = mesh[EYE_CORNERS].reshape(2, 2, 3).mean(1)
    points = np.stack([*eyes[:, :2], mesh[NOSE, :2].mean(0)]) @ (1, 1j) / size
    usual = np.array([geometry.left_eye, geometry.right_eye, geometry.nose]) @ (1, 1j)
    apart = usual - usual.mean()
    turn = (apart.conj() @ (points - points.mean())) / (abs(apart) ** 2).sum()
    at = points.mean() + turn * (complex(*geometry.centre) + complex(*geometry.pivot[:2]) - usual.mean())
    x, y = (part - centre for part, centre in zip(geometry.right_eye, geometry.centre))
    surface = geometry.depth * np.sqrt(max(1 - (x / geometry.radii[0]) ** 2 - (y / geometry.radii[1]) ** 2, 0.02))
    depth = eyes[:, 2].mean() + size * abs(turn) * (surface - geometry.pivot[2])
    return np.array([size * at.real, size * at.imag, depth]), float(abs(turn))
