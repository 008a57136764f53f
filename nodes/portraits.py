"""From any picture to an identity: the square that holds the head, and where the head is in the picture."""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.pictures import square_crop_resize
from ..diffused_heads_core.pose import HeadGeometry
from .convert import image_to_uint8, opaque_image
from .sockets import Identity

SMALLEST_SIDE = 16  # pixels; less shows no face
MASK_EDGE = (0.95, 1.2)  # radii between which the head's mask fades from 1 to 0


@dataclass(frozen=True)
class Square:
    """A square part of a picture, in pixels."""

    left: int
    top: int
    side: int


def choose_square(height: int, width: int, x: float = 0.5, y: float = 0.5, size: float = 0.0) -> Square:
    """The square around (x, y), fractions of width and height, with ``size`` times the shorter side; inside the picture.

    With ``size`` 0 it is the largest square, centred across; of a tall picture it lies a quarter of the way down,
    where portraits have the head. Raises DiffusedHeadsError outside 0..1 and for fewer than SMALLEST_SIDE pixels.
    """
    for name, value in (("x", x), ("y", y), ("size", size)):
        if not (math.isfinite(value) and 0 <= value <= 1):
            raise DiffusedHeadsError(f"{name}={value}: expected 0 to 1")
    shorter = min(height, width)
    side = round(size * shorter) if size else shorter
    if side < SMALLEST_SIDE:
        raise DiffusedHeadsError(f"image: a square of {side} pixels of a picture of {width}x{height}, expected at least {SMALLEST_SIDE}")
    if not size:
        return Square((width - side) // 2, (height - side) // 4, side)
    left, top = round(x * width - side / 2), round(y * height - side / 2)
    return Square(min(max(left, 0), width - side), min(max(top, 0), height - side), side)


def head_mask(height: int, width: int, square: Square, geometry: HeadGeometry) -> Tensor:
    """Where a head that fills ``square`` as the model expects it is: float32 (height, width), 1 inside, soft at its edge."""
    radii = [torch.tensor([]), torch.tensor([])]
    for axis, (length, start) in enumerate(((width, square.left), (height, square.top))):
        place = (torch.arange(length, dtype=torch.float32) + 0.5 - start) / square.side
        radii[axis] = (place - geometry.centre[axis]) / geometry.radii[axis]
    radius = (radii[0][None, :].square() + radii[1][:, None].square()).sqrt()
    inside = ((MASK_EDGE[1] - radius) / (MASK_EDGE[1] - MASK_EDGE[0])).clamp(0, 1)
    return inside.square() * (3 - 2 * inside)


def take_identity(
    image: Tensor | None, frame_size: int, geometry: HeadGeometry, x: float = 0.5, y: float = 0.5, size: float = 0.0,
) -> tuple[Identity, Tensor, Tensor]:
    """The identity of each picture of an IMAGE, its square as an IMAGE at full resolution, and the head as a MASK of its size."""
    image = opaque_image(image)
    batch, height, width, _ = image.shape
    square = choose_square(height, width, x, y, size)
    crop = image[:, square.top:square.top + square.side, square.left:square.left + square.side].contiguous().clone()
    pictures = np.stack([square_crop_resize(picture, frame_size) for picture in image_to_uint8(crop)])
    return Identity(pictures), crop, head_mask(height, width, square, geometry).repeat(batch, 1, 1)
