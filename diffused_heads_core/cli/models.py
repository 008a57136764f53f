"""``diffused-heads info``, ``face-models``, ``convert`` and ``export``: what a file is, and models in files."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..assets import DEFAULT_MODEL
from ..errors import DiffusedHeadsError
from .parser import add_command, add_trust, positive

if TYPE_CHECKING:
    from ..checkpoints import Checkpoint

SUFFIX = ".safetensors"
ONNX_SUFFIX = ".onnx"
PARTS = {"unet.": "UNet", "audio_encoder.": "audio encoder", "lip_shape.": "lip shape"}


def add_commands(commands: Any) -> None:
    """Add ``info``, ``face-models``, ``convert`` and ``export``."""
    _add_info(commands)
    _add_face_models(commands)
    _add_convert(commands)
    _add_export(commands)


def _add_info(commands: Any) -> None:
    parser = add_command(
        commands,
        "info",
        info,
        "show what a model is, or how a video or picture was made",
        "Show what a model is: its size, configuration, licence and training. Of a video or picture, show what it\n"
        "says of its origin: IPTC's digital source type, notes and a C2PA manifest.",
        "diffused-heads info avatar",
        "diffused-heads info talk.mp4",
        "diffused-heads info runs/avatar/model.safetensors",
    )
    parser.add_argument(
        "model",
        nargs="?",
        default=DEFAULT_MODEL,
        metavar="FILE_OR_NAME",
        help="a checkpoint, a bundled model, a video or a picture (default: %(default)s)",
    )


def _add_face_models(commands: Any) -> None:
    parser = add_command(
        commands,
        "face-models",
        face_models,
        "download the networks that find faces and measure motion",
        "Download the networks that find faces and measure motion, as otherwise happens when they are first needed,\n"
        "verify them, and say where they are. DIFFUSED_HEADS_FACE_MODELS names another folder.",
        "diffused-heads face-models",
        "diffused-heads face-models --folder models/face",
    )
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="where they are kept (default: the user's cache)")


def _add_convert(commands: Any) -> None:
    parser = add_command(
        commands,
        "convert",
        convert,
        "turn a released checkpoint into a .safetensors file",
        "Turn a checkpoint of the authors' release (TorchScript archive or Lightning checkpoint) into a .safetensors\n"
        "file for `generate --model`. The architecture is read from names and shapes; nothing in the file is run.",
        "diffused-heads convert released.pt crema.safetensors --audio-encoder audio_encoder.pt",
        "diffused-heads generate --model crema.safetensors --trust-torchscript --identity a.png --audio a.wav "
        "--output a.mp4",
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="the released checkpoint")
    parser.add_argument("target", type=Path, metavar="TARGET.safetensors", help="the file to write")
    parser.add_argument(
        "--audio-encoder", type=Path, metavar="FILE", help="the released audio encoder; a copy is kept beside TARGET"
    )
    add_trust(parser)
    number: dict[str, Any] = {"type": positive, "metavar": "N"}
    add = parser.add_argument_group("what names and shapes may leave open").add_argument
    add("--image-size", **number, help="pixels per side (default: as the file says, or 128)")
    add("--head-channels", **number, help="channels of an attention head (default: as the file says, or 64)")
    add("--audio-embedding", **number, help="width of one audio embedding (default: 256 where that fits)")
    add("--motion-gray", action=argparse.BooleanOptionalAction, default=None, help="whether motion frames are gray")


def _add_export(commands: Any) -> None:
    parser = add_command(
        commands,
        "export",
        export,
        "write a model's network as an ONNX file",
        "Write the denoising network of a model as an ONNX file for other programs. Its metadata hold the model's\n"
        "configuration, the meaning of each input and output, and timesteps and noise levels of its default steps.\n"
        "The audio encoder and the sampler are not in the file. Needs the extra cpu.",
        "diffused-heads export human human.onnx",
    )
    parser.add_argument("model", metavar="NAME_OR_PATH", help="a bundled model or a .safetensors checkpoint")
    parser.add_argument("target", type=Path, metavar="OUT.onnx", help="the file to write")


def info(options: argparse.Namespace) -> None:
    """Run ``info``; raises DiffusedHeadsError for a file that is neither picture, video nor checkpoint."""
    from .. import checkpoints
    from ..media.provenance import is_media

    file = Path(options.model)
    if file.is_file() and is_media(file):
        print("\n".join(describe_media(file)))
        return
    path = checkpoints.find_model(options.model)
    print("\n".join(describe(path, checkpoints.load(path))))


def face_models(options: argparse.Namespace) -> None:
    """Run ``face-models``; raises DiffusedHeadsError if a network cannot be had."""
    from ..face import networks

    found = networks.load_face_models(options.folder)
    networks.load_motion_models(options.folder)
    print(f"{found.folder}: the networks that find faces and measure motion")


def describe_media(path: Path) -> Iterator[str]:
    """What a video or picture says of its origin, in lines for people."""
    from ..media.provenance import SYNTHETIC, VOCABULARY, read_provenance

    found = read_provenance(path)
    yield f"file         {path} ({path.stat().st_size / 1e6:.1f} MB)"
    for name, places in found.source_types.items():
        meaning = " (synthetic: made by a trained model)" if VOCABULARY + name == SYNTHETIC else ""
        yield f"source type  {name}{meaning}, said in {' and '.join(places)}"
    if not found.source_types:
        yield "source type  none: the file does not say how it was made"
    yield from (f"note         {text}" for text in found.notes)
    yield f"C2PA         {found.manifest or 'no manifest'}"


def describe(path: Path, checkpoint: Checkpoint) -> Iterator[str]:
    """A checkpoint in lines for people: the essentials first, then every setting, then the training summary."""
    from ..checkpoints import FORMAT

    config = checkpoint.config
    yield f"file         {path} ({path.stat().st_size / 1e6:.1f} MB)"
    yield f"format       {FORMAT}"
    yield f"licence      {checkpoint.licence}"
    yield f"parameters   {_parameters(checkpoint)}"
    size = config.frame_size
    yield f"picture      {size} x {size} px at {config.fps} frames/s"
    yield f"sampling     {config.sampler}, {config.steps} steps of {config.timesteps} by default"
    yield f"motion       {'follows a head-motion track' if config.head_motion else 'makes up its own'}"
    yield f"sound        {config.audio.describe()}"
    yield "configuration"
    yield from (f"  {name} = {value}" for name, value in _settings(config))
    yield "summary" if checkpoint.summary else "summary      none"
    yield from _nested(checkpoint.summary)


def _nested(values: dict[str, Any], indent: str = "  ") -> Iterator[str]:
    """A JSON object in lines, nested objects indented."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield f"{indent}{name}"
            yield from _nested(value, indent + "  ")
        else:
            yield f"{indent}{name}: {value}"


def _parameters(checkpoint: Checkpoint) -> str:
    counts = {
        part: sum(t.numel() for n, t in checkpoint.tensors.items() if n.startswith(prefix))
        for prefix, part in PARTS.items()
    }
    return ", ".join(f"{part} {count:,}" for part, count in counts.items() if count)


def _settings(config: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every setting of nested dataclasses as dotted name and value; members of tuples by their names."""
    for field in dataclasses.fields(config):
        name, value = f"{prefix}{field.name}", getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _settings(value, f"{name}.")
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            for item in value:
                rest = ", ".join(f"{key} {v}" for key, v in dataclasses.asdict(item).items() if key != "name")
                yield f"{name}.{item.name}", rest
        else:
            yield name, str(value)


def convert(options: argparse.Namespace) -> None:
    """Run ``convert``; raises DiffusedHeadsError for a wrong source or a target that cannot be written."""
    from ..released import convert as released

    _check_suffix(options.target, SUFFIX)
    config = released.convert(
        options.source,
        options.target,
        options.audio_encoder,
        options.trust_torchscript,
        image_size=options.image_size,
        head_channels=options.head_channels,
        motion_gray=options.motion_gray,
        audio_embedding=options.audio_embedding,
    )
    kind = f"{config.motion_frames} {'gray' if config.motion_gray else 'RGB'} motion frames"
    channels = f"channels {config.unet.model_channels} x {config.unet.channel_mult}"
    print(f"{options.target}: {config.unet.image_size} px, {kind}, {channels}")
    if options.audio_encoder is None:
        print("without an audio encoder it cannot speak yet: convert again with --audio-encoder FILE")
    else:
        beside = released.audio_encoder_path(options.target)
        print(f"audio encoder: {beside}; its code runs only with --trust-torchscript")


def export(options: argparse.Namespace) -> None:
    """Run ``export``; raises DiffusedHeadsError if the file cannot be written or the package onnx is missing."""
    from ..engines.graph import export
    from ..talking_head import load_model

    _check_suffix(options.target, ONNX_SUFFIX)
    head = load_model(options.model, "cpu", engine="pytorch")
    export(head.unet, head.config, head.licence, options.target)
    print(f"{options.target}: the network of {head.name} ({options.target.stat().st_size / 1e6:.1f} MB)")


def _check_suffix(target: Path, suffix: str) -> None:
    if target.suffix != suffix:
        found = target.suffix or "no suffix"
        raise DiffusedHeadsError(f"{target}: expected a name ending in {suffix}, found {found}")
