"""Processing of one video: its faces are tracked, good stretches are chosen and cut out as clips."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from ...diffused_heads_core.data.codecs import encode_video, encode_wave
from ...diffused_heads_core.data.tracks import MOTION, track_of
from ...diffused_heads_core.errors import DiffusedHeadsError
from ...diffused_heads_core.face.expressions import ExpressionNetworks
from ...diffused_heads_core.face.motion import measure_motion
from ...diffused_heads_core.media import shots
from ...diffused_heads_core.media.audio import SAMPLE_RATE
from .clips import ClipCutter, RawClip, choose
from .decode import Facts, PictureReader
from .quality import score
from .results import ResultWriter, Video, fingerprint, record_path
from .segments import Dropped
from .settings import Settings
from .tracks import PATCH, Finder, Track, Tracker

ANALYSED = 1024  # pixels of the longer side of the pictures in which faces are searched for
SHOWN = 4  # dropped stretches per video that the report shows
# Pictures for the report: number of frames in a strip and their side, width of an overview, JPEG quality, colours of
# the boxes around lips and face.
STRIP, STRIP_SIDE, OVERVIEW = 6, 96, 192
JPEG_QUALITY = 80
LIPS, FACE = (80, 255, 80), (255, 160, 40)
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Analysis:
    """The faces and shots of a video. cuts: numbers of the pictures that begin a shot; pictures: how many there are;
    most_faces: in one picture.
    """

    facts: Facts
    tracks: list[Track]
    cuts: np.ndarray
    pictures: int
    most_faces: int


def prepare_video(video: Video, settings: Settings, work: Path, make_finder: Callable[[], Finder]) -> None:
    """Write the result of a video. Problems of the video are noted in its record; errors of the disk are raised."""
    finder = make_finder()
    networks = make_finder.expressions() if settings.motion else None  # type: ignore[attr-defined]
    with ResultWriter(record_path(work, video)) as result:
        record = empty_record(video, settings)
        try:
            record |= _content(video, settings, result, finder, networks)
        except DiffusedHeadsError as error:
            record["problem"] = str(error).removeprefix(f"{video.path}: ")
        except Exception as error:  # damaged videos fail in unforeseeable ways
            if isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError):
                raise
            log.exception("%s", video.path)
            record["problem"] = f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
        result.finish(record)


def empty_record(video: Video, settings: Settings, problem: str | None = None) -> dict[str, Any]:
    """The record of a video without clips."""
    return {
        "name": video.name,
        "settings": settings.of_clips(),
        "fingerprint": fingerprint(video.path),
        "problem": problem,
        "facts": None,
        "clips": [],
        "dropped": [],
    }


def _content(
    video: Video, settings: Settings, result: ResultWriter, finder: Finder, networks: ExpressionNetworks | None
) -> dict[str, Any]:
    found = analyse(video.path, settings, finder)
    clips, dropped = choose(video.path, found.facts, found.tracks, found.cuts, found.pictures, settings)
    shown = dropped[:SHOWN]
    cutter = ClipCutter(video.path, settings, clips, [_middle(each) for each in shown])
    entries = []
    for number, clip in enumerate(cutter.cut_out()):
        if networks is not None:
            clip.annotations[MOTION] = _motion(clip, settings.fps, finder, networks)
        entries.append(_entry(video, settings, result, number, clip))
    lost = [asdict(each) for each in dropped]
    for entry, each in zip(lost, shown):
        if _middle(each) in cutter.pictures:
            entry["thumbnail"] = result.add(_overview(*cutter.pictures[_middle(each)], _box(found.tracks, each)))
    facts = {
        **asdict(found.facts),
        "rate": round(found.facts.rate, 3),
        "pictures": found.pictures,
        "faces": found.most_faces,
        "shots": len(found.cuts) + 1,
        "tracks": len(found.tracks),
    }
    return {"facts": facts, "clips": entries, "dropped": lost}


def _motion(clip: RawClip, fps: float, finder: Finder, networks: ExpressionNetworks) -> np.ndarray:
    """The motion (T, 16) of a clip's head; where the networks find no face in it, what was measured before."""
    try:
        found = measure_motion(clip.frames, fps, "usual", finder=finder, networks=networks)  # type: ignore[arg-type]
        return found.clip.track.values
    except DiffusedHeadsError:
        track = track_of(clip.annotations, measured=True)
        assert track is not None
        return track.values


def analyse(path: Path, settings: Settings, finder: Finder) -> Analysis:
    """Track the faces of a video. Raises DiffusedHeadsError if the file is no video or no picture of it decodes."""
    reader, tracker = PictureReader(path, settings.fps), Tracker(finder, settings)
    small, numbers = [], []
    for moment in reader.moments():
        if moment.fresh:
            picture = moment.picture.rgb(ANALYSED)
            small.append(shots.thumbnail(picture))
            jump = len(small) > 1 and shots.difference(small[-2], small[-1]) >= shots.MAYBE
            tracker.step(moment.index, picture, moment.picture.size[1] / picture.shape[1], jump)
        else:
            small.append(small[-1])
            tracker.again(moment.index)
        numbers.append(moment.index)
    if not numbers:
        raise DiffusedHeadsError(f"{path}: expected a video file, no picture of it can be decoded")
    at = np.array(numbers)
    cuts = np.concatenate([at[shots.find_cuts(np.stack(small))], at[1:][np.diff(at) > 1]])
    return Analysis(reader.facts, tracker.tracks, np.unique(cuts), len(numbers), tracker.most_faces)


def _middle(dropped: Dropped) -> int:
    return (dropped.first + dropped.stop) // 2


def _box(tracks: list[Track], dropped: Dropped) -> tuple[float, ...] | None:
    """Box of the face in the middle picture of a dropped stretch."""
    if dropped.track is None:
        return None
    track = tracks[dropped.track]
    return track.box[_middle(dropped) - track.first]


def _entry(video: Video, settings: Settings, result: ResultWriter, number: int, clip: RawClip) -> dict[str, Any]:
    """Write a clip's members; returns its entry in the record."""
    arrays, annotations = io.BytesIO(), dict(sorted(clip.annotations.items()))
    np.savez(arrays, **annotations)
    parts = {
        "mp4": result.add(encode_video(clip.frames, settings.fps)),
        "wav": result.add(encode_wave(clip.sound, SAMPLE_RATE)),
        "npz": result.add(arrays.getvalue()),
        "jpg": result.add(_strip(clip.frames, clip.annotations["lip_box"])),
    }
    layout = {
        name: {"dtype": values.dtype.name, "shape": list(values.shape[1:])} for name, values in annotations.items()
    }
    return {
        "key": f"{video.key}-{number:04d}",
        "first": clip.segment.first,
        "frames": len(clip.segment),
        "track": clip.segment.track.number,
        "score": score(clip.measures),
        "measures": clip.measures.rounded(),
        "parts": parts,
        "layout": layout,
        "look": np.rint(clip.patch.reshape(PATCH * PATCH) * 1000).astype(int).tolist(),
    }


def _strip(frames: np.ndarray, lip_boxes: np.ndarray) -> bytes:
    """JPEG of some frames of a clip (T, S, S, 3) side by side, with their lip boxes (T, 4) in pixels."""
    chosen = np.linspace(0, len(frames) - 1, STRIP).round().astype(int)
    return _jpeg(
        np.hstack([_boxed(frames[i], lip_boxes[i], STRIP_SIDE, STRIP_SIDE / frames.shape[2], LIPS) for i in chosen])
    )


def _overview(picture: np.ndarray, scale: float, box: tuple[float, ...] | None) -> bytes:
    """JPEG of a whole picture (H, W, 3) with the face's box, in units of which a pixel is ``scale``."""
    factor = OVERVIEW / picture.shape[1]
    return _jpeg(_boxed(picture, np.zeros(4) if box is None else np.array(box), OVERVIEW, factor / scale, FACE))


def _boxed(picture: np.ndarray, box: np.ndarray, width: int, factor: float, colour: tuple[int, int, int]) -> np.ndarray:
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    smaller = width < picture.shape[1]
    drawn = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    left, top, right, bottom = (round(float(v) * factor) for v in box)
    return cv2.rectangle(np.ascontiguousarray(drawn), (left, top), (right, bottom), colour, 1)


def _jpeg(picture: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
