"""A model ready to use: load it, encode speech, iterate over frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import checkpoints
from .audio_encoder import log_mel
from .audio_features import (
    FOLDER,
    SpeechFeatures,
    SpeechModel,
    find_weights,
    load_audio_encoder,
    load_speech_model,
    new_encoder,
)
from .config import ModelConfig
from .errors import DiffusedHeadsError
from .generator import OnStep, SamplingOptions, generate
from .media.audio import Audio, to_mono_16k
from .media.loudness import normalise_level
from .media.video import frame_count
from .motion import MotionOptions, MotionTrack, sample_track
from .shapes import to_model, to_uint8
from .unet import UNet


class Autocast:
    """A UNet that computes in ``dtype`` where that does no harm; its outputs stay float32."""

    def __init__(self, unet: UNet, dtype: torch.dtype):
        self.unet, self.dtype, self.config = unet, dtype, unet.config

    def __call__(
        self, x_t: Tensor, t: Tensor, spatial: Mapping[str, Tensor], features: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        with torch.autocast(x_t.device.type, self.dtype):
            return self.unet(x_t, t, spatial, features)


class TalkingHead:
    """A network and its audio encoder. ``config`` tells image size, fps and the default sampler and steps.

    ``dtype`` is what the network computes in (float32, or float16 and bfloat16 by autocast); its weights stay float32.
    """

    def __init__(
        self,
        config: ModelConfig,
        unet: UNet,
        audio_encoder: torch.nn.Module | None,
        licence: str = "unknown",
        summary: dict[str, Any] | None = None,
        name: str = "model",
    ):
        self.config, self.audio_encoder = config, audio_encoder
        self.unet = unet.eval().to(memory_format=torch.channels_last)
        self.licence, self.summary, self.name = licence, summary or {}, name
        self.dtype = torch.float32
        self.speech_weights: Path | None = None  # of the frozen speech model, for a model that hears its features

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    def to(self, device: torch.device | str) -> TalkingHead:
        """Move the model; returns itself."""
        self.unet.to(device)
        if self.audio_encoder is not None:
            self.audio_encoder.to(device)
        return self

    def options(self, **changes: Any) -> SamplingOptions:
        """Sampling options with this model's own sampler and steps where nothing else is asked for."""
        options = SamplingOptions(**{"sampler": self.config.sampler, "steps": self.config.steps, **changes})
        if options.steps > self.config.timesteps:
            raise DiffusedHeadsError(f"steps={options.steps}: expected 1..{self.config.timesteps}")
        return options

    @torch.no_grad()
    def encode_audio(self, audio: Audio) -> Tensor:
        """Speech -> embeddings (N, C), one a video frame, N = ceil(duration * fps).

        Raises DiffusedHeadsError for a converted model whose TorchScript audio encoder is not loaded, and for a model
        that hears features of a speech model whose weights are not there.
        """
        frames, kind = frame_count(audio, self.config.fps), self.config.audio.kind
        if self.audio_encoder is None:
            raise DiffusedHeadsError(
                "this model's audio encoder is a TorchScript archive: load the model with trust_torchscript"
            )
        mono = to_mono_16k(audio)
        if kind == "torchscript":
            return self.audio_encoder(mono, frames)
        if kind == "features":
            return self.encode_features(self._speech_model.hear(normalise_level(mono)), frames)
        mel = log_mel(normalise_level(mono), frames, self.config.fps, self.config.audio.mels)
        return self.audio_encoder(mel[None].to(self.device))[0]

    @torch.no_grad()
    def encode_features(self, features: SpeechFeatures, frames: int) -> Tensor:
        """Features of a recording -> embeddings (frames, C); DiffusedHeadsError for features of another kind than it
        was trained on.
        """
        features.check(self.config.audio)
        return self.audio_encoder(features.at_frames(frames, self.config.fps).T[None].to(self.device))[0]

    @cached_property
    def _speech_model(self) -> SpeechModel:
        config = self.config.audio
        if self.speech_weights is None:
            raise DiffusedHeadsError(
                f"this model hears {config.describe()}: expected {config.source}.safetensors or .pt beside it or in the "
                f"folder that {FOLDER} names, or features from elsewhere"
            )
        return load_speech_model(config, self.speech_weights, self.device)

    def track(self, frames: int, seed: int = 0, options: MotionOptions = MotionOptions()) -> MotionTrack | None:
        """A head-motion track for this model, or None where it makes up its own motion."""
        return sample_track(frames, self.config.fps, seed, options) if self.config.head_motion else None

    def generate(
        self,
        identity: np.ndarray,
        audio: Tensor,
        options: SamplingOptions | None = None,
        track: MotionTrack | None = None,
        motion: MotionOptions = MotionOptions(),
        on_step: OnStep | None = None,
    ) -> Iterator[np.ndarray]:
        """Yield frames (S, S, 3) uint8 of the head in ``identity`` (S, S, 3) uint8 speaking ``audio`` (N, C).

        A batch of identities (B, S, S, 3) gives frames (B, S, S, 3): each row is the clip that its identity gives
        alone.
        """
        if audio.shape[-1] != self.config.audio.embedding:
            raise DiffusedHeadsError(
                f"audio embeddings: expected {self.config.audio.embedding} channels, as this model's own are, found {audio.shape[-1]}"
            )
        options = options or self.options()
        track = track or self.track(len(audio), options.seed, motion)
        picture = to_model(identity, self.config.unet.image_size).to(self.device)
        network = self.unet if self.dtype == torch.float32 else Autocast(self.unet, self.dtype)
        for frame in generate(network, self.config, picture, audio.to(self.device), options, track, on_step=on_step):
            pictures = to_uint8(frame)
            yield pictures if identity.ndim == 4 else pictures[0]


def load_model(
    name: str | Path = checkpoints.DEFAULT_MODEL, device: str = "auto", trust_torchscript: bool = False
) -> TalkingHead:
    """Load a bundled model by name or a checkpoint by path.

    device: auto, cpu, cuda, mps. Raises DiffusedHeadsError for a file that is no checkpoint or does not fit its
    configuration. ``trust_torchscript`` runs the code of a released audio encoder that lies beside the checkpoint.
    """
    path = checkpoints.find_model(name)
    checkpoint = checkpoints.load(path)
    config = checkpoint.config
    unet = UNet(config.unet)
    fill(unet, checkpoint.tensors, "unet.", path)
    if config.audio.kind == "torchscript":
        encoder = load_audio_encoder(path) if trust_torchscript else None
    else:
        encoder = new_encoder(config.audio).eval()
        fill(encoder, checkpoint.tensors, "audio_encoder.", path)
    head = TalkingHead(config, unet, encoder, checkpoint.licence, checkpoint.summary, path.stem).to(pick_device(device))
    head.speech_weights = find_weights(config.audio.source, path) if config.audio.kind == "features" else None
    return head


def fill(module: torch.nn.Module, tensors: dict[str, Tensor], prefix: str, path: Path) -> None:
    """Load the tensors under ``prefix`` into a module; a mismatch raises DiffusedHeadsError with counts and one
    example.
    """
    mine = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    want = module.state_dict()
    wrong = [
        f"{n} {tuple(mine[n].shape) if n in mine else 'missing'}, expected {tuple(t.shape)}"
        for n, t in want.items()
        if n not in mine or mine[n].shape != t.shape
    ]
    wrong += [f"{n} is not expected" for n in mine if n not in want]
    if wrong:
        raise DiffusedHeadsError(
            f"{path}: {len(wrong)} tensors do not fit the configuration, for example {prefix}{wrong[0]}"
        )
    module.load_state_dict(mine)


def pick_device(device: str) -> torch.device:
    """'auto' takes CUDA, then MPS, then the CPU; a named device that is absent raises DiffusedHeadsError."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if there[name]))
    kind = device.split(":")[0]
    if not there.get(kind, False):
        raise DiffusedHeadsError(
            f"device={device!r}: expected auto or one of {[n for n, ok in there.items() if ok]} on this machine"
        )
    return torch.device(device)
