"""A talking head that answers sound with frames, while the sound comes in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checkpoints import DEFAULT_MODEL
from ..conditioning import to_model, to_uint8
from ..config import DEFAULT_PRESET
from ..errors import DiffusedHeadsError
from ..face.moving_heads import source_picture
from ..face.portrait import Portrait, head_of, picture_of, place_portrait
from ..generator import SamplingOptions
from ..motion import MotionOptions, MotionTrack, sample_track
from ..mouth.face_mesh import check_mesh, usual_mesh
from ..mouth.painting import MouthPainter
from ..mouth.scene import LowerFace
from ..speech_stream import SpeechStream, check_streaming
from ..talking_head import TalkingHead, load_model

MINUTE = 60  # seconds of head motion that are made at once


class TalkingStream:
    """Takes blocks of PCM and gives the frames whose sound is known.

    ``push`` a block and iterate over the frames that it finishes; ``finish`` gives the last ones. Frames have the
    model's rate and the size of the portrait's picture, or of the model's square if not ``whole_picture``. For full
    control (to leave out frames when time is short), ``take`` a block, then ask for any of the ``ready`` frames by
    ``frame(n)``, in rising order.

    A frame is ready when the sound up to ``look_ahead`` seconds after its end has come. sample_rate, channels: of the
    sound. track: the head's motion, by default made from ``options.seed``; when a track ends, its last row holds.
    voice_gate: as of ``SpeechStream``. Raises DiffusedHeadsError for models that paint the whole frame or need the
    whole recording, and for options that need noise.
    """

    def __init__(
        self,
        model: TalkingHead,
        portrait: Portrait,
        sample_rate: int,
        channels: int = 1,
        options: SamplingOptions | None = None,
        motion: MotionOptions = MotionOptions(),
        track: MotionTrack | None = None,
        whole_picture: bool = True,
        detail: float = 1.0,
        voice_gate: bool = True,
    ):
        self.options = options or model.options()
        self._painter = _Painter(model, portrait, self.options, whole_picture, detail)
        self.sound = SpeechStream(model, sample_rate, channels, voice_gate)
        self.model, self._motion, self._track, self._given = model, motion, track, track is not None
        assert model.config.mouth is not None
        windows = [group.neighbours for group in model.config.unet.features]
        self._neighbours = max(model.config.mouth.neighbours, *windows)
        self._next = 0

    @property
    def look_ahead(self) -> float:
        """How many seconds of sound after a frame's end must be known before the frame is made."""
        return round(self.sound.look_ahead + self._neighbours / self.model.config.fps, 3)

    @property
    def fps(self) -> int:
        """Frames per second, the model's."""
        return self.model.config.fps

    def take(self, pcm: np.ndarray) -> None:
        """The next block of sound, float in [-1, 1] or integer PCM, (k,), or (channels, k)."""
        self.sound.push(_samples(pcm))

    @property
    def ready(self) -> int:
        """How many frames, from the first one, can be made now."""
        if self.sound.frames is not None:
            return self.sound.frames
        return max(0, self.sound.rows - self._neighbours)

    @property
    def speaking(self) -> bool:
        """Whether the voice gate is open at the newest sound; True without a gate."""
        gate = self.sound.gate
        return gate is None or gate.speaking

    def frame(self, number: int) -> np.ndarray:
        """One of the ``ready`` frames, uint8 (H, W, 3); none may come before one that was asked for."""
        if not self._next <= number < self.ready:
            raise DiffusedHeadsError(f"stream: frame {number} is not ready, or comes before the last one")
        self._next = number + 1
        window = self._window(number)
        picture = self._painter.frame(window, self._rows_of_motion(number))
        self.sound.forget(number - self._neighbours)
        return picture

    def push(self, pcm: np.ndarray) -> Iterator[np.ndarray]:
        """``take`` a block, at once, and make the frames that it finishes as they are asked for."""
        self.take(pcm)
        return self._frames()

    def finish(self) -> Iterator[np.ndarray]:
        """The sound has ended; the frames that are left."""
        self.sound.finish()
        return self._frames()

    def _frames(self) -> Iterator[np.ndarray]:
        while self._next < self.ready:
            yield self.frame(self._next)

    def _window(self, number: int) -> Tensor:
        """Embeddings of a frame and its neighbours, (2 n + 1, C); the recording's ends are repeated."""
        around = np.arange(number - self._neighbours, number + self._neighbours + 1)
        last = around[-1] if self.sound.frames is None else self.sound.frames - 1
        around = around.clip(0, last)
        rows = self.sound.embeddings(int(around[0]), int(around[-1]) + 1)
        return rows[torch.from_numpy(around - around[0])]

    def _rows_of_motion(self, number: int) -> MotionTrack:
        if self._track is None or (not self._given and number >= len(self._track)):
            frames = (number // (MINUTE * self.fps) + 1) * MINUTE * self.fps
            self._track = sample_track(frames, float(self.fps), self.options.seed, self._motion)
        row = min(number, len(self._track) - 1)
        return self._track.part(slice(row, row + 1))


class _Painter:
    """Makes one frame of one portrait from its audio window and its row of the head's motion."""

    def __init__(
        self, model: TalkingHead, portrait: Portrait, options: SamplingOptions, whole_picture: bool, detail: float
    ):
        check_painting(model)
        config = model.config
        assert config.mouth is not None
        if options.temperature or options.colour_lock:
            raise DiffusedHeadsError("stream: temperature and colour_lock must be 0")
        self._model, self._painter = model, MouthPainter(config, options)
        identity = to_model(portrait.frame, config.frame_size).to(model.device)
        mesh = usual_mesh(config.geometry, config.frame_size) if portrait.mesh is None else portrait.mesh
        self._coefficients = np.zeros((1, config.mouth.components))
        track = MotionTrack.still(1) if config.head_motion or whole_picture else None
        self._scene = LowerFace(config, identity, check_mesh(mesh)[None], self._coefficients, track)
        self._neighbours = config.unet.features[0].neighbours
        self._head, geometry = None, config.geometry
        if whole_picture:
            self._picture = source_picture(portrait.picture, portrait.frame, portrait.placement, geometry, detail)
            self._head = head_of(replace(portrait, mesh=mesh), geometry)
        model.network()

    @torch.no_grad()
    def frame(self, window: Tensor, motion: MotionTrack) -> np.ndarray:
        """uint8 (H, W, 3); window: (2 n + 1, C), embeddings of the frame and those around it."""
        model, scene = self._model, self._scene
        middle = len(window) // 2
        assert model.lip_shape is not None
        self._coefficients[0] = model.lip_shape(window[None])[0, middle].cpu().numpy()
        if model.config.head_motion:
            scene.track = motion
        seen = window[None, middle - self._neighbours : middle + self._neighbours + 1]
        painted = self._painter.paint(model.network(), scene.spatial(0, []), seen)
        if self._head is None:
            return to_uint8(scene.finished(0, painted))[0]
        picture = self._picture.copy()
        self._head.draw(picture, scene.head_frames(0, painted)[0])
        return picture


def stream(
    portrait: str | os.PathLike[str] | np.ndarray,
    sample_rate: int,
    channels: int = 1,
    model: str | os.PathLike[str] | TalkingHead = DEFAULT_MODEL,
    *,
    preset: str = DEFAULT_PRESET,
    motion: MotionOptions = MotionOptions(),
    whole_picture: bool = True,
    voice_gate: bool = True,
    **sampling: Any,
) -> TalkingStream:
    """A stream for a portrait: a picture file, or uint8 (H, W, 3 or 4), whose largest face is taken.

    sampling: fields of ``SamplingOptions``. Errors of ``pipeline.animate`` and ``TalkingStream``.
    """
    head = model if isinstance(model, TalkingHead) else load_model(os.fspath(model))
    check_streaming(head)
    name = "portrait" if isinstance(portrait, np.ndarray) else os.fspath(portrait)
    placed = place_portrait(picture_of(portrait)[0], head.config, name=name)
    options = head.options(preset, **sampling)
    return TalkingStream(
        head, placed, sample_rate, channels, options, motion, whole_picture=whole_picture, voice_gate=voice_gate
    )


def check_painting(model: TalkingHead) -> None:
    """Raise DiffusedHeadsError for a model that paints the whole frame or needs the whole recording."""
    check_streaming(model)
    if model.config.mouth is None or model.lip_shape is None or model.config.motion_frames:
        raise DiffusedHeadsError(f"{model.name}: expected a model that paints the mouth alone, as `portrait` does")


def _samples(pcm: np.ndarray) -> np.ndarray:
    """A block as float32 (channels, k), full scale 1."""
    block = np.asarray(pcm)
    block = block[None] if block.ndim == 1 else block
    if block.dtype.kind in "iu":
        half = 2.0 ** (8 * block.dtype.itemsize - 1)
        return ((block.astype(np.float64) - (half if block.dtype.kind == "u" else 0)) / half).astype(np.float32)
    return block.astype(np.float32)
