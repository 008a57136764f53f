"""The state of a run on disk: one safetensors file a checkpoint, written whole or not at all."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.files import atomic_path

KEEP = 2


def states(run: Path) -> list[Path]:
    """Checkpoints of a run, oldest first."""
    return sorted(run.glob("state-*.safetensors"))


def save_state(run: Path, step: int, model: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer, config: str) -> Path:
    """Write the state after ``step`` optimiser steps and remove all but the newest ``KEEP``."""
    tensors: dict[str, Tensor] = {f"model.{n}": t for n, t in model.state_dict().items()}
    tensors |= {f"ema.{n}": t for n, t in ema.state_dict().items()}
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{n}": torch.as_tensor(t) for n, t in values.items()}
    path = run / f"state-{step:09d}.safetensors"
    with atomic_path(path) as part:
        plain = {n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()}
        part.write_bytes(save(plain, {"step": str(step), "config": config}))
    for old in states(run)[:-KEEP]:
        old.unlink()
    return path


def load_state(path: Path, model: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Restore a state in place; returns the number of finished steps."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    for prefix, module in (("model.", model), ("ema.", ema)):
        module.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
    saved: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".", 2)
            saved.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": saved, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(metadata["step"])


def check_config(path: Path, config: str) -> None:
    """Refuse to resume a run whose model differs; raises DiffusedHeadsError naming the settings that do."""
    try:
        with safe_open(path, "pt") as file:
            before = json.loads(file.metadata()["config"])
    except (SafetensorError, OSError, TypeError, KeyError) as error:
        raise DiffusedHeadsError(f"{path}: expected the state of a run, found a damaged file ({error}); remove it to go on from an older one") from error
    now = json.loads(config)
    changed = [name for name in now["model"] if now["model"][name] != before["model"].get(name)]
    if changed:
        raise DiffusedHeadsError(f"{path.parent}: expected a run of the same model, found another {', '.join(changed)}")
