"""``animate_several``: from a picture of several people and their recordings to a video in which they talk.

Each head is an ``Animation``, sampled as if it were alone: a head's frames do not depend on who else is there. Their
frames are made in turn, so memory does not grow with the length of the video.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checkpoints import DEFAULT_MODEL
from ..config import DEFAULT_PRESET
from ..errors import DiffusedHeadsError, raise_problems
from ..face.finder import FaceFinder
from ..face.moving_heads import drawn, source_picture
from ..face.portrait import head_of, picture_of, portrait_at
from ..generator import OnStep, SamplingOptions
from ..media.audio import SAMPLE_RATE, Audio, check_speech, is_silent, load_audio
from ..media.pictures import shrink
from ..media.video import as_fps, frame_count
from ..motion import MotionOptions
from ..pipeline import Animation, Clip, embed_speech
from ..talking_head import TalkingHead, load_model
from .compositing import GroupCompositor, separated_mask
from .heads import Box, Head, check_numbers, find_heads, numbered, position
from .sound import channels_of, mixed

OTHERS = ("listen", "still")
CALM = 0.5  # share of the head's and the brows' motion that somebody who only listens has
Recording = str | os.PathLike[str] | Audio
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Conversation(Clip):
    """A checked request for several heads: nothing but sampling and encoding is left to do.

    ``len`` is the number of frames. picture: uint8 (H, W, 3). heads: all that were found. moving: the animation of each
    head that moves, by its number; its seed is the first head's plus its number less 1. spoken: what each of them
    says, None if it listens. audio: the video's sound.
    """

    picture: np.ndarray
    heads: tuple[Head, ...]
    moving: Mapping[int, Animation]
    spoken: Mapping[int, str | None]
    audio: Audio
    name: str = "picture"

    def __len__(self) -> int:
        return len(self._first)

    @property
    def _first(self) -> Animation:
        return next(iter(self.moving.values()))

    @property
    def model(self) -> TalkingHead:
        """The model that makes all heads."""
        return self._first.model

    @property
    def rate(self) -> Fraction:
        """The video's frames per second."""
        return self._first.rate

    def frames(self, on_step: OnStep | None = None) -> Iterator[np.ndarray]:
        """Sample and yield the finished pictures, uint8 (H, W, 3), one by one.

        on_step: as of ``sample_frames``, for each head in turn; its frame number is frame * heads + head, from 0.
        """
        if self.model.config.mouth is not None:
            return self._drawn(on_step)
        count, first = len(self.moving), self._first
        clips = []
        for index, head in enumerate(self.moving.values()):
            clips.append(head.frames(None if on_step is None else _numbered_steps(on_step, index, count)))
        placements = [head.portrait.placement for head in self.moving.values()]
        still = [head.placement for head in self.heads if head.number not in self.moving]
        geometry, rate = self.model.config.geometry, float(self.rate)
        compositor = GroupCompositor(self.picture, placements, geometry, first.detail, rate, still)
        return (compositor.paste(frames) for frames in zip(*clips, strict=True))

    def _drawn(self, on_step: OnStep | None) -> Iterator[np.ndarray]:
        """The finished pictures of a model that paints the mouth alone."""
        count, geometry, picture = len(self.moving), self.model.config.geometry, self.picture
        numbers = [*self.moving, *(head.number for head in self.heads if head.number not in self.moving)]
        placements = [next(head.placement for head in self.heads if head.number == number) for number in numbers]
        heads, clips = [], []
        for index, head in enumerate(self.moving.values()):
            portrait = head.portrait
            heads.append(head_of(portrait, geometry, separated_mask(picture, index, placements, geometry)))
            picture = source_picture(picture, portrait.frame, portrait.placement, geometry, head.detail)
            clips.append(head.head_frames(None if on_step is None else _numbered_steps(on_step, index, count)))
        return drawn(
            picture, heads, ([state for each in states for state in each] for states in zip(*clips, strict=True))
        )

    @property
    def metadata(self) -> Mapping[str, str]:
        """Tags of the video: what made it, and how to make it again. Names only, no folders."""
        return {**self._first.metadata, "title": f"Talking heads of {Path(self.name).stem}"}

    def roles(self) -> list[str]:
        """One line per head, from number 1 on: where it is, and what it says."""
        return [
            f"head {head.number} at {position(head, self.picture)}: {self._role(head.number)}" for head in self.heads
        ]

    def _role(self, number: int) -> str:
        if number not in self.moving:
            return "still"
        name = self.spoken[number]
        return "listens" if name is None else f"speaks {Path(name).name}"

    def numbered_picture(self) -> np.ndarray:
        """The picture with the number of each head drawn into it, uint8 (H, W, 3)."""
        return numbered(self.picture, self.heads)


def _numbered_steps(on_step: OnStep, index: int, count: int) -> OnStep:
    return lambda frame, step, x0: on_step(frame * count + index, step, x0)


def animate_several(
    picture: str | os.PathLike[str] | np.ndarray,
    recordings: Recording | Mapping[int, Recording | None],
    model: str | os.PathLike[str] | TalkingHead = DEFAULT_MODEL,
    *,
    others: str = "listen",
    boxes: Sequence[Box] = (),
    start: float = 0.0,
    duration: float | None = None,
    audio_track: int | None = None,
    max_side: int | None = None,
    margin: float = 0.0,
    level: bool = True,
    detail: float = 1.0,
    motion: MotionOptions = MotionOptions(),
    fps: float | Fraction | None = None,
    voice_gate: bool = True,
    device: str = "auto",
    trust_torchscript: bool = False,
    engine: str = "auto",
    finder: Callable[[], FaceFinder] = FaceFinder,
    preset: str = DEFAULT_PRESET,
    **sampling: Any,
) -> Conversation:
    """Check and load all that a conversation needs; ``write`` or ``frames`` of the result then make it.

    picture: a file, or uint8 (H, W, 3 or 4). recordings: what each head says by its number, 1 being the leftmost; None
    or a silent recording if it listens. Or one recording with a channel for each head. A head is silent after the end
    of its recording; the video is as long as the longest, and its sound is all of them. others: heads without a
    recording 'listen', with their mouth shut, or stay 'still'. boxes: the heads' squares by hand, number 1 first, each
    x, y, size as of ``Placing``. start, duration, audio_track: of every recording that is a file. Other arguments and
    errors are those of ``animate``; DiffusedHeadsError also for a head that is not there, saying which are.
    """
    SamplingOptions(**sampling)
    raise_problems("conversation", {f"others={others!r}: expected one of {', '.join(OTHERS)}": others not in OTHERS})
    name = "picture" if isinstance(picture, np.ndarray) else os.fspath(picture)
    rgb, _ = picture_of(picture)
    rgb = rgb if max_side is None else shrink(rgb, max_side)
    said, sound = _loaded(recordings, start, duration, audio_track)
    talking_head = (
        model if isinstance(model, TalkingHead) else load_model(Path(model), device, trust_torchscript, engine)
    )
    options = talking_head.options(preset, **sampling)
    heads = find_heads(rgb, talking_head.config, boxes, finder, name, margin, level)
    check_numbers(list(said), heads, rgb, name)
    frames, moving = frame_count(sound, talking_head.config.fps), {}
    silence = _silence(talking_head, frames)
    for head in heads:
        audio = said.get(head.number)
        if others == "still" and head.number not in said:
            continue
        portrait = portrait_at(
            rgb, head.placement, head.face, talking_head.config, finder, f"{name}, head {head.number}"
        )
        embeddings = silence if audio is None else embed_speech(talking_head, audio, voice_gate, frames)
        moving[head.number] = Animation(
            talking_head,
            portrait,
            sound,
            embeddings,
            replace(options, seed=(options.seed + head.number - 1) % 2**64),
            motion if audio is not None else _calm(motion),
            whole_picture=False,
            detail=detail,
            fps=None if fps is None else as_fps(fps),
        )
    spoken = {number: None if (audio := said.get(number)) is None else audio.name for number in moving}
    return Conversation(rgb, tuple(heads), moving, spoken, sound, name)


def _loaded(
    recordings: Recording | Mapping[int, Recording | None], start: float, duration: float | None, track: int | None
) -> tuple[dict[int, Audio | None], Audio]:
    """What each head says, None if nothing, and the sound of the video."""

    if isinstance(recordings, Mapping):
        loaded: dict[Any, Audio] = {}  # a recording that several heads speak is loaded and heard once
        for each in recordings.values():
            if each is not None and each not in loaded:
                loaded[each] = _load(each, start, duration, track)
        if not loaded:
            raise DiffusedHeadsError("recordings: expected speech for at least one head, found none")
        said = {number: None if each is None else loaded[each] for number, each in recordings.items()}
        sound = mixed(list(loaded.values()))
    else:
        sound = _load(recordings, start, duration, track)
        said = dict(enumerate(channels_of(sound), 1))
    check_speech(sound)
    return {number: _speech(audio, number) for number, audio in said.items()}, sound


def _load(recording: Recording, start: float, duration: float | None, track: int | None) -> Audio:
    return recording if isinstance(recording, Audio) else load_audio(recording, start, duration, track)


def _speech(audio: Audio | None, number: int) -> Audio | None:
    """The recording of a head, or None if it is silent; raises DiffusedHeadsError as ``check_speech``."""
    if audio is not None and is_silent(audio):
        _log.warning("%s: silent, head %d listens", audio.name, number)
        return None
    if audio is not None:
        check_speech(audio)
    return audio


def _silence(model: TalkingHead, frames: int) -> Tensor:
    """Audio embeddings (frames, C) of a recording in which nothing is said."""
    samples = -(-frames * SAMPLE_RATE // model.config.fps)
    with torch.no_grad():
        return model.encode_mono(np.zeros(samples, np.float32), frames)


def _calm(motion: MotionOptions) -> MotionOptions:
    """The motion of somebody who listens."""
    return replace(motion, head=CALM * motion.head, brows=CALM * motion.brows)
