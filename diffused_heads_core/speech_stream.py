"""Audio embeddings of sound that comes in blocks."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from .audio_encoder import COLUMNS_PER_FRAME, WINDOW, column_centres, log_mel_part
from .config import MEL_KINDS
from .errors import DiffusedHeadsError
from .media.audio import SAMPLE_RATE, Audio, sample_blocks
from .media.mixdown import FRAME, Leveller, Mixer, Resampler
from .media.noise import NoiseReducer
from .media.voice import Detector, Gate, Levels, Voice
from .talking_head import TalkingHead

EMBEDDED = 1 << 18  # samples of a long recording that are encoded at once


class SpeechStream:
    """Blocks of sound -> audio embeddings, one row per video frame at the model's rate.

    The steps are those of ``pipeline.embed_speech``, each of which needs little sound after a frame:

    - mixing, resampling and levelling give the same samples, to float precision;
    - voice_gate: ``exact`` waits until the gate has decided (half a second) and weakens noise first, as for a whole
      recording. Otherwise the gate decides as if the sound ended now, and noise is left as it is: the mouth opens up to
      0.3 s later before speech, and follows a short noise a little until the gate has seen enough of it.

    levels: gets the sound as it is before it is levelled. Raises DiffusedHeadsError for a model whose audio encoder
    needs the whole recording.
    """

    def __init__(
        self,
        model: TalkingHead,
        sample_rate: int,
        channels: int = 1,
        voice_gate: bool = True,
        exact: bool = False,
        levels: Levels | None = None,
    ):
        check_streaming(model)
        self._model, self._fps, self._rate, self._channels = model, model.config.fps, sample_rate, channels
        self._mixer, self._resampler, self._leveller = Mixer(channels, sample_rate), _resampler(sample_rate), Leveller()
        detector = Detector.new(look_back=exact) if voice_gate else None
        self.gate = None if detector is None else Gate(detector, keep=exact)
        self._exact = exact and self.gate is not None
        self._levels = levels
        self._gate_leveller, self._noise = Leveller(), NoiseReducer()
        self._taken = self._mono = 0  # samples at the sound's own rate, and at 16 kHz
        self._sound, self._begin = np.empty(0, np.float32), 0  # levelled, from the sample ``_begin`` on
        self._frames: int | None = None  # of the whole recording, once it has ended
        self._ahead, self._behind = _reach(model)

    @property
    def look_ahead(self) -> float:
        """How much sound after a frame's own must be known before its row is, seconds."""
        hop = FRAME / SAMPLE_RATE
        after = self._ahead / (COLUMNS_PER_FRAME * self._fps) + (WINDOW / 2 - SAMPLE_RATE / 200) / SAMPLE_RATE
        return round((math.ceil(after / hop) + 1) * hop + (0.55 if self._exact else 0), 3)

    def push(self, samples: np.ndarray) -> None:
        """The next samples, float32 (channels, k) in [-1, 1]. Raises DiffusedHeadsError for others."""
        if self._frames is not None:
            raise DiffusedHeadsError("stream: its sound has ended")
        if samples.ndim != 2 or len(samples) != self._channels or samples.dtype != np.float32:
            wanted, found = f"float32 ({self._channels}, k)", f"{samples.dtype} {samples.shape}"
            raise DiffusedHeadsError(f"stream: expected samples {wanted}, found {found}")
        if not np.isfinite(samples).all():
            raise DiffusedHeadsError("stream: expected finite samples, found NaN or infinity")
        self._taken += samples.shape[1]
        self._take(self._resampler.push(self._mixer.push(samples)))

    def finish(self) -> None:
        """The sound has ended: all rows can be made."""
        if self._frames is not None:
            return
        length = (2 * self._taken * SAMPLE_RATE + self._rate) // (2 * self._rate)
        rest = np.concatenate([self._resampler.push(self._mixer.finish()), self._resampler.finish()])
        missing = length - self._mono
        self._take(np.pad(rest, (0, max(0, missing - len(rest))))[: max(0, missing)])
        last = self._noise.finish() if self._exact else np.empty(0, np.float32)
        self._keep(np.concatenate([self._leveller.push(last), self._leveller.finish()]))
        if self.gate is not None:
            if self._exact:
                self.gate.push(self._gate_leveller.finish())
            self.gate.finish()
        self._frames = math.ceil(Fraction(self._taken * self._fps, self._rate))

    def _take(self, mono: np.ndarray) -> None:
        self._mono += len(mono)
        if self._levels is not None:
            self._levels.push(mono)
        if self._exact:
            assert self.gate is not None
            self.gate.push(self._gate_leveller.push(mono))
            mono = self._noise.push(mono)
        self._keep(self._leveller.push(mono))

    def _keep(self, levelled: np.ndarray) -> None:
        self._sound = np.concatenate([self._sound, levelled])
        if self.gate is not None and not self._exact:
            self.gate.push(levelled)

    @property
    def voice(self) -> Voice | None:
        """Where somebody spoke, of an ``exact`` stream with a voice gate that has ended."""
        return self.gate.voice(self._mono) if self._exact and self.gate is not None else None

    @property
    def frames(self) -> int | None:
        """The number of frames of the whole recording; None before ``finish``."""
        return self._frames

    @property
    def seconds(self) -> float:
        """How much sound has come."""
        return self._taken / self._rate

    @property
    def rows(self) -> int:
        """How many rows, from the first one, can be made now."""
        if self._frames is not None:
            return self._frames
        known: float = self._begin + len(self._sound)
        known = min(known, self.gate.certain) if self._exact and self.gate is not None else known
        count = max(0, int(known * self._fps / SAMPLE_RATE) - self._ahead // COLUMNS_PER_FRAME + 1)
        while count and self._needed(count - 1) > known:
            count -= 1
        return count

    def _needed(self, row: int) -> int:
        """The number of samples that a row depends on, from the first one."""
        last = (row + 1) * COLUMNS_PER_FRAME + self._ahead
        return int(column_centres(last - 1, last, self._fps)[0]) + WINDOW // 2

    @torch.no_grad()
    def embeddings(self, first: int, last: int) -> Tensor:
        """The rows from ``first`` to ``last``, (last - first, C); none may be beyond ``rows`` or before ``forget``."""
        per_frame = COLUMNS_PER_FRAME
        low, high = max(0, first - -(-self._behind // per_frame)), last + -(-self._ahead // per_frame)
        high = high if self._frames is None else min(high, self._frames)
        sound, encoder, config = self._sound, self._model.audio_encoder, self._model.config
        assert encoder is not None
        if self.gate is not None:
            sound = sound * self.gate.gain(self._begin, self._begin + len(sound))
        mel = log_mel_part(sound, self._begin, range(low, high), config.fps, config.audio.mels)
        return encoder(mel[None].to(self._model.device))[0, first - low : last - low]

    def forget(self, row: int) -> None:
        """No row before this one will be asked for: frees the memory of their sound."""
        column = max(0, row * COLUMNS_PER_FRAME - self._behind - COLUMNS_PER_FRAME)
        sample = max(self._begin, int(column_centres(column, column + 1, self._fps)[0]) - WINDOW)
        done = min(sample - self._begin, len(self._sound))
        self._sound, self._begin = self._sound[done:], self._begin + done
        if self.gate is not None:
            self.gate.forget(self._begin)


def embed_stream(model: TalkingHead, audio: Audio, voice_gate: bool, levels: Levels) -> tuple[Tensor, Voice | None]:
    """Embeddings (N, C) of a recording that is read and encoded block by block, and where somebody speaks in it."""
    sound = SpeechStream(model, audio.sample_rate, audio.channels, voice_gate, True, levels)
    frames = math.ceil(audio.exact_duration * model.config.fps)
    rows = torch.empty(frames, model.config.audio.embedding, device=model.device)
    done = 0
    for block in sample_blocks(audio.samples, EMBEDDED):
        sound.push(block)
        rows[done : sound.rows] = sound.embeddings(done, sound.rows) if sound.rows > done else rows[:0]
        done = max(done, sound.rows)
        sound.forget(done)
    sound.finish()
    rows[done:] = sound.embeddings(done, frames) if frames > done else rows[:0]
    return rows, sound.voice


def streams(model: TalkingHead) -> bool:
    """Whether a model's audio encoder takes sound block by block."""
    return model.config.audio.kind in MEL_KINDS and model.audio_encoder is not None


def check_streaming(model: TalkingHead) -> None:
    """Raise DiffusedHeadsError if a model's audio encoder needs the whole recording, or is not loaded."""
    kind = model.config.audio.kind
    if not streams(model):
        raise DiffusedHeadsError(f"{model.name}: its audio encoder ({kind}) needs the whole recording, not a stream")


def _reach(model: TalkingHead) -> tuple[int, int]:
    """How many log-mel columns after and before its frame's own an embedding depends on."""
    encoder = model.audio_encoder
    both = COLUMNS_PER_FRAME * getattr(encoder, "reach", 0)
    return getattr(encoder, "ahead", both), getattr(encoder, "behind", both)


def _resampler(rate: int) -> Resampler:
    if not rate >= 1:
        raise DiffusedHeadsError(f"stream: expected a sample rate above 0 Hz, found {rate}")
    return Resampler(rate, SAMPLE_RATE)
