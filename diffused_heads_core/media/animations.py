"""Animated pictures without sound: GIF and WebP, encoded one frame at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, TiffTags

from ..errors import DiffusedHeadsError
from .provenance import XMP, gif_xmp

_GIF_TICK = Fraction(1, 100)
_GIF_SHORTEST = 2  # hundredths of a second; players show anything shorter for a tenth
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
    """Write uint8 (H, W, 3) frames as a GIF of 2..256 ``colours``, with one palette for all, made from ``sample``.

    FFmpeg does it: Pillow would hold all frames, and its dithering crawls. ``plays`` 0 is for ever. Beyond 50 frames/s,
    which no player shows, frames are left out. Raises DiffusedHeadsError if the frames are too large.
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
    _append_notes(path, comment)


def _append_notes(path: Path, comment: str) -> None:
    """Put a comment, in blocks of at most 255 characters, and the XMP before a GIF's last byte: FFmpeg writes none."""
    text = comment.encode("ascii", "replace")
    blocks = (text[i : i + 255] for i in range(0, len(text), 255))
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x21\xfe" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0" + gif_xmp() + b";")


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
    path: Path,
    frames: Iterable[np.ndarray],
    count: int,
    fps: Fraction,
    quality: int,
    plays: int,
    tags: Mapping[str, str],
) -> None:
    """Write ``count`` uint8 (H, W, 3 or 4) frames as an animated WebP of ``quality`` 0..100.

    ``plays`` 0 is for ever. ``tags`` go into its EXIF, beside the XMP. Raises DiffusedHeadsError if the
    frames are too large.
    """
    frames = iter(frames)
    first = next(frames)
    _size("webp", first)
    milliseconds = [round(1000 * i / fps) for i in range(count + 1)]
    Image.fromarray(first).save(
        path,
        "WEBP",
        save_all=True,
        append_images=[_LazyFrames(frames, count - 1)] if count > 1 else [],
        duration=np.diff(milliseconds).tolist(),
        loop=plays,
        quality=quality,
        method=4,
        exif=_exif(tags),
        xmp=XMP.encode(),
    )
    next(frames, None)  # a generator goes on after its last frame


class _LazyFrames:
    """One picture of many frames for Pillow, which would hold a list of pictures: each is made when Pillow seeks it."""

    def __init__(self, frames: Iterator[np.ndarray], count: int):
        self.frames, self.n_frames = frames, count

    def seek(self, _: int) -> None:
        self.image = Image.fromarray(next(self.frames))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.image, name)


def _exif(tags: Mapping[str, str]) -> bytes:
    """Tags as "name:text" in the places that ComfyUI's page reads: ``prompt`` in Model, others from Make downwards.

    ``comment`` is in Software.
    """
    others = iter(range(ExifTags.Base.Make, 0, -1))
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for key, text in tags.items():
        tag = {"prompt": ExifTags.Base.Model, "comment": ExifTags.Base.Software}.get(key) or next(others)
        directory.tagtype[tag] = TiffTags.ASCII
        directory[tag] = f"{key}:{text}".encode()
    return b"II*\0\x08\0\0\0" + directory.tobytes(8)
