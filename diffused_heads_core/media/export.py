"""A finished clip to the format that a user names: video, animated picture, or a folder of pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

from ..errors import DiffusedHeadsError
from ..files import atomic_folder, atomic_path
from .animations import write_gif, write_webp
from .audio import Audio
from .encoders import CODECS, Coding, video_encoder
from .png import save_png, write_apng
from .provenance import AI_GENERATED
from .video import as_fps, write_video

QUALITY = 80
PALETTE_SAMPLE = 48  # frames that a GIF's palette is made from


@dataclass(frozen=True)
class Format:
    """A format by what it can do.

    ``suffix``: of the file, empty for a folder of pictures. ``codec``: of a video, a key of CODECS, None for pictures.
    ``alpha``: whether transparency is stored. ``bits``: per channel of the frames that are worth giving, 8 or 16.
    ``lossy``: whether ``ExportOptions.quality`` matters. ``loops``: whether ``ExportOptions.plays`` does.
    ``shown``: whether browsers show it.
    """

    suffix: str
    codec: str | None = None
    alpha: bool = False
    bits: int = 8
    lossy: bool = True
    loops: bool = False
    shown: bool = True

    @property
    def worst_crf(self) -> int:
        """The largest constant rate factor, 0 if neither that nor a bitrate can be chosen."""
        return CODECS[self.codec].worst_crf if self.codec else 0

    @property
    def written_here(self) -> bool:
        """Whether this FFmpeg, and for NVENC this machine, can encode it."""
        try:
            return not self.codec or bool(video_encoder(CODECS[self.codec]))
        except DiffusedHeadsError:
            return False


FORMATS = {
    "mp4-h264": Format(".mp4", "h264"),
    "mp4-h265": Format(".mp4", "h265"),
    "mp4-h265-10bit": Format(".mp4", "h265-10bit", bits=16),
    "mp4-av1": Format(".mp4", "av1", bits=16),
    "webm-vp9": Format(".webm", "vp9"),
    "webm-av1": Format(".webm", "av1", bits=16),
    "gif": Format(".gif", loops=True),
    "webp": Format(".webp", alpha=True, loops=True),
    "apng": Format(".png", alpha=True, lossy=False, loops=True),
    "png": Format("", alpha=True, lossy=False),
    "png-16bit": Format("", alpha=True, bits=16, lossy=False),
    "webm-vp9-alpha": Format(".webm", "vp9", alpha=True),
    "mov-prores4444": Format(".mov", "prores4444", alpha=True, bits=16, lossy=False, shown=False),
    "mkv-ffv1": Format(".mkv", "ffv1", alpha=True, lossy=False, shown=False),
    "mkv-ffv1-10bit": Format(".mkv", "ffv1-10bit", alpha=True, bits=16, lossy=False, shown=False),
    "mp4-h264-nvenc": Format(".mp4", "h264-nvenc"),
    "mp4-h265-nvenc": Format(".mp4", "h265-nvenc"),
    "mp4-av1-nvenc": Format(".mp4", "av1-nvenc"),
}


@cache
def formats_here() -> dict[str, Format]:
    """Those of FORMATS that can be written on this machine."""
    return {name: format for name, format in FORMATS.items() if format.written_here}


@dataclass(frozen=True)
class ExportOptions:
    """How to export: ``format``, one of FORMATS; ``quality`` 0..100, at 80 without visible loss.

    ``plays``: how often an animated picture plays, 0 for ever. Videos take instead of the quality a ``crf``, the
    codec's own constant rate factor from 0, the best, or a ``bitrate`` in bit/s. Raises DiffusedHeadsError that lists
    every wrong value.
    """

    format: str = "mp4-h264"
    quality: int = QUALITY
    plays: int = 0
    crf: int | None = None
    bitrate: int | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            found, worst = [f"format={self.format}, expected one of {', '.join(FORMATS)}"], 0
        else:
            found, worst = [], self.kind.worst_crf
        found += [] if 0 <= self.quality <= 100 else [f"quality={self.quality}, expected 0 to 100"]
        found += [] if 0 <= self.plays <= 65535 else [f"plays={self.plays}, expected 0 to 65535"]
        if self.crf is not None and worst and not 0 <= self.crf <= worst:
            found.append(f"crf={self.crf}, {self.format} takes 0 to {worst}")
        if self.bitrate is not None and worst and self.bitrate <= 0:
            found.append(f"bitrate={self.bitrate}, expected more than 0 bit/s")
        if found:
            raise DiffusedHeadsError("; ".join(found))

    @property
    def kind(self) -> Format:
        """The entry of FORMATS."""
        return FORMATS[self.format]

    @property
    def coding(self) -> Coding:
        """What write_video takes. Quality 80 is 18 on x264's scale, six more halve the file; never lossless, which few
        players show.
        """
        return Coding(self.kind.codec, round(50 - 0.4 * self.quality), self.crf, self.bitrate)

    @property
    def colours(self) -> int:
        """The number of colours of a GIF: all 256 from quality 80 on."""
        return max(8, min(256, round(256 * self.quality / 80)))


def play_order(count: int, pingpong: bool = False) -> list[int]:
    """Indices of the frames in the order of showing; ping-pong goes on backwards and shows no end twice."""
    return [*range(count), *(range(count - 2, 0, -1) if pingpong else ())]


def export(
    path: str | os.PathLike[str],
    frames: Sequence[np.ndarray],
    fps: float | Fraction,
    options: ExportOptions,
    audio: Audio | None = None,
    metadata: Mapping[str, str] | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> None:
    """Write uint8 or uint16 (H, W, 3) RGB frames, or (H, W, 4) in formats with alpha, asking for each in its turn.

    ``path`` should end in the format's suffix; formats without one make it a folder of numbered pictures. Animated
    pictures and "png" take uint8. ``metadata`` is embedded beside a note and XMP that say that the clip is
    AI-generated (a GIF has only these: ``write_still`` writes a picture that holds the rest). Sound goes into videos.
    ``on_frame`` gets the number of frames taken so far; what it or ``frames`` raises passes through, and nothing of
    the clip is left behind. Raises DiffusedHeadsError for what cannot be written.
    """
    target, rate, kind = Path(path), as_fps(fps), options.kind
    if not len(frames):
        raise DiffusedHeadsError(f"{target}: no frames to write, expected at least one")
    tags, taken = {"comment": AI_GENERATED, **(metadata or {})}, _reported(frames, on_frame)
    if kind.codec:
        write_video(target, taken, rate, audio, options.coding, metadata)
    elif not kind.suffix:
        _write_pictures(target, taken, tags)
    else:
        _write_animation(target, frames, taken, rate, options, tags)


def _reported(frames: Sequence[np.ndarray], on_frame: Callable[[int], None] | None) -> Iterator[np.ndarray]:
    for i in range(len(frames)):
        yield frames[i]
        if on_frame is not None:
            on_frame(i + 1)


def _write_animation(
    target: Path,
    frames: Sequence[np.ndarray],
    taken: Iterator[np.ndarray],
    rate: Fraction,
    options: ExportOptions,
    tags: Mapping[str, str],
) -> None:
    with atomic_path(target) as temporary:
        try:
            if options.format == "webp":
                write_webp(temporary, taken, len(frames), rate, options.quality, options.plays, tags)
                return
            if options.format == "apng":
                write_apng(temporary, taken, rate, options.plays, tags)
                return
            sample = (frames[i] for i in range(0, len(frames), -(-len(frames) // PALETTE_SAMPLE)))
            write_gif(temporary, taken, sample, rate, options.colours, options.plays, tags["comment"])
        except (av.error.FFmpegError, av.codec.codec.UnknownCodecError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DiffusedHeadsError(f"{target}: cannot write the {options.format} ({reason})") from error


def write_still(path: str | os.PathLike[str], frame: np.ndarray, metadata: Mapping[str, str] | None = None) -> None:
    """Write one uint8 (H, W, 3 or 4) frame as a PNG with ``metadata``, and the note and XMP of ``export``.

    Raises DiffusedHeadsError if it cannot be written.
    """
    with atomic_path(path) as temporary:
        try:
            save_png(temporary, frame, {"comment": AI_GENERATED, **(metadata or {})})
        except OSError as error:
            raise DiffusedHeadsError(f"{path}: cannot write the picture ({error.strerror or error})") from error


def _write_pictures(target: Path, frames: Iterator[np.ndarray], tags: Mapping[str, str]) -> None:
    with atomic_folder(target) as folder:
        for i, frame in enumerate(frames, 1):
            try:
                save_png(folder / f"{i:05}.png", frame, tags)
            except OSError as error:
                raise DiffusedHeadsError(f"{target}: cannot write frame {i} ({error.strerror or error})") from error
