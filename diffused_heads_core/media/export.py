"""A finished clip to the format that a user names: video, animated picture, or a folder of pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..errors import DiffusedHeadsError
from ..files import atomic_folder, atomic_path
from .animations import write_gif, write_webp
from .audio import Audio
from .pictures import PNG_LEVEL
from .provenance import AI_GENERATED, PNG_KEYWORD, XMP
from .video import as_fps, write_video

SUFFIXES = {
    "mp4-h264": ".mp4",
    "mp4-h265": ".mp4",
    "webm-vp9": ".webm",
    "gif": ".gif",
    "webp": ".webp",
    "png": "",
    "webm-vp9-alpha": ".webm",
    "mov-prores4444": ".mov",
}
VIDEOS = ("mp4-h264", "mp4-h265", "webm-vp9", "webm-vp9-alpha", "mov-prores4444")
TRANSPARENT_VIDEOS = ("webm-vp9-alpha", "mov-prores4444")
WITH_ALPHA = ("webp", "png", *TRANSPARENT_VIDEOS)
QUALITY = 80
PALETTE_SAMPLE = 48  # frames that a GIF's palette is made from


@dataclass(frozen=True)
class ExportOptions:
    """How to export: ``format``, one of SUFFIXES; ``quality`` 0..100, at 80 without visible loss.

    ``plays``: how often a GIF or WebP plays, 0 for ever. Raises DiffusedHeadsError that lists every wrong value.
    """

    format: str = "mp4-h264"
    quality: int = QUALITY
    plays: int = 0

    def __post_init__(self) -> None:
        found = [] if self.format in SUFFIXES else [f"format={self.format}, expected one of {', '.join(SUFFIXES)}"]
        found += [] if 0 <= self.quality <= 100 else [f"quality={self.quality}, expected 0 to 100"]
        found += [] if 0 <= self.plays <= 65535 else [f"plays={self.plays}, expected 0 to 65535"]
        if found:
            raise DiffusedHeadsError("; ".join(found))

    @property
    def suffix(self) -> str:
        """The suffix of the file; empty for a folder of pictures."""
        return SUFFIXES[self.format]

    @property
    def rate_factor(self) -> int:
        """Quality on x264's scale, where six more halve the file: 18 for 80. Never lossless, which few players show."""
        return round(50 - 0.4 * self.quality)

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
    """Write uint8 (H, W, 3) RGB frames, or (H, W, 4) in formats WITH_ALPHA, asking for each when its turn comes.

    ``path`` should end in ``options.suffix``; "png" makes it a folder of numbered pictures. ``metadata`` is embedded
    beside a note and XMP that say that the clip is AI-generated (a GIF has only these: ``write_still`` writes a picture
    that holds the rest). Sound goes into VIDEOS. ``on_frame`` gets
    the number of frames taken so far; what it or ``frames`` raises passes through, and nothing of the clip is left
    behind. Raises DiffusedHeadsError for what cannot be written.
    """
    target, rate = Path(path), as_fps(fps)
    if not len(frames):
        raise DiffusedHeadsError(f"{target}: no frames to write, expected at least one")
    tags, taken = {"comment": AI_GENERATED, **(metadata or {})}, _reported(frames, on_frame)
    if options.format in TRANSPARENT_VIDEOS:
        taken = map(_with_alpha, taken)
    if options.format in VIDEOS:
        codec = "h265" if options.format == "mp4-h265" else None
        write_video(target, taken, rate, audio, options.rate_factor, metadata, codec)
    elif options.format == "png":
        _write_pictures(target, taken, tags)
    else:
        _write_animation(target, frames, taken, rate, options, tags)


def _reported(frames: Sequence[np.ndarray], on_frame: Callable[[int], None] | None) -> Iterator[np.ndarray]:
    for i in range(len(frames)):
        yield frames[i]
        if on_frame is not None:
            on_frame(i + 1)


def _with_alpha(frame: np.ndarray) -> np.ndarray:
    return frame if frame.shape[2] == 4 else np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)])


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
            _save_png(temporary, frame, {"comment": AI_GENERATED, **(metadata or {})})
        except OSError as error:
            raise DiffusedHeadsError(f"{path}: cannot write the picture ({error.strerror or error})") from error


def _save_png(path: Path, frame: np.ndarray, tags: Mapping[str, str]) -> None:
    texts = PngInfo()
    for key, text in tags.items():
        texts.add_text(key, text)
    texts.add_itxt(PNG_KEYWORD, XMP)
    Image.fromarray(frame).save(path, pnginfo=texts, compress_level=PNG_LEVEL)


def _write_pictures(target: Path, frames: Iterator[np.ndarray], tags: Mapping[str, str]) -> None:
    with atomic_folder(target) as folder:
        for i, frame in enumerate(frames, 1):
            try:
                _save_png(folder / f"{i:05}.png", frame, tags)
            except OSError as error:
                raise DiffusedHeadsError(f"{target}: cannot write frame {i} ({error.strerror or error})") from error
