"""From identities and an audio embedding to clips, as the host's pictures."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.generator import SamplingOptions
from ..diffused_heads_core.motion import MotionOptions
from ..diffused_heads_core.talking_head import TalkingHead
from .convert import uint8_to_image
from .sockets import AudioEmbedding, Identity

OWN = "model default"


def sampling_options(
    head: TalkingHead, sampler_name: str, steps: int, seed: int, audio_guidance: float, **more: float | None
) -> SamplingOptions:
    """Checked options, ``more`` under their own names; sampler OWN and 0 steps stand for the model's own."""
    asked = {"seed": seed, "guidance": audio_guidance, **more}
    asked |= {"sampler": sampler_name} if sampler_name != OWN else {}
    asked |= {"steps": steps} if steps else {}
    return head.options(**asked)


def check_match(head: TalkingHead, name: str, identity: Identity, speech: AudioEmbedding) -> None:
    """Raise DiffusedHeadsError where identity or speech were made for another model than ``head``, called ``name``."""
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


def sample_clips(
    head: TalkingHead,
    identity: Identity,
    speech: AudioEmbedding,
    options: SamplingOptions,
    motion: MotionOptions,
    on_step: Callable[[int, int, Tensor], None] | None = None,
    device: torch.device | str = "cpu",
) -> list[Tensor]:
    """One IMAGE batch (N, S, S, 3) in 0..1 on ``device`` for each identity; all identities are sampled together.

    Memory for all frames is taken at once, before the first is sampled.
    """
    batch, size = len(identity.pictures), head.config.unet.image_size
    clips = torch.empty((batch, len(speech.frames), size, size, 3), device=device)
    frames = head.generate(identity.pictures, speech.frames, options, motion=motion, on_step=on_step)
    for number, pictures in enumerate(frames):
        clips[:, number] = uint8_to_image(pictures).to(device)
    return list(clips)
