"""How lips and jaw move, from landmarks alone: width, jaw, lag, gain, and closures.

Landmarks are those of ``faces``, with or without depth: float (T, 68, 2 or 3) in pixels, NaN in frames without a face.
Depth keeps lengths the same when the head turns or nods; without it a nod looks like a moving jaw. Lengths are in
distances between the middles of the eyes' corners, which blinking does not change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .faces import EYE_CORNERS, bridged, lagged_correlation

MOUTH_CORNERS, NOSE_BASE, CHIN = (48, 54), 33, 8
LAG_REACH = 3  # frames
EXTREMES = (5, 95)  # percentiles of the opening that count as shut and as wide open
CLOSED, OPEN = 0.25, 0.5  # of the way from shut to wide open: closed below the first, open above the second
CLOSURE_REACH = 1  # frames before and after a closure in which the lips may close instead

Span = tuple[int, int]  # first frame, and the frame after the last


def mouth_width(landmarks: np.ndarray) -> np.ndarray:
    """Distance between the mouth's corners: (T,), about 0.5 (rounded) to 1 (spread)."""
    return _apart(landmarks, *MOUTH_CORNERS)


def jaw_drop(landmarks: np.ndarray) -> np.ndarray:
    """Distance from the nose's base to the chin: (T,), about 1 with a closed jaw."""
    return _apart(landmarks, NOSE_BASE, CHIN)


def _apart(landmarks: np.ndarray, one: int, other: int) -> np.ndarray:
    left, right = np.moveaxis(landmarks[:, EYE_CORNERS].mean(2), 1, 0)
    lengths = np.linalg.norm(landmarks[:, one] - landmarks[:, other], axis=-1)
    return lengths / np.linalg.norm(right - left, axis=-1)


def best_lag(found: np.ndarray, truth: np.ndarray, reach: int = LAG_REACH) -> int:
    """Constant lag of highest correlation between tracks (T,), -reach .. reach frames; positive if ``found`` is late.

    Of equal correlations the smallest lag is taken; 0 if the correlation is known at no lag.
    """
    curve = np.nan_to_num(lagged_correlation(found, truth, reach), nan=-2.0)
    lags = np.arange(-reach, reach + 1)
    nearest = np.argsort(np.abs(lags), kind="stable")
    return int(lags[nearest][curve[nearest].argmax()])


def without_lag(found: np.ndarray, lag: int) -> np.ndarray:
    """A track (T,) moved ``lag`` frames earlier, float64; NaN where it then is unknown."""
    moved = np.full(len(found), np.nan)
    count = max(len(found) - abs(lag), 0)
    moved[max(-lag, 0) : max(-lag, 0) + count] = found[max(lag, 0) : max(lag, 0) + count]
    return moved


def gain(found: np.ndarray, truth: np.ndarray) -> float:
    """Standard deviation of ``found`` over that of ``truth``, in the frames in which both tracks (T,) are known.

    1 is best, 0 is a mouth that stays still. NaN for fewer than 3 such frames or a truth that does not move.
    """
    there = np.isfinite(found) & np.isfinite(truth)
    spread = float(np.std(truth[there])) if there.sum() > 2 else 0.0
    return float(np.std(found[there])) / spread if spread > 1e-12 else float("nan")


def levels(opening: np.ndarray) -> tuple[float, float]:
    """Openings below which a person's mouth counts as closed, and from which it counts as open.

    They lie 25 % and 50 % of the way from the 5th to the 95th percentile of the openings (T,). NaN, NaN if no frame is
    known.
    """
    known = opening[np.isfinite(opening)]
    if not len(known):
        return float("nan"), float("nan")
    shut, wide = np.percentile(known, EXTREMES)
    return float(shut + CLOSED * (wide - shut)), float(shut + OPEN * (wide - shut))


def closures(opening: np.ndarray) -> list[Span]:
    """Where the lips close between two openings in a track of openings (T,).

    A closure reaches from the first to the last frame in which the mouth is closed, between frames in which it is open
    (``levels``). Rest before the first and after the last opening does not count. Unknown frames are interpolated; no
    closures if half of the frames or more are unknown.
    """
    track = bridged(opening)
    if track is None:
        return []
    closed, opened = levels(track)
    if opened <= closed:
        return []
    found: list[Span] = []
    has_opened, span = False, None
    for frame, value in enumerate(track):
        if value >= opened:
            found += [span] if span else []
            has_opened, span = True, None
        elif value <= closed and has_opened:
            span = (span[0] if span else frame, frame + 1)
    return found


def share_closed(opening: np.ndarray, spans: Sequence[Span], closed: float) -> float:
    """Share of ``spans`` in which the opening (T,) falls to ``closed`` or below, one frame early or late included.

    Spans without a known frame do not count; NaN if none counts.
    """
    within = [opening[max(start - CLOSURE_REACH, 0) : stop + CLOSURE_REACH] for start, stop in spans]
    least = [float(np.nanmin(part)) for part in within if np.isfinite(part).any()]
    return float(np.mean(np.array(least) <= closed)) if least else float("nan")


def spans_of(times: Sequence[tuple[float, float]], fps: float) -> list[Span]:
    """The frames that times (start, end) in seconds touch."""
    return [(math.floor(start * fps + 1e-6), math.ceil(end * fps - 1e-6)) for start, end in times]
