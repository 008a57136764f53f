"""Animated pictures without sound: GIF and WebP, encoded one frame at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ..errors import DiffusedHeadsError
from .picture_tags import tag_gif, tag_webp

_GIF_TICK = Fraction(1, 100)
_GIF_SHORTEST = 2  # hundredths of a second; players show anything shorter for a tenth
_WEBP_TICK = Fraction(1, 1000)
_LARGEST = {"gif": 65535, "webp": 16383}


def write_gif(
    path: Path,
    frames: Iterable[np.ndarray],
    sample: Iterable[np.ndarray],
    fps: Fraction,
    colours: int,
    plays: int,
    comment: str,
) -> None:
    """Write uint8 (H, W, 3) frames as a GIF of 2..256 ``colours``, one palette made from the ``sample`` of them.

    ``plays`` 0 is for ever. Beyond 50 frames/s, which no player shows, frames are left out.
    """
    sample = iter(sample)
    first = next(sample)
    height, width = _size("gif", first)
    mapping = _PaletteMapping(_palette(first, sample, colours), width, height)
    loop = {0: 0, 1: -1}.get(plays, plays - 1)  # GIF counts repetitions
    options = {"loop": str(loop), "final_delay": str(max(_GIF_SHORTEST, round(100 / fps)))}
    with av.open(str(path), "w", format="gif", options=options) as container:
        stream = container.add_stream("gif", rate=100)
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8"
        stream.codec_context.time_base = _GIF_TICK
        for picture in mapping.mapped(_timed(frames, fps)):
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    path.write_bytes(tag_gif(path.read_bytes(), comment))


def _size(kind: str, frame: np.ndarray) -> tuple[int, int]:
    height, width = frame.shape[:2]
    if max(height, width) > _LARGEST[kind]:
        raise DiffusedHeadsError(f"a {kind} is at most {_LARGEST[kind]} pixels wide and high, found {width} x {height}")
    return height, width


def _timed(frames: Iterable[np.ndarray], fps: Fraction) -> Iterator[tuple[int, np.ndarray]]:
    """Frames with their times in hundredths of a second."""
    last = -_GIF_SHORTEST
    for i, frame in enumerate(frames):
        time = round(100 * i / fps)
        if time - last >= _GIF_SHORTEST:
            last = time
            yield time, frame


def _palette(first: np.ndarray, others: Iterator[np.ndarray], colours: int) -> av.VideoFrame:
    height, width = first.shape[:2]
    graph = av.filter.Graph()
    source = graph.add_buffer(width=width, height=height, format="rgb24", time_base=_GIF_TICK)
    generator = graph.add("palettegen", f"max_colors={colours}:reserve_transparent=0")
    sink = graph.add("buffersink")
    source.link_to(generator)
    generator.link_to(sink)
    graph.configure()
    source.push(_picture(first, 0))
    for i, frame in enumerate(others, 1):
        source.push(_picture(frame, i))
    source.push(None)
    return sink.pull()


def _picture(frame: np.ndarray, time: int) -> av.VideoFrame:
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    picture.pts, picture.time_base = time, _GIF_TICK
    return picture


class _PaletteMapping:
    """Frames to indices of a palette, dithered by a fixed pattern, which does not crawl from frame to frame."""

    def __init__(self, palette: av.VideoFrame, width: int, height: int):
        self.graph = graph = av.filter.Graph()
        self.source = graph.add_buffer(width=width, height=height, format="rgb24", time_base=_GIF_TICK)
        colours = graph.add_buffer(
            width=palette.width, height=palette.height, format=palette.format.name, time_base=_GIF_TICK
        )
        mapping, self.sink = graph.add("paletteuse", "dither=bayer:bayer_scale=3"), graph.add("buffersink")
        self.source.link_to(mapping, 0, 0)
        colours.link_to(mapping, 0, 1)
        mapping.link_to(self.sink)
        graph.configure()
        palette.pts, palette.time_base = 0, _GIF_TICK
        colours.push(palette)
        colours.push(None)

    def mapped(self, frames: Iterable[tuple[int, np.ndarray]]) -> Iterator[av.VideoFrame]:
        for time, frame in frames:
            self.source.push(_picture(frame, time))
            yield from self._ready()
        self.source.push(None)
        yield from self._ready()

    def _ready(self) -> Iterator[av.VideoFrame]:
        while True:
            try:
                picture = self.sink.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            yield picture


def write_webp(
    path: Path, frames: Iterable[np.ndarray], fps: Fraction, quality: int, plays: int, tags: Mapping[str, str]
) -> None:
    """Write uint8 (H, W, 3 or 4) frames as an animated WebP of ``quality`` 0..100; ``plays`` 0 is for ever."""
    with av.open(str(path), "w", format="webp", options={"loop": str(plays)}) as container:
        stream, shape = None, ()
        for i, frame in enumerate(frames):
            if stream is None:
                stream, shape = _webp_stream(container, frame, quality), frame.shape
            picture = av.VideoFrame.from_ndarray(_with_alpha(frame), format="rgba").reformat(format="bgra")
            begin, end = (round(1000 * n / fps) for n in (i, i + 1))
            picture.pts, picture.duration, picture.time_base = begin, end - begin, _WEBP_TICK
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    path.write_bytes(tag_webp(path.read_bytes(), tags, (shape[1], shape[0]), shape[2] == 4))


def _webp_stream(container: av.container.OutputContainer, frame: np.ndarray, quality: int) -> av.VideoStream:
    stream = container.add_stream("libwebp_anim", rate=25, options={"quality": str(quality)})
    height, width = _size("webp", frame)
    stream.width, stream.height, stream.pix_fmt = width, height, "bgra"
    stream.codec_context.time_base = _WEBP_TICK
    return stream


def _with_alpha(frame: np.ndarray) -> np.ndarray:
    return frame if frame.shape[2] == 4 else np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)])
