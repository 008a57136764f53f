"""What is evaluated: clips in video files, datasets or memory, and which clip belongs to which reference."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol

import numpy as np

from ..data.codecs import decode_frames
from ..data.shards import Dataset
from ..errors import DiffusedHeadsError
from ..media.audio import Audio, from_waveform
from ..media.video import read_video

VIDEOS = (".mp4", ".mkv", ".mov", ".webm", ".avi", ".mpg", ".mpeg", ".m4v")
RUN = 96  # frames that are decoded at once, a multiple of the datasets' group of pictures
TAKE = re.compile(r"[-_. ]seed[-_]?\d+$")


@dataclass(frozen=True)
class ClipStream:
    """A clip that is read once, frame by frame.

    frames: uint8 (H, W, 3) RGB. landmarks: the true ones, (T, 68, 2) in px of the frames, if they are known.
    """

    frames: Iterable[np.ndarray]
    fps: float
    audio: Audio | None = None
    landmarks: np.ndarray | None = None


class Source(Protocol):
    """A clip that can be opened, also in another process."""

    @property
    def name(self) -> str:
        """What tables call the clip."""

    def open(self) -> ClipStream:
        """Open the clip; raises DiffusedHeadsError that names the file if it cannot be read."""


@dataclass(frozen=True)
class VideoSource:
    """A video file."""

    path: Path

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.path.stem

    def open(self) -> ClipStream:
        """Its frames at a constant rate, and its sound."""
        video = read_video(self.path)
        return ClipStream(video.frames, float(video.fps), video.audio)


@dataclass(frozen=True)
class DatasetSource:
    """A clip of a dataset on disk, with its true landmarks."""

    folder: Path
    index: int
    name: str

    def open(self) -> ClipStream:
        """Its frames, sound and landmarks."""
        data = open_dataset(self.folder)
        landmarks = data.annotations(self.index).get("landmarks")
        return ClipStream(pictures(data, self.index), data.fps, soundtrack(data, self.index), landmarks)


@dataclass(frozen=True, eq=False)
class ArraySource:
    """A clip in memory."""

    name: str
    frames: Iterable[np.ndarray]
    fps: float
    audio: Audio | None = None
    landmarks: np.ndarray | None = None

    def open(self) -> ClipStream:
        """What it holds."""
        return ClipStream(self.frames, self.fps, self.audio, self.landmarks)


@dataclass(frozen=True)
class Group:
    """Takes of one clip, made with different seeds if there are several, and their reference, if there is one."""

    name: str
    takes: tuple[Source, ...]
    reference: Source | None = None


@dataclass(frozen=True)
class Plan:
    """What is measured: groups, references that belong to no group (``others``), and notes about the pairing."""

    groups: tuple[Group, ...]
    others: tuple[Source, ...] = ()
    notes: tuple[str, ...] = field(default=())


def open_dataset(folder: Path) -> Dataset:
    """A dataset on disk, opened again only if its header has changed. Raises DiffusedHeadsError if it is damaged."""
    header = folder / "dataset.json"
    return _dataset(folder, header.stat().st_mtime_ns if header.is_file() else 0)


def pictures(data: Dataset, index: int, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
    """The frames start .. stop - 1 of a clip of a dataset, uint8 (H, W, 3), decoded a few at a time."""
    stop = data.frames(index) if stop is None else stop
    for first in range(start, stop, RUN):
        yield from data.decoded(index, "mp4", partial(decode_frames, wanted=range(first, min(first + RUN, stop))))


def soundtrack(data: Dataset, index: int) -> Audio:
    """The sound of a clip of a dataset."""
    samples, rate = data.audio(index)
    return from_waveform(samples[None], rate, data.key(index))


@lru_cache(maxsize=4)
def _dataset(folder: Path, changed: int) -> Dataset:
    return Dataset(folder)


def sources(path: Path) -> list[Source]:
    """The clips at a path, in order of their names: a video file, a folder of video files, or a dataset's folder.

    Raises DiffusedHeadsError if there are none.
    """
    if (path / "dataset.json").is_file():
        data = open_dataset(path)
        return [DatasetSource(path, index, key) for index, key in enumerate(data.keys)]
    if path.is_dir():
        found = sorted(
            file
            for file in path.iterdir()
            if file.suffix.lower() in VIDEOS and file.is_file() and not file.name.startswith(".")
        )
        if not found:
            raise DiffusedHeadsError(f"{path}: expected videos ({', '.join(VIDEOS)}) or a dataset, found none")
        _distinct(path, found)
        return [VideoSource(file) for file in found]
    if not path.is_file():
        raise DiffusedHeadsError(f"{path}: expected a video, a folder of videos or a dataset, there is no such file")
    return [VideoSource(path)]


def _distinct(folder: Path, files: Sequence[Path]) -> None:
    names = [file.stem for file in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DiffusedHeadsError(
            f"{folder}: expected one video of each name, found several called {', '.join(twice[:3])}"
        )


def plan(generated: Sequence[Source], references: Sequence[Source] = ()) -> Plan:
    """Pair by name. Takes of one clip end in "-seed7" or the like; they belong to the reference without that ending.

    A single clip and a single reference belong together whatever their names. If no name is on both sides, the clips
    are compared as populations. Clips and references without a partner count in the populations, and a note says so.
    """
    by_name: dict[str, list[Source]] = defaultdict(list)
    for source in generated:
        by_name[TAKE.sub("", source.name)].append(source)
    partners = {source.name: source for source in references}
    if len(by_name) == 1 and len(references) == 1:
        partners = dict.fromkeys(by_name, references[0])
    groups = tuple(Group(name, tuple(takes), partners.get(name)) for name, takes in by_name.items())
    used = {id(group.reference) for group in groups}
    others = tuple(source for source in references if id(source) not in used)
    return Plan(groups, others, tuple(_notes(groups, others)) if references else ())


def _notes(groups: Sequence[Group], others: Sequence[Source]) -> list[str]:
    unpaired = [group.name for group in groups if group.reference is None]
    if len(unpaired) == len(groups):
        return ["no name is on both sides: compared as populations"]
    notes = [f"without a reference of its name: {_few(unpaired)}"] if unpaired else []
    return [*notes, *([f"references without a generated clip: {_few([s.name for s in others])}"] if others else [])]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
