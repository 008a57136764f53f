"""The network that a run begins with: a new one or an existing model, with some of its parts frozen."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import nn

from ..diffused_heads_core import checkpoints
from ..diffused_heads_core.checkpoints import Checkpoint, load_tensors
from ..diffused_heads_core.config import ModelConfig
from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.files import atomic_path
from ..diffused_heads_core.layers import Attention
from ..diffused_heads_core.pretrained_audio import audio_encoder_path, new_encoder
from ..diffused_heads_core.unet import UNet
from .config import TrainConfig
from .losses import Denoiser


def parts(model: nn.Module) -> dict[str, str]:
    """The part (``config.PARTS``) that each parameter of a Denoiser belongs to."""
    attention = {
        f"{place}.{name}"
        for place, module in model.named_modules()
        if isinstance(module, Attention)
        for name, _ in module.named_parameters()
    }
    return {name: "attention" if name in attention else _part(name) for name, _ in model.named_parameters()}


def _part(name: str) -> str:
    inner = name.removeprefix("unet.")
    if inner.startswith("audio_encoder."):
        return "audio"
    if inner.startswith(("time_embed.", "audio_embed.")) or "_emb_layers." in inner:
        return "conditioning"
    return "output" if inner.startswith(("out.", "refine.")) else "body"


def build(model: ModelConfig, seed: int) -> Denoiser:
    """A newly initialised network and encoder, the same for the same seed; global random state does not change."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        encoder = new_encoder(model.audio)
        return Denoiser(UNet(model.unet), encoder).to(memory_format=torch.channels_last)


def freeze(model: nn.Module, frozen: tuple[str, ...]) -> None:
    """Exclude the parameters of the parts ``frozen`` (of ``config.PARTS``) from training."""
    part = parts(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part[name] not in frozen)


def check_audio_weights(config: TrainConfig, given: bool) -> None:
    """Raise DiffusedHeadsError if the audio encoder is frozen and no weights for it are ``given``."""
    if "audio" in config.freeze and not given and config.model.audio.kind != "torchscript":
        raise DiffusedHeadsError(
            "the audio encoder would stay frozen at random weights: give a pretrained one (--audio-encoder, as "
            "`pretrain-audio` writes it), start from a model, or train it too (--freeze without `audio`)"
        )


def load_model_weights(model: Denoiser, name: str | Path) -> Checkpoint:
    """Load the weights of a bundled model (by name) or of a checkpoint; returns the checkpoint.

    Raises DiffusedHeadsError if they do not fit the model.
    """
    path = checkpoints.find_model(name)
    checkpoint = checkpoints.load(path)
    load_tensors(model.unet, checkpoint.tensors, "unet.", path)
    load_tensors(model.audio_encoder, checkpoint.tensors, "audio_encoder.", path)
    return checkpoint


def load_audio_encoder_weights(model: Denoiser, path: Path) -> None:
    """Load the audio encoder's weights from a checkpoint such as ``pretrain-audio`` writes.

    Raises DiffusedHeadsError if they do not fit the model.
    """
    load_tensors(model.audio_encoder, checkpoints.load(path).tensors, "audio_encoder.", path)


def copy_scripted_encoder(source: str | Path, target: Path) -> None:
    """Copy the TorchScript audio encoder that lies beside ``source``, a converted model, beside ``target``.

    Raises DiffusedHeadsError if there is none.
    """
    found, wanted = audio_encoder_path(checkpoints.find_model(source)), audio_encoder_path(target)
    if not found.is_file():
        raise DiffusedHeadsError(f"{source}: expected its audio encoder {found.name} beside it")
    if not wanted.is_file():
        with atomic_path(wanted) as part:
            shutil.copyfile(found, part)
