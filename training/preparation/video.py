"""One video to a unit: its faces are followed, good stretches chosen and judged, and cut out."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from ...diffused_heads_core.data.codecs import encode_video, encode_wave
from ...diffused_heads_core.errors import DiffusedHeadsError
from ...diffused_heads_core.media.audio import SAMPLE_RATE
from . import shots
from .clips import Cut, choose
from .cutting import SecondReading
from .decode import Facts, PictureReader
from .quality import score
from .results import Source, UnitWriter, fingerprint, unit_path
from .segments import Dropped
from .settings import Settings
from .thumbnails import overview, strip
from .tracks import PATCH, Finder, Follower, Track

ANALYSED = 1024  # pixels of the longer side in which faces are looked for
SHOWN = 4  # dropped stretches of a video that the report shows
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Analysis:
    """What was seen in a video: tracks of faces, cuts (numbers of the pictures that begin a shot), how many pictures
    there are, most faces found in one of them.
    """

    facts: Facts
    tracks: list[Track]
    cuts: np.ndarray
    pictures: int
    most_faces: int


def prepare_source(source: Source, settings: Settings, work: Path, make_finder: Callable[[], Finder]) -> None:
    """Make the unit of a source. What is wrong with the video goes into its record; errors of the disk are raised."""
    finder = make_finder()
    with UnitWriter(unit_path(work, source)) as unit:
        record = {**empty_record(source, settings), "fingerprint": fingerprint(source.path)}
        try:
            record |= _content(source, settings, unit, finder)
        except DiffusedHeadsError as error:
            record["problem"] = str(error).removeprefix(f"{source.path}: ")
        except Exception as error:  # a video can be wrong in ways that nobody has thought of
            if isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError):
                raise
            log.exception("%s", source.path)
            record["problem"] = f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
        unit.finish(record)


def empty_record(source: Source, settings: Settings, problem: str | None = None) -> dict[str, Any]:
    """The record of a source of which nothing is known but the problem."""
    return {
        "name": source.name, "settings": settings.of_clips(), "fingerprint": "", "problem": problem, "facts": None,
        "clips": [], "dropped": [],
    }  # fmt: skip


def _content(source: Source, settings: Settings, unit: UnitWriter, finder: Finder) -> dict[str, Any]:
    found = analyse(source.path, settings, finder)
    cuts, dropped = choose(source.path, found.facts, found.tracks, found.cuts, found.pictures, settings)
    shown = dropped[:SHOWN]
    reading = SecondReading(source.path, settings, cuts, [_middle(each) for each in shown])
    clips = [_clip(source, settings, unit, number, cut) for number, cut in enumerate(reading.filled())]
    lost = [asdict(each) for each in dropped]
    for entry, each in zip(lost, shown):
        if _middle(each) in reading.pictures:
            entry["thumbnail"] = unit.add(overview(*reading.pictures[_middle(each)], _box(found.tracks, each)))
    facts = {
        **asdict(found.facts),
        "rate": round(found.facts.rate, 3),
        "pictures": found.pictures,
        "faces": found.most_faces,
        "shots": len(found.cuts) + 1,
        "tracks": len(found.tracks),
    }
    return {"facts": facts, "clips": clips, "dropped": lost}


def analyse(path: Path, settings: Settings, finder: Finder) -> Analysis:
    """Follow the faces of a video. Raises DiffusedHeadsError where it is none, or nothing of it decodes."""
    reader, follower = PictureReader(path, settings.fps), Follower(finder, settings)
    small, numbers = [], []
    for moment in reader.moments():
        if moment.fresh:
            picture = moment.picture.rgb(ANALYSED)
            small.append(shots.thumbnail(picture))
            jump = len(small) > 1 and shots.difference(small[-2], small[-1]) >= shots.MAYBE
            follower.step(moment.index, picture, moment.picture.size[1] / picture.shape[1], jump)
        else:
            small.append(small[-1])
            follower.again(moment.index)
        numbers.append(moment.index)
    if not numbers:
        raise DiffusedHeadsError(f"{path}: expected a video file, no picture of it can be decoded")
    at = np.array(numbers)
    cuts = np.concatenate([at[shots.find_cuts(np.stack(small))], at[1:][np.diff(at) > 1]])
    return Analysis(reader.facts, follower.tracks, np.unique(cuts), len(numbers), follower.most_faces)


def _middle(dropped: Dropped) -> int:
    return (dropped.first + dropped.stop) // 2


def _box(tracks: list[Track], dropped: Dropped) -> tuple[float, ...] | None:
    """Where the face of a dropped stretch is in its middle."""
    if dropped.track is None:
        return None
    track = tracks[dropped.track]
    return track.box[_middle(dropped) - track.first]


def _clip(source: Source, settings: Settings, unit: UnitWriter, number: int, cut: Cut) -> dict[str, Any]:
    """Write a clip's parts; its entry in the record."""
    arrays = io.BytesIO()
    np.savez(arrays, **dict(sorted(cut.annotations.items())))
    parts = {
        "mp4": unit.add(encode_video(cut.frames, settings.fps)),
        "wav": unit.add(encode_wave(cut.sound, SAMPLE_RATE)),
        "npz": unit.add(arrays.getvalue()),
        "jpg": unit.add(strip(cut.frames, cut.annotations["lip_box"])),
    }
    layout = {
        name: {"dtype": values.dtype.name, "shape": list(values.shape[1:])}
        for name, values in sorted(cut.annotations.items())
    }
    return {
        "key": f"{source.key}-{number:04d}",
        "first": cut.segment.first,
        "frames": len(cut.segment),
        "track": cut.segment.track.number,
        "score": score(cut.measures),
        "measures": cut.measures.rounded(),
        "parts": parts,
        "layout": layout,
        "look": np.rint(cut.look.reshape(PATCH * PATCH) * 1000).astype(int).tolist(),
    }
