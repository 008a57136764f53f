"""Node: Paste Back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import io
from torch import Tensor

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.media.video import as_fps
from . import pasting
from .sockets import CATEGORY, IDENTITY, Identity


class PasteBack(io.ComfyNode):
    """From the sampler's square frames to the whole picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_PasteBack",
            display_name="Paste Back",
            category=CATEGORY,
            is_input_list=True,
            description="Puts the moving head back into the picture that it was cut from, at the picture's own resolution.",
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
    ) -> io.NodeOutput:
        person = identity[0]
        rows = pasting.rows_of(len(images), len(person.placements))
        scenes = [pasting.canvas(person, row, max_side[0]) for row in rows]
        for clip, (picture, _, _) in zip(images, scenes):
            pasting.check_frames(clip)
        own = _own_masks(mask, person)
        frames, rate = sum(map(len, images)), float(as_fps(fps[0]))
        pasting.check_memory(
            frames,
            max((s[0] for s in scenes), key=Tensor.numel),
            comfy.model_management.get_free_memory(torch.device("cpu")),
        )
        bar, done, pasted = comfy.utils.ProgressBar(frames), 0, []
        for clip, row, (picture, placement, masked) in zip(images, rows, scenes):
            masked = masked if own is None else _fitted(own[row if len(own) > 1 else 0], picture)
            pasted.append(
                pasting.paste_clip(
                    clip, picture, placement, masked, person, rate, detail[0], match_colour[0], _progress(bar, done)
                )
            )
            done += len(clip)
        return io.NodeOutput(pasted)


def _own_masks(mask: list[Tensor] | None, identity: Identity) -> Tensor | None:
    """The user's masks (n, h, w), one or as many as identities."""
    if not mask or mask[0] is None:
        return None
    given = mask[0] if mask[0].ndim == 3 else mask[0][None]
    if given.ndim != 3 or 0 in given.shape or not torch.isfinite(given.float()).all():
        raise DiffusedHeadsError(
            f"mask: expected finite values (number, height, width), found {given.dtype} {tuple(mask[0].shape)}"
        )
    if len(given) not in (1, len(identity.placements)):
        raise DiffusedHeadsError(f"mask: expected 1 or {len(identity.placements)} masks, found {len(given)}")
    return given.float().cpu().clamp(0, 1)


def _fitted(mask: Tensor, picture: Tensor) -> Tensor:
    size = tuple(picture.shape[:2])
    return (
        mask
        if tuple(mask.shape) == size
        else torch.nn.functional.interpolate(mask[None, None], size, mode="bilinear", antialias=True)[0, 0]
    )


def _progress(bar: comfy.utils.ProgressBar, before: int) -> Callable[[int], None]:
    def on_frame(done: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(before + done)

    return on_frame


def _inputs() -> list[io.Input]:
    return [
        io.Image.Input(
            "images", tooltip="The sampler's frames, as they are or enlarged and restored: square, any size."
        ),
        io.Custom(IDENTITY).Input(
            "identity", tooltip="The identity that the sampler got: it knows the picture and the head's place."
        ),
        io.Float.Input(
            "fps",
            default=25.0,
            min=1.0,
            max=240.0,
            step=0.001,
            tooltip=("Frames per second, for what is smoothed over time. Connect the fps output of the sampler."),
        ),
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip=(
                "What may change in the picture, in place of Load Identity's mask: white inside, with a soft edge. Outside of it nothing changes."
            ),
        ),
        io.Float.Input(
            "detail",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip=(
                "How much of the picture's own fine detail the moving head keeps: 1 keeps skin and hair sharp, 0 shows the frames alone. "
                "Use 0 behind a face restorer."
            ),
        ),
        io.Boolean.Input(
            "match_colour",
            default=True,
            optional=True,
            advanced=True,
            tooltip=("Give the head the picture's colours at the mask's border, so that no seam shows."),
        ),
        io.Int.Input(
            "max_side",
            default=0,
            min=0,
            max=8192,
            step=8,
            optional=True,
            advanced=True,
            tooltip=(
                "Make the picture smaller where its longer side has more pixels than this, to save memory: a 4000 x 3000 photograph takes "
                "3.6 GB for a second of video. 0 keeps it as it is."
            ),
        ),
    ]
