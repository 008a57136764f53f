"""Node: Diffused Heads Sampler."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import torch
from comfy_api.latest import io
from torch import Tensor

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.generator import SamplingOptions
from ..diffused_heads_core.media.video import as_fps, frame_count
from ..diffused_heads_core.motion import MotionOptions
from ..diffused_heads_core.samplers import SAMPLERS
from ..diffused_heads_core.talking_head import TalkingHead
from . import runtime
from .convert import uint8_to_image
from .sockets import AUDIO_EMBEDDING, CATEGORY, IDENTITY, MODEL, AudioEmbedding, Identity, Model

MODEL_DEFAULT = "model default"  # of the samplers


class DiffusedHeadsSampler(io.ComfyNode):
    """Samples the frames of a talking head, one after the other."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_Sampler",
            display_name="Diffused Heads Sampler",
            category=CATEGORY,
            description="Generates the video frame by frame: the identity speaks what the audio embedding says.",
            search_aliases=["talking head", "lip sync", "generate video"],
            inputs=_inputs(),
            outputs=[
                io.Image.Output(
                    "images",
                    is_output_list=True,
                    tooltip="The frames. With several identities there is one batch of frames for each, and the nodes "
                    "behind this one run once for each of them: Video Combine writes one video per identity.",
                ),
                io.Float.Output("fps", tooltip="The frames' rate, for Paste Back and Video Combine."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Model,
        identity: Identity,
        audio_embedding: AudioEmbedding,
        seed: int,
        sampler_name: str,
        steps: int,
        audio_guidance: float,
        head_motion: float = 1.0,
        blinks: float = 0.28,
        eta: float = 0.0,
        colour_lock: float = 0.0,
        motion_anchor: float = -1.0,
        temperature: float = -1.0,
        fps: float = 0.0,
    ) -> io.NodeOutput:
        head = model.head
        rate = as_fps(fps or head.config.fps)
        check_match(head, model.name, identity, audio_embedding)
        options = sampling_options(
            head,
            sampler_name,
            steps,
            seed,
            audio_guidance,
            eta=eta,
            colour_lock=colour_lock,
            motion_anchor=None if motion_anchor == -1 else motion_anchor,
            temperature=None if temperature == -1 else temperature,
        )
        motion = MotionOptions(head=head_motion, blinks=blinks)
        runtime.bring_to_device(head, model.patcher, len(identity.pictures))
        progress = runtime.Progress(clip_length(head, audio_embedding, rate), options.steps)
        device = runtime.intermediate_device()
        images = sample_clips(head, identity, audio_embedding, options, motion, progress, device, rate)
        return io.NodeOutput(images, float(rate))


def check_match(head: TalkingHead, name: str, identity: Identity, speech: AudioEmbedding) -> None:
    """Raise DiffusedHeadsError if identity or speech were made for another model than ``head``, called ``name``."""
    size = head.config.unet.image_size
    if identity.pictures.shape[1:3] != (size, size):
        raise DiffusedHeadsError(
            f"identity: made for a model of {identity.pictures.shape[1]} px, {name} has {size} px; "
            "connect one model to Load Identity and to the sampler"
        )
    if speech.model != name:
        raise DiffusedHeadsError(
            f"audio_embedding: made by {speech.model}, the sampler's model is {name}; "
            "connect one model to Encode Audio and to the sampler"
        )


def sampling_options(
    head: TalkingHead, sampler_name: str, steps: int, seed: int, audio_guidance: float, **more: float | None
) -> SamplingOptions:
    """Checked options. MODEL_DEFAULT and 0 steps leave sampler and steps to the model; ``more``: other options."""
    chosen: dict[str, float | str | None] = {"seed": seed, "guidance": audio_guidance, **more}
    if sampler_name != MODEL_DEFAULT:
        chosen["sampler"] = sampler_name
    if steps:
        chosen["steps"] = steps
    return head.options(**chosen)


def clip_length(head: TalkingHead, speech: AudioEmbedding, fps: Fraction | None) -> int:
    """Frames that cover the speech at a rate, by default the model's."""
    own = head.config.fps
    return frame_count(Fraction(len(speech.frames), own), fps or Fraction(own))


def sample_clips(
    head: TalkingHead,
    identity: Identity,
    speech: AudioEmbedding,
    options: SamplingOptions,
    motion: MotionOptions,
    on_step: Callable[[int, int, Tensor], None] | None = None,
    device: torch.device | str = "cpu",
    fps: Fraction | None = None,
) -> list[Tensor]:
    """One IMAGE batch (N, S, S, 3) in 0..1 on ``device`` per identity; all identities are sampled together.

    fps: the frames' rate, by default the model's. Memory for all frames is taken at once, before the first is sampled.
    """
    batch, size = len(identity.pictures), head.config.unet.image_size
    count = clip_length(head, speech, fps)
    clips = torch.empty((batch, count, size, size, 3), device=device)
    frames = head.generate(
        identity.pictures, speech.frames, options, motion=motion, on_step=on_step, fps=fps, frames=count
    )
    for number, pictures in enumerate(frames):
        clips[:, number] = uint8_to_image(pictures).to(device)
    return list(clips)


def _inputs() -> list[io.Input]:
    return [
        io.Custom(MODEL).Input("model", tooltip="From Load Diffused Heads Model."),
        io.Custom(IDENTITY).Input(
            "identity",
            tooltip="From Load Identity. Several identities (a batch of pictures) speak the same recording and are "
            "sampled together.",
        ),
        io.Custom(AUDIO_EMBEDDING).Input("audio_embedding", tooltip="From Encode Audio, made with the same model."),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**64 - 1,
            control_after_generate=True,
            tooltip="Another seed gives other head movements and other details. The same seed gives the same frames.",
        ),
        io.Combo.Input(
            "sampler_name",
            display_name="sampler",
            options=[MODEL_DEFAULT, *SAMPLERS],
            default=MODEL_DEFAULT,
            tooltip="How noise becomes a frame. The model default is the sampler that suits the model; ddim and "
            "dpm++2m need fewer steps than ancestral.",
        ),
        io.Int.Input(
            "steps",
            default=0,
            min=0,
            max=1000,
            tooltip="Denoising steps per frame: more steps take more time. 0 takes the model's default.",
        ),
        io.Float.Input(
            "audio_guidance",
            display_name="audio guidance",
            default=1.0,
            min=0.0,
            max=10.0,
            step=0.05,
            tooltip="Above 1, the mouth follows the speech more strongly; too much distorts it. Any value but 1 "
            "doubles the time.",
        ),
        io.Float.Input(
            "head_motion",
            display_name="head motion",
            default=1.0,
            min=0.0,
            max=2.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip="How lively the head is: 0 keeps it still, 1 is natural, 2 is strong. Models that make up their "
            "own motion ignore it.",
        ),
        io.Float.Input(
            "blinks",
            display_name="blinks per second",
            default=0.28,
            min=0.0,
            max=2.0,
            step=0.01,
            optional=True,
            advanced=True,
            tooltip="Blinks per second, on average. Models that make up their own motion ignore it.",
        ),
        io.Float.Input(
            "eta",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip="Fresh noise at each step of the ddim sampler: 0 is none, 1 as much as in ancestral. Other "
            "samplers ignore it.",
        ),
        io.Float.Input(
            "colour_lock",
            display_name="colour lock",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip="Against colours that drift in long clips: 1 holds brightness, contrast and tint of the frames to "
            "those of the identity, 0 is off.",
        ),
        io.Float.Input(
            "motion_anchor",
            display_name="motion anchor",
            default=-1.0,
            min=-1.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip="Against errors that grow from frame to frame: the identity's share in the motion frames (the "
            "previous frames that the model sees). 0 is off, 0.1 to 0.3 lets errors die out, more makes the movement "
            "stiff. -1 takes the model's default.",
        ),
        io.Float.Input(
            "temperature",
            default=-1.0,
            min=-1.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip="Scale of the noise that each frame starts from: 0 keeps details still from frame to frame, 1 is "
            "how the paper does it. -1 takes the model's default.",
        ),
        io.Float.Input(
            "fps",
            display_name="frames per second",
            default=0.0,
            min=0.0,
            max=240.0,
            step=0.001,
            optional=True,
            advanced=True,
            tooltip="Frames per second of the result, for example 23.976 or 30; 0 takes the model's rate. Sound and "
            "head motion are taken at each frame's own time.",
        ),
    ]
