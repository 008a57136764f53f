"""From a recording to what the model hears, and the part of it that goes into the video."""

from __future__ import annotations

import math
from typing import Any

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.media.audio import LONGEST, check_speech
from ..diffused_heads_core.talking_head import TalkingHead
from .convert import audio_to_core, waveform_of
from .sockets import AudioEmbedding


def trim(audio: dict[str, Any] | None, start: float = 0.0, duration: float = 0.0) -> dict[str, Any]:
    """The part of an AUDIO from ``start`` seconds on, ``duration`` long (0: to the end), at its own rate and channels.

    A part that ends after the recording is cut there. Raises DiffusedHeadsError for no or an empty recording, a batch
    of them, and a start beyond the end.
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
    """The embeddings of an AUDIO, one a video frame; ``name`` is the model's.

    Raises DiffusedHeadsError for a recording that is too short, silent or not finite, and for a model without its
    encoder.
    """
    recording = audio_to_core(audio)
    check_speech(recording)
    if head.audio_encoder is None:
        raise DiffusedHeadsError(
            f"{name}: its audio encoder is a TorchScript program, which only runs with trust_torchscript "
            "in Load Diffused Heads Model (an advanced input)"
        )
    return AudioEmbedding(head.encode_audio(recording).float().cpu(), name)
