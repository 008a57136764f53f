"""``dub``: an existing video says a new recording. Everything is checked and the face is followed first; the frames are
made when they are asked for, one after the other, so that memory does not grow with the video.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config import DEFAULT_PRESET
from ..errors import DiffusedHeadsError
from ..face.finder import FaceFinder
from ..face.networks import load_lip_models
from ..face.placing import Placing
from ..generator import AudioWindows, OnStep, SamplingOptions
from ..media.audio import Audio, check_speech, load_audio
from ..media.provenance import AI_GENERATED
from ..media.video import frame_count
from ..mouth.lip_shape import rows_at
from ..pipeline import DEFAULT_MODEL, Clip, embed_speech
from ..talking_head import TalkingHead, load_model
from .movement import Movement
from .painting import Painter, Task
from .source import Smaller, Source, VideoFile, played, steady
from .timeline import Extent, Shown, timeline
from .tracking import Tracks, track

BATCH = 8  # frames that the network paints at once
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Dubbing(Clip):
    """A checked request: nothing but painting and encoding is left to do. ``len`` is the number of frames.

    starts: the second at which each of the video's frames begins, and at which the last one ends. embeddings: (N, C),
    at the model's rate, of the recording ``audio``.
    """

    model: TalkingHead
    source: Source
    tracks: Tracks
    times: tuple[Fraction, ...]
    audio: Audio
    embeddings: Tensor
    options: SamplingOptions
    extent: Extent = Extent()

    def __len__(self) -> int:
        return sum(1 for _ in self.shown())

    @property
    def rate(self) -> Fraction:
        """The video's frames per second, on average if it is not constant."""
        return self.source.rate

    def starts(self) -> Iterator[Fraction] | None:
        """The second at which each frame begins; None at a constant rate."""
        constant = all(at == number / self.rate for number, at in enumerate(self.times))
        return None if constant else (each.start for each in self.shown())

    @property
    def seconds(self) -> Fraction:
        """The result's length."""
        return self.extent.seconds(self.audio.exact_duration, self.times[-1])

    def shown(self) -> Iterator[Shown]:
        """Which frame of the video is shown when."""
        return timeline(self.times[:-1], self.times[-1], self.seconds, self.extent.when_short)

    def steady_frames(self) -> Iterator[np.ndarray]:
        """The frames at the constant ``rate``: those of an uneven video are repeated or left out."""
        count, slot = frame_count(self.seconds, self.rate), 0
        for each, picture in zip(self.shown(), self.frames()):
            stop = min(count, max(round((each.start + each.duration) * self.rate), slot))
            yield from [picture] * (stop - slot)
            slot = stop
        yield from [picture] * (count - slot)

    @cached_property
    def movement(self) -> Movement:
        """The faces of the video."""
        assert self.model.config.mouth is not None
        return Movement(self.tracks, self.model.config.mouth.components, self.rate)

    def summary(self) -> str:
        """One line: what was found in the video, and how many of its frames are dubbed."""
        counts = self.movement.counts(self.tracks.frames)
        frames, shots = self.tracks.frames, self.tracks.shots
        said = f"{frames} frames in {shots} shot{'s' * (shots != 1)}, the mouth is replaced in {counts['dubbed']}"
        left = [f"{counts[why]} {words}" for why, words in LEFT.items() if counts[why]]
        return f"{self.source.name}: {said}" + (f"; unchanged: {', '.join(left)}" if left else "")

    def frames(self, on_step: OnStep | None = None) -> Iterator[np.ndarray]:
        """Make and yield the finished frames, uint8 (H, W, 3), one by one; on_step is called once per frame.

        Frames without a face, or with one that is turned aside, are the video's own.
        """
        model, config = self.model, self.model.config
        painter = Painter(model.network(), config, self.options, model.device)
        shapes, windows = self._spoken()
        tasks: list[Task | np.ndarray] = []
        done = 0

        def finished() -> Iterator[np.ndarray]:
            nonlocal done
            waiting = iter(painter.paint([task for task in tasks if isinstance(task, Task)]))
            for task in tasks:
                if on_step is not None:
                    on_step(done, 0, torch.empty(0))
                done += 1
                yield next(waiting) if isinstance(task, Task) else task
            tasks.clear()

        pictures = played(self.source, (each.number for each in self.shown()))
        for number, (each, picture) in enumerate(zip(self.shown(), pictures)):
            face = self.movement[each.number]
            tasks.append(picture if face is None else Task(picture, face, shapes(number), windows(number)))
            if len(tasks) == BATCH:
                yield from finished()
        yield from finished()

    def _spoken(self) -> tuple[Callable[[int], np.ndarray], Callable[[int], Tensor]]:
        """The lip shape (K,) and the audio embeddings (2 n + 1, C) of each frame that is shown."""
        model, config = self.model, self.model.config
        assert model.lip_shape is not None
        middles = [float(each.start + each.duration / 2) for each in self.shown()]
        rows = torch.tensor(middles, dtype=torch.float64) * config.fps - 0.5
        audio = self.embeddings.to(model.device)[None]
        with torch.no_grad():
            shapes = rows_at(model.lip_shape(audio)[0].cpu(), rows).numpy()
        windows = AudioWindows(audio, config.unet.audio_neighbours, rows)
        return shapes.__getitem__, lambda number: windows[number][0]

    @property
    def metadata(self) -> Mapping[str, str]:
        """Tags of the video: what made it, and how to make it again. Names only, no folders."""
        how = {"model": self.model.name, "steps": str(self.options.steps)}
        said = ", ".join(f"{key} {value}" for key, value in how.items())
        return {
            "title": f"{Path(self.source.name).stem}, dubbed",
            "comment": f"{AI_GENERATED} (the mouth is dubbed: {said})",
            **how,
        }


LEFT = {"no face": "without a face", "turned aside": "turned aside"}


def lip_finder() -> FaceFinder:
    """A finder whose landmarks of lips are the truest; the networks are downloaded on first use."""
    return FaceFinder(load_lip_models())


def dub(
    video: str | os.PathLike[str] | Source,
    speech: str | os.PathLike[str] | Audio,
    model: str | os.PathLike[str] | TalkingHead = DEFAULT_MODEL,
    *,
    start: float = 0.0,
    duration: float | None = None,
    audio_track: int | None = None,
    max_side: int | None = None,
    placing: Placing = Placing(),
    extent: Extent = Extent(),
    voice_gate: bool = True,
    device: str = "auto",
    trust_torchscript: bool = False,
    engine: str = "auto",
    preset: str = DEFAULT_PRESET,
    finder: Callable[[], FaceFinder] = lip_finder,
    on_look: Callable[[int], None] | None = None,
    **sampling: Any,
) -> Dubbing:
    """Check and load all that dubbing needs, and follow the face; ``write`` or ``frames`` of the result then make it.

    video: a file, or frames of another kind, made smaller if a side is longer than ``max_side`` px. speech, start,
    duration, audio_track, model, voice_gate, device, trust_torchscript, engine, preset: as of ``pipeline.animate``.
    placing: which face is followed, chosen anew at the beginning of each shot. extent: how long the result is. on_look:
    called with the number of frames in which the face was looked for; it may raise. sampling: steps and guidance, as of
    ``SamplingOptions``. Raises DiffusedHeadsError for the first thing that is wrong, cheap checks first, and if no
    frame can be dubbed.
    """
    SamplingOptions(**sampling)
    source = VideoFile(os.fspath(video)) if isinstance(video, (str, os.PathLike)) else video
    source = source if max_side is None else Smaller(source, max_side)
    audio = speech if isinstance(speech, Audio) else load_audio(speech, start, duration, audio_track)
    check_speech(audio)
    head = model if isinstance(model, TalkingHead) else load_model(Path(model), device, trust_torchscript, engine)
    options = head.options(preset, **sampling)
    Painter(head.network(), head.config, options, head.device)
    times: list[float] = []

    def pictures() -> Iterator[np.ndarray]:
        for begin, picture in source.frames():
            times.append(begin)
            yield picture

    tracks = track(pictures(), placing, finder, on_look)
    if not times:
        raise DiffusedHeadsError(f"{source.name}: expected a video file, no frame of it can be decoded")
    starts = _starts(times, source.rate)
    seconds = max(audio.exact_duration, extent.seconds(audio.exact_duration, starts[-1]))
    embeddings = embed_speech(head, audio, voice_gate, frames=math.ceil(seconds * head.config.fps))
    dubbing = Dubbing(head, source, tracks, starts, audio, embeddings, options, extent)
    if not dubbing.movement.counts(tracks.frames)["dubbed"]:
        raise DiffusedHeadsError(f"{source.name}: expected a video of a face, {dubbing.summary()}")
    _log.info("%s", dubbing.summary())
    return dubbing


def _starts(times: list[float], rate: Fraction) -> tuple[Fraction, ...]:
    """When the frames begin, and the last one ends; exact at a constant rate, else to a tick of a 90 kHz clock."""
    if steady(times, rate):
        return tuple(number / rate for number in range(len(times) + 1))
    found = [Fraction(round(at * 90000), 90000) for at in times]
    return (*found, found[-1] + 1 / rate)
