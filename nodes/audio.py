"""Node: Encode Audio."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from . import recordings, runtime
from .sockets import AUDIO_EMBEDDING, CATEGORY, MODEL, Model

LONGEST = 24 * 3600.0


class EncodeAudio(io.ComfyNode):
    """From a recording to an embedding for each video frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_EncodeAudio",
            display_name="Encode Audio",
            category=CATEGORY,
            description="Listens to speech: one embedding for each frame of the video that will be made.",
            search_aliases=["speech", "voice", "lip sync"],
            inputs=[
                io.Custom(MODEL).Input(
                    "model", tooltip="The model that will speak; it tells the frame rate and how to listen."
                ),
                io.Audio.Input(
                    "audio",
                    tooltip=(
                        "The speech, at any sample rate and with any number of channels. The video becomes exactly as long as the chosen part."
                    ),
                ),
                io.Float.Input(
                    "start",
                    default=0.0,
                    min=0.0,
                    max=LONGEST,
                    step=0.01,
                    tooltip="Where the chosen part begins, in seconds.",
                ),
                io.Float.Input(
                    "duration",
                    default=0.0,
                    min=0.0,
                    max=LONGEST,
                    step=0.01,
                    tooltip=("How long the chosen part is, in seconds. 0 takes everything to the end."),
                ),
            ],
            outputs=[
                io.Custom(AUDIO_EMBEDDING).Output("audio_embedding", tooltip="For Diffused Heads Sampler."),
                io.Audio.Output(
                    "audio",
                    tooltip=(
                        "The chosen part of the recording with its own sample rate and channels, to go into the video."
                    ),
                ),
            ],
        )

    @classmethod
    def execute(cls, model: Model, audio: dict[str, Any] | None, start: float, duration: float) -> io.NodeOutput:
        part = recordings.trim(audio, start, duration)
        runtime.bring_to_device(model.head, model.patcher)
        return io.NodeOutput(recordings.encode(model.head, model.name, part), part)
