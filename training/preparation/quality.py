"""How good a stretch of a face is as training data, and reasons to drop it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import cv2
import numpy as np

from ...diffused_heads_core.media.audio import SAMPLE_RATE
from ..synthesis.motion import mean_power

SILENT = -50.0  # dBFS of the loudest tenth of a second
UNDER_PEAK = 30.0  # dB below the peak beyond which sound does not count as speech
LEAST_SOUND = 0.1  # share of a clip that must contain speech
STILL_MOUTH = 0.010  # deviation of the mouth's opening, in eye distances, below which a face does not speak
BLURRED, SHARP = 0.012, 0.08  # sharpness below which a face has no detail, and that of a sharp one
TURNED, PROFILE = 0.25, 0.65  # radians beyond which a head counts as turned, and as a profile
REPEATED = 0.55  # share of repeated pictures above which mouth and sound cannot be synchronous
CLEARLY = 2.0  # how many times more the speaker's mouth moves than any other

REASONS = {
    "no face": "no face was found",
    "short": "too short",
    "small": "the face has too few pixels for this size",
    "profile": "the face is turned away",
    "edge": "the picture cuts the face off",
    "moving": "the head moves too fast or too far for a steady frame",
    "blurred": "the face is blurred",
    "no sound": "there is no sound",
    "silent": "the sound is silent",
    "still": "the mouth does not move with the sound",
    "listener": "another face speaks",
    "several": "several faces, and it is not clear which one speaks",
    "repeated": "too few different pictures per second",
    "poor": "the score is below the least quality asked for",
}


@dataclass(frozen=True)
class Measures:
    """The measurements of a clip. enlarged: of the face's pixels; sharpness: as of ``sharpness``; yaw: of the usual
    position, in radians; outside: share of the frame outside the picture; fresh: share of pictures that are not
    repeated; error: of the rigid fit, in frame fractions; mouth: deviation of its opening in eye distances; sync, lag:
    greatest correlation of the mouth's opening with the one that the sound predicts, and the seconds by which the sound
    is late there; level: of the loudest tenth of a second, in dBFS.
    """

    enlarged: float
    sharpness: float
    yaw: float
    outside: float
    fresh: float
    error: float
    mouth: float
    sync: float
    lag: float
    level: float

    def rounded(self) -> dict[str, float]:
        """The measurements as JSON values."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def sharpness(grey: np.ndarray) -> float:
    """Variance of the Laplacian of a grey picture (H, W) float32 over the variance of the picture."""
    return float(cv2.Laplacian(grey, cv2.CV_32F).var() / max(float(grey.var()), 1.0))


def score(measures: Measures) -> float:
    """Quality 0..1: the product of one factor per measurement, except for the level."""
    parts = (
        min(1.0, 1 / measures.enlarged),
        min(1.0, measures.sharpness / SHARP),
        1 - max(0.0, abs(measures.yaw) - TURNED) / (2 * (PROFILE - TURNED)),
        1 - measures.outside,
        min(1.0, 1.25 * measures.fresh),
        1 - min(1.0, max(0.0, measures.error - 0.01) / 0.03),
        min(1.0, 0.5 + measures.mouth / (4 * STILL_MOUTH)),
        min(1.0, 0.6 + 2 * max(0.0, measures.sync)),
    )
    return round(float(np.prod(np.clip(parts, 0, 1))), 4)


def loudness(mono: np.ndarray, frames: int, fps: float) -> np.ndarray:
    """Level (frames,) in dBFS, at least -100, of mono 16 kHz sound during each frame."""
    return 10 * np.log10(np.maximum(mean_power(mono, SAMPLE_RATE, frames, fps), 1e-10))


def loudest(mono: np.ndarray) -> float:
    """Level of the loudest tenth of a second in dBFS, at least -100."""
    return float(loudness(mono, max(1, len(mono) * 10 // SAMPLE_RATE), 10).max())


def sound_fault(mono: np.ndarray, levels: np.ndarray) -> str | None:
    """What is wrong with a clip's sound, as a key of REASONS; levels: (T,) dBFS of its frames."""
    speech = levels > max(SILENT, float(levels.max(initial=-100.0)) - UNDER_PEAK)
    if loudest(mono) < SILENT or speech.mean() < LEAST_SOUND:
        return "silent"
    return None


def activity(mouth: np.ndarray) -> float:
    """How much a mouth's opening (T,) changes from frame to frame."""
    return float(np.abs(np.diff(mouth)).mean()) if len(mouth) > 1 else 0.0


def speaker_fault(mouth: np.ndarray, others: list[np.ndarray]) -> str | None:
    """Why a face does not seem to be the speaker, as a key of REASONS; mouth: (T,) opening; others: of other faces."""
    if mouth.std() < STILL_MOUTH:
        return "still"
    most = max((activity(other) for other in others), default=0.0)
    if most > CLEARLY * activity(mouth):
        return "listener"
    return "several" if others and activity(mouth) < CLEARLY * most else None
