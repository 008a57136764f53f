"""What a preparation is asked for, checked as a whole."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ...diffused_heads_core.errors import DiffusedHeadsError

VERSION = 1  # raise when the same video begins to give other clips
IDENTITY_RULES = ("auto", "folder", "prefix", "file")


@dataclass(frozen=True)
class Settings:
    """How raw videos become clips.

    size: pixels of a crop's side; fps: frames a second; margin: room around the head as in ``alignment.align``;
    seconds, shortest: a clip's greatest and least length; quality: clips that score less (0..1) are dropped;
    identity_from: what tells the people apart; validation: share of the frames kept for validation; licence: of the
    videos, as every clip will say. The last four only decide how finished clips are put together.
    Raises DiffusedHeadsError that lists everything out of range.
    """

    size: int = 128
    fps: float = 25.0
    margin: float = 0.0
    seconds: float = 10.0
    shortest: float = 1.0
    quality: float = 0.3
    identity_from: str = "auto"
    validation: float = 0.05
    licence: str = "unknown"

    def __post_init__(self) -> None:
        limits = {
            "size": (16, 1024), "fps": (10, 60), "margin": (-0.3, 2.0), "seconds": (0.4, 120),
            "shortest": (0.4, 60), "quality": (0, 1), "validation": (0, 0.5),
        }  # fmt: skip
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
        """Most frames of a clip."""
        return max(1, round(self.seconds * self.fps))

    @property
    def fewest_frames(self) -> int:
        """Fewest frames of a clip."""
        return max(1, round(self.shortest * self.fps))

    def of_clips(self) -> dict[str, Any]:
        """What a clip's own bytes depend on, as JSON values; the rest may change without cutting it out again."""
        kept = ("size", "fps", "margin", "seconds", "shortest")
        return {"version": VERSION, **{name: value for name, value in asdict(self).items() if name in kept}}
