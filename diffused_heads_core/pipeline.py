"""The whole road: from a portrait and a speech recording to a video file, or to finished frames one by one.

``animate`` checks and loads everything; the ``Animation`` that it returns samples when its frames are asked for. The
command line, the ComfyUI nodes and the benchmarks take this road, the nodes step by step.
"""

from __future__ import annotations

import logging
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .checkpoints import DEFAULT_MODEL
from .config import DEFAULT_PRESET
from .errors import raise_problems
from .face.alignment import crop, head_mask, whole_placement
from .face.compositing import paste_back
from .face.finder import FaceFinder
from .face.moving_heads import drawn, source_picture, with_alpha
from .face.placing import Placing
from .face.portrait import Portrait, head_of, picture_of, place_portrait
from .face.transparency import MovingAlpha
from .generator import OnStep, SamplingOptions
from .media.audio import SAMPLE_RATE, Audio, check_speech, to_mono_16k, video_soundtrack
from .media.long_audio import FileSamples, open_audio
from .media.mixdown import normalise_level
from .media.noise import reduce_noise
from .media.pictures import shrink
from .media.provenance import AI_GENERATED
from .media.signing import Signer
from .media.video import as_fps, frame_count, write_video
from .media.voice import Levels, Voice, find_voice, problems
from .motion import MotionClip, MotionOptions, MotionTrack
from .motion.follow import fitted, followed, with_expression
from .motion.natural import natural_track
from .mouth.renderer import HeadFrame
from .speech_stream import embed_stream, streams
from .talking_head import TalkingHead, load_model

_log = logging.getLogger(__name__)


def embed_speech(model: TalkingHead, audio: Audio, voice_gate: bool = True, frames: int | None = None) -> Tensor:
    """Audio embeddings (N, C) of a recording, one per video frame; errors of ``check_speech`` and ``encode_mono``.

    voice_gate: the model is given silence where nobody speaks, so that the mouth stays shut, and speech with less
    noise. frames: N, by default as many as the recording has; silence follows its end. The log says what to expect of a
    recording that a mouth cannot follow well.
    """
    check_speech(audio)
    if isinstance(audio.samples, FileSamples) and frames is None and streams(model):
        levels = Levels()
        embeddings, voice = embed_stream(model, audio, voice_gate, levels)
        _warn(audio, levels, voice)
        return embeddings
    mono, own_frames = to_mono_16k(audio), frame_count(audio, model.config.fps)
    voice = find_voice(normalise_level(mono)) if voice_gate else None
    _warn(audio, Levels().push(mono), voice)
    gain = None if voice is None else voice.gain()
    mono = mono if voice is None else reduce_noise(mono)
    if frames is not None and frames > own_frames:
        missing = (0, math.ceil(frames * SAMPLE_RATE / model.config.fps) - len(mono))
        mono, gain = np.pad(mono, missing), None if gain is None else np.pad(gain, missing)
    return model.encode_mono(mono, own_frames if frames is None else frames, gain)


def _warn(audio: Audio, levels: Levels, voice: Voice | None) -> None:
    for problem in problems(levels, voice):
        _log.warning("%s: %s", audio.name, problem)


class Clip(ABC):
    """What can be written as a video: its frames, their rate, its sound and what its metadata say."""

    audio: Audio

    @abstractmethod
    def __len__(self) -> int:
        """The number of frames."""

    @property
    @abstractmethod
    def rate(self) -> Fraction:
        """The video's frames per second."""

    @property
    @abstractmethod
    def metadata(self) -> Mapping[str, str]:
        """Tags of the video: what made it, and how to make it again. Names only, no folders."""

    @abstractmethod
    def frames(self, on_step: OnStep | None = None) -> Iterator[np.ndarray]:
        """Sample and yield the finished frames, uint8 (H, W, 3 or 4), one by one."""

    def starts(self) -> Iterator[Fraction] | None:
        """The second at which each frame begins; None at a constant rate."""
        return None

    def write(
        self,
        output: str | os.PathLike[str],
        on_frame: Callable[[int], None] | None = None,
        signer: Signer | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> int:
        """Sample and write the video with the recording's sound; returns the number of frames.

        The file appears whole or not at all. on_frame(number of frames done) is called after each and may raise.
        signer: puts a C2PA manifest into the file. tags: more metadata.
        """

        def counted() -> Iterator[np.ndarray]:
            for done, frame in enumerate(self.frames(), 1):
                yield frame
                if on_frame is not None:
                    on_frame(done)

        sign = None if signer is None else signer.sign
        soundtrack = video_soundtrack(self.audio)
        metadata = {**self.metadata, **(tags or {})}
        return write_video(
            Path(output), counted(), self.rate, soundtrack, metadata=metadata, sign=sign, starts=self.starts()
        )


@dataclass(frozen=True, eq=False)
class Animation(Clip):
    """A checked request: nothing but sampling and encoding is left to do. ``len`` is the number of frames.

    embeddings: (N, C), of the part of the recording that ``audio`` holds. whole_picture: frames are the portrait's
    picture with the head moving in it, else the model's square alone. detail: 0..1, as of ``Compositor``. fps: the
    video's rate, None for the model's. transparent: frames have the portrait's alpha, or a matte of its head. track:
    the head's motion in place of one made from the seed with ``motion``; expression: a constant motion to add.
    """

    model: TalkingHead
    portrait: Portrait
    audio: Audio
    embeddings: Tensor
    options: SamplingOptions
    motion: MotionOptions = MotionOptions()
    whole_picture: bool = True
    detail: float = 1.0
    fps: Fraction | None = None
    transparent: bool = False
    track: MotionClip | None = None
    expression: MotionClip | None = None

    def __post_init__(self) -> None:
        raise_problems("animation", {f"detail={self.detail}: expected 0 to 1": not 0 <= self.detail <= 1})

    def __len__(self) -> int:
        return len(self.embeddings) if self.fps is None else frame_count(self.audio, self.fps)

    @property
    def rate(self) -> Fraction:
        """The video's frames per second."""
        return Fraction(self.model.config.fps) if self.fps is None else self.fps

    def frames(self, on_step: OnStep | None = None) -> Iterator[np.ndarray]:
        """Sample and yield the finished frames, uint8 (H, W, 3), one by one; ``on_step`` as of ``sample_frames``.

        Transparent frames are (H, W, 4), not premultiplied.
        """
        if self.model.config.mouth is not None and self.whole_picture:
            return self._drawn(on_step)
        heads = self.model.generate(
            self.portrait.frame,
            self.embeddings,
            self.options,
            self.head_track(),
            on_step=on_step,
            fps=self.rate,
            frames=len(self),
            mesh=self.portrait.mesh,
        )
        if not self.transparent:
            return self._pictures(heads)
        heads, again = tee(heads)
        return self._alpha().frames(self._pictures(heads), again)

    def head_track(self) -> MotionTrack | None:
        """The head's motion in the video, None if the model makes up its own."""
        model, frames, rate = self.model, len(self), self.rate
        if self.track is not None:
            track = fitted(self.track, frames, rate)
        else:
            mesh, speech = self.portrait.mesh, self.embeddings
            own = model.head_track(frames, self.options.seed, self.motion, rate, speech, mesh)
            if self.expression is None:
                return own
            track = own or MotionTrack.still(frames)
        whole = track if self.expression is None else with_expression(track, self.expression)
        return followed(whole, model.config, model.name)

    def head_frames(self, on_step: OnStep | None = None) -> Iterator[list[HeadFrame]]:
        """Sample and yield what the head does in each frame, of a model that paints the mouth alone."""
        return self.model.head_frames(
            self.portrait.frame[None],
            self.embeddings,
            self.options,
            self.head_track(),
            on_step=on_step,
            fps=self.rate,
            frames=len(self),
            mesh=self.portrait.mesh,
        )

    def _drawn(self, on_step: OnStep | None) -> Iterator[np.ndarray]:
        """The finished frames of a model that paints the mouth alone."""
        portrait, geometry = self.portrait, self.model.config.geometry
        picture, placement = portrait.picture, portrait.placement
        head = head_of(portrait, geometry)
        picture = source_picture(picture, portrait.frame, placement, geometry, self.detail)
        if not self.transparent:
            return drawn(picture, [head], self.head_frames(on_step))
        alpha = portrait.alpha
        if alpha is None:
            height, width = picture.shape[:2]
            alpha = np.rint(255 * head_mask(placement, height, width, geometry)).astype(np.uint8)
        pictures = drawn(np.dstack([picture, alpha]), [head], self.head_frames(on_step))
        return with_alpha(pictures, portrait.alpha is not None)

    def _pictures(self, heads: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """The whole picture for each of the model's frames, or these themselves."""
        if not self.whole_picture:
            return heads
        portrait, geometry = self.portrait, self.model.config.geometry
        return paste_back(
            heads, portrait.picture, portrait.placement, geometry=geometry, detail=self.detail, fps=float(self.rate)
        )

    def _alpha(self) -> MovingAlpha:
        """The alpha of the picture, or of the model's square."""
        portrait = self.portrait
        picture, placement = portrait.picture, portrait.placement
        if portrait.alpha is not None:
            picture = np.dstack([picture, portrait.alpha])
        if not self.whole_picture:
            size = len(portrait.frame)
            picture, placement = crop(picture, placement, size), whole_placement(size, size)
        return MovingAlpha(picture, portrait.frame, placement, self.model.config.geometry, float(self.rate))

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
    audio_track: int | None = None,
    max_side: int | None = None,
    placing: Placing = Placing(),
    whole_picture: bool = True,
    detail: float = 1.0,
    motion: MotionOptions = MotionOptions(),
    track: MotionClip | None = None,
    expression: MotionClip | None = None,
    fps: float | Fraction | None = None,
    transparent: bool = False,
    voice_gate: bool = True,
    device: str = "auto",
    trust_torchscript: bool = False,
    engine: str = "auto",
    preset: str = DEFAULT_PRESET,
    **sampling: Any,
) -> Animation:
    """Check and load all that a talking head needs; ``write`` or ``frames`` of the result then make it.

    portrait: a picture file, or uint8 (H, W, 3 or 4); it is made smaller first if a side is longer than ``max_side``.
    speech: a file with sound, of which ``start`` and ``duration`` choose a part in seconds and ``audio_track`` a track
    (from 1; None: the default one), or a recording. model: a bundled model's name, a checkpoint, or a loaded model, for
    which ``device``, ``trust_torchscript`` and ``engine`` (as of ``load_model``) mean nothing. motion: how lively the
    head is; track: its motion in place of one made from the seed (``motion.read_motion``, ``face.motion``); expression:
    a constant motion to add (``motion.editing.constant``). fps: the video's frame rate, by default the model's; 29.97
    is 30000/1001. transparent: frames have the portrait's alpha, or if it is opaque a matte of the head. voice_gate: as
    of ``embed_speech``. preset: of ``config.PRESETS``, sets the steps. sampling: fields of ``SamplingOptions`` (seed,
    steps, sampler, guidance ...); what is left out is the model's default. Raises DiffusedHeadsError for the first
    thing that is wrong, cheap checks first.
    """
    SamplingOptions(**sampling)
    rate = None if fps is None else as_fps(fps)
    name = "portrait" if isinstance(portrait, np.ndarray) else os.fspath(portrait)
    picture, alpha = picture_of(portrait)
    if max_side is not None:
        picture, alpha = shrink(picture, max_side), None if alpha is None else shrink(alpha, max_side)
    audio = speech if isinstance(speech, Audio) else open_audio(speech, start, duration, audio_track)
    check_speech(audio)
    head = model if isinstance(model, TalkingHead) else load_model(Path(model), device, trust_torchscript, engine)
    options = head.options(preset, **sampling)
    placed = replace(place_portrait(picture, head.config, placing, FaceFinder, name), alpha=alpha)
    embeddings = embed_speech(head, audio, voice_gate)
    head.network()  # made before the first frame is asked for
    how = whole_picture, detail, rate, transparent, track, expression
    return Animation(head, placed, audio, embeddings, options, motion, *how)


def motion_for(
    frames: int,
    fps: float | Fraction,
    seed: int = 0,
    options: MotionOptions = MotionOptions(),
    speech: Audio | None = None,
) -> MotionClip:
    """A natural head motion made from a seed, of somebody who says ``speech``, or of nobody in particular.

    It is the one that the bundled model has. Raises DiffusedHeadsError as ``natural_track``.
    """
    rate, head = as_fps(fps), None
    if speech is not None and options.source == "speech":
        head = load_model(DEFAULT_MODEL, "cpu", engine="pytorch")
    if head is None or speech is None:
        return MotionClip(natural_track(frames, rate, seed, options), rate)
    track = head.head_track(frames, seed, options, rate, embed_speech(head, speech))
    return MotionClip(track or MotionTrack.still(frames), rate)
