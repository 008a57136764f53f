"""Checkpoints: safetensors files whose metadata rebuilds everything. Nothing is ever unpickled.

Tensors are named ``unet.*`` and ``audio_encoder.*``. Metadata: ``format`` (``diffused-heads-1``), ``config`` (the
ModelConfig as JSON), ``licence``, ``summary`` (JSON: data, steps, figures).
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from .assets import ASSETS, DEFAULT_MODEL, MOTION_PRIOR
from .config import ModelConfig
from .errors import DiffusedHeadsError, raise_problems
from .files import as_path, atomic_path, file_kind, readable_file

FORMAT = "diffused-heads-1"
STORED = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
MISTAKEN = {  # files that are not read as checkpoints, by what they look like
    "a zip archive": "a PyTorch archive (released weights are turned into safetensors by `diffused-heads convert`)",
    "a safetensors file": "a truncated or damaged safetensors file",
}

RETIRED = {"FeatureGroup": {"dropout"}, "AudioConfig": {"context"}}  # older checkpoints have them; nothing reads them
Config = TypeVar("Config")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's content: configuration, named tensors, licence and training summary."""

    config: ModelConfig
    tensors: dict[str, Tensor]
    licence: str = "unknown"
    summary: dict[str, Any] = field(default_factory=dict)


def bundled_models() -> dict[str, Path]:
    """Names and files of the models that come with the package, the default first."""
    paths = [path for path in ASSETS.glob("*.safetensors") if path != MOTION_PRIOR]
    return {path.stem: path for path in sorted(paths, key=lambda path: (path.stem != DEFAULT_MODEL, path.stem))}


def find_model(name: str | Path) -> Path:
    """The file of a bundled model's name or of a path. Raises DiffusedHeadsError naming what there is."""
    bundled = bundled_models()
    if str(name) in bundled:
        return bundled[str(name)]
    path = as_path(name)
    if path.is_file():
        return path
    names, found = ", ".join(bundled) or "none here", "a folder" if path.is_dir() else "no such file"
    expected = f"a bundled model ({names}) or a .safetensors file"
    raise DiffusedHeadsError(f"model {str(name)!r}: expected {expected}, found {found}")


def save(path: Path, checkpoint: Checkpoint, dtype: str = "float32") -> None:
    """Write a checkpoint atomically, its floating-point tensors stored as ``dtype``."""
    kind = STORED[dtype]
    tensors = {n: (t.to(kind) if t.is_floating_point() else t).contiguous() for n, t in checkpoint.tensors.items()}
    metadata = {
        "format": FORMAT,
        "config": to_json(checkpoint.config),
        "licence": checkpoint.licence,
        "summary": json.dumps(checkpoint.summary),
    }
    with atomic_path(path) as part:
        part.write_bytes(to_bytes(tensors, metadata))  # save_file would leave a file that others cannot read


def _metadata(path: Path) -> dict[str, str]:
    readable_file(path, "a safetensors checkpoint of Diffused Heads")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        kind = file_kind(path)
        raise DiffusedHeadsError(
            f"{path}: expected a safetensors checkpoint of Diffused Heads, found {MISTAKEN.get(kind, kind)} ({error})"
        ) from error
    if metadata.get("format") != FORMAT:
        said = f"metadata {sorted(metadata)[:5]}" if metadata else "no metadata"
        found = f"safetensors of another project ({said})"
        raise DiffusedHeadsError(f"{path}: expected a checkpoint of format {FORMAT}, found {found}")
    return metadata


def load(path: Path) -> Checkpoint:
    """Read a checkpoint, tensors as float32 on the CPU.

    Raises DiffusedHeadsError for another project's file, and for a damaged or truncated one.
    """
    metadata = _metadata(path)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (a safetensors file is no mapping)
    try:
        config, summary = from_json(ModelConfig, metadata.get("config", "")), json.loads(metadata.get("summary", "{}"))
    except (DiffusedHeadsError, json.JSONDecodeError) as error:
        raise DiffusedHeadsError(f"{path}: its metadata do not describe a model ({error})") from error
    return Checkpoint(config, tensors, metadata.get("licence", "unknown"), summary)


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str, path: Path) -> None:
    """Load the tensors under ``prefix`` into a module. Raises DiffusedHeadsError with an example if they do not fit."""
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
    """'auto' takes CUDA, then MPS, then the CPU. Raises DiffusedHeadsError for a named device that is absent."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if there[name]))
    kind = device.split(":")[0]
    if not there.get(kind, False):
        found = [name for name, present in there.items() if present]
        raise DiffusedHeadsError(f"device={device!r}: expected auto or one of {found} on this machine")
    return torch.device(device)


def to_json(config: Any) -> str:
    """A configuration as one line of JSON."""
    return json.dumps(dataclasses.asdict(config), separators=(",", ":"))


def from_json(kind: type[Config], text: str) -> Config:
    """Rebuild a configuration of class ``kind``. Raises DiffusedHeadsError for damaged text or another class's."""
    try:
        return build(kind, json.loads(text))
    except (json.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
        raise DiffusedHeadsError(f"{kind.__name__}: expected its JSON, found {text[:60]!r} ({error})") from error


def build(kind: type[Config], values: dict[str, Any]) -> Config:
    """A dataclass from plain values, nested dataclasses and tuples included; unknown names are reported."""
    hints = typing.get_type_hints(kind)
    known = {name: value for name, value in values.items() if name not in RETIRED.get(kind.__name__, ())}
    raise_problems(kind.__name__, {f"unknown setting {name!r}": True for name in sorted(set(known) - set(hints))})
    return kind(**{name: _value(hints[name], value) for name, value in known.items()})


def _value(hint: Any, value: Any) -> Any:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return build(hint, value)
    if typing.get_origin(hint) is tuple:
        args = typing.get_args(hint)
        inner = args[:1] * len(value) if args[-1] is Ellipsis else args
        return tuple(_value(a, v) for a, v in zip(inner, value, strict=True))
    if typing.get_origin(hint) is types.UnionType and value is not None:
        return _value(next(a for a in typing.get_args(hint) if a is not types.NoneType), value)
    return value
