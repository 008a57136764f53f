"""Node: Load Identity."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..diffused_heads_core.face.placing import RULES, Placing
from .portraits import take_identity
from .runtime import face_finder
from .sockets import CATEGORY, IDENTITY, MODEL, Model


class LoadIdentity(io.ComfyNode):
    """From pictures to identities for the sampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_LoadIdentity",
            display_name="Load Identity",
            category=CATEGORY,
            description="Finds the head in a picture, cuts its square out and brings it to the place and size that the model knows.",
            search_aliases=["portrait", "face crop", "face detection", "talking head"],
            inputs=_inputs(),
            outputs=[
                io.Custom(IDENTITY).Output("identity", tooltip="For Diffused Heads Sampler and Paste Back."),
                io.Image.Output("crop", tooltip="The square as it was cut out, at the picture's resolution."),
                io.Mask.Output("mask", tooltip="Where the head is in the whole picture, with a soft edge."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        model: Model,
        x: float = 0.5,
        y: float = 0.5,
        size: float = 0.0,
        face: str = "auto",
        face_index: int = 0,
        margin: float = 0.0,
        level: bool = True,
    ) -> io.NodeOutput:
        config = model.head.config
        placing = Placing(face, face_index, x, y, size, margin, level)
        return io.NodeOutput(*take_identity(image, config.unet.image_size, config.geometry, placing, face_finder))


def _inputs() -> list[io.Input]:
    return [
        io.Image.Input(
            "image",
            tooltip=(
                "Any picture with a head that looks ahead. What is transparent becomes white. Each picture of a batch is an identity of its own."
            ),
        ),
        io.Custom(MODEL).Input(
            "model", tooltip="The model that will animate this identity; it tells size and place of the head."
        ),
        io.Float.Input(
            "x",
            default=0.5,
            min=0.0,
            max=1.0,
            step=0.005,
            optional=True,
            advanced=True,
            tooltip=(
                "A place in the picture as a fraction of the width, from the left: centre of the box, or the point for the nearest face."
            ),
        ),
        io.Float.Input(
            "y",
            default=0.5,
            min=0.0,
            max=1.0,
            step=0.005,
            optional=True,
            advanced=True,
            tooltip=(
                "A place in the picture as a fraction of the height, from the top: centre of the box, or the point for the nearest face."
            ),
        ),
        io.Float.Input(
            "size",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.005,
            optional=True,
            advanced=True,
            tooltip=(
                "Side of a box given by hand, as a fraction of the picture's shorter side. For cartoons and animals whose face is not "
                "found. 0 is no box."
            ),
        ),
        io.Combo.Input(
            "face",
            options=list(RULES),
            default="auto",
            optional=True,
            tooltip=(
                "Which head is meant: the largest face; face number face_index from left to right; the face nearest to (x, y); the box "
                "(x, y, size); or the whole picture's middle square. Auto is the box where size is above 0, else the largest face; "
                "bundled portraits are taken whole."
            ),
        ),
        io.Int.Input(
            "face_index",
            default=0,
            min=0,
            max=99,
            optional=True,
            advanced=True,
            tooltip=(
                "Number of the face in the order that face tells, from 0: with left to right, 0 is the leftmost; with largest, 1 is the second largest."
            ),
        ),
        io.Float.Input(
            "margin",
            default=0.0,
            min=-0.3,
            max=2.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip=(
                "More room around a face that was found: 0 is as the model was trained, 0.2 makes the head a fifth smaller in its frame."
            ),
        ),
        io.Boolean.Input(
            "level",
            default=True,
            optional=True,
            advanced=True,
            tooltip=("Set a tilted head upright for the model; Paste Back tilts it again. Off: it stays as it is."),
        ),
    ]
