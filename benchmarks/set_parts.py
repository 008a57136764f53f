"""Figures of one clip in a file, as named arrays, so that a stopped run of a long set can continue."""

from __future__ import annotations

from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffused_heads.diffused_heads_core.evaluation.measure import GroupFigures
from diffused_heads.diffused_heads_core.evaluation.meters import SideFigures
from diffused_heads.diffused_heads_core.evaluation.metrics.frechet import Moments
from diffused_heads.diffused_heads_core.files import atomic_path


def save_part(path: Path, found: GroupFigures, spent: float) -> None:
    """Write a clip's figures and processor seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(file, spent=spent, **named(found, "found"))


def load_part(path: Path) -> tuple[GroupFigures, float]:
    """A clip's figures and processor seconds from a file of ``save_part``."""
    with np.load(path, allow_pickle=False) as arrays:
        tree: dict[str, Any] = {}
        for name in arrays.files:
            *folders, last = name.split("/")
            place = tree
            for folder in folders:
                place = place.setdefault(folder, {})
            place[last] = arrays[name] if arrays[name].ndim else arrays[name].item()
    found = tree["found"]
    lists = {name: in_order(found.get(name, {})) for name in ("takes", "pairs", "pair_series")}
    sides = {"generated": [side(s) for s in in_order(found["generated"])], "reference": side(found["reference"])}
    return GroupFigures(**{**found, **lists, **sides, "diversity": found.get("diversity", {})}), tree["spent"]


def named(value: Any, name: str) -> dict[str, np.ndarray]:
    """Dataclasses, dictionaries and sequences of arrays, numbers and texts as arrays, named by their path."""
    if value is None:
        return {}
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {name: np.asarray(value)}
    return {path: array for key, part in value.items() for path, array in named(part, f"{name}/{key}").items()}


def in_order(numbered: dict[str, Any]) -> list[Any]:
    """A sequence that ``named`` took apart."""
    return [numbered[key] for key in sorted(numbered, key=int)]


def side(kept: dict[str, Any]) -> SideFigures:
    """One side of a group that ``named`` took apart."""
    moments = tuple(Moments(**each) for each in in_order(kept["moments"]))
    return SideFigures(**{**kept, "moments": moments, "thumbnails": in_order(kept["thumbnails"])})
