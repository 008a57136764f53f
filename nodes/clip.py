"""The frames of a clip as they go into a file: in playing order, as long as asked for, converted one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.media.audio import Audio
from ..diffused_heads_core.media.export import play_order
from ..diffused_heads_core.media.video import frame_count
from . import runtime
from .convert import check_image, image_to_uint8, opaque_image

PREVIEW_SIDE = 512  # pixels, of a preview of what no browser shows
LENGTHS = ("pictures", "audio", "shorter", "longer")


def masked(images: Tensor, mask: Tensor) -> Tensor:
    """IMAGE (N, H, W, 4) with a MASK, (H, W), (1, H, W) or (N, H, W), as its alpha.

    Raises DiffusedHeadsError if it does not fit.
    """
    check_image(images, "images")
    count, height, width = images.shape[:3]
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.ndim != 3 or mask.shape[0] not in (1, count) or mask.shape[1:] != (height, width):
        raise DiffusedHeadsError(
            f"mask: expected 1 or {count} of {height} x {width} pixels, as the images, found {tuple(mask.shape)}"
        )
    colours = images[..., :3].expand(-1, -1, -1, 3)
    alpha = mask.to(colours).expand(count, -1, -1)[..., None].clamp(0, 1)
    return torch.cat([colours, alpha.nan_to_num()], -1)


class Clip(Sequence):
    """The frames of an IMAGE in playing order, (H, W, 3 or 4) uint8 or, of 16 ``bits``, uint16.

    Each is converted when it is asked for.
    """

    def __init__(self, images: Tensor, pingpong: bool = False, keep_alpha: bool = False, bits: int = 8):
        check_image(images, "images")
        self.images, self.order, self.bits = images, play_order(len(images), pingpong), bits
        self.keep_alpha = keep_alpha and images.shape[-1] == 4
        self.size = (images.shape[1], images.shape[2])

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, i: int) -> np.ndarray:  # type: ignore[override]  # one by one, no slices
        image = self._image(i, self.keep_alpha)
        if self.bits == 8:
            return image_to_uint8(image)
        return (image.clamp(0, 1) * 65535).round().cpu().numpy().astype(np.uint16)

    def _image(self, i: int, keep_alpha: bool) -> Tensor:
        image = self.images[self.order[i]]
        return image.float() if keep_alpha else opaque_image(image[None])[0]

    def fit(self, sound: Audio | None, fps: Fraction, length: str) -> None:
        """Take or repeat frames until the clip is as long as ``length`` (one of LENGTHS) says."""
        if length not in LENGTHS:
            raise DiffusedHeadsError(f"length={length}, expected one of {', '.join(LENGTHS)}")
        if sound is None or length == "pictures":
            return
        seen, heard = len(self.order), frame_count(sound, fps)
        count = {"audio": heard, "shorter": min(seen, heard), "longer": max(seen, heard)}[length]
        self.order = [*self.order[:count], *self.order[-1:] * (count - seen)]

    def small(self) -> Iterator[np.ndarray]:
        """The frames without alpha, uint8, at most PREVIEW_SIDE pixels wide and high."""
        scale = min(1.0, PREVIEW_SIDE / max(self.size))
        size = [max(1, round(side * scale)) for side in reversed(self.size)]
        for i in range(len(self)):
            runtime.check_interruption()
            yield cv2.resize(image_to_uint8(self._image(i, False)), size, interpolation=cv2.INTER_AREA)

    def whole(self) -> Tensor:
        """The IMAGE (N, H, W, 3) in playing order and of even size, for the host's encoders; copied only if needed."""
        images = self.images if len(self.order) == len(self.images) else self.images[self.order]
        images = opaque_image(images) if images.shape[-1] != 3 else images
        height, width = images.shape[1:3]
        if height % 2 == width % 2 == 0:
            return images
        return pad(images.movedim(-1, 1), (0, width % 2, 0, height % 2), mode="replicate").movedim(1, -1)
