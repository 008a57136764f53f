"""Transparent frames: the portrait's alpha, or a matte of the head, carried along with the moving head."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import torch
from torch import Tensor

from ..pose import HeadGeometry, head_coordinates, warp, warp_offsets
from .alignment import Placement, crop, head_mask

LARGEST = 512  # pixels per side at which alpha is moved
COARSE = 4  # pixels per grid step of the motion


class MovingAlpha:
    """The alpha of a picture whose head moves, with the warp that the model's inputs get.

    picture: uint8 (H, W, 4) with its alpha, or (H, W, 3), whose head becomes opaque and all else transparent.
    placement: the model's frame in it.
    """

    def __init__(self, picture: np.ndarray, placement: Placement, geometry: HeadGeometry):
        height, width = picture.shape[:2]
        self.mask = head_mask(placement, height, width, geometry)
        self.given = picture.shape[2] == 4
        self.alpha = picture[..., 3].astype(np.float32) if self.given else 255 * self.mask
        self.geometry, size = geometry, COARSE * max(16, math.ceil(min(LARGEST, placement.side) / COARSE))
        levels = np.rint(self.alpha).astype(np.uint8)
        self.still = crop(np.dstack([levels] * 3), placement, size)[..., 0].astype(np.float32)
        self.matrix = placement.pixels(size)

    def at(self, pose: Tensor | None) -> np.ndarray:
        """Alpha uint8 (H, W) at a pose (5,); None is the portrait's own."""
        alpha = self.alpha if pose is None else self.alpha + self.mask * self._change(pose)
        return np.rint(np.clip(alpha, 0, 255)).astype(np.uint8)

    def _change(self, pose: Tensor) -> np.ndarray:
        """How far the moved alpha is from the portrait's, float32 (H, W)."""
        size, target = len(self.still), pose[None].float().cpu()
        points = head_coordinates(target, size // COARSE, self.geometry)
        offsets = warp_offsets(points, torch.zeros_like(target), target, self.geometry)
        moved = warp(torch.from_numpy(self.still)[None, None], offsets)[0, 0].numpy()
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(moved - self.still, self.matrix, self.alpha.shape[::-1], flags=flags)

    def frames(self, pictures: Iterable[np.ndarray], poses: Tensor | None) -> Iterator[np.ndarray]:
        """Frames with alpha, uint8 (H, W, 4), not premultiplied.

        pictures: uint8 (H, W, 3); what the portrait's alpha made transparent is white in them. poses: (N, 5).
        """
        for number, picture in enumerate(pictures):
            alpha = self.at(None if poses is None else poses[number])
            yield np.dstack([_off_white(picture, alpha) if self.given else picture, alpha])


def _off_white(picture: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The colours that look like ``picture`` (H, W, 3) if they lie on white with ``alpha`` (H, W); both uint8."""
    share = alpha[..., None].astype(np.float32) / 255
    colours = (picture - 255 * (1 - share)) / np.maximum(share, 1 / 255)
    return np.rint(np.clip(colours, 0, 255)).astype(np.uint8)
