"""Node: Load Identity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from comfy_api.latest import io
from PIL import Image, ImageDraw
from torch import Tensor

from ..diffused_heads_core.config import ModelConfig
from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.face.alignment import Placement, crop, head_mask, square_placement
from ..diffused_heads_core.face.finder import FaceFinder
from ..diffused_heads_core.face.placing import RULES, NoFaceError, Placing
from ..diffused_heads_core.face.portrait import place_portrait
from .convert import image_to_uint8, opaque_image, uint8_to_image
from .page_messages import send_head
from .runtime import face_finder, show_picture, warnings_on_node
from .sockets import IDENTITY, MODEL, PARTS, Identity, Model

LARGEST_CROP = 2048  # pixels per side of the crop that is shown
PREVIEW = 512  # pixels per longer side of the picture that is shown if no face is found
SMALLEST_BOX = 0.05  # that is proposed


class LoadIdentity(io.ComfyNode):
    """From pictures to identities for the sampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_LoadIdentity",
            display_name="Load Identity",
            category=PARTS,
            description="Finds the head in a picture and cuts out the square around it, aligned and scaled as the "
            "model expects it.",
            search_aliases=["portrait", "face crop", "face detection"],
            inputs=_inputs(),
            outputs=[
                io.Custom(IDENTITY).Output("identity", tooltip="For Diffused Heads Sampler and Paste Back."),
                io.Image.Output("crop", tooltip="The square that was cut out, at the picture's resolution."),
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
        placing = Placing(face, face_index, x, y, size, margin, level)
        return io.NodeOutput(*find_identity(image, model, placing))


def find_identity(image: Tensor, model: Model, placing: Placing) -> tuple[Identity, Tensor, Tensor]:
    """As ``take_identity``, with warnings shown on the node, and for a picture without a face what was seen in it."""
    with warnings_on_node():
        try:
            found = take_identity(image, model.head.config, placing, face_finder)
        except NoFaceError as error:
            square = square_to_try(error)
            show_picture(framed(error.picture, square))
            send_head(uint8_to_image(error.picture)[None], placement_of(square, *error.picture.shape[:2]))
            raise DiffusedHeadsError(
                f"{error.problem}; set face to box, x to {square.x:.2f}, y to {square.y:.2f} and box size to "
                f"{square.size:.2f} (the red square in the preview), or drag the square on the node's picture, or set "
                "face to whole for the middle square"
            ) from error
    send_head(found[0].source, found[0].placements[0])
    return found


def square_to_try(error: NoFaceError) -> Placing:
    """A square to begin with in a picture without a face: inside it, and large enough to see."""
    x, y, size = error.box
    height, width = error.picture.shape[:2]
    size = max(size, SMALLEST_BOX)
    half = size * min(height, width) / 2
    x, y = (float(np.clip(at, half / side, 1 - half / side)) for at, side in ((x, width), (y, height)))
    return Placing("box", x=x, y=y, size=size)


def placement_of(square: Placing, height: int, width: int) -> Placement:
    """Where a square lies in a picture of this size."""
    side = square.size * min(height, width)
    return square_placement(square.x * width - side / 2, square.y * height - side / 2, side)


def framed(picture: np.ndarray, box: Placing) -> np.ndarray:
    """A small copy of a picture, uint8 (H, W, 3), with a box drawn on it in red."""
    height, width = picture.shape[:2]
    factor = min(1.0, PREVIEW / max(height, width))
    small = Image.fromarray(picture).resize((max(1, round(width * factor)), max(1, round(height * factor))))
    half = box.size * min(small.size) / 2
    x, y = box.x * small.width, box.y * small.height
    ImageDraw.Draw(small).rectangle((x - half, y - half, x + half, y + half), outline=(255, 0, 0), width=3)
    return np.asarray(small)


def take_identity(
    image: Tensor, config: ModelConfig, placing: Placing, finder: Callable[[], FaceFinder]
) -> tuple[Identity, Tensor, Tensor]:
    """The identity of each picture of an IMAGE, its square as an IMAGE at the picture's resolution, the head as a MASK.

    The squares of a batch have one size, that of the largest. Raises DiffusedHeadsError as ``place_portrait``.
    """
    opaque = opaque_image(image)
    pictures = image_to_uint8(opaque)
    names = ["image"] if len(pictures) == 1 else [f"image {number}" for number in range(len(pictures))]
    portraits = [place_portrait(picture, config, placing, finder, name) for picture, name in zip(pictures, names)]
    placements = tuple(portrait.placement for portrait in portraits)
    masks = torch.from_numpy(
        np.stack([head_mask(placement, *opaque.shape[1:3], config.geometry) for placement in placements])
    )
    side = min(max(1, *(round(placement.side) for placement in placements)), LARGEST_CROP)
    crops = np.stack([crop(portrait.picture, portrait.placement, side) for portrait in portraits])
    frames = np.stack([portrait.frame for portrait in portraits])
    source = image if image.shape[-1] == 4 else opaque
    meshes = None if config.mouth is None else np.stack([portrait.mesh for portrait in portraits])
    return Identity(frames, source, placements, masks, config.geometry, meshes), uint8_to_image(crops), masks


def _inputs() -> list[io.Input]:
    return [
        io.Image.Input(
            "image",
            tooltip="Any picture with a head that looks ahead. Transparent parts become white. Each picture of a batch "
            "is an identity of its own.",
        ),
        io.Custom(MODEL).Input(
            "model", tooltip="The model that will animate this identity. It sets the head's size and place."
        ),
        *place_inputs(),
        *face_inputs(),
        io.Float.Input(
            "margin",
            default=0.0,
            min=-0.3,
            max=2.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip="More room around a face that was found: 0 is how the model was trained, 0.2 makes the head a "
            "fifth smaller in its frame.",
        ),
        io.Boolean.Input(
            "level",
            default=True,
            optional=True,
            advanced=True,
            tooltip="On: a tilted head is set upright for the model, and Paste Back tilts it again. Off: it stays "
            "tilted.",
        ),
    ]


def place_inputs() -> list[io.Input]:
    """The inputs that name a place in a picture."""
    return [
        io.Float.Input(
            "x",
            default=0.5,
            min=0.0,
            max=1.0,
            step=0.005,
            optional=True,
            advanced=True,
            tooltip="A place in the picture as a fraction of the width, from the left: the centre of the box, or the "
            "point for the nearest face.",
        ),
        io.Float.Input(
            "y",
            default=0.5,
            min=0.0,
            max=1.0,
            step=0.005,
            optional=True,
            advanced=True,
            tooltip="A place in the picture as a fraction of the height, from the top: the centre of the box, or the "
            "point for the nearest face.",
        ),
        io.Float.Input(
            "size",
            display_name="box size",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.005,
            optional=True,
            advanced=True,
            tooltip="Side of a box set by hand, as a fraction of the picture's shorter side. For cartoons and animals "
            "whose face is not found. 0 means no box.",
        ),
    ]


def face_inputs() -> list[io.Input]:
    """The inputs that say by which rule a head is chosen."""
    return [
        io.Combo.Input(
            "face",
            options=list(RULES),
            default="auto",
            optional=True,
            tooltip="Which head to take: the largest face; face number face_index from left to right; the face nearest "
            "to (x, y); the box (x, y, size); or the middle square of the whole picture. Auto takes the box if size is "
            "above 0, else the largest face; bundled portraits are taken whole.",
        ),
        io.Int.Input(
            "face_index",
            display_name="face index",
            default=0,
            min=0,
            max=99,
            optional=True,
            advanced=True,
            tooltip="Number of the face, counted from 0 in the order that face sets: with left to right, 0 is the "
            "leftmost; with largest, 1 is the second largest.",
        ),
    ]
