"""Head pose: the head's geometry in the frame, projection of its points, and the warp of one pose to another.

Coordinates are fractions of the square frame: x right, y down, z toward the viewer. A pose is
``(yaw, pitch, roll, tx, ty)``, radians and frame fractions; yaw > 0 turns the nose to image right,
pitch > 0 turns it down, roll > 0 tilts the head clockwise in the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

POSE = ("yaw", "pitch", "roll", "tx", "ty")


@dataclass(frozen=True)
class HeadGeometry:
    """Where a neutral head sits in the frame, and the ellipsoid that stands for its surface."""

    left_eye: tuple[float, float] = (0.375, 0.45)
    right_eye: tuple[float, float] = (0.625, 0.45)
    mouth: tuple[float, float] = (0.5, 0.69)
    centre: tuple[float, float] = (0.5, 0.47)
    radii: tuple[float, float] = (0.30, 0.40)
    depth: float = 0.26
    pivot: tuple[float, float, float] = (0.0, 0.28, -0.10)
    nose: tuple[float, float] = (
        0.5,
        0.598,
    )  # its lower end, as face.stable_points finds it on avatars; older checkpoints lack it


def rotation_matrix(yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Rotations ``roll . pitch . yaw`` as (..., 3, 3) for angles of shape (...,), radians."""
    yaw, pitch, roll = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (yaw, pitch, roll)))
    one, nil = np.ones_like(yaw), np.zeros_like(yaw)

    def matrix(*rows: tuple[np.ndarray, ...]) -> np.ndarray:
        return np.stack([np.stack(row, -1) for row in rows], -2)

    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    turn = matrix((cy, nil, sy), (nil, one, nil), (-sy, nil, cy))
    nod = matrix((one, nil, nil), (nil, cp, sp), (nil, -sp, cp))
    tilt = matrix((cr, -sr, nil), (sr, cr, nil), (nil, nil, one))
    return tilt @ nod @ turn


def project(points: np.ndarray, pose: np.ndarray, geometry: HeadGeometry = HeadGeometry()) -> np.ndarray:
    """Orthographic image of head points: (..., 3) head coordinates and (5,) pose -> (..., 2) frame fractions."""
    pose = np.asarray(pose, np.float64)
    pivot = np.asarray(geometry.pivot)
    turned = (np.asarray(points, np.float64) - pivot) @ rotation_matrix(*pose[:3]).T + pivot
    return turned[..., :2] + np.asarray(geometry.centre) + pose[3:]


def _rotation(pose: Tensor) -> Tensor:
    return torch.from_numpy(rotation_matrix(*pose[:, :3].detach().cpu().double().numpy().T)).to(pose)


def _surface(xy: Tensor, geometry: HeadGeometry) -> tuple[Tensor, Tensor]:
    """Depth of the ellipsoid over head coordinates (..., 2), and the squared relative radius there."""
    radius2 = (xy / xy.new_tensor(geometry.radii)).square().sum(-1)
    return geometry.depth * (1 - radius2).clamp(min=0.02).sqrt(), radius2


def head_coordinates(pose: Tensor, size: int, geometry: HeadGeometry) -> Tensor:
    """Head coordinates (x, y, z) of the ellipsoid's point that each pixel shows: (B, 5) -> (B, size, size, 3).

    Solves u = c + t + (R (X - P) + P)_xy for X on the ellipsoid by three fixed-point steps over its depth.
    """
    pivot, rotation = pose.new_tensor(geometry.pivot), _rotation(pose)
    axis = (torch.arange(size, dtype=pose.dtype, device=pose.device) + 0.5) / size
    pixels = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    offset = pixels - pose.new_tensor(geometry.centre) - pose[:, None, None, 3:] - pivot[:2]
    inverse = torch.linalg.inv(rotation[:, :2, :2])
    z = _surface(offset + pivot[:2], geometry)[0]
    for _ in range(3):
        slant = rotation[:, None, None, :2, 2] * (z - pivot[2])[..., None]
        xy = torch.einsum("bij,bhwj->bhwi", inverse, offset - slant) + pivot[:2]
        z = _surface(xy, geometry)[0]
    return torch.cat([xy, z[..., None]], -1)


def warp_offsets(points: Tensor, source: Tensor, target: Tensor, geometry: HeadGeometry) -> Tensor:
    """From each pixel of the target pose to where it is found in a picture of the source pose.

    points: (B, s, s, 3), ``head_coordinates`` of the target; source, target: (B, 5) poses. Returns (B, s, s, 2) frame
    fractions. The head moves rigidly; the offset fades to nothing outside it, so that shoulders and background stay.
    """
    pivot = points.new_tensor(geometry.pivot)
    change = _rotation(source)[:, :2] - _rotation(target)[:, :2]
    shift = (source - target)[:, None, None, 3:]
    offset = torch.einsum("bij,bhwj->bhwi", change, points - pivot) + shift
    radius = _surface(points[..., :2], geometry)[1].sqrt()
    fade = ((1.75 - radius) / 0.55).clamp(0, 1)
    return (fade * fade * (3 - 2 * fade))[..., None] * offset


def _upsampled(maps: Tensor, size: int) -> Tensor:
    return maps if maps.shape[-1] == size else F.interpolate(maps, (size, size), mode="bilinear", align_corners=False)


def warp(picture: Tensor, offsets: Tensor) -> Tensor:
    """Sample pictures (B, C, S, S) at ``offsets`` (B, s, s, 2), s a divisor of S, by bicubic interpolation, the border
    repeated.
    """
    size = picture.shape[-1]
    axis = (torch.arange(size, dtype=picture.dtype, device=picture.device) + 0.5) / size
    pixels = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    moved = pixels + _upsampled(offsets.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1).to(picture.dtype)
    return F.grid_sample(picture, 2 * moved - 1, mode="bicubic", padding_mode="border", align_corners=False)


def mouth_region(points: Tensor, size: int, geometry: HeadGeometry) -> Tensor:
    """A soft mask (B, 1, S, S), 1 around mouth and chin, 0 elsewhere; points: (B, s, s, 3), s a divisor of S =
    ``size``.
    """
    centre = points.new_tensor(geometry.mouth) - points.new_tensor(geometry.centre) + points.new_tensor((0.0, 0.035))
    radius = ((points[..., :2] - centre) / points.new_tensor((0.17, 0.15))).square().sum(-1).sqrt()
    ramp = ((1.25 - radius) / 0.5).clamp(0, 1)
    return _upsampled((ramp * ramp * (3 - 2 * ramp))[:, None], size)


FACE = ("blink_left", "blink_right", "gaze_x", "gaze_y", "brow_left", "brow_right")


def face_maps(points: Tensor, face: Tensor, size: int, geometry: HeadGeometry) -> Tensor:
    """Six maps that tell the network where and how eyes, brows and head are.

    points: (B, s, s, 3), s a divisor of S = ``size``: head coordinates of the target pose; face: (B, 6), ``FACE``:
    blinks 0..1, gaze and brows -1..1. Returns (B, 6, S, S): lid closure, gaze x, gaze y and brow raise as soft discs at
    the eyes and brows, then the head coordinates x and y, in radii.
    """
    centre = points.new_tensor(geometry.centre)
    eyes = [points.new_tensor(eye) - centre for eye in (geometry.left_eye, geometry.right_eye)]
    brow_lift = points.new_tensor((0.0, -0.075))

    def disc(at: Tensor, width: float) -> Tensor:
        return torch.exp(-(points[..., :2] - at).square().sum(-1) / (2 * width**2))

    left, right = (disc(eye, 0.05) for eye in eyes)
    brow_left, brow_right = (disc(eye + brow_lift, 0.06) for eye in eyes)
    value = face[:, :, None, None].unbind(1)
    place = (points[..., :2] / points.new_tensor(geometry.radii)).clamp(-1.5, 1.5).unbind(-1)
    both = left + right
    maps = torch.stack(
        [
            left * value[0] + right * value[1],
            both * value[2],
            both * value[3],
            brow_left * value[4] + brow_right * value[5],
            *place,
        ],
        1,
    )
    return _upsampled(maps, size)
