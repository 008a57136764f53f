"""The authors' released files: the UNet turned into a checkpoint of this project, the audio encoder kept beside it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .. import checkpoints
from ..config import AudioConfig, FeatureGroup, ModelConfig, SpatialInput, UNetConfig
from ..errors import DiffusedHeadsError
from ..files import atomic_path
from ..pretrained_audio import EXPECTED_ENCODER, HOP, TorchScriptAudioEncoder, audio_encoder_path
from ..unet import UNet
from .archive import StoredTensor, TorchArchive

EXPECTED = "a released UNet of Diffused Heads (TorchScript archive or Lightning checkpoint)"
LICENCE = "CC BY-NC-SA 4.0 (as released by the authors)"
PREFIXES = ("unet.", "diffusion.nn_backbone.", "")
FIRST = "time_embed.fc.0.weight"  # a tensor that every released UNet has
HEAD_CHANNELS = 64
HEAD_CHANNEL_NAMES = ("num_head_channels", "n_head_channels", "head_channels", "nhc")
IMAGE_SIZE, IMAGE_SIZE_NAMES = 128, ("image_size", "img_size")
EMBEDDING, NEIGHBOURS = 256, 2
FPS = 25
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Found:
    """A UNet in an archive: its tensors by the released names, and numbers that the file names beside them."""

    kind: str
    places: dict[str, StoredTensor]
    head_channels: int | None = None
    image_size: int | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes by the released names."""
        return {name: place.shape for name, place in self.places.items()}


def convert(
    source: Path,
    target: Path,
    audio_encoder: Path | None = None,
    trust_torchscript: bool = False,
    *,
    image_size: int | None = None,
    head_channels: int | None = None,
    motion_gray: bool | None = None,
    audio_embedding: int | None = None,
) -> ModelConfig:
    """Turn a released UNet into a safetensors checkpoint at ``target`` and return its configuration.

    source: TorchScript archive or Lightning checkpoint, read without running anything in it. The architecture is
    inferred from names and shapes (``infer``); the rest can be given: ``image_size`` (the network is fully
    convolutional; by default the file's, or 128), ``head_channels``, ``motion_gray``, ``audio_embedding``.
    audio_encoder: the TorchScript encoder, copied beside the target (``audio_encoder_path``); with
    ``trust_torchscript`` it is also run once on silence. Both files are replaced atomically. Raises DiffusedHeadsError
    for a file of another kind, a damaged one, or one whose tensors do not fit.
    """
    source, target = Path(source), Path(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise DiffusedHeadsError(f"{target}: the target must be another file than the source")
    with TorchArchive(source, EXPECTED) as archive:
        found = find_unet(archive)
        try:
            config = infer(
                found.shapes,
                image_size or found.image_size or IMAGE_SIZE,
                head_channels or found.head_channels,
                motion_gray,
                audio_embedding,
            )
            compare(found.shapes, config.unet)
        except DiffusedHeadsError as error:
            raise DiffusedHeadsError(f"{source}: {error}") from error
        tensors = {f"unet.{name}": archive.read(place) for name, place in found.places.items()}
    if audio_encoder is not None:
        check_audio_encoder(Path(audio_encoder), config.audio.embedding, trust_torchscript)
    summary = {"source": source.name, "kind": found.kind, "note": "converted from the authors' release"}
    checkpoints.save(target, checkpoints.Checkpoint(config, tensors, LICENCE, summary))
    if audio_encoder is not None:
        keep_audio_encoder(Path(audio_encoder), target)
    return config


def find_unet(archive: TorchArchive) -> Found:
    """The UNet of an archive; raises DiffusedHeadsError if it holds none."""
    kind = "TorchScript archive" if archive.scripted else "Lightning checkpoint"
    stored, numbers = archive.module() if archive.scripted else (archive.state_dict(), archive.settings())
    prefix = next((p for p in PREFIXES if p + FIRST in stored), None)
    if prefix is None:
        example = f", for example {next(iter(stored))!r}" if stored else ""
        raise archive.wrong(f"a PyTorch archive of something else ({len(stored)} tensors{example})")
    places = {name.removeprefix(prefix): place for name, place in stored.items() if name.startswith(prefix)}
    channels = {
        width // number
        for name, number in numbers.items()
        for width in _attention_width(places, name.removeprefix(prefix))
        if number > 0 and name.endswith(".n_heads")
    }
    channels = channels or _named(numbers, HEAD_CHANNEL_NAMES)
    sizes = _named(numbers, IMAGE_SIZE_NAMES)
    return Found(kind, places, min(channels) if len(channels) == 1 else None, min(sizes) if len(sizes) == 1 else None)


def _attention_width(places: Mapping[str, StoredTensor], name: str) -> list[int]:
    projection = places.get(f"{name.removesuffix('n_heads')}proj_out.weight")
    return [projection.shape[0]] if projection is not None and projection.shape else []


def _named(numbers: Mapping[str, int], names: tuple[str, ...]) -> set[int]:
    return {number for name, number in numbers.items() if name.rpartition(".")[2] in names and number > 0}


def infer(
    shapes: Shapes,
    image_size: int = 128,
    head_channels: int | None = None,
    motion_gray: bool | None = None,
    audio_embedding: int | None = None,
) -> ModelConfig:
    """The configuration that parameter names and shapes of the released layout imply.

    Attention levels are counted along the down path. ``head_channels`` is 64 unless given (a TorchScript archive has it
    in its attention modules' ``n_heads``), or the whole width if that is below 64. Motion frames are RGB if six
    channels remain for them, gray if the number of channels is no multiple of three. The window of embeddings is 256
    wide, odd in length; other widths count as five frames. Raises DiffusedHeadsError if a tensor is missing or a number
    can mean two things.
    """
    levels = 1 + sum(
        _has(shapes, f"output_blocks.{i}.1.in_layers.0.weight", f"output_blocks.{i}.2.in_layers.0.weight")
        for i in range(_count(shapes, "output_blocks"))
    )
    stride = _count(shapes, "output_blocks") // levels
    channels = _shape(shapes, FIRST, 2)[1]
    widths = [
        _shape(shapes, f"input_blocks.{1 + level * stride}.0.in_layers.2.weight", 4)[0] for level in range(levels)
    ]
    if stride < 2 or channels < 1 or any(width % channels for width in widths):
        raise DiffusedHeadsError(
            f"widths {widths} over {channels} model channels, {stride} blocks per level: no released architecture"
        )
    frames, gray = _motion(_shape(shapes, "input_blocks.0.0.weight", 4)[1] - 6, motion_gray)
    embedding, neighbours = _window(_shape(shapes, "audio_embed.0.weight", 2)[1], audio_embedding)
    attention = tuple(level for level in range(levels) if f"input_blocks.{1 + level * stride}.1.qkv.weight" in shapes)
    motion = (SpatialInput("motion", frames * (1 if gray else 3)),) if frames else ()
    unet = UNetConfig(
        image_size=image_size,
        model_channels=channels,
        channel_mult=tuple(width // channels for width in widths),
        res_blocks=stride - 1,
        attention_levels=attention,
        head_channels=_head_channels({widths[-1], *(widths[a] for a in attention)}, head_channels),
        learned_variance=_shape(shapes, "out.2.weight", 4)[0] == 6,
        prediction="eps",
        spatial=(*motion, SpatialInput("identity", 3)),
        features=(FeatureGroup("audio", embedding, neighbours),),
    )
    return ModelConfig(
        unet=unet,
        audio=AudioConfig(kind="torchscript", embedding=embedding),
        fps=FPS,
        motion_frames=frames,
        motion_gray=gray,
        schedule="cosine",
        timesteps=1000,
        sampler="ancestral",
        steps=100,
    )


def _has(shapes: Shapes, *names: str) -> bool:
    return any(name in shapes for name in names)


def _count(shapes: Shapes, blocks: str) -> int:
    return len({name.split(".")[1] for name in shapes if name.startswith(f"{blocks}.")})


def _shape(shapes: Shapes, name: str, dimensions: int) -> tuple[int, ...]:
    if len(shapes.get(name, ())) != dimensions:
        raise DiffusedHeadsError(
            f"expected a tensor {name} of {dimensions} dimensions, found {shapes.get(name, 'none')}"
        )
    return shapes[name]


def _motion(channels: int, gray: bool | None) -> tuple[int, bool]:
    """Number of motion frames, and whether they are gray, from the channels that x_t and the identity leave."""
    if channels < 0:
        raise DiffusedHeadsError(f"the input has {channels + 6} channels, x_t and the identity frame alone need 6")
    if gray is None and channels % 3 == 0 and channels not in (0, 6):
        either = f"{channels // 3} RGB or {channels} gray frames"
        raise DiffusedHeadsError(f"{channels} channels of motion frames: {either}? Say which (motion_gray)")
    gray = bool(channels % 3) if gray is None else gray
    if not gray and channels % 3:
        raise DiffusedHeadsError(f"{channels} channels of motion frames are no multiple of 3, so not RGB")
    return (channels, True) if gray else (channels // 3, False)


def _window(width: int, embedding: int | None) -> tuple[int, int]:
    """Width of one audio embedding and number of neighbours on either side, from the width of the flattened window."""
    if embedding is None:
        frames = width // EMBEDDING
        published = width % EMBEDDING == 0 and frames % 2 == 1
        embedding = EMBEDDING if published else width // (2 * NEIGHBOURS + 1)
    frames = width // embedding if embedding > 0 else 0
    if frames * embedding != width or frames % 2 == 0:
        raise DiffusedHeadsError(
            f"an audio window {width} wide is no odd number of embeddings of {embedding}: "
            "say their width (audio_embedding)"
        )
    return embedding, frames // 2


def _head_channels(widths: set[int], given: int | None) -> int:
    common = math.gcd(*widths)
    channels = given or (HEAD_CHANNELS if common % HEAD_CHANNELS == 0 else common if common < HEAD_CHANNELS else 0)
    if channels < 1 or common % channels:
        found = f"{given} does not divide" if given else "64 does not divide"
        raise DiffusedHeadsError(
            f"attention over {sorted(widths)} channels, {found} them: say the channels per head (head_channels)"
        )
    return channels


def compare(shapes: Shapes, config: UNetConfig) -> None:
    """Raise DiffusedHeadsError, with counts and examples, unless these are exactly the network's tensors."""
    with torch.device("meta"):
        want = {name: tuple(tensor.shape) for name, tensor in UNet(config).state_dict().items()}
    groups = {
        "missing": [n for n in want if n not in shapes],
        "unexpected": [n for n in shapes if n not in want],
        "of another shape": [n for n in want if n in shapes and tuple(shapes[n]) != want[n]],
    }
    found = [f"{len(names)} {what} (for example {names[0]})" for what, names in groups.items() if names]
    if found:
        raise DiffusedHeadsError(f"its tensors are not those of the released network: {', '.join(found)}")


def check_audio_encoder(path: Path, embedding: int, trust: bool) -> None:
    """Raise DiffusedHeadsError unless ``path`` is a TorchScript archive.

    With ``trust`` it is run, and must give embeddings that are ``embedding`` wide.
    """
    with TorchArchive(path, EXPECTED_ENCODER) as archive:
        if not archive.scripted:
            raise archive.wrong("a PyTorch file without code")
    if trust:
        found = tuple(TorchScriptAudioEncoder(path)(np.zeros(HOP, np.float32), 1).shape)
        if found != (1, embedding):
            raise DiffusedHeadsError(f"{path}: expected embeddings (1, {embedding}), as the UNet takes, found {found}")


def keep_audio_encoder(path: Path, target: Path) -> None:
    """Copy the audio encoder to its place beside the converted checkpoint ``target``, atomically."""
    beside = audio_encoder_path(target)
    if not (beside.exists() and beside.samefile(path)):
        with atomic_path(beside) as part:
            shutil.copyfile(path, part)
