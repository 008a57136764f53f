"""Head pose: projection of the head's points, the warp of one pose to another, and maps of eyes and brows.

Coordinates are fractions of the square frame: x right, y down, z toward the viewer. A pose is
``(yaw, pitch, roll, tx, ty)``, radians and frame fractions; yaw > 0 turns the nose to image right,
pitch > 0 turns it down, roll > 0 tilts the head clockwise in the image.

Tensors of head coordinates are planes, (B, 3, s, s) for x, y, z at each pixel; nothing here moves data between host and
device.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .config import HeadGeometry

POSE = ("yaw", "pitch", "roll", "tx", "ty")
FACE = ("blink_left", "blink_right", "gaze_x", "gaze_y", "brow_left", "brow_right")
CHIN = 0.035  # below the mouth's centre: where the region of mouth and chin is centred, frame fractions
MOUTH_RADII = (0.17, 0.15)  # of that region
BROW_LIFT = 0.075  # of the brows above the eyes
EYE_WIDTH, BROW_WIDTH = 0.05, 0.06  # standard deviations of the discs in ``face_maps``


def rotations(angles: Tensor) -> Tensor:
    """Rotations ``roll . pitch . yaw``, (..., 3, 3), for angles (..., 3) of yaw, pitch and roll in radians."""
    (cy, cp, cr), (sy, sp, sr) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    rows = (
        (cr * cy + sr * sp * sy, -sr * cp, cr * sy - sr * sp * cy),
        (sr * cy - cr * sp * sy, cr * cp, sr * sy + cr * sp * cy),
        (-cp * sy, -sp, cp * cy),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def rotation_matrix(yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """``rotations`` for arrays: angles of shape (...,) in radians -> (..., 3, 3) float64."""
    angles = np.stack(np.broadcast_arrays(*(np.asarray(angle, np.float64) for angle in (yaw, pitch, roll))), -1)
    return rotations(torch.from_numpy(angles)).numpy()


def project(points: np.ndarray, pose: np.ndarray, geometry: HeadGeometry = HeadGeometry()) -> np.ndarray:
    """Orthographic image of head points: (..., 3) head coordinates and (5,) pose -> (..., 2) frame fractions."""
    pose = np.asarray(pose, np.float64)
    pivot = np.asarray(geometry.pivot)
    turned = (np.asarray(points, np.float64) - pivot) @ rotation_matrix(*pose[:3]).T + pivot
    return turned[..., :2] + np.asarray(geometry.centre) + pose[3:]


def _pixel_centres(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Frame fractions across (1, size) and down (size, 1)."""
    axis = (torch.arange(size, dtype=like.dtype, device=like.device) + 0.5) / size
    return axis[None, :], axis[:, None]


def _radius2(x: Tensor, y: Tensor, radii: tuple[float, float]) -> Tensor:
    return (x / radii[0]).square() + (y / radii[1]).square()


def _surface_depth(x: Tensor, y: Tensor, geometry: HeadGeometry) -> Tensor:
    """Depth of the ellipsoid over head coordinates; beyond its outline it ends flat."""
    return geometry.depth * (1 - _radius2(x, y, geometry.radii)).clamp(min=0.02).sqrt()


def _planes(vectors: Tensor) -> list[Tensor]:
    """The columns of (B, n), each (B, 1, 1), to meet planes (B, s, s)."""
    return list(vectors[:, :, None, None].unbind(1))


def head_coordinates(pose: Tensor, size: int, geometry: HeadGeometry) -> Tensor:
    """Head coordinates of the ellipsoid's point that each pixel shows: (B, 5) -> planes (B, 3, size, size).

    Solves u = c + t + (R (X - P) + P)_xy for X on the ellipsoid by three fixed-point steps over its depth.
    """
    (centre_x, centre_y), (pivot_x, pivot_y, pivot_z) = geometry.centre, geometry.pivot
    rotation = rotations(pose[:, :3])
    r00, r01, r02, r10, r11, r12 = _planes(rotation[:, :2].flatten(1))
    across, down = _pixel_centres(size, pose)
    shift_x, shift_y = _planes(pose[:, 3:])
    u, v = across - centre_x - shift_x - pivot_x, down - centre_y - shift_y - pivot_y
    determinant = r00 * r11 - r01 * r10
    z = _surface_depth(u + pivot_x, v + pivot_y, geometry)
    for _ in range(3):
        left, up = u - r02 * (z - pivot_z), v - r12 * (z - pivot_z)
        x = (r11 * left - r01 * up) / determinant + pivot_x
        y = (r00 * up - r10 * left) / determinant + pivot_y
        z = _surface_depth(x, y, geometry)
    return torch.stack([x, y, z], 1)


def warp_offsets(points: Tensor, source: Tensor, target: Tensor, geometry: HeadGeometry) -> Tensor:
    """From each pixel of the target pose to where it is found in a picture of the source pose.

    points: (B, 3, s, s), ``head_coordinates`` of the target; source, target: (B, 5) poses. Returns (B, 2, s, s) frame
    fractions. The head moves rigidly; the offset fades to nothing outside it, so that shoulders and background stay.
    """
    change = rotations(source[:, :3])[:, :2] - rotations(target[:, :3])[:, :2]
    c00, c01, c02, c10, c11, c12 = _planes(change.flatten(1))
    shift_x, shift_y = _planes((source - target)[:, 3:])
    x, y, z = (plane - at for plane, at in zip(points.unbind(1), geometry.pivot))
    offset = torch.stack([c00 * x + c01 * y + c02 * z + shift_x, c10 * x + c11 * y + c12 * z + shift_y], 1)
    radius = _radius2(points[:, 0], points[:, 1], geometry.radii).sqrt()
    return _smoothstep((1.75 - radius) / 0.55)[:, None] * offset


def smooth(ramp: np.ndarray) -> np.ndarray:
    """Smoothstep 3 r^2 - 2 r^3 of a ramp, clipped to 0..1."""
    ramp = np.clip(ramp, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _smoothstep(ramp: Tensor) -> Tensor:
    ramp = ramp.clamp(0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _upsampled(maps: Tensor, size: int) -> Tensor:
    return maps if maps.shape[-1] == size else F.interpolate(maps, (size, size), mode="bilinear", align_corners=False)


def warp(picture: Tensor, offsets: Tensor) -> Tensor:
    """Sample pictures (B, C, S, S) at ``offsets`` (B, 2, s, s), s a divisor of S: bicubic, the border repeated."""
    size = picture.shape[-1]
    across, down = _pixel_centres(size, picture)
    x, y = _upsampled(offsets, size).to(picture.dtype).unbind(1)
    grid = 2 * torch.stack([across + x, down + y], -1) - 1
    return F.grid_sample(picture, grid, mode="bicubic", padding_mode="border", align_corners=False)


def mouth_region(points: Tensor, size: int, geometry: HeadGeometry) -> Tensor:
    """A soft mask (B, 1, S, S), 1 around mouth and chin, 0 elsewhere; points: (B, 3, s, s), s a divisor of S."""
    x, y = (at - centre for at, centre in zip(geometry.mouth, geometry.centre))
    radius = _radius2(points[:, 0] - x, points[:, 1] - (y + CHIN), MOUTH_RADII).sqrt()
    return _upsampled(_smoothstep((1.25 - radius) / 0.5)[:, None], size)


def face_maps(points: Tensor, face: Tensor, size: int, geometry: HeadGeometry) -> Tensor:
    """Six maps that tell the network where and how eyes, brows and head are.

    points: (B, 3, s, s), s a divisor of S = ``size``: head coordinates of the target pose. face: (B, 6) as in ``FACE``:
    blinks 0..1, gaze and brows -1..1. Returns (B, 6, S, S): lid closure, gaze x, gaze y and brow raise as soft discs at
    the eyes and brows, then the head coordinates x and y, in radii.
    """

    def disc(at: tuple[float, float], lift: float, width: float) -> Tensor:
        x, y = at[0] - geometry.centre[0], at[1] - geometry.centre[1] - lift
        return torch.exp(-_radius2(points[:, 0] - x, points[:, 1] - y, (1, 1)) / (2 * width**2))

    eyes = geometry.left_eye, geometry.right_eye
    left, right = (disc(eye, 0, EYE_WIDTH) for eye in eyes)
    brow_left, brow_right = (disc(eye, BROW_LIFT, BROW_WIDTH) for eye in eyes)
    blink_left, blink_right, gaze_x, gaze_y, raise_left, raise_right = _planes(face)
    place = [(points[:, i] / geometry.radii[i]).clamp(-1.5, 1.5) for i in range(2)]
    both = left + right
    lids, brows = left * blink_left + right * blink_right, brow_left * raise_left + brow_right * raise_right
    return _upsampled(torch.stack([lids, both * gaze_x, both * gaze_y, brows, *place], 1), size)
