"""Node: Encode Audio."""

from __future__ import annotations

import math
from typing import Any

from comfy_api.latest import io

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.media.sound_reader import LONGEST
from ..diffused_heads_core.pipeline import embed_speech
from ..diffused_heads_core.talking_head import TalkingHead
from . import runtime
from .convert import audio_to_core, waveform_of
from .sockets import AUDIO_EMBEDDING, MODEL, PARTS, AudioEmbedding, Model

DAY = 24 * 3600.0  # seconds, the most that the widgets take


class EncodeAudio(io.ComfyNode):
    """From a recording to one embedding per video frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_EncodeAudio",
            display_name="Encode Audio",
            category=PARTS,
            description="Turns speech into audio embeddings, one for each frame of the video.",
            search_aliases=["speech", "voice", "audio encoder"],
            inputs=[
                io.Custom(MODEL).Input(
                    "model", tooltip="The model that will speak. It brings the frame rate and the audio encoder."
                ),
                io.Audio.Input(
                    "audio",
                    tooltip="The speech, at any sample rate and with any number of channels. The video becomes exactly "
                    "as long as the chosen part.",
                ),
                io.Float.Input(
                    "start",
                    display_name="start (s)",
                    default=0.0,
                    min=0.0,
                    max=DAY,
                    step=0.01,
                    tooltip="Where the chosen part begins, in seconds.",
                ),
                io.Float.Input(
                    "duration",
                    display_name="duration (s)",
                    default=0.0,
                    min=0.0,
                    max=DAY,
                    step=0.01,
                    tooltip="How long the chosen part is, in seconds. 0 takes everything to the end.",
                ),
            ],
            outputs=[
                io.Custom(AUDIO_EMBEDDING).Output("audio_embedding", tooltip="For Diffused Heads Sampler."),
                io.Audio.Output(
                    "audio",
                    tooltip="The chosen part of the recording at its own sample rate and with its own channels, for "
                    "the video.",
                ),
            ],
        )

    @classmethod
    def execute(cls, model: Model, audio: dict[str, Any] | None, start: float, duration: float) -> io.NodeOutput:
        part = trim(audio, start, duration)
        return io.NodeOutput(embed(model, part), part)


def embed(model: Model, audio: dict[str, Any]) -> AudioEmbedding:
    """As ``encode``, with the model on the host's device and warnings shown on the node."""
    runtime.bring_to_device(model.head, model.patcher)
    with runtime.warnings_on_node(), runtime.speech_model_released(model.head):
        return encode(model.head, model.name, audio)


def trim(audio: dict[str, Any] | None, start: float = 0.0, duration: float = 0.0) -> dict[str, Any]:
    """The part of an AUDIO from ``start`` seconds on, ``duration`` long (0: to the end), at its own rate and channels.

    A part that ends after the recording is cut there. Raises DiffusedHeadsError for no recording, an empty one, a batch
    of them, times below 0 or not finite, and a start beyond the end.
    """
    waveform, rate = waveform_of(audio)
    for name, value in (("start", start), ("duration", duration)):
        if not (math.isfinite(value) and value >= 0):
            raise DiffusedHeadsError(f"{name}={value}: expected seconds of 0 or more")
    length, begin = waveform.shape[2], round(min(start, LONGEST) * rate)
    if begin >= length:
        raise DiffusedHeadsError(f"start={start:g} s is beyond the end of the recording at {length / rate:.3f} s")
    end = min(length, begin + round(min(duration, LONGEST) * rate)) if duration else length
    return {"waveform": waveform[:, :, begin:end].clone(), "sample_rate": rate}


def encode(head: TalkingHead, name: str, audio: dict[str, Any]) -> AudioEmbedding:
    """The embeddings of an AUDIO, one per video frame; ``name`` is the model's.

    Raises DiffusedHeadsError as ``embed_speech``, and for a model whose audio encoder was not loaded.
    """
    recording = audio_to_core(audio)
    if head.audio_encoder is None:
        raise DiffusedHeadsError(
            f"{name}: its audio encoder is a TorchScript program, which only runs with trust_torchscript "
            "in Load Diffused Heads Model (an advanced input)"
        )
    return AudioEmbedding(embed_speech(head, recording).float().cpu(), name)
