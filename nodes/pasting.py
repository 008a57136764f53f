"""Clips of heads back into the pictures that they were cut from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.face.alignment import Placement
from ..diffused_heads_core.face.compositing import Compositor
from .convert import check_image, image_to_uint8, uint8_to_image
from .sockets import Identity


def check_frames(images: Tensor) -> None:
    """Raise DiffusedHeadsError unless this is an IMAGE of square frames, (N, S, S, 3)."""
    check_image(images, "images")
    if images.shape[1] != images.shape[2] or images.shape[-1] != 3:
        raise DiffusedHeadsError(
            "images: expected the sampler's square frames, as they are or enlarged (number, size, size, 3 channels), "
            f"found {tuple(images.shape)}"
        )


def rows_of(clips: int, identities: int) -> list[int]:
    """Which identity each clip is of: its own, or the only one. Raises DiffusedHeadsError for other numbers."""
    if identities not in (1, clips):
        raise DiffusedHeadsError(
            f"identity: expected as many identities as clips, found {identities} for {clips}; "
            "connect the identity that the sampler got"
        )
    return list(range(clips)) if identities == clips else [0] * clips


def canvas(identity: Identity, row: int, max_side: int = 0) -> tuple[Tensor, Placement, Tensor]:
    """An identity's picture (H, W, C), the frame's place and the head's mask in it, no larger than ``max_side`` (0: as
    it is).
    """
    source, placement, mask = identity.source[row], identity.placements[row], identity.masks[row]
    factor = max_side / max(source.shape[:2]) if max_side else 1
    if factor >= 1:
        return source, placement, mask
    height, width = (max(1, round(side * factor)) for side in source.shape[:2])
    both = torch.cat([source.float(), mask[..., None]], -1).movedim(-1, 0)[None]
    both = torch.nn.functional.interpolate(both, (height, width), mode="bilinear", antialias=True)[0].movedim(0, -1)
    scale = torch.tensor([source.shape[1] / width, source.shape[0] / height]).double().mean().item()
    matrix = placement.matrix.copy()
    matrix[:, :2] *= scale
    return both[..., :-1], Placement(matrix), both[..., -1]


def check_memory(frames: int, picture: Tensor, free: int) -> None:
    """Raise DiffusedHeadsError where the whole clip is larger than ``free`` bytes."""
    needed = 4 * frames * picture.numel()
    if needed > free:
        height, width = picture.shape[:2]
        raise DiffusedHeadsError(
            f"images: {frames} frames of {width}x{height} take {needed / 2**30:.1f} GB, {free / 2**30:.1f} GB are free; "
            "set max_side (1280, for example), or make a shorter clip"
        )


def paste_clip(
    images: Tensor,
    picture: Tensor,
    placement: Placement,
    mask: Tensor,
    identity: Identity,
    fps: float,
    detail: float,
    match_colour: bool,
    on_frame: Callable[[int], None] | None = None,
) -> Tensor:
    """The picture for each frame: IMAGE (N, H, W, C) on the CPU, which is all that is held beside the clip."""
    check_frames(images)
    compositor = Compositor(
        image_to_uint8(picture), placement, mask.cpu().numpy(), identity.geometry, detail, match_colour, fps
    )
    clip = torch.empty((len(images), *picture.shape))
    clip[:] = picture.float().cpu()
    for number, frame in enumerate(images):
        clip[number][compositor.region] = uint8_to_image(compositor.patch(image_to_uint8(frame)))
        if on_frame is not None:
            on_frame(number + 1)
    return clip
