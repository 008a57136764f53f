"""From any picture to an identity: the square that holds the head, and where the head is in the picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..diffused_heads_core.face.alignment import crop, head_mask
from ..diffused_heads_core.face.finder import FaceFinder
from ..diffused_heads_core.face.placing import Placing, place
from ..diffused_heads_core.pose import HeadGeometry
from .convert import image_to_uint8, opaque_image, uint8_to_image
from .sockets import Identity

LARGEST_CROP = 2048  # pixels a side of the crop shown


def take_identity(
    image: Tensor | None, frame_size: int, geometry: HeadGeometry, placing: Placing, finder: Callable[[], FaceFinder]
) -> tuple[Identity, Tensor, Tensor]:
    """The identity of each picture of an IMAGE, its square as an IMAGE at the picture's resolution, the head as a MASK.

    Squares of a batch come out in one size, that of the largest. Raises DiffusedHeadsError as ``placing.place``.
    """
    opaque = opaque_image(image)
    pictures = image_to_uint8(opaque)
    several = len(pictures) > 1
    placements = tuple(
        place(picture, placing, frame_size, geometry, finder, f"image {number}" if several else "image")
        for number, picture in enumerate(pictures)
    )
    masks = np.stack([head_mask(placement, *opaque.shape[1:3], geometry) for placement in placements])
    side = min(max(max(round(placement.side) for placement in placements), 1), LARGEST_CROP)
    frames, crops = (
        np.stack([crop(picture, placement, size) for picture, placement in zip(pictures, placements, strict=True)])
        for size in (frame_size, side)
    )
    masks = torch.from_numpy(masks)
    return (
        Identity(frames, image if image.shape[-1] == 4 else opaque, placements, masks, geometry),
        uint8_to_image(crops),
        masks,
    )
