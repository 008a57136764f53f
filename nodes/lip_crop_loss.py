"""Node: Lip Crop Loss."""

from __future__ import annotations

import numpy as np
from comfy_api.latest import io

from ..diffused_heads_core.assets import ASSETS
from ..diffused_heads_core.pose import HeadGeometry
from .convert import uint8_to_image
from .sockets import DATASET, LOSS, TRAINING, DatasetFolders

PORTRAIT, SIZE = "portrait-ada.png", 128  # pixels; shown without a dataset


class LipCropLoss(io.ComfyNode):
    """Sets the weights of the losses, and draws the mouth's crop on a frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_LipCropLoss",
            display_name="Lip Crop Loss",
            category=TRAINING,
            description="What training minimises: a weighted sum of the error of the whole picture, the error of the "
            "mouth's crop, and the variational bound.",
            search_aliases=["training loss", "lip loss", "mouth crop"],
            inputs=_inputs(),
            outputs=[
                io.Custom(LOSS).Output("loss", tooltip="For Train Diffused Heads."),
                io.Image.Output(
                    "preview",
                    tooltip="A frame with the lips' box in green and, in orange, the crop that the lip loss covers. "
                    "Without a dataset, a bundled portrait at 128 px.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        lip: float,
        lip_margin: float,
        vlb: float,
        simple: float = 1.0,
        dataset: DatasetFolders | None = None,
        clip: int = 0,
    ) -> io.NodeOutput:
        from ..training.config import LossConfig

        loss = LossConfig(lip=lip, lip_margin=lip_margin, vlb=vlb, simple=simple)
        return io.NodeOutput(loss, uint8_to_image(preview(dataset, clip, lip_margin))[None])


def preview(dataset: DatasetFolders | None, clip: int, margin: float) -> np.ndarray:
    """A frame, uint8 (H, W, 3), with the crop drawn; without it if the dataset has no boxes of the lips."""
    from ..diffused_heads_core.data.shards import Dataset
    from . import training_pictures as pictures

    if dataset is None:
        frame = pictures.portrait_frame(str(ASSETS / PORTRAIT), SIZE)
        return pictures.boxed(frame, pictures.neutral_box(HeadGeometry(), SIZE), margin)
    frame, box = pictures.sample_frame(Dataset(dataset.train), clip)
    return frame if box is None else pictures.boxed(frame, box, margin)


def _inputs() -> list[io.Input]:
    return [
        io.Float.Input(
            "lip",
            display_name="lip loss",
            default=0.2,
            min=0.0,
            max=100.0,
            step=0.01,
            tooltip="Weight of the mean error within the mouth's crop. More makes the mouth follow the speech sooner, "
            "at the cost of the rest. 0 is off.",
        ),
        io.Float.Input(
            "lip_margin",
            display_name="lip margin (px)",
            default=2.5,
            min=0.0,
            max=64.0,
            step=0.5,
            tooltip="Pixels around the lips' box that belong to the crop: 2.5 suits frames of 64 px, 5 suits 128 px.",
        ),
        io.Float.Input(
            "vlb",
            display_name="variational bound",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.0001,
            tooltip="Weight of the variational bound, which teaches the variance of the noise. It acts only on models "
            "that learn it (the paper's, with 0.0001).",
        ),
        io.Float.Input(
            "simple",
            display_name="whole picture",
            default=1.0,
            min=0.0,
            max=100.0,
            step=0.01,
            optional=True,
            advanced=True,
            tooltip="Weight of the mean error of the whole picture.",
        ),
        io.Custom(DATASET).Input("dataset", optional=True, tooltip="A dataset to take the preview's frame from."),
        io.Int.Input(
            "clip",
            default=0,
            min=0,
            max=1_000_000,
            optional=True,
            advanced=True,
            tooltip="Number of the clip in the preview, from 0; after the last one it starts over.",
        ),
    ]
