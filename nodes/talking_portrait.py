"""Node: Talking Portrait, the way through all the other nodes in one."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from comfy_api.latest import InputImpl, Types, io
from torch import Tensor

from ..diffused_heads_core.face.placing import Placing
from ..diffused_heads_core.motion import MotionClip
from . import audio as speech
from .identity import face_inputs, find_identity, place_inputs
from .inputs import loaded_model_input, making_inputs, max_side_input, motion_input, options_input, seed_input
from .load_model import LoadModel, load
from .paste_back import check_room, paste_clips
from .portrait_clips import animations, images_of, output_is_taken, videos_of
from .sampler import clip_length, sample
from .sockets import CATEGORY, Model, Sampling

WHOLE, HEAD = "whole picture", "head only"


class TalkingPortrait(io.ComfyNode):
    """A picture and a recording in, the frames and the video out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_TalkingPortrait",
            display_name="Talking Portrait",
            category=CATEGORY,
            description="One picture and one recording give a video of the head talking. Save it with Save Video or "
            "Video Combine.",
            search_aliases=ALIASES,
            inputs=_inputs(),
            outputs=[
                io.Image.Output(
                    "images",
                    is_output_list=True,
                    tooltip="The frames. Each picture of a batch gives a clip and a video of its own. If nothing is "
                    "connected here, the video is written while it is made, and memory does not grow with its length.",
                ),
                io.Audio.Output("audio", tooltip="The recording, for Video Combine."),
                io.Float.Output("fps", tooltip="The frames' rate, for Video Combine."),
                io.Video.Output(
                    "video", is_output_list=True, tooltip="The finished video with its sound, for Save Video."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, model_name: str | None = None) -> bool | str:
        """As Load Diffused Heads Model's."""
        return LoadModel.validate_inputs(model_name)

    @classmethod
    def fingerprint_inputs(cls, model_name: str | None = None, **more: Any) -> str:
        """As Load Diffused Heads Model's; another one if the images are taken, which are not made otherwise."""
        return f"{LoadModel.fingerprint_inputs(model_name)} {output_is_taken(_unique_id(cls), 0)}"

    @classmethod
    def execute(
        cls,
        image: Tensor,
        audio: dict[str, Any] | None,
        model_name: str,
        quality: str,
        liveliness: float,
        frame: str,
        seed: int,
        options: Sampling | None = None,
        model: Model | None = None,
        face: str = "auto",
        face_index: int = 0,
        x: float = 0.5,
        y: float = 0.5,
        size: float = 0.0,
        max_side: int = 1920,
        motion: MotionClip | None = None,
    ) -> io.NodeOutput:
        recording = speech.trim(audio)
        model = model or load(model_name)
        identity, _, _ = find_identity(image, model, Placing(face, face_index, x, y, size))
        embedding = speech.embed(model, recording)
        sampling = replace(livelier(options or Sampling(), liveliness), track=motion)
        whole = frame == WHOLE
        made = animations(model, identity, embedding, recording, seed, sampling, quality, whole, max_side)
        if not output_is_taken(_unique_id(cls), 0):
            return io.NodeOutput([], recording, float(made[0].rate), videos_of(made, model))
        if whole:
            check_room(identity, clip_length(model.head, embedding, sampling.fps), max_side)
        if whole and model.head.config.mouth is not None:
            clips, rate = images_of(made, model), made[0].rate
        else:
            clips, rate = sample(model, identity, embedding, seed, sampling, quality)
            clips = paste_clips(clips, identity, float(rate), max_side=max_side) if whole else clips
        videos = [video_of(clip, recording, rate) for clip in clips]
        return io.NodeOutput(clips, recording, float(rate), videos)


def _unique_id(node: Any) -> str | None:
    """The node's number in the prompt that runs; None outside a host."""
    return getattr(getattr(node, "hidden", None), "unique_id", None)


ALIASES = [
    "talking head", "talking photo", "lip sync", "lipsync", "wav2lip", "sadtalker", "avatar", "face animation",
    "animate portrait", "speech to video", "audio to video", "Diffused Heads",
]  # fmt: skip


def video_of(clip: Tensor, audio: dict[str, Any], rate: Fraction) -> Any:
    """A VIDEO of an IMAGE batch with its sound. The core's encoder needs even sides, so an odd last row or column goes.

    The frames are not copied.
    """
    _, height, width, _ = clip.shape
    even = clip[:, : max(height // 2 * 2, 1), : max(width // 2 * 2, 1)]
    return InputImpl.VideoFromComponents(Types.VideoComponents(images=even, audio=audio, frame_rate=rate))


def livelier(sampling: Sampling, factor: float) -> Sampling:
    """Sampling options with the head's motion multiplied by ``factor``, up to the strongest."""
    motion = sampling.motion
    return replace(sampling, motion=replace(motion, head=min(motion.head * factor, 2.0)))


def _inputs() -> list[io.Input]:
    return [
        io.Image.Input(
            "image",
            tooltip="Any picture with a head that looks ahead. Each picture of a batch gives a video of its own. "
            "Transparent parts become white.",
        ),
        io.Audio.Input("audio", tooltip="The speech. The video becomes exactly as long."),
        *making_inputs(),
        io.Combo.Input(
            "frame",
            options=[WHOLE, HEAD],
            default=WHOLE,
            tooltip="What the video shows: the whole picture with the head moving in it, or the head's square alone, "
            "as small as the model makes it, to be enlarged or restored.",
        ),
        seed_input(),
        options_input(),
        loaded_model_input(),
        *face_inputs(),
        *place_inputs(),
        max_side_input(),
        motion_input(),
    ]
