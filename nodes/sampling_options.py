"""Node: Sampling Options, for the sampler and for Talking Portrait."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io

from ..diffused_heads_core.motion import MotionOptions
from ..diffused_heads_core.samplers import SAMPLERS
from .runtime import warnings_on_node
from .sockets import PARTS, SAMPLING, Sampling

AUTOMATIC, CUSTOM = "automatic", "custom"
DENOISING = {"sampler": "ddim", "steps": 4, "eta": 0.0, "motion_anchor": 0.1, "temperature": 0.0}  # of human and avatar

_log = logging.getLogger(__name__)


class SamplingOptionsNode(io.ComfyNode):
    """What Talking Portrait and the sampler leave to the model unless this node is connected."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_SamplingOptions",
            display_name="Sampling Options",
            category=PARTS,
            description="How the frames are made: head motion, frame rate, guidance, sampler and steps. Without this "
            "node, everything is as the model's makers set it.",
            search_aliases=["sampler settings", "steps", "guidance", "cfg", "head motion", "Diffused Heads"],
            inputs=_inputs(),
            outputs=[io.Custom(SAMPLING).Output("options", tooltip="For Talking Portrait or Diffused Heads Sampler.")],
        )

    @classmethod
    def execute(
        cls,
        head_motion: float,
        blinks: float,
        fps: float,
        guidance: float,
        colour_lock: float,
        denoising: str,
        sampler: str = "ddim",
        steps: int = 4,
        eta: float = 0.0,
        motion_anchor: float = 0.1,
        temperature: float = 0.0,
    ) -> io.NodeOutput:
        changes: dict[str, Any] = {"guidance": guidance, "colour_lock": colour_lock}
        values = {
            "sampler": sampler,
            "steps": steps,
            "eta": eta,
            "motion_anchor": motion_anchor,
            "temperature": temperature,
        }
        unused = [name.replace("_", " ") for name, value in values.items() if value != DENOISING[name]]
        if denoising == CUSTOM:
            changes.update(values)
        elif unused:
            with warnings_on_node():
                _log.warning("not used while denoising is %s: %s", AUTOMATIC, ", ".join(unused))
        return io.NodeOutput(Sampling(changes, MotionOptions(head=head_motion, blinks=blinks), fps))


def _inputs() -> list[io.Input]:
    return [
        io.Float.Input(
            "head_motion",
            display_name="head motion",
            default=1.0,
            min=0.0,
            max=2.0,
            step=0.05,
            tooltip="How lively the head is: 0 keeps it still, 1 is natural, 2 is strong. Talking Portrait multiplies "
            "it by its own liveliness. Models that make up their own motion ignore it.",
        ),
        io.Float.Input(
            "blinks",
            display_name="blinks per second",
            default=0.28,
            min=0.0,
            max=2.0,
            step=0.01,
            tooltip="Blinks per second, on average. Models that make up their own motion ignore it.",
        ),
        io.Float.Input(
            "fps",
            display_name="frames per second",
            default=25.0,
            min=1.0,
            max=240.0,
            step=0.001,
            tooltip="Frames per second of the result, for example 23.976 or 30; the models' own rate is 25. Sound and "
            "head motion are taken at each frame's own time.",
        ),
        io.Float.Input(
            "guidance",
            display_name="audio guidance",
            default=1.0,
            min=0.0,
            max=10.0,
            step=0.05,
            tooltip="Above 1, the mouth follows the speech more strongly; too much distorts it. Any value but 1 "
            "doubles the time.",
        ),
        io.Float.Input(
            "colour_lock",
            display_name="colour lock",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="Against colours that drift in long clips: 1 holds brightness, contrast and tint of the frames to "
            "those of the identity, 0 is off.",
        ),
        io.Combo.Input(
            "denoising",
            options=[AUTOMATIC, CUSTOM],
            default=AUTOMATIC,
            tooltip="Automatic: sampler, steps, eta, motion anchor and temperature are those that suit the model, and "
            "Talking Portrait's quality sets the steps. Custom: they are as set below.",
        ),
        *_denoising_inputs(),
    ]


def _denoising_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "sampler",
            options=list(SAMPLERS),
            default=DENOISING["sampler"],
            optional=True,
            tooltip="How noise becomes a frame, if denoising is custom. ddim and dpm++2m need fewer steps than "
            "ancestral, which suits the paper's own model.",
        ),
        io.Int.Input(
            "steps",
            default=DENOISING["steps"],
            min=1,
            max=1000,
            optional=True,
            tooltip="Denoising steps per frame, if denoising is custom: more steps take more time. The model portrait "
            "uses 1, human and avatar 4.",
        ),
        io.Float.Input(
            "eta",
            default=DENOISING["eta"],
            min=0.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip="Fresh noise at each step of the ddim sampler, if denoising is custom: 0 is none, 1 as much as in "
            "ancestral. Other samplers ignore it.",
        ),
        io.Float.Input(
            "motion_anchor",
            display_name="motion anchor",
            default=DENOISING["motion_anchor"],
            min=0.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip="Against errors that grow from frame to frame, if denoising is custom: the identity's share in the "
            "motion frames (the previous frames that the model sees). 0 is off, 0.1 to 0.3 lets errors die out, more "
            "makes the movement stiff.",
        ),
        io.Float.Input(
            "temperature",
            default=DENOISING["temperature"],
            min=0.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip="Scale of the noise that each frame starts from, if denoising is custom: 0 keeps details still "
            "from frame to frame, 1 is how the paper does it.",
        ),
    ]
