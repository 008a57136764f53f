"""What defines a model that paints the mouth alone, beside its network."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import raise_problems


@dataclass(frozen=True)
class MouthConfig:
    """A model that paints the mouth alone, into the portrait's own pixels (``mouth``).

    frame_size: pixels per side of the frames that it gives, in which ``HeadGeometry`` holds. window: left, top, width,
    height px of the part that the network paints; left and top are measured from the middle of the portrait's closed
    lips if ``at_lips``, else from the frame's corner. components: coefficients of a lip shape; neighbours: frames on
    either side of a frame whose audio embeddings shape its lips.
    """

    frame_size: int = 256
    window: tuple[int, int, int, int] = (80, 137, 96, 80)
    components: int = 12
    neighbours: int = 2
    at_lips: bool = False

    def __post_init__(self) -> None:
        left, top, width, height = self.window
        room = self.frame_size
        inside = min(left, top) >= 0 and left + width <= room and top + height <= room
        fits = max(width, height) <= room if self.at_lips else inside
        wrong = {
            f"window={self.window}: expected to lie in {self.frame_size} x {self.frame_size} px": not fits,
            f"window={self.window}: expected sides above 0": min(width, height) < 1,
            f"components={self.components}: expected at least 1": self.components < 1,
            f"neighbours={self.neighbours} must not be negative": self.neighbours < 0,
        }
        raise_problems("mouth configuration", wrong)
