"""Figures of head motion: how much heads move, how they blink, and how both follow the speech."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from diffused_heads.diffused_heads_core.evaluation.metrics.frechet import Moments, frechet_distance
from diffused_heads.diffused_heads_core.motion.track import COLUMNS
from diffused_heads.training.motion.blinks import blink_spans

POSE = list(range(5))
TURN = POSE[:3]
BROWS = [COLUMNS.index(name) for name in ("brow_left", "brow_right")]
GAZE = [COLUMNS.index(name) for name in ("gaze_x", "gaze_y")]
STATISTIC = [*range(6), *GAZE, *BROWS]  # the columns that the Fréchet distance looks at
WINDOW, HOP = 1.0, 0.5  # seconds of the windows whose statistics it compares
STRESS, APART = 0.75, 0.24  # level of a stressed syllable, and seconds from the next
AROUND = 0.4  # seconds around a syllable
PHRASE_END = (-0.3, 0.5)  # seconds around the end of speech in which a blink belongs to it
SPEAKING, PAUSE = 0.5, 0.2  # level above which somebody speaks, and seconds of silence that end a phrase


@dataclass(frozen=True, eq=False)
class Shown:
    """A track of 25 rows per second with the speech that it belongs to. values: (N, 16); level: (N,) in 0..1."""

    person: str
    values: np.ndarray
    level: np.ndarray


def even(shown: Sequence[Shown], figure: Callable[[Shown], np.ndarray | float]) -> np.ndarray:
    """Mean of a figure of clips, every person counted alike; NaN of a clip is left out."""
    people: dict[str, list[np.ndarray]] = {}
    for each in shown:
        people.setdefault(each.person, []).append(np.asarray(figure(each), float))
    return np.nanmean([np.nanmean(rows, 0) for rows in people.values()], 0)


def pose_deviation(each: Shown) -> np.ndarray:
    """Standard deviation of yaw, pitch, roll, tx, ty in a clip, (5,)."""
    return each.values[:, POSE].std(0)


def blinks_per_second(each: Shown, fps: float) -> float:
    """Blinks that begin in a clip over its length."""
    return len(blink_spans(each.values, fps)) / len(each.values) * fps


def blink_frames(shown: Sequence[Shown], fps: float) -> float:
    """Mean number of frames in which the lids are more than half closed, of all whole blinks."""
    spans = [(b, e, len(each.values)) for each in shown for b, e in blink_spans(each.values, fps)]
    return float(np.mean([end - begin for begin, end, frames in spans if begin > 0 and end < frames] or [np.nan]))


def speed(values: np.ndarray, fps: float) -> np.ndarray:
    """How fast a head turns, (N,) radians per second, smoothed over 80 ms."""
    turned = gaussian_filter1d(values[:, TURN].astype(float), 1, axis=0)
    return gaussian_filter1d(np.linalg.norm(np.gradient(turned, axis=0), axis=1) * fps, 0.08 * fps)


def speed_follows_level(each: Shown, fps: float) -> float:
    """Pearson's r of the head's speed and the level of speech in a clip."""
    level = gaussian_filter1d(each.level, 0.08 * fps)
    moved = speed(each.values, fps)
    return float(np.corrcoef(moved, level)[0, 1]) if moved.std() > 1e-9 and level.std() > 1e-9 else np.nan


def syllables(level: np.ndarray, fps: float) -> np.ndarray:
    """Frames (k,) of stressed syllables: peaks of the level."""
    smooth, reach = gaussian_filter1d(level, 1), round(APART * fps / 2)
    padded = np.pad(smooth, reach, constant_values=-1)
    highest = np.max([padded[k : k + len(smooth)] for k in range(2 * reach + 1)], 0)
    return np.flatnonzero((smooth >= highest) & (smooth > STRESS))


def locked(shown: Sequence[Shown], columns: Sequence[int], fps: float) -> float:
    """How strongly a movement goes with stressed syllables: the deviation, over time, of the mean course around them
    over what chance gives (the same courses, each turned in time at random). 1 is nothing.
    """
    reach, rng, courses = round(AROUND * fps), np.random.default_rng(0), []
    for each in shown:
        column = each.values[:, columns].mean(1)
        for at in syllables(each.level, fps):
            if reach <= at < len(column) - reach:
                part = column[at - reach : at + reach + 1]
                courses.append(part - part.mean())
    if not courses:
        return np.nan
    rows = np.stack(courses)
    chance = [np.mean([np.roll(row, rng.integers(len(row))) for row in rows], 0).std() for _ in range(50)]
    return float(rows.mean(0).std() / max(np.mean(chance), 1e-12))


def phrase_ends(level: np.ndarray, fps: float) -> list[int]:
    """Frames at which speech ends for at least ``PAUSE`` seconds."""
    speaking, quiet = gaussian_filter1d(level, 1) > SPEAKING, round(PAUSE * fps)
    return [n for n in range(1, len(level)) if speaking[n - 1] and not speaking[n : n + quiet].any()]


def blinks_at_phrase_ends(shown: Sequence[Shown], fps: float) -> float:
    """Blinks per second that begin around phrase ends, over those at other times."""
    inside, outside, spent = 0, 0, [0, 0]
    for each in shown:
        near = np.zeros(len(each.level), bool)
        for end in phrase_ends(each.level, fps):
            near[max(0, end + round(PHRASE_END[0] * fps)) : end + round(PHRASE_END[1] * fps)] = True
        begins = [begin for begin, _ in blink_spans(each.values, fps)]
        inside, outside = inside + int(near[begins].sum()), outside + int((~near[begins]).sum())
        spent = [spent[0] + int(near.sum()), spent[1] + int((~near).sum())]
    return (inside / max(spent[0], 1)) / max(outside / max(spent[1], 1), 1e-9)


def statistics(each: Shown, fps: float) -> np.ndarray:
    """Of each window of a track (W, 20): logarithms of deviation and of mean speed of the columns in ``STATISTIC``."""
    length, hop, rows = round(WINDOW * fps), round(HOP * fps), []
    for first in range(0, len(each.values) - length + 1, hop):
        part = each.values[first : first + length, STATISTIC].astype(float)
        rows.append(np.log(np.concatenate([part.std(0), np.abs(np.diff(part, axis=0)).mean(0)]) + 1e-4))
    return np.array(rows)


def distance(shown: Sequence[Shown], real: Sequence[Shown], fps: float) -> float:
    """Fréchet distance of the statistics of two sets of tracks."""
    a, b = (Moments.of(np.concatenate([statistics(one, fps) for one in each])) for each in (shown, real))
    return frechet_distance(a, b)
