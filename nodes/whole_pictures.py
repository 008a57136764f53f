"""Sampling straight into the whole picture, at its own resolution: for models that paint the mouth alone."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from ..diffused_heads_core.face.moving_heads import made_ahead
from ..diffused_heads_core.mouth.face_mesh import usual_mesh
from ..diffused_heads_core.mouth.renderer import HeadFrame, PictureHead
from . import runtime
from .convert import image_to_uint8, uint8_to_image
from .paste_back import canvas
from .sampler import prepare
from .sockets import AudioEmbedding, Identity, Model, Sampling


def sample_pictures(
    model: Model,
    identity: Identity,
    speech: AudioEmbedding,
    seed: int,
    sampling: Sampling,
    preset: str,
    max_side: int = 0,
) -> tuple[list[Tensor], Fraction]:
    """One IMAGE batch (N, H, W, 3) of whole pictures per identity, as ``sampler.sample``, and the frames' rate.

    The head moves in the picture's own pixels. max_side: as of ``paste_back.canvas``.
    """
    ready = prepare(model, identity, speech, seed, sampling, preset)
    count = ready.progress.status.frames
    with runtime.warnings_on_node():
        pictures, heads = _heads(model, identity, max_side)
    frames = model.head.head_frames(
        identity.pictures,
        speech.frames,
        ready.options,
        ready.track,
        sampling.motion,
        ready.progress,
        ready.rate,
        count,
        identity.meshes,
    )

    def draw(states: Sequence[HeadFrame]) -> list[Tensor]:
        drawn = []
        for picture, head, state in zip(pictures, heads, states, strict=True):
            made = picture.copy()
            head.draw(made, state)
            drawn.append(uint8_to_image(made))
        return drawn

    clips = [torch.empty((count, *picture.shape)) for picture in pictures]
    for number, drawn in enumerate(made_ahead(draw, frames)):
        for clip, picture in zip(clips, drawn):
            clip[number] = picture
    return clips, ready.rate


def _heads(model: Model, identity: Identity, max_side: int) -> tuple[list[np.ndarray], list[PictureHead]]:
    """The identities' pictures uint8 (H, W, 3), and their heads in them."""
    config, pictures, heads = model.head.config, [], []
    for row in range(len(identity.placements)):
        picture, placement, _ = canvas(identity, row, max_side)
        pictures.append(image_to_uint8(picture))
        mesh = usual_mesh(config.geometry, config.frame_size) if identity.meshes is None else identity.meshes[row]
        height, width = picture.shape[:2]
        heads.append(PictureHead(identity.pictures[row], mesh, placement.matrix, (height, width), config.geometry))
    return pictures, heads
