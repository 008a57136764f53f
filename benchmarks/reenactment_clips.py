"""Clips of real people: finding and reading them, making their first frames speak, and reading landmarks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from diffused_heads import animate
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.evaluation.readers import FaceReader, eye_openings
from diffused_heads.diffused_heads_core.face.finder import FaceFinder
from diffused_heads.diffused_heads_core.files import atomic_path
from diffused_heads.diffused_heads_core.media.audio import Audio
from diffused_heads.diffused_heads_core.media.pictures import shrink
from diffused_heads.diffused_heads_core.media.video import read_video
from diffused_heads.diffused_heads_core.pipeline import Animation
from diffused_heads.diffused_heads_core.talking_head import TalkingHead

SUFFIXES = {".mp4", ".mpg", ".mov", ".mkv", ".webm", ".avi"}
LONGEST_SIDE = 1024  # px of the frames that are measured
CACHE_VERSION = 2  # of landmark readings on disk; raise it if they change


@dataclass(frozen=True, eq=False)
class Clip:
    """A person's clip: frames (T, H, W, 3) uint8 at ``fps``, and the sound of as many seconds."""

    path: Path
    person: str
    frames: np.ndarray
    fps: Fraction
    audio: Audio

    @property
    def name(self) -> str:
        """Unique if no person has two files that differ in their suffix alone."""
        return f"{self.person}-{self.path.stem}" if self.person != self.path.stem else self.person


def find_clips(folder: Path, per_person: int | None = None) -> list[tuple[str, Path]]:
    """Person and path of the clips in a folder, at most ``per_person`` of each person, in order of their names.

    A sub-folder is a person; a clip outside sub-folders is a person of its own. Raises DiffusedHeadsError if there is
    no clip.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        inside = path.relative_to(folder)
        found.setdefault(inside.parts[0] if len(inside.parts) > 1 else path.stem, []).append(path)
    if not found:
        raise DiffusedHeadsError(f"{folder}: expected clips ({', '.join(sorted(SUFFIXES))}), found none")
    return [(person, path) for person, paths in found.items() for path in paths[:per_person]]


def read_clip(path: Path, person: str, seconds: float) -> Clip:
    """The first ``seconds`` of a clip, its frames shrunk to LONGEST_SIDE. Raises DiffusedHeadsError without sound."""
    video = read_video(path)
    if video.audio is None:
        raise DiffusedHeadsError(f"{path.name}: expected a clip with sound")
    seconds = min(seconds, float(video.audio.exact_duration))
    frames = np.stack([shrink(f, LONGEST_SIDE) for f in islice(video.frames, max(int(seconds * video.fps), 1))])
    samples = video.audio.samples[:, : round(len(frames) / video.fps * video.audio.sample_rate)]
    return Clip(path, person, frames, video.fps, Audio(samples, video.audio.sample_rate, path.name))


def speak(clip: Clip, model: TalkingHead, seed: int, options: dict[str, Any]) -> tuple[Animation, np.ndarray]:
    """The clip's first frame speaks its sound: the animation, and as many whole pictures (T, H, W, 3) as the clip has.

    Raises DiffusedHeadsError for a clip without speech or without a face in its first frame.
    """
    animation = animate(clip.frames[0], clip.audio, model, fps=clip.fps, seed=seed, **options)
    return animation, np.stack(list(islice(animation.frames(), len(clip.frames))))


@dataclass(frozen=True, eq=False)
class Seen:
    """What the face networks find in a clip, NaN without a face.

    points: landmarks with their depth (T, 68, 3) px. eyes: how far the eyes are open, (T,).
    """

    points: np.ndarray
    eyes: np.ndarray

    @property
    def marks(self) -> np.ndarray:
        """Landmarks without depth (T, 68, 2) px."""
        return self.points[..., :2]


def see(frames: Iterable[np.ndarray], finder: FaceFinder) -> Seen:
    """Read a clip's frames (H, W, 3) one after the other; landmarks are not smoothed."""
    reader = FaceReader(finder)
    readings = [reader.read(frame) for frame in frames]
    points = np.full((len(readings), 68, 3), np.nan)
    for point, reading in zip(points, readings):
        if reading.landmarks is not None and reading.depths is not None:
            point[:, :2], point[:, 2] = reading.landmarks, reading.depths
    return Seen(points, eye_openings(readings))


def see_once(clip: Clip, finder: FaceFinder, cache: Path) -> Seen:
    """As ``see`` of the clip's own frames; kept in the folder ``cache`` until the file changes."""
    status = clip.path.stat()
    what = (CACHE_VERSION, clip.path.resolve(), status.st_size, status.st_mtime_ns, clip.frames.shape)
    kept = cache / f"{hashlib.sha256(repr(what).encode()).hexdigest()[:24]}.npz"
    if kept.is_file():
        with np.load(kept) as arrays:
            return Seen(arrays["points"], arrays["eyes"])
    found = see(clip.frames, finder)
    cache.mkdir(parents=True, exist_ok=True)
    with atomic_path(kept) as part, open(part, "wb") as file:
        np.savez(file, points=found.points, eyes=found.eyes)
    return found
