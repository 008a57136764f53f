"""Held-out avatars, whose truth is known exactly: made on the first call, and brought to speak by a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from diffused_heads.diffused_heads_core.data.shards import Dataset
from diffused_heads.diffused_heads_core.evaluation.models import identity_mesh
from diffused_heads.diffused_heads_core.media.audio import Audio
from diffused_heads.diffused_heads_core.motion import MotionTrack
from diffused_heads.diffused_heads_core.pipeline import embed_speech
from diffused_heads.diffused_heads_core.pose import HeadGeometry, project
from diffused_heads.diffused_heads_core.talking_head import TalkingHead
from diffused_heads.training.synthesis.avatars.avatar import sample_avatar
from diffused_heads.training.synthesis.avatars.render import render
from diffused_heads.training.synthesis.corpus import Job, synthesize
from diffused_heads.training.synthesis.expression import neutral

ROOT = Path(__file__).resolve().parents[1]


def held_out(clips: int, seconds: float, seed: int, size: int) -> Dataset:
    """Clips of held-out identities and voices; the same for the same arguments."""
    folder = ROOT / "corpora" / f"held-out-seed{seed}-{clips}x{seconds:g}s-{size}px"
    return synthesize(folder, clips, seed, size, seconds, workers=1, held_out=True, progress=False)


def at_rest(clips: int, seconds: float, seed: int, size: int) -> list[np.ndarray]:
    """The identity frames (S, S, 3) uint8 of these clips: each avatar with a neutral face and pose."""
    job = Job(seed, size, seconds, True)
    avatars = (sample_avatar(job.stream(index, "identity")) for index in range(clips))
    return [render(avatar, neutral(), np.zeros(5), size)[0] for avatar in avatars]


def speak(
    model: TalkingHead,
    identity: np.ndarray,
    audio: Audio,
    frames: int,
    options: dict[str, Any],
    track: MotionTrack | None = None,
) -> Iterator[np.ndarray]:
    """Frames (S, S, 3) uint8 of an identity that speaks the recording; ``track`` None: the model's own head motion."""
    embeddings, mesh = embed_speech(model, audio)[:frames], identity_mesh(model, identity, "portrait")
    return model.generate(identity, embeddings, model.options(**options), track, mesh=mesh)


def on_head(places: np.ndarray, pose: np.ndarray, geometry: HeadGeometry = HeadGeometry()) -> np.ndarray:
    """Where places (n, 2) of a head at rest are on a head at ``pose`` (5,): (n, 2), all in fractions of the frame."""
    flat = np.asarray(places) - geometry.centre
    depth = geometry.depth * np.sqrt(1 - ((flat / geometry.radii) ** 2).sum(-1, keepdims=True))
    return project(np.hstack([flat, depth]), pose, geometry)
