"""A model against a dataset: the model's clips are made while they are measured."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DiffusedHeadsError
from ..face.alignment import whole_placement
from ..face.portrait_mesh import mesh_in_frame
from ..media.audio import Audio
from ..media.video import write_video
from ..motion import MotionTrack
from ..pipeline import embed_speech
from ..pose import FACE
from ..talking_head import TalkingHead
from .readers import loaded_finder
from .sources import ClipStream, DatasetSource, Group, open_dataset, pictures, soundtrack

WAITING = 64  # frames that may wait to be written


@dataclass(frozen=True)
class ModelRun:
    """What a model has to make: the first ``clips`` clips of the dataset ``data``.

    seconds: of each clip (None: all). seeds: takes of each clip. true_motion: head, eyes and brows move as annotated in
    the dataset instead of by the model's own track. options: of ``SamplingOptions``. clips_folder: to keep videos in.
    """

    data: Path
    clips: int
    seconds: float | None = None
    seed: int = 0
    seeds: int = 1
    true_motion: bool = False
    options: dict[str, Any] | None = None
    clips_folder: Path | None = None


def groups(model: TalkingHead, run: ModelRun) -> Iterator[Group]:
    """A group per clip of the dataset. Raises DiffusedHeadsError if the dataset's size or fps is not the model's."""
    data = open_dataset(run.data)
    both = (("size", data.size, model.config.frame_size), ("fps", data.fps, model.config.fps))
    wrong = [f"{name} is {found}, the model has {wanted}" for name, found, wanted in both if found != wanted]
    if wrong:
        raise DiffusedHeadsError(f"{run.data}: " + "; ".join(wrong))
    count = min(run.clips, len(data))
    for index in range(count):
        seeds = [run.seed + index + take * count for take in range(run.seeds)]
        names = [data.keys[index] if run.seeds == 1 else f"{data.keys[index]}-seed{seed}" for seed in seeds]
        takes = tuple(ModelSource(model, run, index, seed, name) for seed, name in zip(seeds, names))
        yield Group(data.keys[index], takes, DatasetSource(run.data, index, data.keys[index]))


@dataclass(frozen=True, eq=False)
class ModelSource:
    """A clip that a model makes from the sound of a dataset's clip and its frame in which the head is most at rest."""

    model: TalkingHead
    run: ModelRun
    index: int
    seed: int
    name: str

    def open(self) -> ClipStream:
        """Frames that are sampled as they are asked for, and the sound.

        Raises DiffusedHeadsError if the dataset lacks the annotations for the true motion.
        """
        data = open_dataset(self.run.data)
        annotations, length, audio = data.annotations(self.index), data.frames(self.index), soundtrack(data, self.index)
        length = length if self.run.seconds is None else min(length, round(self.run.seconds * data.fps))
        rest = resting_frame(annotations, length)
        identity = next(pictures(data, self.index, rest, rest + 1))
        track = true_track(annotations, rest) if self.run.true_motion else None
        if self.run.true_motion and track is None:
            raise DiffusedHeadsError(
                f"{self.run.data}: expected annotations pose and expression for the true motion, found none"
            )
        options = self.model.options(**{**(self.run.options or {}), "seed": self.seed})
        frames = self.model.generate(
            identity,
            embed_speech(self.model, audio)[:length],
            options,
            track,
            mesh=identity_mesh(self.model, identity, self.name),
        )
        return ClipStream(self._kept(frames, length, data.fps, audio), data.fps, audio)

    def _kept(self, frames: Iterator[np.ndarray], length: int, fps: float, audio: Audio) -> Iterator[np.ndarray]:
        """The same frames, which are also written to a video if one is wanted."""
        if self.run.clips_folder is None:
            yield from frames
            return
        self.run.clips_folder.mkdir(parents=True, exist_ok=True)
        with _Recorder(self.run.clips_folder / f"{self.name}.mp4", fps, audio) as recorder:
            for number, frame in enumerate(frames, 1):
                recorder.add(frame)
                if number == length:  # now: no further frame may be asked for
                    recorder.finish()
                yield frame


def identity_mesh(model: TalkingHead, identity: np.ndarray, name: str) -> np.ndarray | None:
    """The face mesh of an identity frame (S, S, 3), for a model that paints the mouth alone; name: for the log."""
    config, size = model.config, len(identity)
    if config.mouth is None:
        return None
    return mesh_in_frame(identity, None, whole_placement(size, size), config.geometry, loaded_finder, name)


def resting_frame(annotations: dict[str, np.ndarray], length: int) -> int:
    """Index of the frame, of the first ``length``, that is nearest to a neutral pose with shut mouth and open eyes.

    0 if the dataset has no poses.
    """
    if "pose" not in annotations:
        return 0
    unrest = np.abs(annotations["pose"][:length]).sum(1)
    if "expression" in annotations:
        unrest = unrest + annotations["expression"][:length, -len(FACE) : -len(FACE) + 2].max(1)
    if "mouth_open" in annotations:
        unrest = unrest + annotations["mouth_open"][:length]
    return int(unrest.argmin())


def true_track(annotations: dict[str, np.ndarray], rest: int) -> MotionTrack | None:
    """The annotated motion of head, eyes and brows, or None; poses relative to frame ``rest``, the identity frame."""
    if not {"pose", "expression"} <= annotations.keys():
        return None
    return MotionTrack(annotations["pose"] - annotations["pose"][rest], annotations["expression"][:, -len(FACE) :])


class _Recorder:
    """Writes frames to a video in its own thread. An unfinished video is removed."""

    def __init__(self, path: Path, fps: float, audio: Audio):
        self._frames: queue.Queue[np.ndarray | None] = queue.Queue(WAITING)
        self._error: BaseException | None = None
        self._whole = self._ended = False
        self._thread = threading.Thread(target=self._write, args=(path, fps, audio), daemon=True)

    def _write(self, path: Path, fps: float, audio: Audio) -> None:
        try:
            write_video(path, self._arrived(), fps, audio)
        except BaseException as error:
            self._error = error
            while not self._ended:  # ``add`` must not wait forever
                self._ended = self._frames.get() is None

    def _arrived(self) -> Iterator[np.ndarray]:
        while (frame := self._frames.get()) is not None:
            yield frame
        self._ended = True
        if not self._whole:
            raise DiffusedHeadsError("the clip was not finished")

    def add(self, frame: np.ndarray) -> None:
        """Hand over the next frame."""
        self._frames.put(frame)

    def finish(self) -> None:
        """The clip is complete: wait until it is written. Raises the writer's error, if any."""
        self._whole = True
        self._stop()
        if self._error is not None:
            raise self._error

    def _stop(self) -> None:
        if self._thread.is_alive():
            self._frames.put(None)
            self._thread.join()

    def __enter__(self) -> _Recorder:
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stop()
