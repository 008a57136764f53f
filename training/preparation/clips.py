"""The clips of a video: which stretches of its faces are good enough, and their pictures, which are cut out in a second
reading of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...diffused_heads_core.errors import DiffusedHeadsError
from ...diffused_heads_core.face.alignment import Placement, crop
from . import quality
from .annotations import annotate
from .decode import Facts, Moment, PictureReader
from .segments import Dropped, Segment, Trajectory, find_segments, observations, outside, trajectory
from .settings import Settings
from .sound import SoundReader
from .synchrony import (
    COLUMNS,
    CONTEXT,
    LARGEST,
    SMALLEST,
    Opening,
    best_lag,
    correlations,
    find_offset,
    predicted_opening,
)
from .tracks import SAMPLE_EVERY, Track

OTHERS = 0.5  # least size, relative to a face, of another face that may be the speaker
TOGETHER = 0.5  # share of a clip for which another face must be present to count
BRIEF = 5  # pictures; shorter tracks are not reported
DETAIL = 2  # greatest number of decoded pixels per pixel of a crop, per side
PART = 30.0  # seconds of sound that are examined at a time
SHOWN_SIZE = 320  # pixels of the longer side of a picture for the report


@dataclass(eq=False)
class RawClip:
    """A clip before it is encoded: annotations with T rows, sound (n,) mono at 16 kHz, measurements, mean patch of the
    face (PATCH, PATCH). ``cut_out`` fills in the frames (T, S, S, 3).
    """

    segment: Segment
    annotations: dict[str, np.ndarray]
    sound: np.ndarray
    measures: quality.Measures
    patch: np.ndarray
    frames: np.ndarray | None = None


def choose(
    path: Path, facts: Facts, tracks: list[Track], cuts: np.ndarray, pictures: int, settings: Settings
) -> tuple[list[RawClip], list[Dropped]]:
    """The clips of a video, and what is dropped with the reasons; both in order of time.

    cuts: numbers of the pictures that begin a shot; pictures: how many there are.
    """
    chosen: list[Segment] = []
    dropped = [] if tracks else [Dropped(None, 0, pictures, "no face")]
    paths = {}
    soundless = examine_sound(path, facts, tracks, settings)
    for track in tracks:
        if len(track) < settings.fewest_frames:
            dropped += [Dropped(track.number, track.first, track.stop, "short")] if len(track) >= BRIEF else []
            continue
        paths[track.number] = trajectory(track, settings)
        found, lost = find_segments(track, paths[track.number], cuts, soundless, facts.height, facts.width, settings)
        chosen, dropped = chosen + found, dropped + lost
    sound = SoundReader(path, facts.begins + facts.sound_moved, settings.audio_track)
    clips: list[RawClip] = []
    for segment in sorted(chosen, key=lambda each: (each.first, each.track.number)):
        result = _measured(segment, paths, tracks, sound, facts, settings)
        (clips if isinstance(result, RawClip) else dropped).append(result)
    return clips, sorted(dropped, key=lambda each: (each.first, each.stop, each.track or 0))


def examine_sound(path: Path, facts: Facts, tracks: list[Track], settings: Settings) -> np.ndarray:
    """The numbers of the pictures that have no sound.

    Notes in ``facts`` how late the sound is, and by how much it must be moved to be in step with the mouths.
    """
    stop = max((track.stop for track in tracks), default=0)
    times = (np.arange(stop) + 0.5) / settings.fps
    if not facts.has_sound or not stop:
        return np.arange(stop)
    sound, values = SoundReader(path, facts.begins, settings.audio_track), []
    for begin in np.arange(-LARGEST, stop / settings.fps + LARGEST, PART):
        margin = round(CONTEXT * COLUMNS)
        part = predicted_opening(sound.part(begin - CONTEXT, begin + PART + CONTEXT))
        values.append(part[margin : len(part) - margin])
    mouths = [
        (np.array(track.mouth)[:, 0], times[track.first : track.stop])
        for track in tracks
        if len(track) >= settings.fewest_frames
    ]
    offset = find_offset(mouths, Opening(np.concatenate(values), -LARGEST))
    if offset is not None:
        facts.sound_late = round(offset.seconds, 3)
        if not offset.constant:
            facts.remarks.append("sound and mouth drift apart, which is not mended")
        elif abs(offset.seconds) >= SMALLEST:
            facts.sound_moved = facts.sound_late
            facts.remarks.append(f"{offset.words}: mended")
    return np.flatnonzero(~sound.there(times + facts.sound_moved))


def _measured(
    segment: Segment,
    paths: dict[int, Trajectory],
    tracks: list[Track],
    sound: SoundReader,
    facts: Facts,
    settings: Settings,
) -> RawClip | Dropped:
    """A segment with its measurements, or why it is dropped."""
    start, stop = segment.first / settings.fps, segment.stop / settings.fps
    mono = sound.part(start, stop)
    levels = quality.loudness(mono, len(segment), settings.fps)
    mouth = np.array(segment.track.mouth[segment.rows])[:, 0]
    sharpness = float(np.median([sharp for sharp, _ in _samples(segment)]))
    fault = quality.sound_fault(mono, levels)
    fault = fault or ("blurred" if sharpness < quality.BLURRED else None)
    fault = fault or quality.speaker_fault(mouth, _others(segment, paths, tracks))
    if fault:
        return Dropped(segment.track.number, segment.first, segment.stop, fault)
    face = observations(segment, paths[segment.track.number])
    annotations, heads = annotate(face, segment.placement, settings.size, settings.fps)
    opening = Opening(predicted_opening(mono), start)
    sync, lag = best_lag(correlations(mouth, (np.arange(len(segment)) + 0.5) / settings.fps + start, opening))
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
    return RawClip(segment, annotations, mono, measures, np.mean([patch for _, patch in _samples(segment)], 0))


def _samples(segment: Segment) -> list[tuple[float, np.ndarray]]:
    """The appearance samples of a segment; at least the last one before it."""
    start, stop = segment.rows.start // SAMPLE_EVERY, segment.rows.stop // SAMPLE_EVERY
    return segment.track.samples[start : max(start + 1, stop)]


def _others(segment: Segment, paths: dict[int, Trajectory], tracks: list[Track]) -> list[np.ndarray]:
    """Mouth openings of the other faces that are present during most of a segment and not much smaller."""
    side, openings = segment.placement.side, []
    for other in tracks:
        first, stop = max(segment.first, other.first), min(segment.stop, other.stop)
        if other is segment.track or other.number not in paths or stop - first < TOGETHER * len(segment):
            continue
        rows = slice(first - other.first, stop - other.first)
        if np.median(paths[other.number].side[rows]) >= OTHERS * side:
            openings.append(np.array(other.mouth[rows])[:, 0])
    return openings


class ClipCutter:
    """Reads a video again and cuts out the pictures of its clips. Afterwards ``pictures`` has those whose numbers are
    ``wanted``, as (small picture, pixels of the video per pixel of it).
    """

    def __init__(self, path: Path, settings: Settings, clips: Sequence[RawClip], wanted: Sequence[int]) -> None:
        self._path, self._settings, self._clips, self._wanted = path, settings, list(clips), set(wanted)
        self.pictures: dict[int, tuple[np.ndarray, float]] = {}

    def cut_out(self) -> Iterator[RawClip]:
        """The clips with their frames, in the order in which they end.

        Raises DiffusedHeadsError if the file no longer contains all of their pictures.
        """
        waiting = sorted(self._clips, key=lambda clip: (clip.segment.stop, clip.segment.track.number))
        last = max([clip.segment.stop for clip in waiting] + [number + 1 for number in self._wanted], default=0)
        for moment in PictureReader(self._path, self._settings.fps).moments() if last else ():
            self._take(moment, [clip for clip in waiting if clip.segment.first <= moment.index < clip.segment.stop])
            while waiting and waiting[0].segment.stop <= moment.index + 1:
                yield self._complete(waiting.pop(0))
            if moment.index + 1 >= last:
                break
        if waiting:
            raise DiffusedHeadsError(f"{self._path}: the file changed while it was read")

    def _take(self, moment: Moment, clips: list[RawClip]) -> None:
        if moment.index in self._wanted:
            small = moment.picture.rgb(SHOWN_SIZE)
            self.pictures[moment.index] = small, moment.picture.size[1] / small.shape[1]
        picture: np.ndarray | None = None
        for clip in clips:
            at, size = moment.index - clip.segment.first, self._settings.size
            if clip.frames is None:
                clip.frames = np.empty((len(clip.segment), size, size, 3), np.uint8)
            if at and not moment.fresh:
                clip.frames[at] = clip.frames[at - 1]
                continue
            if picture is None:
                picture = moment.picture.rgb(self._decoded_size(moment, clips))
            scale = moment.picture.size[1] / picture.shape[1]
            clip.frames[at] = crop(picture, _scaled(clip.segment.placement, scale), size)

    def _decoded_size(self, moment: Moment, clips: list[RawClip]) -> int:
        """Longer side of a picture that is still detailed enough for the smallest face."""
        shrink = DETAIL * self._settings.size / min(clip.segment.placement.side for clip in clips)
        return max(1, round(max(moment.picture.size) * min(1.0, shrink)))

    def _complete(self, clip: RawClip) -> RawClip:
        if clip.frames is None:
            raise DiffusedHeadsError(f"{self._path}: the file changed while it was read")
        self._clips.remove(clip)
        return clip


def _scaled(placement: Placement, scale: float) -> Placement:
    """The same crop in a picture whose pixels are ``scale`` pixels of the placement's."""
    return Placement(np.column_stack([placement.matrix[:, :2] * scale, placement.matrix[:, 2]]))
