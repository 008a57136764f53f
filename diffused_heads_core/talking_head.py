"""A model ready to use: load it, encode speech, iterate over frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import checkpoints
from .audio_encoder import log_mel
from .checkpoints import load_tensors, pick_device
from .conditioning import to_model, to_uint8
from .config import DEFAULT_PRESET, ModelConfig, preset_steps
from .engines.engine import Network, check_engine, fastest_network
from .errors import DiffusedHeadsError
from .generator import OnStep, SamplingOptions, Scene, sample_scene
from .layers import memory_format
from .media.audio import Audio, to_mono_16k
from .media.mixdown import normalise_level
from .media.video import frame_count
from .motion import MotionOptions, MotionTrack
from .motion.natural import natural_track
from .mouth.face_mesh import check_mesh, usual_mesh
from .mouth.lip_shape import LipShape, new_lip_shape
from .mouth.renderer import HeadFrame
from .mouth.scene import LowerFace, Mouths, mouths_of
from .pretrained_audio import (
    FOLDER,
    SpeechFeatures,
    SpeechModel,
    find_weights,
    load_audio_encoder,
    load_speech_model,
    new_encoder,
)
from .unet import UNet


class TalkingHead:
    """A network and its audio encoder. ``config`` tells image size, fps and the default sampler and steps.

    audio_encoder: None for a converted model whose TorchScript encoder is not trusted. speech_weights: where the frozen
    speech model's weights are, for a model that was trained on its features. name: what errors and metadata call it.
    engine: one of ``engines.engine.ENGINES``, what computes the network in ``generate``. lip_shape: of a model that
    paints the mouth alone.
    """

    def __init__(
        self,
        config: ModelConfig,
        unet: UNet,
        audio_encoder: nn.Module | None,
        licence: str = "unknown",
        summary: Mapping[str, Any] | None = None,
        name: str = "model",
        speech_weights: Path | None = None,
        engine: str = "pytorch",
        lip_shape: LipShape | None = None,
    ):
        self.config, self.unet, self.audio_encoder, self.lip_shape = config, unet.eval(), audio_encoder, lip_shape
        self.licence, self.summary, self.name = licence, summary or {}, name
        self.speech_weights, self.engine = speech_weights, engine
        self._network: tuple[object, Network] | None = None
        self.to()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the network's weights are stored and computed in."""
        return next(self.unet.parameters()).dtype

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> TalkingHead:
        """Move the model, or store the network's weights as ``dtype`` (float32, float16, bfloat16); returns itself.

        The audio encoder stays float32: it runs once per clip.
        """
        device = self.device if device is None else torch.device(device)
        self.unet.to(device, dtype or self.dtype)
        self.unet.to(memory_format=memory_format(device))  # type: ignore[call-overload]
        for module in (self.audio_encoder, self.lip_shape):
            if module is not None:
                module.to(device)
        return self

    def network(self) -> Network:
        """What computes the network with the engine of this model, on its device and with its weights as they are.

        The first call, and the first one after the weights have changed, makes it; that can take a second.
        """
        if self.engine == "pytorch":
            return self.unet
        state = [(p.device, p.data_ptr(), p.dtype, _version(p)) for p in self.unet.parameters()], self.engine
        if self._network is None or self._network[0] != state:
            self._network = state, fastest_network(self.unet, self.engine)
        return self._network[1]

    def options(self, preset: str = DEFAULT_PRESET, **changes: Any) -> SamplingOptions:
        """Sampling options with this model's default sampler and the steps of a preset unless others are asked for.

        Raises DiffusedHeadsError for an unknown preset and values out of range.
        """
        defaults = {"sampler": self.config.sampler, "steps": preset_steps(self.config, preset)}
        options = SamplingOptions(**{**defaults, **changes})
        if options.steps > self.config.timesteps:
            raise DiffusedHeadsError(f"steps={options.steps}: expected 1..{self.config.timesteps}")
        return options

    def encode_audio(self, audio: Audio) -> Tensor:
        """Speech -> embeddings (N, C), one per video frame, N = ceil(duration * fps); errors of ``encode_mono``."""
        return self.encode_mono(to_mono_16k(audio), frame_count(audio, self.config.fps))

    @torch.no_grad()
    def encode_mono(self, mono: np.ndarray, frames: int, gain: np.ndarray | None = None) -> Tensor:
        """Speech, float32 (n,) at 16 kHz -> embeddings (frames, C).

        gain: (n,), 0..1, by which the samples are multiplied once they have been levelled. Raises DiffusedHeadsError
        for a converted model whose TorchScript audio encoder is not loaded, and if the weights of the frozen speech
        model are missing.
        """
        kind = self.config.audio.kind
        if self.audio_encoder is None:
            raise DiffusedHeadsError(
                "this model's audio encoder is a TorchScript archive: load the model with trust_torchscript"
            )
        mono = mono if kind == "torchscript" else normalise_level(mono)
        mono = mono if gain is None else mono * gain
        if kind == "torchscript":
            return self.audio_encoder(mono, frames)
        if kind == "features":
            return self.encode_features(self._speech_model.to(self.device).features(mono), frames)
        mel = log_mel(mono, frames, self.config.fps, self.config.audio.mels)
        return self.audio_encoder(mel[None].to(self.device))[0]

    @torch.no_grad()
    def encode_features(self, features: SpeechFeatures, frames: int) -> Tensor:
        """Features of a recording -> embeddings (frames, C). Raises DiffusedHeadsError for features of another kind."""
        assert self.audio_encoder is not None
        features.check(self.config.audio)
        return self.audio_encoder(features.at_frames(frames, self.config.fps).T[None].to(self.device))[0]

    @cached_property
    def _speech_model(self) -> SpeechModel:
        config = self.config.audio
        if self.speech_weights is None:
            raise DiffusedHeadsError(
                f"this model was trained on {config.describe()}: expected {config.source}.safetensors or .pt beside it "
                f"or in the folder that {FOLDER} names"
            )
        return load_speech_model(config, self.speech_weights, self.device)

    def release_speech_model(self) -> None:
        """Free the frozen speech model, if there is one. The next encoding of sound loads it again."""
        self.__dict__.pop("_speech_model", None)

    def head_track(
        self,
        frames: int,
        seed: int = 0,
        options: MotionOptions = MotionOptions(),
        fps: Fraction | None = None,
        audio: Tensor | None = None,
        mesh: np.ndarray | None = None,
    ) -> MotionTrack | None:
        """A head-motion track at ``fps`` (default: the model's), or None if the model makes up its own motion.

        audio (N, C): the speech's embeddings, which the motion follows if the bundled prior knows them. mesh (468, 3):
        the portrait's.
        """
        if not self.config.head_motion:
            return None
        rate, encoder = fps or self.config.fps, None if self.config.mouth is None else self.audio_encoder
        return natural_track(frames, rate, seed, options, audio, encoder, mesh)

    def generate(
        self,
        identity: np.ndarray,
        audio: Tensor,
        options: SamplingOptions | None = None,
        track: MotionTrack | None = None,
        motion: MotionOptions = MotionOptions(),
        on_step: OnStep | None = None,
        fps: Fraction | None = None,
        frames: int | None = None,
        mesh: np.ndarray | None = None,
    ) -> Iterator[np.ndarray]:
        """Yield frames (S, S, 3) uint8 of the head in ``identity`` (S, S, 3) uint8 speaking ``audio`` (N, C).

        A batch of identities (B, S, S, 3) gives frames (B, S, S, 3): each row is the clip that its identity gives
        alone. track: the head's motion, by default sampled from the options' seed with the liveliness ``motion``.
        fps, frames: rate and number of frames, by default the model's rate and N. mesh: (468, 3) or (B, 468, 3), the
        identity's face mesh in its pixels, for a model that paints the mouth alone; by default where a face usually is.
        """
        made = self._painted(identity, audio, options, track, motion, on_step, fps, frames, mesh)
        for scene, frame, painted in made:
            pictures = to_uint8(scene.finished(frame, painted))
            yield pictures if identity.ndim == 4 else pictures[0]

    def head_frames(
        self,
        identity: np.ndarray,
        audio: Tensor,
        options: SamplingOptions | None = None,
        track: MotionTrack | None = None,
        motion: MotionOptions = MotionOptions(),
        on_step: OnStep | None = None,
        fps: Fraction | None = None,
        frames: int | None = None,
        mesh: np.ndarray | None = None,
    ) -> Iterator[list[HeadFrame]]:
        """Yield what each head does in each frame, to be drawn by ``mouth.renderer.PictureHead``.

        Of a model that paints the mouth alone. identity: (B, S, S, 3) uint8; other arguments as of ``generate``.
        """
        made = self._painted(identity, audio, options, track, motion, on_step, fps, frames, mesh)
        for scene, frame, painted in made:
            assert isinstance(scene, LowerFace)
            yield scene.head_frames(frame, painted)

    def _painted(
        self,
        identity: np.ndarray,
        audio: Tensor,
        options: SamplingOptions | None,
        track: MotionTrack | None,
        motion: MotionOptions,
        on_step: OnStep | None,
        fps: Fraction | None,
        frames: int | None,
        mesh: np.ndarray | None,
    ) -> Iterator[tuple[Scene, int, Tensor]]:
        """``sample_scene`` with the defaults of ``generate``. Raises DiffusedHeadsError for another model's audio."""
        want = self.config.audio.embedding
        if audio.shape[-1] != want:
            raise DiffusedHeadsError(
                f"audio embeddings: expected {want} channels, as this model's own are, found {audio.shape[-1]}"
            )
        options, frames = options or self.options(), len(audio) if frames is None else frames
        one = mesh if mesh is not None and np.ndim(mesh) == 2 else None
        track = track or self.head_track(frames, options.seed, motion, fps, audio, one)
        picture, audio = to_model(identity, self.config.frame_size).to(self.device), audio.to(self.device)
        mouths, network = self._mouths(len(picture), audio, mesh), self.network()
        return sample_scene(network, self.config, picture, audio, options, track, None, on_step, fps, frames, mouths)

    @torch.no_grad()
    def _mouths(self, batch: int, audio: Tensor, mesh: np.ndarray | None) -> Mouths | None:
        """The portraits' meshes and the shapes of their lips, of a model that paints the mouth alone."""
        if self.lip_shape is None:
            return None
        mesh = usual_mesh(self.config.geometry, self.config.frame_size) if mesh is None else mesh
        meshes = np.stack([check_mesh(m) for m in mesh]) if np.ndim(mesh) == 3 else check_mesh(mesh)[None]
        return mouths_of(meshes.repeat(batch // len(meshes), 0), self.lip_shape, audio)


def load_model(
    name: str | Path = checkpoints.DEFAULT_MODEL,
    device: str = "auto",
    trust_torchscript: bool = False,
    engine: str = "auto",
) -> TalkingHead:
    """Load a bundled model by name or a checkpoint by path.

    device: auto, cpu, cuda, mps. ``trust_torchscript`` runs the code of a released audio encoder that lies beside the
    checkpoint. engine: what computes the network: auto (the fastest that is installed, with half-precision
    weights on CUDA), pytorch (float32), openvino, onnxruntime.
    Raises DiffusedHeadsError for a file that is no checkpoint or does not fit its configuration, and for an engine that
    is not installed or not for the device.
    """
    place = pick_device(device)
    check_engine(engine, place)
    path = checkpoints.find_model(name)
    checkpoint = checkpoints.load(path)
    config, audio = checkpoint.config, checkpoint.config.audio
    unet = UNet(config.unet)
    load_tensors(unet, checkpoint.tensors, "unet.", path)
    encoder: nn.Module | None = None
    if audio.kind != "torchscript":
        encoder = new_encoder(audio).eval()
        load_tensors(encoder, checkpoint.tensors, "audio_encoder.", path)
    elif trust_torchscript:
        encoder = load_audio_encoder(path)
    weights = find_weights(audio.source, path) if audio.kind == "features" else None
    lips = None if config.mouth is None else new_lip_shape(config)
    if lips is not None:
        load_tensors(lips, checkpoint.tensors, "lip_shape.", path)
    head = TalkingHead(config, unet, encoder, checkpoint.licence, checkpoint.summary, path.stem, weights, engine, lips)
    return head.to(place, torch.float16 if engine == "auto" and place.type == "cuda" else None)


def _version(parameter: Tensor) -> int:
    """A number that changes with a parameter's values; tensors of inference mode have none."""
    return 0 if parameter.is_inference() else parameter._version
