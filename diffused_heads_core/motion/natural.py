"""The motion of a head whose user gives none: from its speech, if the prior knows its embeddings, else random."""

from __future__ import annotations

import hashlib
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn

from ..assets import MOTION_PRIOR
from ..mouth.face_mesh import face_mesh
from .prior import MotionPrior, bundled_prior
from .random_motion import MotionOptions, sample_track
from .track import MotionTrack

STRAIGHT_PITCH = -0.063  # radians, what ``portrait_pose`` reads of people who look at the camera
FAR = 0.14  # radians from which a portrait is turned on purpose: the head then moves about that pose
KNOWN = 0.06  # radians: the largest turn that the prior has seen in a portrait


def natural_track(
    frames: int,
    fps: Fraction | float,
    seed: int = 0,
    options: MotionOptions = MotionOptions(),
    embeddings: Tensor | None = None,
    encoder: nn.Module | None = None,
    mesh: np.ndarray | None = None,
) -> MotionTrack:
    """A track of ``frames`` frames; embeddings (N, C): of the speech, as ``encoder`` gives them. mesh (468, 3): the
    portrait's, in pixels.

    Without embeddings, for those of another encoder than the prior's, and with ``options.source`` "random" the motion
    knows nothing of the sound.
    """
    prior = None if options.source != "speech" or embeddings is None or encoder is None else fitting_prior(encoder)
    if prior is None or embeddings is None:
        return sample_track(frames, float(fps), seed, options)
    own = None if mesh is None else portrait_pose(mesh)
    with torch.inference_mode(False):
        return prior.sample_motion(embeddings.detach().cpu(), fps, seed, options, frames, own)


def fitting_prior(encoder: nn.Module) -> MotionPrior | None:
    """The bundled prior if it was trained on the embeddings of this audio encoder, else None."""
    if not MOTION_PRIOR.is_file():
        return None
    prior = bundled_prior()
    return prior if prior.summary.get("audio_encoder") == encoder_digest(encoder) else None


def portrait_pose(mesh: np.ndarray) -> np.ndarray | None:
    """How far a portrait's head, by its mesh (468, 3) in pixels, is turned from looking at the camera: yaw, pitch, roll
    (3,) in radians as in ``pose.POSE``. None for a head that is turned further than the prior has seen.
    """
    depth = np.array([1, 1, -1])  # the mesh's z points away from the viewer
    turn = face_mesh().pose(mesh).turn * np.outer(depth, depth)
    yaw, roll = np.arctan2(-turn[2, 0], turn[2, 2]), np.arctan2(-turn[0, 1], turn[1, 1])
    found = np.array([yaw, -np.arcsin(np.clip(turn[2, 1], -1, 1)) - STRAIGHT_PITCH, roll])
    return None if np.abs(found).max() > FAR else found.clip(-KNOWN, KNOWN)


def encoder_digest(encoder: nn.Module) -> str:
    """What tells audio encoders apart: a digest of their weights in half precision."""
    tensors = encoder.state_dict()
    parts = (name.encode() + tensors[name].detach().cpu().half().numpy().tobytes() for name in sorted(tensors))
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]
