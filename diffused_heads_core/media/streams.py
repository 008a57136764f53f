"""Opening a media file: which stream of it is meant, and where its clock begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

from ..errors import DiffusedHeadsError

LOCAL_ONLY = {"protocol_whitelist": "file"}  # FFmpeg's option: a playlist must not open addresses
# PyAV before 19 raises for tags that are not UTF-8 unless it is told not to; later versions never do.
ANY_TAGS = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
STILL = ("attached_pic", "timed_thumbnails", "still_image")  # dispositions of pictures that are no video


def open_media(file: Path) -> av.container.InputContainer:
    """Open a media file, whatever bytes its tags hold, and no address that it names. Raises as ``av.open``."""
    return av.open(str(file.resolve()), container_options=LOCAL_ONLY, **ANY_TAGS)


def picture_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The video stream that a player shows: the default one, else the first; cover art is none."""
    return _preferred([stream for stream in container.streams.video if not _has(stream, *STILL)])


def sound_stream(container: av.container.InputContainer, name: str, track: int | None = None) -> av.AudioStream:
    """The sound track that a player plays: the default one, else the first; or number ``track``, from 1.

    name: what errors call the file. Raises DiffusedHeadsError if there is no sound, or no track of that number.
    """
    tracks = list(container.streams.audio)
    if not tracks:
        kind = "a video or picture without sound" if container.streams.video else "a file without sound"
        raise DiffusedHeadsError(f"{name}: expected an audio file, found {kind}")
    if track is not None and not 1 <= track <= len(tracks):
        raise DiffusedHeadsError(f"{name}: audio track {track}, expected 1 to {len(tracks)}")
    chosen = _preferred(tracks) if track is None else tracks[track - 1]
    if chosen.codec_context is None:
        raise DiffusedHeadsError(f"{name}: no decoder for its sound")
    return chosen


def _preferred(streams: list[Any]) -> Any:
    playable = [stream for stream in streams if stream.codec_context is not None] or streams
    return next((stream for stream in playable if _has(stream, "default")), next(iter(playable), None))


def _has(stream: av.stream.Stream, *names: str) -> bool:
    """Whether a stream has one of these dispositions."""
    kinds = type(stream.disposition)
    return any(bool(stream.disposition & getattr(kinds, name, kinds(0))) for name in names)


def clock_start(container: av.container.InputContainer, sound: av.AudioStream) -> float | None:
    """The second that a player shows as 0: where the first of sound and picture begins.

    None for sound alone, whose own first sample is 0, and if the file does not say.
    """
    picture = picture_stream(container)
    if picture is None:
        return None
    starts = [float(s.start_time * s.time_base) for s in (picture, sound) if s.start_time is not None]
    return min(starts) if starts else None
