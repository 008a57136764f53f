"""Node: Dub Video, an existing video says a new recording."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..diffused_heads_core.dubbing.dubbing import BATCH, Dubbing, dub
from ..diffused_heads_core.dubbing.source import Pictures, Source, VideoFile
from ..diffused_heads_core.dubbing.timeline import LENGTHS, WHEN_SHORT, Extent
from ..diffused_heads_core.face.placing import Placing
from ..diffused_heads_core.media.audio import Audio
from ..diffused_heads_core.media.video import as_fps, frame_count
from . import runtime
from .convert import audio_to_core, audio_to_host, image_to_uint8, opaque_image, uint8_to_image, video_source
from .identity import place_inputs
from .inputs import loaded_model_input, making_inputs, max_side_input, video_inputs
from .load_model import LoadModel, load
from .paste_back import check_memory
from .sockets import CATEGORY, Model
from .talking_portrait import video_of

FACES = ("largest", "left to right", "nearest")


class DubVideo(io.ComfyNode):
    """A video and a recording in, the dubbed frames and the video out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_DubVideo",
            display_name="Dub Video",
            category=CATEGORY,
            description="Lip-sync of an existing video: each frame keeps its own head, eyes and light, and only the "
            "mouth follows the new recording.",
            search_aliases=ALIASES,
            inputs=_inputs(),
            outputs=[
                io.Image.Output("images", tooltip="The dubbed frames."),
                io.Audio.Output("audio", tooltip="The new sound, as long as the frames, for Video Combine."),
                io.Float.Output("fps", tooltip="The frames' rate, for Video Combine."),
                io.Video.Output("video", tooltip="The finished video with the new sound, for Save Video."),
            ],
        )

    @classmethod
    def validate_inputs(cls, model_name: str | None = None) -> bool | str:
        """As Load Diffused Heads Model's."""
        return LoadModel.validate_inputs(model_name)

    @classmethod
    def fingerprint_inputs(cls, model_name: str | None = None, **more: Any) -> str:
        """As Load Diffused Heads Model's."""
        return LoadModel.fingerprint_inputs(model_name)

    @classmethod
    def execute(
        cls,
        audio: dict[str, Any] | None,
        model_name: str,
        quality: str,
        length: str,
        when_short: str,
        video: Any = None,
        images: Tensor | None = None,
        fps: float = 25.0,
        model: Model | None = None,
        face: str = "largest",
        face_index: int = 0,
        x: float = 0.5,
        y: float = 0.5,
        max_side: int = 1920,
    ) -> io.NodeOutput:
        recording, source = audio_to_core(audio), source_of(video, images, fps)
        placing, extent = Placing(face, face_index, x, y), Extent(length, when_short)
        model = model or load(model_name)
        runtime.bring_to_device(model.head, model.patcher, BATCH)
        with runtime.warnings_on_node(), runtime.speech_model_released(model.head):
            dubbing = dub(
                source,
                recording,
                model.head,
                max_side=max_side,
                placing=placing,
                extent=extent,
                preset=quality,
                finder=runtime.lip_finder,
                on_look=lambda done: runtime.check_interruption(),
            )
        clip = made(dubbing)
        runtime.show_text(dubbing.summary())
        sound = audio_to_host(fitted(dubbing.audio, len(clip), dubbing.rate))
        return io.NodeOutput(clip, sound, float(dubbing.rate), video_of(clip, sound, dubbing.rate))


ALIASES = [
    "dubbing", "lip sync video", "lipsync video", "video to video", "wav2lip", "musetalk", "latentsync",
    "translate video", "Diffused Heads",
]  # fmt: skip


def source_of(video: Any, images: Tensor | None, fps: float) -> Source:
    """The video of a VIDEO, or of an IMAGE at ``fps``. Raises DiffusedHeadsError unless exactly one of them is there.

    A VIDEO that is a whole file is read from it frame by frame.
    """
    found = video_source(video, images, fps)
    if isinstance(found, str):
        return VideoFile(found)
    frames, rate = found
    return Pictures(lambda n: image_to_uint8(opaque_image(frames[n : n + 1]))[0], len(frames), as_fps(rate))


def made(dubbing: Dubbing) -> Tensor:
    """All frames as an IMAGE, with the host's progress bar and preview.

    Raises DiffusedHeadsError after the first frame if memory is short.
    """
    count = frame_count(dubbing.seconds, dubbing.rate)
    progress, clip = runtime.FrameProgress(count), torch.empty(0)
    for number, frame in enumerate(dubbing.steady_frames()):
        if not number:
            check_memory(count, torch.empty(frame.shape))
            clip = torch.empty((count, *frame.shape))
        clip[number] = uint8_to_image(frame)
        progress(frame)
    return clip


def fitted(audio: Audio, frames: int, rate: Fraction) -> Audio:
    """A recording, cut or followed by silence so that it is as long as the frames."""
    wanted = round(frames / rate * audio.sample_rate)
    samples = torch.zeros((audio.channels, wanted))
    kept = min(wanted, audio.samples.shape[1])
    samples[:, :kept] = torch.from_numpy(audio.samples[:, :kept])
    return Audio(samples.numpy(), audio.sample_rate, audio.name)


def _inputs() -> list[io.Input]:
    model_name, quality, _ = making_inputs()
    x, y, _ = place_inputs()
    return [
        io.Audio.Input("audio", tooltip="The new speech. It replaces the video's sound."),
        *video_inputs(),
        model_name,
        quality,
        io.Combo.Input(
            "length",
            options=list(LENGTHS),
            default=LENGTHS[0],
            tooltip="How long the result is: as the audio, as the video (silence follows the audio), or as the shorter "
            "of the two.",
        ),
        io.Combo.Input(
            "when_short",
            display_name="when short",
            options=list(WHEN_SHORT),
            default=WHEN_SHORT[0],
            tooltip="What a video shows that is shorter than the audio: ping-pong runs backwards and forwards, loop "
            "begins again, hold keeps the last frame, in which the mouth speaks on.",
        ),
        loaded_model_input(),
        io.Combo.Input(
            "face",
            options=list(FACES),
            default=FACES[0],
            optional=True,
            tooltip="Which face speaks, chosen at the beginning of each shot and followed: the largest; number "
            "face_index from left to right; or the nearest to (x, y).",
        ),
        io.Int.Input(
            "face_index",
            display_name="face index",
            default=0,
            min=0,
            max=99,
            optional=True,
            advanced=True,
            tooltip="Number of the face, counted from 0 in the order that face sets. Shots with fewer faces stay as "
            "they are.",
        ),
        x,
        y,
        max_side_input(),
    ]
