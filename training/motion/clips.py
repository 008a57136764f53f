"""What the motion prior is learned from: motion tracks with the speech that goes with them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from ...diffused_heads_core.errors import DiffusedHeadsError
from ...diffused_heads_core.media.audio import Audio, load_audio, to_mono_16k
from ...diffused_heads_core.motion.files import SUFFIXES, read_motion
from ...diffused_heads_core.motion.track import COLUMNS
from ..job import Notify

SOUNDS = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".mp4", ".mpg", ".mkv", ".mov", ".webm")
ANGLES = [COLUMNS.index(name) for name in ("yaw", "pitch", "roll")]
RELATIVE = [n for n, name in enumerate(COLUMNS) if not name.startswith("blink")]  # whose zero is the portrait's own
Encode = Callable[[np.ndarray, int], Tensor]  # (mono (n,) at 16 kHz, frames) -> embeddings (frames, C)
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Clip:
    """One recording. values: (N, 16) as in ``track.COLUMNS``, relative to the person's usual position in the clip;
    audio: (N, E) embeddings; level: (N,), how loud each frame's sound is, 0 (40 dB below the loudest parts) .. 1.
    """

    person: str
    values: np.ndarray
    audio: np.ndarray
    level: np.ndarray

    def __len__(self) -> int:
        return len(self.values)


def find_clips(folder: Path) -> list[tuple[Path, Path]]:
    """Motion files of a folder and its sub-folders, each with the sound beside it.

    Raises DiffusedHeadsError if there is none.
    """
    pairs = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        sound = next((s for s in map(path.with_suffix, SOUNDS) if s.is_file()), None)
        if sound is None:
            log.warning("%s: expected a sound of the same name beside it, found none; left out", path)
        else:
            pairs.append((path, sound))
    if not pairs:
        names = f"motion files ({', '.join(SUFFIXES)}) with a sound of the same name beside each"
        raise DiffusedHeadsError(f"{folder}: expected {names}, found none")
    return pairs


def open_clips(folder: Path, encode: Encode, fps: int, notify: Notify) -> list[Clip]:
    """The clips of a folder at ``fps``; a person is a sub-folder, or the part of the name before the first "-"."""
    pairs, found = find_clips(folder), []
    for number, (path, sound) in enumerate(pairs, 1):
        values = read_motion(path).at_rate(fps).track.values
        found.append(made_clip(_person(path, folder), values, load_audio(sound), encode, fps))
        notify("audio embeddings", number, len(pairs))
    return found


def made_clip(person: str, values: np.ndarray, audio: Audio, encode: Encode, fps: int) -> Clip:
    """A clip of measured columns (N, 16) and its sound, as long as the shorter of both, about its usual position."""
    mono = to_mono_16k(audio)
    frames = min(len(values), int(np.ceil(len(mono) / 16000 * fps)))
    values = values[:frames].copy()
    values[:, RELATIVE] -= np.median(values[:, RELATIVE], 0)
    return Clip(person, values, encode(mono, frames).cpu().numpy().astype(np.float32), speech_level(mono, frames, fps))


def _person(path: Path, folder: Path) -> str:
    parts = path.relative_to(folder).parts
    return f"{folder.name}/{parts[0] if len(parts) > 1 else path.stem.split('-')[0]}"


def speech_level(mono: np.ndarray, frames: int, fps: float) -> np.ndarray:
    """How loud sound (n,) at 16 kHz is in each frame, (frames,): 0 from 40 dB below its loudest parts down, 1 those."""
    edges = np.linspace(0, frames / fps * 16000, frames + 1).astype(int).clip(max=len(mono))
    power = np.concatenate([[0.0], np.cumsum(np.asarray(mono, np.float64) ** 2)])
    mean = np.diff(power[edges]) / np.maximum(np.diff(edges), 1)
    decibels = 10 * np.log10(mean + 1e-10)
    return np.clip((decibels - np.percentile(decibels, 95) + 40) / 40, 0, 1)


def by_person(clips: Iterable[Clip]) -> dict[str, list[Clip]]:
    """Clips of each person."""
    people: dict[str, list[Clip]] = {}
    for clip in clips:
        people.setdefault(clip.person, []).append(clip)
    return people


def person_weights(clips: Sequence[Clip]) -> np.ndarray:
    """Weight of each clip, (len(clips),) with sum 1, with which all people count alike."""
    people = by_person(clips)
    return np.array([1 / (len(people) * len(people[clip.person])) for clip in clips])


def deviations(clips: Sequence[Clip], columns: Sequence[str]) -> tuple[float, ...]:
    """Standard deviations of columns within clips, every person counted alike."""
    numbers = [COLUMNS.index(name) for name in columns]
    variances = np.stack([clip.values[:, numbers].var(0) for clip in clips])
    return tuple(float(value) for value in np.sqrt(person_weights(clips) @ variances).clip(1e-5))


def liveliness(clip: Clip, scales: Sequence[float]) -> float:
    """How much a head turns in a clip: root mean square of yaw, pitch and roll in deviations ``scales``."""
    return float(np.sqrt((clip.values[:, ANGLES].var(0) / np.square(scales)).mean()))
