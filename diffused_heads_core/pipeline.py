"""The whole road: from a portrait and a speech recording to a video file, or to finished frames one by one.

``animate`` checks and loads everything; the ``Animation`` that it returns samples when its frames are asked for. The
command line, the ComfyUI nodes and the benchmarks take this road, the nodes step by step.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .checkpoints import DEFAULT_MODEL
from .config import ModelConfig
from .errors import raise_problems
from .face.alignment import Placement, crop
from .face.compositing import paste_back
from .face.finder import FaceFinder
from .face.placing import Placing, place
from .generator import OnStep, SamplingOptions
from .media.audio import Audio, check_speech, load_audio, to_mono_16k, video_soundtrack
from .media.mixdown import normalise_level
from .media.noise import reduce_noise
from .media.pictures import load_picture
from .media.video import AI_GENERATED, frame_count, write_video
from .media.voice import find_voice, problems
from .motion import MotionOptions
from .talking_head import TalkingHead, load_model

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Portrait:
    """A picture, uint8 (H, W, 3), and the model's square in it: its place, and the square itself, uint8 (S, S, 3)."""

    picture: np.ndarray
    placement: Placement
    frame: np.ndarray
    name: str = "portrait"


def place_portrait(
    picture: np.ndarray,
    config: ModelConfig,
    placing: Placing = Placing(),
    finder: Callable[[], FaceFinder] = FaceFinder,
    name: str = "portrait",
) -> Portrait:
    """Find the head that ``placing`` means and cut the model's square out around it; errors of ``placing.place``.

    picture: uint8 (H, W, 3); finder: called where a face must be looked for; name: what errors call the picture.
    """
    size = config.unet.image_size
    placement = place(picture, placing, size, config.geometry, finder, name)
    return Portrait(picture, placement, crop(picture, placement, size), name)


def embed_speech(model: TalkingHead, audio: Audio, voice_gate: bool = True) -> Tensor:
    """Audio embeddings (N, C) of a recording, one per video frame; errors of ``check_speech`` and ``encode_mono``.

    voice_gate: the model is given silence where nobody speaks, so that the mouth stays shut, and speech with less
    noise. The log says what to expect of a recording that a mouth cannot follow well.
    """
    check_speech(audio)
    mono, frames = to_mono_16k(audio), frame_count(audio, model.config.fps)
    voice = find_voice(normalise_level(mono)) if voice_gate else None
    for problem in problems(mono, voice):
        _log.warning("%s: %s", audio.name, problem)
    if voice is None:
        return model.encode_mono(mono, frames)
    return model.encode_mono(reduce_noise(mono), frames, voice.gain())


@dataclass(frozen=True, eq=False)
class Animation:
    """A checked request: nothing but sampling and encoding is left to do. ``len`` is the number of frames.

    embeddings: (N, C), of the part of the recording that ``audio`` holds. whole_picture: frames are the portrait's
    picture with the head moving in it, else the model's square alone. detail: 0..1, as of ``Compositor``.
    """

    model: TalkingHead
    portrait: Portrait
    audio: Audio
    embeddings: Tensor
    options: SamplingOptions
    motion: MotionOptions = MotionOptions()
    whole_picture: bool = True
    detail: float = 1.0

    def __post_init__(self) -> None:
        raise_problems("animation", {f"detail={self.detail}: expected 0 to 1": not 0 <= self.detail <= 1})

    def __len__(self) -> int:
        return len(self.embeddings)

    def frames(self, on_step: OnStep | None = None) -> Iterator[np.ndarray]:
        """Sample and yield the finished frames, uint8 (H, W, 3), one by one; ``on_step`` as of ``sample_frames``."""
        config, portrait = self.model.config, self.portrait
        heads = self.model.generate(portrait.frame, self.embeddings, self.options, motion=self.motion, on_step=on_step)
        if not self.whole_picture:
            return heads
        return paste_back(
            heads, portrait.picture, portrait.placement, geometry=config.geometry, detail=self.detail, fps=config.fps
        )

    def write(self, output: str | os.PathLike[str], on_frame: Callable[[int], None] | None = None) -> int:
        """Sample and write the video with the recording's sound; returns the number of frames.

        The file appears whole or not at all. on_frame(number of frames done) is called after each and may raise.
        """

        def counted() -> Iterator[np.ndarray]:
            for done, frame in enumerate(self.frames(), 1):
                yield frame
                if on_frame is not None:
                    on_frame(done)

        soundtrack = video_soundtrack(self.audio)
        return write_video(Path(output), counted(), self.model.config.fps, soundtrack, metadata=self.metadata)

    @property
    def metadata(self) -> Mapping[str, str]:
        """Tags of the video: what made it, and how to make it again. Names only, no folders."""
        options = self.options
        how = {
            "model": self.model.name,
            "sampler": options.sampler,
            "steps": str(options.steps),
            "seed": str(options.seed),
        }
        said = ", ".join(f"{key} {value}" for key, value in how.items())
        title = f"Talking head of {Path(self.portrait.name).stem}"
        return {"title": title, "comment": f"{AI_GENERATED} ({said})", **how}


def animate(
    portrait: str | os.PathLike[str] | np.ndarray,
    speech: str | os.PathLike[str] | Audio,
    model: str | os.PathLike[str] | TalkingHead = DEFAULT_MODEL,
    *,
    start: float = 0.0,
    duration: float | None = None,
    placing: Placing = Placing(),
    whole_picture: bool = True,
    detail: float = 1.0,
    motion: MotionOptions = MotionOptions(),
    voice_gate: bool = True,
    device: str = "auto",
    trust_torchscript: bool = False,
    **sampling: Any,
) -> Animation:
    """Check and load all that a talking head needs; ``write`` or ``frames`` of the result then make it.

    portrait: a picture file, or uint8 (H, W, 3). speech: a file with sound, of which ``start`` and ``duration`` choose
    a part in seconds, or a recording. model: a bundled model's name, a checkpoint, or a loaded model, for which
    ``device`` and ``trust_torchscript`` mean nothing. voice_gate: as of ``embed_speech``. sampling: fields of
    ``SamplingOptions`` (seed, steps, sampler, guidance ...); what is left out is the model's default. Raises
    DiffusedHeadsError for the first thing that is wrong, cheap checks first.
    """
    SamplingOptions(**sampling)
    name = "portrait" if isinstance(portrait, np.ndarray) else os.fspath(portrait)
    picture = portrait if isinstance(portrait, np.ndarray) else load_picture(portrait)
    audio = speech if isinstance(speech, Audio) else load_audio(speech, start, duration)
    check_speech(audio)
    head = model if isinstance(model, TalkingHead) else load_model(Path(model), device, trust_torchscript)
    options = head.options(**sampling)
    placed = place_portrait(picture, head.config, placing, FaceFinder, name)
    return Animation(head, placed, audio, embed_speech(head, audio, voice_gate), options, motion, whole_picture, detail)
