"""Node: Paste Back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import comfy.model_management
import torch
from comfy_api.latest import io
from torch import Tensor
from torch.nn.functional import interpolate

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.face.alignment import Placement
from ..diffused_heads_core.face.compositing import Compositor
from ..diffused_heads_core.media.video import as_fps
from . import runtime
from .convert import check_image, image_to_uint8, opaque_image, uint8_to_image
from .inputs import fps_input
from .sockets import IDENTITY, PARTS, Identity


class PasteBack(io.ComfyNode):
    """From the sampler's square frames to the whole picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_PasteBack",
            display_name="Paste Back",
            category=PARTS,
            is_input_list=True,
            description="Puts the moving head back into the picture that it was cut from, at the picture's resolution.",
            search_aliases=["uncrop", "composite", "face paste", "stitch"],
            inputs=_inputs(),
            outputs=[
                io.Image.Output(
                    "images",
                    is_output_list=True,
                    tooltip="The whole picture for each frame; one clip for each identity.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        images: list[Tensor],
        identity: list[Identity],
        fps: list[float],
        mask: list[Tensor] | None = None,
        detail: Sequence[float] = (1.0,),
        match_colour: Sequence[bool] = (True,),
        max_side: Sequence[int] = (0,),
        keep_transparency: Sequence[bool] = (False,),
    ) -> io.NodeOutput:
        given = mask[0] if mask else None
        clips = paste_clips(
            images, identity[0], fps[0], given, detail[0], match_colour[0], max_side[0], keep_transparency[0]
        )
        return io.NodeOutput(clips)


def paste_clips(
    clips: Sequence[Tensor],
    identity: Identity,
    fps: float,
    mask: Tensor | None = None,
    detail: float = 1.0,
    match_colour: bool = True,
    max_side: int = 0,
    keep_transparency: bool = False,
) -> list[Tensor]:
    """Each clip, IMAGE (N, S, S, 3), in its identity's picture: IMAGE (N, H, W, 3), with the host's progress bar.

    mask: MASK of what may change, in place of the identity's. keep_transparency: four channels if the picture has
    them, else it is on white. Other arguments as of ``canvas`` and ``Compositor``. Raises DiffusedHeadsError for what
    does not fit together, and before it begins if memory is short.
    """
    rows = rows_of(len(clips), len(identity.placements))
    scenes = [canvas(identity, row, max_side, keep_transparency) for row in rows]
    for clip in clips:
        check_frames(clip)
    given = _given_masks(mask, identity)
    frames, rate = sum(map(len, clips)), float(as_fps(fps))
    check_memory(frames, max((picture for picture, _, _ in scenes), key=Tensor.numel))
    progress, done, pasted = runtime.progress_bar(frames), 0, []
    for clip, row, (picture, placement, head_mask) in zip(clips, rows, scenes):
        if given is not None:
            head_mask = _fitted(given[row if len(given) > 1 else 0], picture)
        pixels, weights = image_to_uint8(picture), head_mask.cpu().numpy()
        compositor = Compositor(pixels, placement, weights, identity.geometry, detail, match_colour, rate)
        pasted.append(paste_clip(clip, picture, compositor, partial(_advance, progress, done)))
        done += len(clip)
    return pasted


def _advance(progress: Callable[[int], None], before: int, done: int) -> None:
    progress(before + done)


def check_frames(images: Tensor) -> None:
    """Raise DiffusedHeadsError unless this is an IMAGE of square frames, (N, S, S, 3)."""
    check_image(images, "images")
    if images.shape[1] != images.shape[2] or images.shape[-1] != 3:
        raise DiffusedHeadsError(
            "images: expected the sampler's square frames, as they are or enlarged (number, size, size, 3 channels), "
            f"found {tuple(images.shape)}"
        )


def rows_of(clips: int, identities: int) -> list[int]:
    """Which identity each clip shows: the one of the same number, or the only one.

    Raises DiffusedHeadsError if there are neither one nor ``clips`` identities.
    """
    if identities not in (1, clips):
        raise DiffusedHeadsError(
            f"identity: expected as many identities as clips, found {identities} for {clips}; "
            "connect the identity that the sampler got"
        )
    return list(range(clips)) if identities == clips else [0] * clips


def canvas(
    identity: Identity, row: int, max_side: int = 0, keep_transparency: bool = False
) -> tuple[Tensor, Placement, Tensor]:
    """An identity's picture (H, W, C), the frame's place in it and the head's mask (H, W).

    The picture is made smaller if a side is longer than ``max_side`` (0: never), and put on white unless it keeps its
    transparency.
    """
    source, placement, mask = identity.source[row], identity.placements[row], identity.masks[row]
    source = source if keep_transparency else opaque_image(source[None])[0]
    factor = max_side / max(source.shape[:2]) if max_side else 1
    if factor >= 1:
        return source, placement, mask
    height, width = (max(1, round(side * factor)) for side in source.shape[:2])
    both = torch.cat([source.float(), mask[..., None]], -1).movedim(-1, 0)[None]
    both = interpolate(both, (height, width), mode="bilinear", antialias=True)[0].movedim(0, -1)
    scale = torch.tensor([source.shape[1] / width, source.shape[0] / height]).double().mean().item()
    matrix = placement.matrix.copy()
    matrix[:, :2] *= scale
    return both[..., :-1], Placement(matrix), both[..., -1]


def check_room(identity: Identity, frames: int, max_side: int = 0) -> None:
    """Raise DiffusedHeadsError if memory is short for ``frames`` whole pictures of each identity: before sampling."""
    pictures = [canvas(identity, row, max_side)[0] for row in range(len(identity.placements))]
    check_memory(frames * len(pictures), max(pictures, key=Tensor.numel))


def check_memory(frames: int, picture: Tensor) -> None:
    """Raise DiffusedHeadsError if ``frames`` float pictures (H, W, C) like this one do not fit into free memory."""
    needed, free = 4 * frames * picture.numel(), comfy.model_management.get_free_memory(torch.device("cpu"))
    if needed > free:
        height, width = picture.shape[:2]
        raise DiffusedHeadsError(
            f"images: {frames} frames of {width}x{height} take {needed / 2**30:.1f} GB, "
            f"{free / 2**30:.1f} GB are free; set max_side (1280, for example), make a shorter clip, or connect "
            "nothing to Talking Portrait's images: its video is then written while it is made"
        )


def paste_clip(images: Tensor, picture: Tensor, compositor: Compositor, on_frame: Callable[[int], None]) -> Tensor:
    """The picture (H, W, C) for each of the frames (N, S, S, 3): IMAGE (N, H, W, C) on the CPU.

    Nothing as large is held beside it. on_frame(number of frames done) is called after each and may raise.
    """
    clip = torch.empty((len(images), *picture.shape))
    clip[:] = picture.float().cpu()
    for number, frame in enumerate(images):
        clip[number][compositor.region] = uint8_to_image(compositor.patch(image_to_uint8(frame)))
        on_frame(number + 1)
    return clip


def _given_masks(mask: Tensor | None, identity: Identity) -> Tensor | None:
    """The user's masks (n, h, w), one or as many as identities; None without any."""
    if mask is None:
        return None
    given = mask if mask.ndim == 3 else mask[None]
    if given.ndim != 3 or 0 in given.shape or not torch.isfinite(given.float()).all():
        raise DiffusedHeadsError(
            f"mask: expected finite values (number, height, width), found {given.dtype} {tuple(mask.shape)}"
        )
    if len(given) not in (1, len(identity.placements)):
        raise DiffusedHeadsError(f"mask: expected 1 or {len(identity.placements)} masks, found {len(given)}")
    return given.float().cpu().clamp(0, 1)


def _fitted(mask: Tensor, picture: Tensor) -> Tensor:
    size = tuple(picture.shape[:2])
    if tuple(mask.shape) == size:
        return mask
    return interpolate(mask[None, None], size, mode="bilinear", antialias=True)[0, 0]


def _inputs() -> list[io.Input]:
    return [
        io.Image.Input(
            "images", tooltip="The sampler's frames, as they are or enlarged and restored: square, of any size."
        ),
        io.Custom(IDENTITY).Input(
            "identity", tooltip="The identity that the sampler got. It holds the picture and the head's place in it."
        ),
        fps_input("Frames per second, for smoothing over time. Connect the fps output of the sampler."),
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="What may change in the picture, in place of Load Identity's mask: white inside, with a soft edge. "
            "Outside of it nothing changes.",
        ),
        io.Float.Input(
            "detail",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip="How much of the picture's own fine detail the moving head keeps: 1 keeps skin and hair sharp, 0 "
            "shows the frames alone. Use 0 behind a face restorer.",
        ),
        io.Boolean.Input(
            "match_colour",
            display_name="match colour",
            default=True,
            optional=True,
            advanced=True,
            tooltip="Give the head the picture's colours at the mask's border, so that no seam shows.",
        ),
        io.Int.Input(
            "max_side",
            display_name="max side",
            default=0,
            min=0,
            max=8192,
            step=8,
            optional=True,
            advanced=True,
            tooltip="Make the picture smaller if its longer side has more pixels than this, to save memory: one second "
            "of video of a 4000 x 3000 photograph takes 3.6 GB. 0 keeps the picture's size.",
        ),
        io.Boolean.Input(
            "keep_transparency",
            display_name="keep transparency",
            default=False,
            optional=True,
            advanced=True,
            tooltip="On: a picture with transparency gives frames with transparency (RGBA), for Video Combine's "
            "transparent formats. Off: it is put on white, as most other nodes need it.",
        ),
    ]
