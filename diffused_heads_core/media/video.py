"""Video: frames and sound to a file that every player opens, one frame at a time, and back to frames and sound."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter

from ..errors import DiffusedHeadsError
from ..files import atomic_path, check_writable, readable_file
from ..processes import same_scheduling
from .audio import Audio, load_audio_timed
from .encoders import AAC, CODECS, FLAC, OPUS, Codec, Coding, add_audio_stream, add_video_stream, encodable
from .frames import decoded, progressive, upright_picture
from .provenance import VIDEO_TAGS, append_mp4_xmp
from .streams import open_media, picture_stream

_log = logging.getLogger(__name__)

_H26X = ("h264", "h265", "h265-10bit", "h264-nvenc", "h265-nvenc")
_AV1 = ("av1", "av1-nvenc")
_LOSSLESS = ("ffv1", "ffv1-10bit")
_FORMATS = {  # container, codecs of pictures, the usual one first, and encoders of sound
    ".mp4": ("mp4", (*_H26X, *_AV1), AAC),
    ".mkv": ("matroska", (*_H26X, *_AV1, *_LOSSLESS), AAC),
    ".mov": ("mov", (*_H26X, "prores4444"), AAC),
    ".webm": ("webm", ("vp9", *_AV1), OPUS),
}
TICK = Fraction(1, 90000)  # seconds: the clock of videos whose rate is not constant
TRANSPARENT = {".webm": "vp9", ".mov": "prores4444"}  # files that hold alpha, and their usual codec for it


def as_fps(value: float | Fraction) -> Fraction:
    """A frame rate without rounding: 29.97 is 30000/1001. Raises DiffusedHeadsError outside 1..240."""
    if not (math.isfinite(value) and 1 <= value <= 240):
        raise DiffusedHeadsError(f"fps={value}, expected 1 to 240 frames/s")
    if isinstance(value, Fraction) or value == int(value):
        return Fraction(value)
    television = Fraction(round(value * 1.001) * 1000, 1001)
    return television if abs(value - television) < 0.004 else Fraction(value).limit_denominator(1001)


def frame_count(duration: float | Fraction | Audio, fps: float | Fraction) -> int:
    """Return ceil(duration x fps), the frames that cover a recording (exact) or some seconds (to a microsecond)."""
    if isinstance(duration, Audio):
        return math.ceil(duration.exact_duration * as_fps(fps))
    if isinstance(duration, float):
        duration = Fraction(round(duration * 10**6), 10**6)
        return math.ceil(duration * as_fps(fps) - Fraction(1, 10**4))
    return math.ceil(duration * as_fps(fps))


def check_output(path: str | os.PathLike[str], alpha: bool = False) -> None:
    """Raise DiffusedHeadsError if write_video could not write ``path``, with ``alpha``; call it before long work."""
    _format_of(Path(path), None, alpha)
    check_writable(path)


def write_video(
    path: str | os.PathLike[str],
    frames: Iterable[np.ndarray],
    fps: float | Fraction,
    audio: Audio | None = None,
    coding: Coding = Coding(),
    metadata: Mapping[str, str] | None = None,
    sign: Callable[[Path], None] | None = None,
    starts: Iterable[Fraction] | None = None,
) -> int:
    """Write uint8 or uint16 (H, W, 3) RGB frames, taken one by one, with sound as long as they; return their number.

    The suffix chooses the container: .mp4, .mov, .mkv (usually H.264 and AAC) or .webm (VP9 and Opus); ``coding``
    another codec or quality. Frames (H, W, 4) with alpha, not premultiplied, go into .webm (VP9), .mov (ProRes 4444)
    or FFV1. Sound keeps its channels and, if the codec has it, its rate; it is cut or padded with silence to
    frames / fps; beside FFV1 it is FLAC. Odd sizes grow by a copy of their last row or column (not in FFV1).
    ``metadata`` is added to tags and XMP that say that the video is AI-generated (``provenance``). ``sign`` is called
    with the finished file before it gets its name, and may replace it. ``starts``: the second at which each frame
    begins, taken with the frames, if ``fps`` is only their average rate. The file appears whole or not at all. Raises
    DiffusedHeadsError for what cannot be written; exceptions of ``frames`` and ``sign`` pass through.
    """
    target, rate = Path(path), as_fps(fps)
    format_name = _format_of(target, coding.codec)[0]
    with atomic_path(target) as temporary:
        options = {"movflags": "+faststart+use_metadata_tags"} if format_name in ("mp4", "mov") else {}
        if options and audio is not None:  # in its units the file says how long the sound is
            options["movie_timescale"] = str(audio.sample_rate)
        try:
            with av.open(str(temporary), "w", format=format_name, options=options) as container:
                tags = {**VIDEO_TAGS, **(metadata or {})}
                container.metadata.update({key: _plain(text) for key, text in tags.items()})
                count = _Writer(target, container, rate, audio, coding, starts).write(frames)
        except av.error.FFmpegError as error:
            raise DiffusedHeadsError(f"{target}: cannot write the video ({error.strerror or error})") from error
        if format_name in ("mp4", "mov"):
            append_mp4_xmp(temporary)
        if sign is not None:
            sign(temporary)
        return count


def _plain(text: str) -> str:
    """Text that a tag can hold: without NUL and without lone surrogates, which file names may have."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode()


def _format_of(target: Path, codec: str | None = None, alpha: bool = False) -> tuple[str, str, tuple[str, ...]]:
    """Container, codec of pictures (a key of CODECS) and encoders of sound."""
    suffix = target.suffix.lower()
    try:
        container, codecs, sounds = _FORMATS[suffix]
    except KeyError:
        raise DiffusedHeadsError(
            f"{target}: expected a video name ending in {', '.join(_FORMATS)}, found {target.suffix or 'no suffix'}"
        ) from None
    if codec is None and alpha and suffix not in TRANSPARENT:
        raise DiffusedHeadsError(f"{target}: holds no transparency, expected a name ending in {', '.join(TRANSPARENT)}")
    codec = codec or (TRANSPARENT[suffix] if alpha else codecs[0])
    if codec not in codecs:
        raise DiffusedHeadsError(f"{target}: codec={codec}, expected one of {', '.join(codecs)}")
    return container, codec, FLAC if codec in _LOSSLESS else sounds


_PIXELS = {("uint8", 3): "rgb24", ("uint8", 4): "rgba", ("uint16", 3): "rgb48le", ("uint16", 4): "rgba64le"}


class _Writer:
    """Interleaves picture and sound: after each frame the sound up to that frame's end."""

    def __init__(
        self,
        target: Path,
        container: av.container.OutputContainer,
        fps: Fraction,
        audio: Audio | None,
        coding: Coding,
        starts: Iterable[Fraction] | None,
    ):
        self.target, self.container, self.fps, self.coding = target, container, fps, coding
        self.tick = 1 / fps if starts is None else TICK
        self.starts = None if starts is None else iter(starts)
        self.end = Fraction(0)  # of the frames so far, in seconds
        self.video: Any = None  # the stream, from the first frame on
        self.count = self.sent = 0
        self.audio, self.sound = audio, None
        self.reformatter = VideoReformatter()  # one for all frames: setting it up takes longer than a small frame

    def write(self, frames: Iterable[np.ndarray]) -> int:
        for frame in frames:
            self._picture(frame)
            self._sound_until(self.end)
        if self.video is None:
            raise DiffusedHeadsError(f"{self.target}: no frames to write, expected at least one")
        self.container.mux(self._coded(None))
        if self.sound is not None:
            self.container.mux(self.sound.encode(None))
        return self.count

    def _picture(self, frame: np.ndarray) -> None:
        if self.video is None:
            self._start(frame)
        if frame.shape != self.shape or frame.dtype != self.dtype:
            raise DiffusedHeadsError(
                f"{self.target}: frame {self.count} is {frame.dtype} {frame.shape}, expected {self.dtype} {self.shape}"
            )
        if any(self.grown):
            frame = cv2.copyMakeBorder(frame, 0, self.grown[0], 0, self.grown[1], cv2.BORDER_REPLICATE)
        picture = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(frame), format=_PIXELS[frame.dtype.name, frame.shape[2]]
        )
        picture = self.reformatter.reformat(picture, format=self.video.pix_fmt, dst_colorspace=Colorspace.ITU709)
        start = self.count / self.fps if self.starts is None else next(self.starts)
        picture.pts, picture.time_base = round(start / self.tick), self.tick
        self.container.mux(self._coded(picture))
        self.count, self.end = self.count + 1, start + 1 / self.fps

    def _coded(self, picture: av.VideoFrame | None) -> list[av.Packet]:
        with same_scheduling():
            packets = self.video.encode(picture)
        if self.codec.name == "H.265" and self.count < 3:  # x265 leaves the decoding time of one or two frames unset
            for packet in packets:
                packet.dts = packet.pts
        return packets

    def _start(self, frame: np.ndarray) -> None:
        if frame.ndim != 3 or (frame.dtype.name, frame.shape[2]) not in _PIXELS or not frame.size:
            raise DiffusedHeadsError(
                f"{self.target}: expected frames uint8 (H, W, 3), found {frame.dtype} {frame.shape}"
            )
        self.shape, self.dtype, alpha = frame.shape, frame.dtype, frame.shape[2] == 4
        height, width = frame.shape[:2]
        _, name, sounds = _format_of(self.target, self.coding.codec, alpha)
        self.codec: Codec = CODECS[name]
        self.grown = (0, 0) if self.codec.rgb else (height % 2, width % 2)
        size = height + self.grown[0], width + self.grown[1]
        try:
            self.video = add_video_stream(self.container, self.codec, self.fps, size, self.coding, alpha)
            self.video.codec_context.time_base = self.tick
        except DiffusedHeadsError as error:
            raise DiffusedHeadsError(f"{self.target}: {error}") from None
        if self.audio is not None:
            self.audio = encodable(self.audio, sounds)
            self.sound = add_audio_stream(self.container, sounds, self.audio)

    def _sound_until(self, end: Fraction) -> None:
        """Write the sound up to that second."""
        if self.sound is None:
            return
        until = max(self.sent, round(end * self.audio.sample_rate))
        if until == self.sent:
            return
        block = self.audio.samples[:, self.sent : until]
        block = np.pad(block, ((0, 0), (0, until - self.sent - block.shape[1])))
        packed = np.ascontiguousarray(block.T).reshape(1, -1)  # PyAV fails on eight planes
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=self.sound.layout.name)
        frame.sample_rate, frame.pts = self.audio.sample_rate, self.sent
        frame.time_base = Fraction(1, self.audio.sample_rate)
        self.sent = until
        self.container.mux(self.sound.encode(frame))


@dataclass(frozen=True)
class Video:
    """A video file: ``frames`` decodes anew each time it is iterated, one uint8 (H, W, 3) RGB frame at a time.

    Frames come at the constant rate ``fps`` (uneven ones, as of phones, are repeated or left out), upright, with square
    pixels. ``size`` is (H, W). ``audio`` begins with the first frame; None if the file has no sound.
    """

    path: Path
    frames: Iterable[np.ndarray]
    fps: Fraction
    size: tuple[int, int]
    audio: Audio | None


def read_video(path: str | os.PathLike[str]) -> Video:
    """Open a video. Raises DiffusedHeadsError if the file is missing, empty, no video, or nothing in it decodes."""
    file = readable_file(path, "a video file")
    frames = _Frames(file)
    first = next(iter(frames), None)
    if first is None:
        raise DiffusedHeadsError(f"{file}: expected a video file, no frame of it can be decoded")
    return Video(file, frames, frames.fps, first.shape[:2], _sound_of(file, frames))


def _sound_of(file: Path, frames: _Frames) -> Audio | None:
    """The sound from the first frame on: cut if it begins before that, preceded by silence if it begins later."""
    if not frames.has_sound:
        return None
    try:
        audio, begins = load_audio_timed(file)
    except DiffusedHeadsError as error:
        _log.warning("%s; read without sound", error)
        return None
    late = round((begins - frames.begins) * audio.sample_rate)
    samples = audio.samples[:, max(0, -late) :]
    if late > 0:
        samples = np.pad(samples, ((0, 0), (late, 0)))
    return Audio(samples, audio.sample_rate, audio.name) if samples.shape[1] else None


@contextmanager
def open_pictures(file: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Give an open video file and its stream of pictures. Raises DiffusedHeadsError for a file of another kind."""
    try:
        container = open_media(file)
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        found = f"something else or a damaged file ({reason})"
        raise DiffusedHeadsError(f"{file}: expected a video file, found {found}") from error
    with container:
        stream = picture_stream(container)
        if stream is None or stream.codec_context is None:
            raise DiffusedHeadsError(f"{file}: expected a video file, found no picture in it")
        yield container, stream


class _Frames:
    """Frames of a file at a constant rate; each iteration opens the file."""

    def __init__(self, file: Path):
        self.file, self.begins = file, 0.0
        with open_pictures(file) as (container, stream):
            rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
            self.fps = as_fps(min(Fraction(240), max(Fraction(1), rate)))
            self.has_sound = bool(container.streams.audio)

    def __iter__(self) -> Iterator[np.ndarray]:
        with open_pictures(self.file) as (container, stream):
            slot, held, origin, reformatter, aspect = 0, None, None, VideoReformatter(), stream.sample_aspect_ratio
            stream.thread_type = "AUTO"
            for frame in progressive(decoded(container, stream)):
                if origin is None:
                    origin = self.begins = frame.time or 0.0
                wanted = slot + 1 if frame.time is None else round((frame.time - origin) * self.fps)
                for _ in range(wanted - slot if held is not None else 0):
                    yield upright_picture(held, aspect, reformatter)
                held, slot = frame, max(slot, wanted)
            if held is not None:
                yield upright_picture(held, aspect, reformatter)
