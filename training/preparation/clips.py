"""Which stretches of a video's faces become clips: by picture first, then by sound and by who speaks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from . import quality
from .annotations import annotate
from .decode import Facts
from .segments import Course, Dropped, Segment, course, find_segments, outside, seen
from .settings import Settings
from .sound import SoundReader
from .tracks import LOOK_EVERY, Track

OTHERS = 0.5  # size, relative to a face, from which another one may be the speaker
TOGETHER = 0.5  # share of a clip for which another face must be there to count
BRIEF = 5  # pictures; faces seen for less are not worth a word


@dataclass(eq=False)
class Cut:
    """A segment with all but its pictures: annotations of T rows, sound (n,) mono at 16 kHz, measures, the face's usual
    look (PATCH, PATCH). frames (T, S, S, 3) are filled in by a second reading.
    """

    segment: Segment
    annotations: dict[str, np.ndarray]
    sound: np.ndarray
    measures: quality.Measures
    look: np.ndarray
    frames: np.ndarray | None = field(default=None)


def choose(
    path: Path, facts: Facts, tracks: list[Track], cuts: np.ndarray, pictures: int, settings: Settings
) -> tuple[list[Cut], list[Dropped]]:
    """What to cut out of a video, and what not and why; both in the order of time."""
    chosen: list[Segment] = []
    dropped = [] if tracks else [Dropped(None, 0, pictures, "no face")]
    courses = {}
    for track in tracks:
        if len(track) < settings.fewest_frames:
            dropped += [Dropped(track.number, track.first, track.stop, "short")] if len(track) >= BRIEF else []
            continue
        courses[track.number] = course(track, settings)
        found, lost = find_segments(track, courses[track.number], cuts, facts.height, facts.width, settings)
        chosen, dropped = chosen + found, dropped + lost
    sound = SoundReader(path, facts.begins) if facts.has_sound else None
    taken: list[Cut] = []
    for segment in sorted(chosen, key=lambda each: (each.first, each.track.number)):
        judged = _judged(segment, courses, tracks, sound, facts, settings)
        (taken if isinstance(judged, Cut) else dropped).append(judged)
    return taken, sorted(dropped, key=lambda each: (each.first, each.stop, each.track or 0))


def _judged(
    segment: Segment,
    courses: dict[int, Course],
    tracks: list[Track],
    sound: SoundReader | None,
    facts: Facts,
    settings: Settings,
) -> Cut | Dropped:
    """The segment ready to be cut out, or why it is dropped."""
    mono = sound.part(segment.first / settings.fps, segment.stop / settings.fps) if sound else np.zeros(1, np.float32)
    levels = quality.loudness(mono, len(segment), settings.fps)
    mouth = np.array(segment.track.mouth[segment.rows])[:, 0]
    sharpness = float(np.median([sharp for sharp, _ in _looks(segment)]))
    fault = (quality.sound_fault(sound.heard, mono, levels) if sound else "no sound") or (
        "blurred" if sharpness < quality.BLURRED else None
    )
    fault = fault or quality.speaker_fault(mouth, _others(segment, courses, tracks))
    if fault:
        return Dropped(segment.track.number, segment.first, segment.stop, fault)
    where = courses[segment.track.number]
    annotations, heads = annotate(seen(segment, where), segment.placement, settings.size, settings.fps)
    sync, lag = quality.in_step(mouth, levels)
    measures = quality.Measures(
        enlarged=max(1.0, settings.size / segment.placement.side),
        sharpness=sharpness,
        yaw=heads.yaw,
        outside=outside(segment.placement, facts.height, facts.width),
        fresh=float(np.mean(segment.track.fresh[segment.rows])),
        error=float(np.median(heads.error)),
        mouth=float(mouth.std()),
        sync=sync,
        lag=lag,
        level=quality.loudest(mono),
    )
    return Cut(segment, annotations, mono, measures, np.mean([patch for _, patch in _looks(segment)], 0))


def _looks(segment: Segment) -> list[tuple[float, np.ndarray]]:
    """The looks that lie in a segment, or the one before it."""
    rows = segment.rows
    return segment.track.looks[rows.start // LOOK_EVERY : max(rows.start // LOOK_EVERY + 1, rows.stop // LOOK_EVERY)]


def _others(segment: Segment, courses: dict[int, Course], tracks: list[Track]) -> list[np.ndarray]:
    """Openings of the mouths of other faces that are there for most of a segment and not much smaller."""
    side, openings = segment.placement.side, []
    for other in tracks:
        first, stop = max(segment.first, other.first), min(segment.stop, other.stop)
        if other is segment.track or other.number not in courses or stop - first < TOGETHER * len(segment):
            continue
        rows = slice(first - other.first, stop - other.first)
        if np.median(courses[other.number].side[rows]) >= OTHERS * side:
            openings.append(np.array(other.mouth[rows])[:, 0])
    return openings
