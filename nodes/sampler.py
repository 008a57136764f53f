"""Node: Diffused Heads Sampler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from comfy_api.latest import io
from torch import Tensor

from ..diffused_heads_core.config import DEFAULT_PRESET
from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.generator import SamplingOptions
from ..diffused_heads_core.media.video import as_fps, frame_count
from ..diffused_heads_core.motion import MotionClip, MotionOptions, MotionTrack
from ..diffused_heads_core.motion.follow import fitted, followed
from ..diffused_heads_core.talking_head import TalkingHead
from . import runtime
from .convert import uint8_to_image
from .inputs import motion_input, options_input, seed_input
from .page_messages import send_motion
from .sockets import AUDIO_EMBEDDING, IDENTITY, MODEL, PARTS, AudioEmbedding, Identity, Model, Sampling


class DiffusedHeadsSampler(io.ComfyNode):
    """Samples the frames of a talking head, one after the other."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_Sampler",
            display_name="Diffused Heads Sampler",
            category=PARTS,
            description="Generates the video frame by frame: the identity speaks what the audio embedding says.",
            search_aliases=["generate video", "frames"],
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
        options: Sampling | None = None,
        motion: MotionClip | None = None,
    ) -> io.NodeOutput:
        sampling = replace(options or Sampling(), track=motion)
        images, rate = sample(model, identity, audio_embedding, seed, sampling)
        return io.NodeOutput(images, float(rate))


def sample(
    model: Model,
    identity: Identity,
    speech: AudioEmbedding,
    seed: int,
    sampling: Sampling,
    preset: str = DEFAULT_PRESET,
) -> tuple[list[Tensor], Fraction]:
    """One IMAGE batch of frames per identity, with the host's progress bar and preview, and the frames' rate.

    preset: of ``config.PRESETS``, sets the steps if ``sampling`` does not. Raises DiffusedHeadsError for options out of
    range, and for what was made for another model.
    """
    ready = prepare(model, identity, speech, seed, sampling, preset)
    device = runtime.intermediate_device()
    how = ready.options, sampling.motion, ready.progress, device, ready.rate, ready.track
    return sample_clips(model.head, identity, speech, *how), ready.rate


@dataclass(frozen=True, eq=False)
class Ready:
    """What sampling needs beside model, identity and speech; ``progress`` counts the clip's frames."""

    options: SamplingOptions
    track: MotionTrack | None
    progress: runtime.Progress
    rate: Fraction


def prepare(
    model: Model, identity: Identity, speech: AudioEmbedding, seed: int, sampling: Sampling, preset: str
) -> Ready:
    """Check the inputs, bring the model to its device and show the page how the head will move; as ``sample``."""
    head = model.head
    check_match(head, model.name, identity, speech)
    rate = as_fps(sampling.fps or head.config.fps)
    options = head.options(preset, **{"seed": seed, **sampling.changes})
    runtime.bring_to_device(head, model.patcher, len(identity.pictures))
    progress = runtime.Progress(clip_length(head, speech, rate), options.steps)
    track = track_of(head, sampling, speech, progress.status.frames, options.seed, rate)
    send_motion(track, rate)
    return Ready(options, track, progress, rate)


def track_of(
    head: TalkingHead, sampling: Sampling, speech: AudioEmbedding, frames: int, seed: int, rate: Fraction
) -> MotionTrack | None:
    """The head's motion: the given one, with what is not followed of it told on the node, or one from the seed."""
    if sampling.track is None:
        return head.head_track(frames, seed, sampling.motion, rate, speech.frames)
    with runtime.warnings_on_node():
        return followed(fitted(sampling.track, frames, rate), head.config, head.name)


def check_match(head: TalkingHead, name: str, identity: Identity, speech: AudioEmbedding) -> None:
    """Raise DiffusedHeadsError if identity or speech were made for another model than ``head``, called ``name``."""
    size = head.config.frame_size
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


def clip_length(head: TalkingHead, speech: AudioEmbedding, fps: Fraction | float | None) -> int:
    """Frames that cover the speech at a rate, by default the model's."""
    own = head.config.fps
    return frame_count(Fraction(len(speech.frames), own), as_fps(fps or own))


def sample_clips(
    head: TalkingHead,
    identity: Identity,
    speech: AudioEmbedding,
    options: SamplingOptions,
    motion: MotionOptions,
    on_step: Callable[[int, int, Tensor], None] | None = None,
    device: torch.device | str = "cpu",
    fps: Fraction | None = None,
    track: MotionTrack | None = None,
) -> list[Tensor]:
    """One IMAGE batch (N, S, S, 3) in 0..1 on ``device`` per identity; all identities are sampled together.

    fps: the frames' rate, by default the model's. track: by default made with ``motion``. Memory for all frames is
    taken at once, before the first is sampled.
    """
    batch, size = len(identity.pictures), head.config.frame_size
    count = clip_length(head, speech, fps)
    clips = torch.empty((batch, count, size, size, 3), device=device)
    frames = head.generate(
        identity.pictures,
        speech.frames,
        options,
        track,
        motion=motion,
        on_step=on_step,
        fps=fps,
        frames=count,
        mesh=identity.meshes,
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
        seed_input(),
        options_input(),
        motion_input(),
    ]
