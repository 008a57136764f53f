"""The settings of a preparation, with all their checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...diffused_heads_core.errors import DiffusedHeadsError

VERSION = 3  # to be raised if the same video gives other clips than before
IDENTITY_RULES = ("auto", "folder", "prefix", "file")


@dataclass(frozen=True)
class Settings:
    """How raw videos become clips.

    size: pixels per side of a crop; fps: frames per second; margin: room around the head as in ``alignment.align``;
    audio_track: sound track from 1, 0 for the default one; seconds, shortest: greatest and least length of a clip;
    quality: clips with a lower score (0..1) are dropped; identity_from: what tells people apart; validation: share of
    the frames for validation; licence: of the videos, noted in every clip. These four only affect how finished clips
    are assembled. motion: whether the head's whole motion is measured too (``face.motion``). Raises DiffusedHeadsError
    that lists all values that are out of range.
    """

    size: int = 128
    fps: float = 25.0
    margin: float = 0.0
    audio_track: int = 0
    seconds: float = 10.0
    shortest: float = 1.0
    quality: float = 0.3
    identity_from: str = "auto"
    validation: float = 0.05
    licence: str = "unknown"
    motion: bool = False

    def __post_init__(self) -> None:
        limits = {
            "size": (16, 1024),
            "fps": (10, 60),
            "margin": (-0.3, 2.0),
            "audio_track": (0, 64),
            "seconds": (0.4, 120),
            "shortest": (0.4, 60),
            "quality": (0, 1),
            "validation": (0, 0.5),
        }
        wrong = [
            f"{name}={getattr(self, name)}, expected {low} to {high}"
            for name, (low, high) in limits.items()
            if not low <= getattr(self, name) <= high
        ]
        wrong += [f"size={self.size}, expected an even number"] if self.size % 2 else []
        wrong += [f"shortest={self.shortest} is above seconds={self.seconds}"] if self.shortest > self.seconds else []
        if self.identity_from not in IDENTITY_RULES:
            wrong.append(f"identity_from={self.identity_from!r}, expected one of {', '.join(IDENTITY_RULES)}")
        if wrong:
            raise DiffusedHeadsError("preparation: " + "; ".join(wrong))

    @property
    def longest_frames(self) -> int:
        """Greatest number of frames in a clip."""
        return max(1, round(self.seconds * self.fps))

    @property
    def fewest_frames(self) -> int:
        """Least number of frames in a clip."""
        return max(1, round(self.shortest * self.fps))

    def of_clips(self) -> dict[str, Any]:
        """The settings that a clip's pictures, sound and annotations depend on, as JSON values."""
        names = ("size", "fps", "margin", "audio_track", "seconds", "shortest")
        motion = {"motion": True} if self.motion else {}  # older records do not have it
        return {"version": VERSION, **{name: getattr(self, name) for name in names}, **motion}
