"""Talking avatars with exact truth, and copies of them that are wrong in one way each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from diffused_heads.diffused_heads_core.evaluation.measure import Settings, measured
from diffused_heads.diffused_heads_core.evaluation.sources import ArraySource, Group
from diffused_heads.diffused_heads_core.evaluation.totals import Totals
from diffused_heads.diffused_heads_core.media.audio import Audio
from diffused_heads.training.synthesis.avatars.avatar import sample_avatar
from diffused_heads.training.synthesis.avatars.render import render
from diffused_heads.training.synthesis.corpus import Job
from diffused_heads.training.synthesis.expression import index, neutral
from diffused_heads.training.synthesis.motion import head_pose

FPS, SIZE, FRAMES, RATE = 25.0, 64, 60, 16000


@dataclass(frozen=True, eq=False)
class Talk:
    """A clip: frames (T, S, S, 3) uint8, landmarks (T, 68, 2) px, sound (n,) float32 at 16 kHz."""

    name: str
    frames: np.ndarray
    landmarks: np.ndarray
    sound: np.ndarray

    def source(self, known: bool = True) -> ArraySource:
        """The clip in memory, with its landmarks or without."""
        audio = Audio(self.sound[None], RATE, self.name)
        return ArraySource(self.name, list(self.frames), FPS, audio, self.landmarks if known else None)


def mouth_of(voice: int) -> np.ndarray:
    """A mouth opening (T,) that follows nobody else's."""
    rng, moments = np.random.default_rng(voice), np.arange(FRAMES) / FPS
    waves = sum(np.sin(2 * np.pi * f * moments + rng.uniform(0, 6)) for f in rng.uniform(1.2, 4, 3))
    return np.clip(0.35 + 0.2 * waves, 0, 0.9)


@lru_cache
def talk(person: int, voice: int | None = None, looks: int | None = None) -> Talk:
    """A person who speaks with a voice, by default their own; it tells mouth and sound, ``looks`` who it is, the person
    how head and lids move."""
    voice, looks = (person if other is None else other for other in (voice, looks))
    job, rng = Job(77, SIZE, FRAMES / FPS, True), np.random.default_rng([1, person])
    avatar, expression = sample_avatar(job.stream(looks, "identity")), neutral(FRAMES)
    expression[:, index("open")] = mouth_of(voice)
    shut = np.interp(np.arange(FRAMES), np.array([0, 2, 3, 6]) + 20 + 3 * person, [0, 1, 1, 0], 0, 0)
    expression[:, index("blink_left")] = expression[:, index("blink_right")] = shut
    frames, truths = zip(*(render(avatar, e, p, SIZE) for e, p in zip(expression, head_pose(rng, np.zeros(0), FRAMES))))
    swell = np.repeat(mouth_of(voice), RATE // int(FPS)).astype(np.float32)
    sound = swell * np.sin(np.arange(len(swell), dtype=np.float32) * 0.1)
    return Talk(f"person-{person}", np.stack(frames), np.stack([t.landmarks for t in truths]), sound.astype(np.float32))


def _frozen(clip: Talk, person: int) -> Talk:
    return replace(
        clip, frames=np.repeat(clip.frames[:1], FRAMES, 0), landmarks=np.repeat(clip.landmarks[:1], FRAMES, 0)
    )


def _other_sound(clip: Talk, person: int) -> Talk:
    """What a model makes of another clip's sound: everything is the same but the mouth."""
    other = talk(person, person + 50)
    return replace(clip, frames=other.frames, landmarks=other.landmarks)


def _blurred(clip: Talk, person: int) -> Talk:
    return replace(clip, frames=np.stack([cv2.GaussianBlur(f, (0, 0), 0.9) for f in clip.frames]))


def _jittered(clip: Talk, person: int) -> Talk:
    shifts = np.random.default_rng(person).integers(-2, 3, (FRAMES, 2))
    moved = [
        cv2.warpAffine(f, np.float32([[1, 0, x], [0, 1, y]]), (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE)
        for f, (x, y) in zip(clip.frames, shifts)
    ]
    return replace(clip, frames=np.stack(moved), landmarks=clip.landmarks + shifts[:, None])


def _drifting(clip: Talk, person: int) -> Talk:
    tint = np.linspace(0, 1, FRAMES)[:, None, None, None] * np.array([40, -10, -40])
    return replace(clip, frames=np.clip(np.rint(clip.frames + tint), 0, 255).astype(np.uint8))


def _late(clip: Talk, person: int) -> Talk:
    rows = np.maximum(np.arange(FRAMES) - 4, 0)
    return replace(clip, frames=clip.frames[rows], landmarks=clip.landmarks[rows])


def _other_person(clip: Talk, person: int) -> Talk:
    other = talk(person, looks=person + 5)
    return replace(clip, frames=other.frames, landmarks=other.landmarks)


COPIES: dict[str, Callable[[Talk, int], Talk]] = {
    "truth": lambda clip, person: clip,
    "frozen": _frozen,
    "other sound": _other_sound,
    "blurred": _blurred,
    "jittered": _jittered,
    "colour drift": _drifting,
    "late": _late,
    "other person": _other_person,
}


def noise(frames: int, size: int = 32, seed: int = 0) -> list[np.ndarray]:
    """Frames of random levels."""
    return list(np.random.default_rng(seed).integers(0, 256, (frames, size, size, 3), np.uint8))


def result_of(*groups: Group, settings: Settings = Settings()) -> dict[str, Any]:
    """The result of measuring groups."""
    totals = Totals(settings)
    for group in measured(groups, settings):
        totals.add(group)
    return totals.result({"title": "A test"})
