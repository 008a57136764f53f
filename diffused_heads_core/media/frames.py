"""Decoded frames of a video stream: damaged ones left out, interlaced ones made progressive, and pictures of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from .colour import to_rgb


def decoded(container: av.container.InputContainer, stream: av.stream.Stream) -> Iterator[av.frame.Frame]:
    """Yield the frames of all packets that decode; damaged ones are left out, as players do."""
    packets = container.demux(stream)
    while True:
        try:
            yield from next(packets).decode()
        except StopIteration:
            return
        except av.error.InvalidDataError:
            continue


def progressive(frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """The same frames with those that are flagged as interlaced deinterlaced (bwdif), one picture per frame.

    Frames before the first interlaced one pass as they are.
    """
    weaver: _Deinterlacer | None = None
    for frame in frames:
        if weaver is not None and not weaver.fits(frame):
            yield from weaver.rest()
            weaver = None
        if weaver is None and not frame.interlaced_frame:
            yield frame
            continue
        weaver = weaver or _Deinterlacer(frame)
        yield from weaver.given(frame)
    if weaver is not None:
        yield from weaver.rest()


class _Deinterlacer:
    """FFmpeg's bwdif on frames of one size and format; frames that are not interlaced come out as they are."""

    def __init__(self, frame: av.VideoFrame):
        self.layout, self.time_base = self._layout(frame), frame.time_base or Fraction(1, 1000)
        self.graph = graph = av.filter.Graph()
        self.source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=self.time_base
        )
        filtering, self.sink = graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")
        self.source.link_to(filtering)
        filtering.link_to(self.sink)
        graph.configure()

    @staticmethod
    def _layout(frame: av.VideoFrame) -> tuple[int, int, str]:
        return frame.width, frame.height, frame.format.name

    def fits(self, frame: av.VideoFrame) -> bool:
        """Whether a frame has the size and format that the filter was made for."""
        return self._layout(frame) == self.layout

    def given(self, frame: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """Take one frame; yields those that are ready."""
        self.source.push(frame)
        yield from self._ready()

    def rest(self) -> Iterator[av.VideoFrame]:
        """Yields the frames that wait for their successor."""
        self.source.push(None)
        yield from self._ready()

    def _ready(self) -> Iterator[av.VideoFrame]:
        while True:
            try:
                frame = self.sink.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            yield frame


def quarter_turns(frame: av.VideoFrame) -> int:
    """How often a frame's picture is turned by 90 degrees, anticlockwise, to stand upright."""
    return round(getattr(frame, "rotation", 0) / 90)


def square_width(frame: av.VideoFrame, aspect: Fraction | None) -> int:
    """A frame's width in square pixels, ``aspect`` being that of its pixels."""
    return max(1, round(frame.width * aspect)) if aspect and aspect > 0 else frame.width


def upright_picture(
    frame: av.VideoFrame, aspect: Fraction | None, reformatter: VideoReformatter, longest: int | None = None
) -> np.ndarray:
    """uint8 (H, W, 3) sRGB, upright, in square pixels; its longer side at most ``longest``.

    aspect: of the stream's pixels; reformatter: as of ``colour.to_rgb``.
    """
    height, width = frame.height, square_width(frame, aspect)
    shrink = 1.0 if longest is None else min(1.0, longest / max(height, width))
    size = max(1, round(height * shrink)), max(1, round(width * shrink))
    picture = to_rgb(frame, reformatter, size if shrink < 1 else None)
    if picture.shape[:2] != size:
        picture = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(np.rot90(picture, quarter_turns(frame)))
