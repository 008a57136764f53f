"""The pictures of any video file at a constant rate, chosen by their time stamps; damaged parts are left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ...diffused_heads_core.files import readable_file
from ...diffused_heads_core.media.colour import is_hdr
from ...diffused_heads_core.media.frames import progressive, quarter_turns, square_width, upright_picture
from ...diffused_heads_core.media.video import as_fps, open_pictures

LONGEST_HOLD = 0.2  # seconds for which a picture may be repeated where the next ones are missing
JUMP_BACK = 0.5  # seconds by which time stamps may go back before the rest of a file is left out
COMPLETE = 0.97  # of the pictures that a file announces must decode, else the report remarks on it


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture, converted to an array on demand; aspect: of its pixels."""

    frame: av.VideoFrame
    reformatter: VideoReformatter
    aspect: Fraction | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in square pixels, upright."""
        height, width = self.frame.height, square_width(self.frame, self.aspect)
        return (width, height) if quarter_turns(self.frame) % 2 else (height, width)

    def rgb(self, longest: int | None = None) -> np.ndarray:
        """The picture (H, W, 3) uint8 sRGB, upright, with square pixels and a longer side of at most ``longest``."""
        return upright_picture(self.frame, self.aspect, self.reformatter, longest)


@dataclass(frozen=True, eq=False)
class Moment:
    """Picture ``index`` of the constant rate; fresh: whether it is another picture than the one before."""

    index: int
    picture: Picture
    fresh: bool


@dataclass
class Facts:
    """What is found out about a file while it is read. decoded, damaged: numbers of pictures; begins: time stamp of the
    first picture in seconds; ends: end of the last one, in seconds after that; sound_late: offset in seconds between
    mouth and sound, if it can be told; sound_moved: seconds by which the clips' sound was moved to the front.
    """

    codec: str = ""
    height: int = 0
    width: int = 0
    decoded: int = 0
    damaged: int = 0
    begins: float = 0.0
    ends: float = 0.0
    has_sound: bool = False
    sound_late: float | None = None
    sound_moved: float = 0.0
    remarks: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Pictures per second in the file."""
        return self.decoded / self.ends if self.ends > 0 else 0.0


class PictureReader:
    """Decodes a file's pictures at ``fps`` (``moments``) and collects ``facts`` about the file on the way.

    Picture n is the one on screen (n + 0.5) / fps seconds after the first. Numbers are left out where the file has no
    picture for longer than LONGEST_HOLD. Raises DiffusedHeadsError if the file is missing, empty or not a video.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._file, self._fps = readable_file(path, "a video file"), as_fps(fps)
        self.facts = Facts()

    def moments(self) -> Iterator[Moment]:
        """All pictures of the constant rate, in order; every call decodes the file again."""
        self.facts, number, held, fresh = Facts(), 0, None, False
        for time, length, picture in self._timed():
            if held is not None:
                for index in self._numbers(number, held[0], min(time, held[0] + LONGEST_HOLD)):
                    yield Moment(index, held[1], fresh)
                    number, fresh = index + 1, False
            held, fresh = (time, picture), True
            self.facts.ends = time + length
        if held is not None:
            for index in self._numbers(number, held[0], self.facts.ends):
                yield Moment(index, held[1], fresh)
                fresh = False

    def _numbers(self, number: int, begin: float, end: float) -> range:
        """The picture numbers, at least ``number``, whose moments are from ``begin`` to ``end`` seconds."""
        first, stop = (max(number, int(np.ceil(round(t * float(self._fps), 6) - 0.5))) for t in (begin, end))
        return range(first, stop)

    def _timed(self) -> Iterator[tuple[float, float, Picture]]:
        """All pictures that decode, as (seconds since the first picture, seconds on screen, picture)."""
        with open_pictures(self._file) as (container, stream):
            stream.thread_count = 1  # one core per worker, and the same pictures on every machine
            self.facts.codec, self.facts.has_sound = stream.codec_context.name, bool(container.streams.audio)
            usual = float(1 / (stream.average_rate or stream.guessed_rate or 25))
            origin, last, reformatter = None, None, VideoReformatter()
            for frame in progressive(self._noted(self._decoded(container, stream))):
                stamp = frame.time if frame.time is not None else (last or 0.0) + usual
                origin = stamp if origin is None else origin
                if last is not None and stamp < last - JUMP_BACK:
                    self.facts.remarks.append(f"time stamps jump back at {last - origin:.2f} s, the rest is left out")
                    return
                if last is not None and stamp <= last:
                    continue
                usual = min(stamp - last, LONGEST_HOLD) if last is not None else usual
                self.facts.begins, last = origin, stamp
                self.facts.decoded += 1
                picture = Picture(frame, reformatter, stream.sample_aspect_ratio)
                self.facts.height, self.facts.width = picture.size
                yield stamp - origin, usual, picture
            if self.facts.decoded < COMPLETE * stream.frames:
                self.facts.remarks.append(f"{self.facts.decoded} of {stream.frames} pictures decode")

    def _noted(self, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """The same frames; what is done to their pictures is remarked on."""
        for frame in frames:
            kinds = {
                "HDR: its pictures are tone-mapped": is_hdr(frame),
                "interlaced: its pictures are deinterlaced": frame.interlaced_frame,
            }
            self.facts.remarks += [k for k, found in kinds.items() if found and k not in self.facts.remarks]
            yield frame

    def _decoded(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        """Frames of all packets that decode; frames marked as damaged are counted and left out."""
        packets = container.demux(stream)
        while True:
            try:
                frames = next(packets).decode()
            except StopIteration:
                return
            except av.error.InvalidDataError:
                self.facts.damaged += 1
                continue
            except av.error.FFmpegError as error:
                self.facts.remarks.append(f"reading stops early ({error.strerror or error})")
                return
            for frame in frames:
                self.facts.damaged += bool(frame.is_corrupt)
                if not frame.is_corrupt:
                    yield frame
