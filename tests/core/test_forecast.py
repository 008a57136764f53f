"""A long run is foretold once, from the pace of its first frames."""

from __future__ import annotations

import re

import pytest

from diffused_heads.diffused_heads_core.cli.forecast import Forecast, duration, peak_memory


def told(frames: int, pace: float, start: float = 5.0) -> list[tuple[int, str]]:
    """Frames done and lines, of a run of this pace whose first frame comes after ``start`` seconds."""
    now = 0.0
    forecast, found = Forecast(frames, lambda: now), []
    for done in range(1, min(frames, 2000) + 1):
        now = start + (done - 1) / pace
        line = forecast.line(done)
        found += [] if line is None else [(done, line)]
    return found


@pytest.mark.parametrize(
    "frames, pace, text", [(25_000, 25.0, "17 min"), (1000, 10.0, "2 min"), (90_000, 5.0, "5.0 h")]
)
def test_a_long_run_is_told_of_once_and_early(frames: int, pace: float, text: str) -> None:
    ((done, line),) = told(frames, pace)
    assert done <= max(27, 2.1 * pace) and f"{frames} frames take about {text} at {pace:.1f} frames/s" in line
    assert peak_memory() is None or re.search(r"\d+ MB of memory", line)


def test_a_short_run_is_not() -> None:
    assert told(1000, 25.0) == [] and told(20, 0.1) == []


def test_durations_read_well() -> None:
    assert [duration(s) for s in (45, 89.9, 600, 9000)] == ["45 s", "90 s", "10 min", "2.5 h"]
