"""Inputs that several nodes have."""

from __future__ import annotations

from comfy_api.latest import io

from ..diffused_heads_core.config import DEFAULT_PRESET, PRESETS
from . import model_files
from .load_model import files
from .sockets import MODEL, MOTION, SAMPLING


def fps_input(tooltip: str) -> io.Input:
    """The frames' rate, as the core accepts it."""
    return io.Float.Input(
        "fps", display_name="frames per second", default=25.0, min=1.0, max=240.0, step=0.001, tooltip=tooltip
    )


def seed_input(more: str = "") -> io.Input:
    """The seed of motion and noise."""
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=2**64 - 1,
        control_after_generate=True,
        tooltip="Another seed gives other head movements and other details. The same seed gives the same frames."
        + more,
    )


def making_inputs() -> list[io.Input]:
    """How a video is made, for who does not want to know more: model, quality and liveliness."""
    return [
        io.Combo.Input(
            "model_name",
            display_name="model",
            options=model_files.choices(files()),
            tooltip="A bundled model (portrait: photographs and drawings; human, avatar: older, 128 px), "
            "or a .safetensors checkpoint in ComfyUI's models/diffused_heads folder.",
        ),
        io.Combo.Input(
            "quality",
            options=list(PRESETS),
            default=DEFAULT_PRESET,
            tooltip="Denoising steps per frame: balanced is the model's own number; fast takes half of them, in 60 % "
            "of the time, and is a little softer; reference takes twice as many, and is a little sharper.",
        ),
        io.Float.Input(
            "liveliness",
            default=1.0,
            min=0.0,
            max=2.0,
            step=0.05,
            tooltip="How much a head moves: 0 keeps it still, 0.5 is calm, 1 is natural, 2 is strong. The mouth "
            "follows the speech in any case.",
        ),
    ]


def options_input() -> io.Input:
    """What Sampling Options gives."""
    return io.Custom(SAMPLING).Input(
        "options",
        optional=True,
        tooltip="From Sampling Options: head motion, blinks, frame rate, guidance, sampler and steps. Unconnected, "
        "they are the model's own.",
    )


def motion_input(tooltip: str = "", optional: bool = True) -> io.Input:
    """A head's motion."""
    usual = "From Head Motion, Motion from Video, Edit Motion or Expression: how the head moves besides speaking. A "
    usual += "shorter one goes on back and forth. Unconnected, a motion is made from the seed."
    return io.Custom(MOTION).Input("motion", optional=optional, tooltip=tooltip or usual)


def loaded_model_input() -> io.Input:
    """A model in place of ``model_name``."""
    return io.Custom(MODEL).Input(
        "model",
        display_name="loaded model",
        optional=True,
        tooltip="From Load Diffused Heads Model, in place of the model chosen here: for a precision, for a model that "
        "needs trust TorchScript, or to keep a large model loaded.",
    )


def max_side_input() -> io.Input:
    """How large the picture of a video may be."""
    return io.Int.Input(
        "max_side",
        display_name="max side",
        default=1920,
        min=64,
        max=8192,
        step=8,
        optional=True,
        advanced=True,
        tooltip="A picture whose longer side has more pixels than this is made smaller for the video, to save memory: "
        "ten seconds of 1920 x 1080 take 6 GB.",
    )


def video_inputs() -> list[io.Input]:
    """A video, or its frames and their rate (``convert.video_source``)."""
    return [
        io.Video.Input(
            "video", optional=True, tooltip="The video, from Load Video, of any frame rate; it is read frame by frame."
        ),
        io.Image.Input("images", optional=True, tooltip="The frames of a video, in place of video."),
        io.Float.Input(
            "fps",
            display_name="frames per second",
            default=25.0,
            min=1.0,
            max=240.0,
            step=0.001,
            optional=True,
            tooltip="Of images; a video has its own.",
        ),
    ]
