"""Checkpoints: safetensors files whose metadata rebuilds everything. Nothing is ever unpickled.

Tensors are named ``unet.*`` and ``audio_encoder.*``. Metadata: ``format`` (``diffused-heads-1``), ``config`` (the
ModelConfig as JSON), ``licence``, ``summary`` (JSON: data, steps, figures).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from .assets import ASSETS
from .config import ModelConfig, from_json, to_json
from .errors import DiffusedHeadsError
from .files import as_path, atomic_path, file_kind, readable_file

FORMAT = "diffused-heads-1"
DEFAULT_MODEL = "human"  # for photographs and drawings
STORED = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
MISTAKEN = {  # files that are not read as checkpoints, by what they look like
    "a zip archive": "a PyTorch archive (released weights are turned into safetensors by `diffused-heads convert`)",
    "a safetensors file": "a truncated or damaged safetensors file",
}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's content: configuration, named tensors, licence and training summary."""

    config: ModelConfig
    tensors: dict[str, Tensor]
    licence: str = "unknown"
    summary: dict[str, Any] = field(default_factory=dict)


def bundled_models() -> dict[str, Path]:
    """Names and files of the models that come with the package, the default first."""
    return {
        path.stem: path
        for path in sorted(ASSETS.glob("*.safetensors"), key=lambda path: (path.stem != DEFAULT_MODEL, path.stem))
    }


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
