"""Random head motion that knows nothing of the sound: slow pose, blinks, glances and brows, made from a seed.

Every value at a frame depends on the seed and that frame alone, so a longer clip
begins like a shorter one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import raise_problems
from .track import MotionTrack

POSE_DEVIATION = (0.052, 0.028, 0.023, 0.004, 0.0035)  # standard deviations of ``pose.POSE``: radians, frame fractions
WAVES = (0.07, 0.13, 0.21, 0.34)  # Hz
WAVE_WEIGHTS = (1.0, 0.8, 0.6, 0.35)
EASE_IN = 0.8  # seconds from the identity frame's pose to the full motion
SOURCES = ("speech", "random")
CLOSING, SHUT, OPENING = 0.08, 0.04, 0.16  # seconds of a blink; OPENING counts from when the lids are down


@dataclass(frozen=True)
class MotionOptions:
    """How lively the head is: 0 still, 1 natural, 2 strong; blinks per second (paper's figure for CREMA: 0.28).

    source: where the motion comes from, of ``SOURCES``: the speech, if the model's prior knows its sound, or chance
    alone. The others are of motion from speech. label: a kind of motion that the prior knows, "" for any. temperature:
    0 the likeliest motion, 1 as varied as people's. guidance: 1 is the plain prior; above it the motion keeps more
    strongly to speech and label; None is the prior's own.
    """

    head: float = 1.0
    gaze: float = 1.0
    brows: float = 1.0
    blinks: float = 0.28
    source: str = SOURCES[0]
    label: str = ""
    temperature: float = 1.0
    guidance: float | None = None

    def __post_init__(self) -> None:
        given = vars(self)
        wrong = {f"{n}={given[n]}: expected 0..2": not 0 <= given[n] <= 2 for n in ("head", "gaze", "brows", "blinks")}
        wrong |= {
            f"temperature={self.temperature}: expected 0..1.5": not 0 <= self.temperature <= 1.5,
            f"guidance={self.guidance}: expected 0..5": not 0 <= (self.guidance or 0) <= 5,
            f"source={self.source!r}: expected one of {', '.join(SOURCES)}": self.source not in SOURCES,
        }
        raise_problems("motion options", wrong)


def sample_track(frames: int, fps: float, seed: int = 0, options: MotionOptions = MotionOptions()) -> MotionTrack:
    """A natural track of ``frames`` frames that starts from the identity frame's own pose."""
    rng = np.random.default_rng([seed, 0x6D6F74])
    time = (np.arange(frames) + 0.5) / fps
    ease = np.clip(time / EASE_IN, 0, 1)[:, None]
    wander = np.stack([deviation * _wander(time, rng) for deviation in POSE_DEVIATION], -1)
    pose = wander * options.head * ease**2 * (3 - 2 * ease)
    blink = _blinks(time, np.random.default_rng([seed, 1]), options.blinks)
    gaze = _glances(time, np.random.default_rng([seed, 2])) * options.gaze
    brow = np.clip(0.25 * _wander(time, np.random.default_rng([seed, 3])), -0.5, 0.6) * options.brows
    face = np.stack([blink, blink, gaze[:, 0], gaze[:, 1], brow, brow], -1)
    return MotionTrack(pose.astype(np.float32), face.astype(np.float32))


def _wander(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth random function of unit deviation: sines of a few slow frequencies with random phases."""
    phases, jitter = rng.uniform(0, 2 * np.pi, len(WAVES)), rng.uniform(0.8, 1.2, len(WAVES))
    weights = np.array(WAVE_WEIGHTS)
    waves = np.sin(2 * np.pi * np.array(WAVES) * jitter * time[:, None] + phases)
    return waves @ weights / np.sqrt((weights**2).sum() / 2)


def _blinks(time: np.ndarray, rng: np.random.Generator, rate: float) -> np.ndarray:
    """Lid closure 0..1: at least 1 s apart, ``rate`` per second on average, closing faster than opening."""
    closure, at = np.zeros(len(time)), 0.6
    end = time[-1] if len(time) else 0.0
    while rate > 0 and at < end + 1:
        at += min(1.0, 0.5 / rate) + rng.exponential(max(1 / rate - min(1.0, 0.5 / rate), 1e-3))
        blink = np.interp(time, (at - CLOSING, at, at + SHUT, at + OPENING), (0, 1, 1, 0))
        closure = np.maximum(closure, blink)
    return closure


def _glances(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaze (N, 2): fixations of about 1.5 s, mostly near the viewer, joined by saccades of 60 ms."""
    at, knots, looks = 0.0, [0.0], [np.zeros(2)]
    end = time[-1] if len(time) else 0.0
    while at < end + 1:
        at += 0.5 + rng.exponential(1.2)
        look = rng.normal(0, (0.25, 0.12)) * (rng.random() < 0.7)
        knots += [at, at + 0.06]
        looks += [looks[-1], look]
    return np.stack([np.interp(time, knots, np.array(looks)[:, axis]) for axis in (0, 1)], -1)
