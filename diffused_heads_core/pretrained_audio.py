"""Audio encoders that were trained elsewhere: frozen speech models, and the authors' released encoder.

A model may learn one linear layer on the features of a speech model (HuBERT, wav2vec 2.0) in place of an encoder from
the log-mel spectrum. torchaudio is imported when a speech model is loaded, and only local weights are read.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .audio_encoder import COLUMNS_PER_FRAME, SAMPLE_RATE, AudioEncoder
from .config import MEL_KINDS, AudioConfig
from .errors import DiffusedHeadsError
from .files import file_kind, readable_file
from .mouth.streaming_encoder import StreamingAudioEncoder

RATE = 50.0  # rows per second of HuBERT and wav2vec 2.0
FOLDER = "DIFFUSED_HEADS_SPEECH_MODELS"
SUFFIXES = (".safetensors", ".pt", ".pth")
PIECE, OVERLAP = 20, 2  # seconds: longer recordings are encoded in pieces, the overlap is thrown away

EXPECTED_ENCODER = "the released TorchScript audio encoder"
HOP = SAMPLE_RATE // 25  # samples per embedding of the release, whose frame rate is 25
SPAN, MARGIN = 5 * HOP, 2 * HOP  # samples of a window, and of silence before and after the recording
HIDDEN = (2, 1, 256)  # shape of the recurrent state

# name: (factory in torchaudio.models, channels, layers, whether the waveform is normalised)
SPEECH_MODELS = {
    "hubert-base": ("hubert_base", 768, 12, False),
    "hubert-large": ("hubert_large", 1024, 24, True),
    "wav2vec2-base": ("wav2vec2_base", 768, 12, False),
    "wav2vec2-large": ("wav2vec2_large", 1024, 24, False),
    "wav2vec2-large-lv60k": ("wav2vec2_large_lv60k", 1024, 24, True),
}


@dataclass(frozen=True, eq=False)
class SpeechFeatures:
    """Features (T, C) float32 of a model's layer, ``rate`` rows per second, row k about the time (k + 0.5) / rate."""

    values: Tensor
    source: str
    layer: int
    rate: float = RATE

    def check(self, config: AudioConfig) -> None:
        """Raise DiffusedHeadsError unless a model of that configuration was trained on features of this kind."""
        if config.kind != "features":
            own = config.describe()
            raise DiffusedHeadsError(f"this model has a {own}: expected sound, found features of {self.source}")
        want, found = ((config.source, config.layer, config.width), (self.source, self.layer, self.values.shape[-1]))
        if want != found:
            raise DiffusedHeadsError(
                "expected features of {}, layer {}, {} wide, as the model was trained on; "
                "found {}, layer {}, {} wide".format(*want, *found)
            )

    def at_frames(self, frames: int, fps: float) -> Tensor:
        """One row per video frame, (frames, C): the mean of the features over the frame's time.

        Features count as linear between rows and constant beyond the first and last; rows after the last frame (padding
        to 30 s) are left out. Raises DiffusedHeadsError if they end more than three rows before the last frame.
        """
        covered, needed = len(self.values) / self.rate, frames / fps
        if covered + 3 / self.rate < needed:
            raise DiffusedHeadsError(
                f"features of {self.source}: {covered:.2f} s, expected {needed:.2f} s as the recording lasts "
                "(some speech models cut at 30 s: encode it in parts)"
            )
        return frame_means(self.values, self.rate, frames, fps)


def frame_means(values: Tensor, rate: float, frames: int, fps: float) -> Tensor:
    """Means over [n / fps, (n + 1) / fps] of the function that is linear between rows at (k + 0.5) / rate.

    (T, C) -> (frames, C).
    """
    rows = values.double()
    edges = (torch.arange(frames + 1, dtype=torch.float64) / fps * rate - 0.5).clamp(-1e9, 1e9)  # in rows
    before = torch.cat([rows.new_zeros(1, rows.shape[1]), ((rows[1:] + rows[:-1]) / 2).cumsum(0)])
    inside = edges.clamp(0, len(rows) - 1)
    low = inside.floor().long()
    high, part = (low + 1).clamp(max=len(rows) - 1), (inside - low)[:, None]
    integral = before[low] + rows[low] * part + (rows[high] - rows[low]) * part.square() / 2
    integral = (
        integral + rows[:1] * edges.clamp(max=0)[:, None] + rows[-1:] * (edges - (len(rows) - 1)).clamp(min=0)[:, None]
    )
    return (integral.diff(dim=0) * fps / rate).to(values.dtype)


class FeatureEncoder(nn.Module):
    """Features (B, C, F), one column per frame, -> embeddings (B, F, E): a norm and a linear layer per frame."""

    reach = 0

    def __init__(self, config: AudioConfig):
        super().__init__()
        self.config = config
        self.norm, self.out = nn.LayerNorm(config.width), nn.Linear(config.width, config.embedding)

    def forward(self, features: Tensor) -> Tensor:
        return self.out(self.norm(features.transpose(1, 2)))


class FinishedEmbeddings(nn.Module):
    """Embeddings that the released encoder has made already: (B, E, F) -> (B, F, E), nothing to learn."""

    reach = 0

    def __init__(self, config: AudioConfig):
        super().__init__()
        self.config = config

    def forward(self, embeddings: Tensor) -> Tensor:
        return embeddings.transpose(1, 2)


ENCODERS: dict[
    str, type[AudioEncoder] | type[StreamingAudioEncoder] | type[FeatureEncoder] | type[FinishedEmbeddings]
] = {
    "mel-conv": AudioEncoder,
    "mel-streaming": StreamingAudioEncoder,
    "features": FeatureEncoder,
    "torchscript": FinishedEmbeddings,
}


def new_encoder(config: AudioConfig) -> nn.Module:
    """An untrained encoder: (B, ``input_width``, columns) -> (B, F, E), F frames of ``columns_per_frame`` columns."""
    return ENCODERS[config.kind](config)


def columns_per_frame(config: AudioConfig) -> int:
    """Columns of an encoder's input per video frame."""
    return COLUMNS_PER_FRAME if config.kind in MEL_KINDS else 1


def feature_config(source: str, layer: int | None, embedding: int) -> AudioConfig:
    """The audio configuration for a known speech model; ``layer`` None takes the one at three quarters of its depth.

    Raises DiffusedHeadsError for an unknown name or a layer that it does not have.
    """
    _, width, layers, _ = _known(source)
    chosen = layers * 3 // 4 if layer is None else layer
    if not 1 <= chosen <= layers:
        raise DiffusedHeadsError(f"layer={chosen}: expected 1..{layers} of {source}")
    return AudioConfig(kind="features", embedding=embedding, source=source, layer=chosen, width=width)


def _known(source: str) -> tuple[str, int, int, bool]:
    if source not in SPEECH_MODELS:
        raise DiffusedHeadsError(f"speech model {source!r}: expected one of {', '.join(SPEECH_MODELS)}")
    return SPEECH_MODELS[source]


def find_weights(source: str, beside: Path | None = None) -> Path | None:
    """``<source>.safetensors`` or ``.pt`` in the folder that the environment names, or beside a checkpoint, or None."""
    folders = [Path(os.environ[FOLDER])] if os.environ.get(FOLDER) else []
    folders += [beside.parent] if beside else []
    return next(
        (path for folder in folders for suffix in SUFFIXES if (path := folder / f"{source}{suffix}").is_file()), None
    )


class SpeechModel:
    """A frozen speech model: ``features(mono)`` of sound (n,) float32 at 16 kHz."""

    def __init__(self, network: nn.Module, config: AudioConfig, device: torch.device | str = "cpu"):
        self.network, self.config = network.eval().requires_grad_(False).to(device), config
        self.normalise = _known(config.source)[3]

    def to(self, device: torch.device | str) -> SpeechModel:
        """Move the network; returns itself."""
        self.network.to(device)
        return self

    @torch.no_grad()
    def features(self, mono: np.ndarray) -> SpeechFeatures:
        """Features of a whole recording, long ones in overlapping pieces."""
        hop, step = round(SAMPLE_RATE / RATE), PIECE * SAMPLE_RATE
        parts = []
        for start in range(0, max(len(mono), 1), step):
            low, high = max(start - OVERLAP * SAMPLE_RATE, 0), min(start + step + OVERLAP * SAMPLE_RATE, len(mono))
            rows = self._layer(torch.from_numpy(np.ascontiguousarray(mono[low:high])))
            last = len(rows) if high == len(mono) else (start + step - low) // hop
            parts.append(rows[(start - low) // hop : last])
            if high == len(mono):
                break
        return SpeechFeatures(torch.cat(parts), self.config.source, self.config.layer)

    def _layer(self, wave: Tensor) -> Tensor:
        wave = F.pad(wave, (0, max(0, 800 - len(wave))))[None].to(next(self.network.parameters()).device)
        wave = F.layer_norm(wave, wave.shape[1:]) if self.normalise else wave
        layers, _ = cast(Any, self.network).extract_features(wave, num_layers=self.config.layer)
        return layers[-1][0].float().cpu()


def load_speech_model(config: AudioConfig, weights: Path, device: torch.device | str = "cpu") -> SpeechModel:
    """The speech model of a configuration from a local state dict (.safetensors, or .pt read without running anything).

    Raises DiffusedHeadsError if torchaudio is missing or cannot be imported, and for weights of another model.
    """
    factory = _known(config.source)[0]
    try:
        from torchaudio import models
    except (ImportError, OSError) as error:
        raise DiffusedHeadsError(
            f"{config.source} needs torchaudio, built for this PyTorch ({torch.__version__}): {error}"
        ) from error
    network = getattr(models, factory)()
    tensors = _read(readable_file(weights, f"weights of {config.source}"))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        found = str(error).splitlines()[-1].strip()[:120]
        raise DiffusedHeadsError(f"{weights}: expected weights of {config.source}, found others ({found})") from error
    return SpeechModel(network, config, device)


def _read(weights: Path) -> dict[str, Tensor]:
    """A state dict; the auxiliary output layer that some files carry is left out."""
    from safetensors.torch import load_file

    try:
        tensors = (
            load_file(weights)
            if weights.suffix == ".safetensors"
            else torch.load(weights, map_location="cpu", weights_only=True)
        )
        return {name: t for name, t in tensors.items() if not name.startswith("aux.")}
    except Exception as error:  # safetensors and PyTorch have no common class for damaged files
        raise DiffusedHeadsError(
            f"{weights}: expected a state dict of tensors alone (.safetensors or .pt), found {type(error).__name__}"
        ) from error


def audio_encoder_path(model_path: Path) -> Path:
    """Where the audio encoder of a converted checkpoint lies: ``<stem>.audio_encoder.pt`` beside it."""
    return Path(model_path).with_name(f"{Path(model_path).stem}.audio_encoder.pt")


class TorchScriptAudioEncoder(torch.nn.Module):
    """The released encoder: ``encoder(mono, frames)`` -> embeddings (frames, C) float32, one per frame at 25 fps.

    mono: (n,) float32 at 16 kHz. Runs the archive's code: only for files that are trusted.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                self.model = torch.jit.load(str(path), map_location="cpu").eval()
        except (RuntimeError, ValueError) as error:
            raise DiffusedHeadsError(f"{path}: expected {EXPECTED_ENCODER}, found {file_kind(path)}") from error
        self.register_buffer("hidden", torch.zeros(HIDDEN), persistent=False)

    @torch.no_grad()
    def forward(self, mono: np.ndarray | Tensor, frames: int) -> Tensor:
        hidden, rows = cast(Tensor, self.hidden), []
        for window in windows(torch.as_tensor(mono, dtype=torch.float32), frames).to(hidden.device):
            row, hidden = self._run(window[None], hidden)
            rows.append(row)
        return torch.cat(rows + rows[-1:] * (frames - len(rows)))[:frames].float()

    def _run(self, window: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        try:
            found, _, hidden = self.model(window, torch.tensor([SPAN], device=window.device), init_state=hidden)
            return found.reshape(1, -1), hidden
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
            raise DiffusedHeadsError(
                f"{self.path}: expected {EXPECTED_ENCODER}, its call failed ({reason.strip()[:120]})"
            ) from error


def windows(mono: Tensor, frames: int) -> Tensor:
    """Windows of 0.2 s, one per frame as far as the sound reaches, at least one: (n,) -> (<= frames, 3200).

    The sound is padded with 80 ms of silence on either side.
    """
    padded = torch.nn.functional.pad(mono, (MARGIN, MARGIN + max(0, HOP - len(mono))))
    return padded.unfold(0, SPAN, HOP)[: max(frames, 1)]


def load_audio_encoder(model_path: Path) -> TorchScriptAudioEncoder:
    """The TorchScript encoder beside a converted checkpoint; its code runs.

    Raises DiffusedHeadsError if it is missing.
    """
    return TorchScriptAudioEncoder(
        readable_file(audio_encoder_path(Path(model_path)), f"{EXPECTED_ENCODER} of {Path(model_path).name}")
    )
