"""Which frame of the video is shown when, if the recording is longer or shorter than the video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ..errors import raise_problems

LENGTHS = ("audio", "video", "shorter")
WHEN_SHORT = ("ping-pong", "loop", "hold")


@dataclass(frozen=True)
class Extent:
    """How long the result is, and what is shown where the video is too short for it.

    length: as the ``audio``, as the ``video``, or as the ``shorter`` of the two. Frames beyond the recording are dubbed
    with silence. when_short: the video goes on backwards and forwards (``ping-pong``), begins again (``loop``), or its
    last frame stays (``hold``), in which the mouth still speaks.
    """

    length: str = "audio"
    when_short: str = "ping-pong"

    def __post_init__(self) -> None:
        wrong = {
            f"length={self.length!r}: expected one of {', '.join(LENGTHS)}": self.length not in LENGTHS,
            f"when_short={self.when_short!r}: expected one of {', '.join(WHEN_SHORT)}": self.when_short
            not in WHEN_SHORT,
        }
        raise_problems("dubbing", wrong)

    def seconds(self, audio: Fraction, video: Fraction) -> Fraction:
        """The result's length for those of recording and video."""
        return {"audio": audio, "video": video, "shorter": min(audio, video)}[self.length]


@dataclass(frozen=True)
class Shown:
    """Frame ``number`` of the video is shown from second ``start`` on, for ``duration`` seconds."""

    number: int
    start: Fraction
    duration: Fraction


def timeline(starts: Sequence[Fraction], end: Fraction, seconds: Fraction, when_short: str) -> Iterator[Shown]:
    """What is shown for ``seconds``, of a video whose frames begin at ``starts`` and whose last one ends at ``end``."""
    stops = (*starts[1:], end)
    at = Fraction(0)
    for number in _order(len(starts), when_short):
        if at >= seconds:
            return
        duration = stops[number] - starts[number]
        yield Shown(number, at, duration)
        at += duration


def _order(count: int, when_short: str) -> Iterator[int]:
    """Numbers of frames without end."""
    while True:
        yield from range(count)
        while when_short == "hold":
            yield count - 1
        if when_short == "ping-pong":  # no end is shown twice
            yield from range(count - 2, 0, -1)
