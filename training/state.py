"""The state of a run on disk: one safetensors file per state, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..diffused_heads_core.checkpoints import build
from ..diffused_heads_core.config import ModelConfig
from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.files import atomic_path
from .parallel import full_tensor, shard_like

KEEP = 2


def states(run: Path) -> list[Path]:
    """State files of a run, oldest first."""
    return sorted(run.glob("state-*.safetensors"))


def collect(model: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer, keep: bool) -> dict[str, Tensor]:
    """All tensors of a run, whole, on the CPU; none of them unless ``keep``.

    If the model is sharded, every process must call this; only the one that writes the file needs to keep them.
    """
    tensors: dict[str, Tensor] = {f"model.{n}": t for n, t in model.state_dict().items()}
    tensors |= {f"ema.{n}": t for n, t in ema.state_dict().items()}
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{n}": torch.as_tensor(t) for n, t in values.items()}
    whole = ((name, full_tensor(tensor.detach())) for name, tensor in tensors.items())
    return {name: tensor.cpu().contiguous().clone() for name, tensor in whole if keep}


def save_state(run: Path, step: int, tensors: dict[str, Tensor], config: str) -> Path:
    """Write the state after ``step`` optimiser steps and remove all but the newest ``KEEP``."""
    path = run / f"state-{step:09d}.safetensors"
    with atomic_path(path) as part:
        part.write_bytes(save(tensors, {"step": str(step), "config": config}))
    for old in states(run)[:-KEEP]:
        old.unlink()
    return path


def clean(run: Path) -> None:
    """Remove files that a killed process left unfinished."""
    for part in run.glob(".*.tmp.*"):
        part.unlink(missing_ok=True)


def load_state(path: Path, model: nn.Module, ema: nn.Module) -> tuple[int, dict[int, dict[str, Tensor]]]:
    """Restore the weights of a state in place; returns the number of finished steps and the optimiser's tensors."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    for prefix, module in (("model.", model), ("ema.", ema)):
        module.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
    saved: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".", 2)
            saved.setdefault(int(number), {})[key] = tensor
    return int(metadata["step"]), saved


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict[int, dict[str, Tensor]]) -> None:
    """Load the tensors of a state into an optimiser.

    Raises DiffusedHeadsError if the state is of a run that trained other parts of the model.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    shapes = [tuple(values["exp_avg"].shape) for _, values in sorted(saved.items())]
    if saved and shapes != [tuple(p.shape) for p in parameters]:
        raise DiffusedHeadsError(
            f"expected a run that trains {len(parameters)} tensors of the model, found the state of one that trains "
            f"{len(shapes)}: resume with the same --freeze"
        )
    state = {n: {key: shard_like(value, parameters[n]) for key, value in values.items()} for n, values in saved.items()}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def check_config(path: Path, model: ModelConfig) -> None:
    """Raise DiffusedHeadsError if a state is damaged, or of a model with other settings, which are named."""
    try:
        with safe_open(path, "pt") as file:
            before = build(ModelConfig, json.loads(file.metadata()["config"])["model"])
    except (SafetensorError, OSError, TypeError, KeyError) as error:
        raise DiffusedHeadsError(
            f"{path}: expected the state of a run, found a damaged file ({error}); remove it to resume from an older "
            "one"
        ) from error
    changed = [name for name in vars(model) if getattr(model, name) != getattr(before, name)]
    if changed:
        raise DiffusedHeadsError(f"{path.parent}: expected a run of the same model, found another {', '.join(changed)}")
