"""Transparent frames: the portrait's alpha, or a matte of the head, carried along with the moving head."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from ..pose import HeadGeometry
from .alignment import Placement, crop, head_mask
from .changes import ANALYSED, Changes, grid, resized, sampled

LARGEST = 512  # pixels per side at which alpha is moved


class MovingAlpha:
    """The alpha of a picture whose head moves by the optical flow between the model's square and its frames.

    picture: uint8 (H, W, 4) with its alpha, or (H, W, 3), whose head becomes opaque and all else transparent. frame:
    the model's square in it, uint8 (S, S, 3), at ``placement``. fps: of the frames, which come in their order.
    """

    def __init__(
        self, picture: np.ndarray, frame: np.ndarray, placement: Placement, geometry: HeadGeometry, fps: float
    ):
        height, width = picture.shape[:2]
        self.mask = head_mask(placement, height, width, geometry)
        self.given = picture.shape[2] == 4
        self.alpha = picture[..., 3].astype(np.float32) if self.given else 255 * self.mask
        side = max(16, math.ceil(min(LARGEST, placement.side)))
        levels = np.rint(self.alpha).astype(np.uint8)
        self.still = crop(np.dstack([levels] * 3), placement, side)[..., 0].astype(np.float32)
        self.matrix, self.grid = placement.pixels(side), grid(side, side)
        self.analysed = min(ANALYSED, len(frame))
        self.changes = Changes(resized(frame, self.analysed).astype(np.float32), None, fps)

    def at(self, frame: np.ndarray) -> np.ndarray:
        """Alpha uint8 (H, W) for the next frame of the model, uint8 (S, S, 3)."""
        flow = self.changes(resized(frame, self.analysed).astype(np.float32)).flow
        side = len(self.still)
        moved = sampled(self.still, self.grid + resized(flow, side) * (side / self.analysed))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        change = cv2.warpAffine(moved - self.still, self.matrix, self.alpha.shape[::-1], flags=flags)
        return np.rint(np.clip(self.alpha + self.mask * change, 0, 255)).astype(np.uint8)

    def frames(self, pictures: Iterable[np.ndarray], frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Pictures with alpha, uint8 (H, W, 4), not premultiplied.

        pictures: uint8 (H, W, 3), in which what the portrait's alpha makes transparent is white. frames: of the model,
        uint8 (S, S, 3), one for each.
        """
        for picture, frame in zip(pictures, frames):
            alpha = self.at(frame)
            yield np.dstack([off_white(picture, alpha) if self.given else picture, alpha])


def off_white(picture: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The colours that look like ``picture`` (H, W, 3) if they lie on white with ``alpha`` (H, W); both uint8."""
    share = alpha[..., None].astype(np.float32) / 255
    colours = (picture - 255 * (1 - share)) / np.maximum(share, 1 / 255)
    return np.rint(np.clip(colours, 0, 255)).astype(np.uint8)
