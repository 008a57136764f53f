"""Node: Load Identity."""
from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from .portraits import take_identity
from .sockets import CATEGORY, IDENTITY, MODEL, Model


class LoadIdentity(io.ComfyNode):
    """From pictures to identities for the sampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_LoadIdentity", display_name="Load Identity", category=CATEGORY,
            description="Cuts the square with the head out of a portrait and brings it to the model's size.",
            search_aliases=["portrait", "face crop", "talking head"],
            inputs=[
                io.Image.Input("image", tooltip=(
                    "A portrait of any size: one head that looks at you, head and shoulders filling the square. "
                    "What is transparent becomes white. Each picture of a batch is an identity of its own.")),
                io.Custom(MODEL).Input("model", tooltip="The model that will animate this identity; it tells the size."),
                io.Float.Input("x", default=0.5, min=0.0, max=1.0, step=0.005, optional=True, advanced=True, tooltip=(
                    "Centre of the square as a fraction of the width, from the left. Only used when size is above 0.")),
                io.Float.Input("y", default=0.5, min=0.0, max=1.0, step=0.005, optional=True, advanced=True, tooltip=(
                    "Centre of the square as a fraction of the height, from the top. Only used when size is above 0.")),
                io.Float.Input("size", default=0.0, min=0.0, max=1.0, step=0.005, optional=True, advanced=True, tooltip=(
                    "Side of the square as a fraction of the picture's shorter side. 0 chooses by itself: the largest square, "
                    "centred, and towards the top of tall pictures.")),
            ],
            outputs=[
                io.Custom(IDENTITY).Output("identity", tooltip="For Diffused Heads Sampler."),
                io.Image.Output("crop", tooltip="The square as it was cut out, at full resolution."),
                io.Mask.Output("mask", tooltip="Where the head is expected in the whole picture: an ellipse with a soft edge."),
            ])

    @classmethod
    def execute(cls, image: Tensor, model: Model, x: float = 0.5, y: float = 0.5, size: float = 0.0) -> io.NodeOutput:
        config = model.head.config
        return io.NodeOutput(*take_identity(image, config.unet.image_size, config.geometry, x, y, size))
