"""Several moving heads pasted into one picture, so that none of them is painted over by the square of another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..face.alignment import Placement, head_mask
from ..face.compositing import Compositor
from ..pose import HeadGeometry, smooth

BORDER = 0.3  # width of the soft border between two heads, radii of their ellipses


class GroupCompositor:
    """Pastes the frames of several heads into one picture, uint8 (H, W, 3).

    placements: of the heads' frames in it. still: of heads that do not move. Other arguments and errors as of
    ``face.compositing.Compositor``. Where the masks of two heads overlap, each pixel belongs to the head whose ellipse
    it lies deeper in.
    """

    def __init__(
        self,
        picture: np.ndarray,
        placements: Sequence[Placement],
        geometry: HeadGeometry = HeadGeometry(),
        detail: float = 1.0,
        fps: float = 25.0,
        still: Sequence[Placement] = (),
    ):
        self.picture = picture
        heads = [*placements, *still]
        self._compositors = [
            Compositor(picture, placement, separated_mask(picture, k, heads, geometry), geometry, detail, fps=fps)
            for k, placement in enumerate(placements)
        ]

    def paste(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """The whole picture with one frame (S, S, 3) uint8 of each head in it: a new uint8 (H, W, 3)."""
        result = self.picture.copy()
        for compositor, frame in zip(self._compositors, frames, strict=True):
            region, patch = compositor.region, compositor.patch(frame)
            change = patch.astype(np.int16) - self.picture[region]
            result[region] = np.clip(result[region] + change, 0, 255).astype(np.uint8)
        return result


def separated_mask(
    picture: np.ndarray, index: int, placements: Sequence[Placement], geometry: HeadGeometry
) -> np.ndarray | None:
    """The mask (H, W) of one of several heads, 0..1; None if no other head is near, for the usual mask.

    The masks of all heads add up to at most 1.
    """
    height, width = picture.shape[:2]
    mine, box = placements[index], placements[index].box(height, width)
    near = [other for k, other in enumerate(placements) if k != index and _overlap(box, other.box(height, width))]
    if not near:
        return None
    left, top, right, bottom = box
    points = np.stack(np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5), -1)
    mask, radius = head_mask(mine, height, width, geometry), _radius(points, mine, geometry)
    for other in near:
        mask[top:bottom, left:right] *= smooth(0.5 + (_radius(points, other, geometry) - radius) / BORDER)
    return mask


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    """Whether two boxes (left, top, right, bottom) share a pixel."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _radius(points: np.ndarray, placement: Placement, geometry: HeadGeometry) -> np.ndarray:
    """Distance of picture points (..., 2) from the centre of a head, 1 at its ellipse."""
    return np.linalg.norm((placement.to_frame(points) - geometry.centre) / geometry.radii, axis=-1)
