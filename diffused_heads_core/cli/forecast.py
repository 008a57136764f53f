"""What a long run will take, told once its first frames have shown their pace."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

SETTLED, SHORTEST = 25, 2.0  # frames and seconds after which the pace is known
WORTH = 60.0  # seconds: shorter runs are not foretold


class Forecast:
    """Of a run of ``frames`` frames; the pace is counted from the first one, so that starting does not count."""

    def __init__(self, frames: int, clock: Callable[[], float] = time.monotonic):
        self._frames, self._clock = frames, clock
        self._began: float | None = None
        self._told = False

    def line(self, done: int) -> str | None:
        """After ``done`` frames: once, what a long run will take; None otherwise."""
        now = self._clock()
        self._began = now if self._began is None else self._began
        spent = now - self._began
        if self._told or done <= SETTLED or spent < SHORTEST:
            return None
        self._told = True
        pace = (done - 1) / spent
        if self._frames / pace < WORTH:
            return None
        memory = peak_memory()
        used = "" if memory is None else f"; {memory / 2**20:.0f} MB of memory, which does not grow with the length"
        return f"{self._frames} frames take about {duration(self._frames / pace)} at {pace:.1f} frames/s{used}"


def duration(seconds: float) -> str:
    """Seconds as one reads them: "45 s", "12 min", "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def peak_memory() -> int | None:
    """The most memory that this process has used, bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
