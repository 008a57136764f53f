"""Where a model comes from: version and commit of the code, the data, and the model that training began with."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from ..diffused_heads_core.checkpoints import Checkpoint, to_json
from ..diffused_heads_core.data.shards import Dataset
from .config import TrainConfig

ROOT = Path(__file__).resolve().parents[1]
_COMMIT = re.compile(r"[0-9a-f]{40,64}")


def code(root: Path = ROOT) -> dict[str, str]:
    """``version`` of the installed package and, in a git checkout, its ``commit``, without uncommitted changes."""
    found = {}
    try:
        found["version"] = metadata.version("diffused-heads")
    except metadata.PackageNotFoundError:
        found["version"] = "not installed"
    head = commit(root)
    return {**found, "commit": head} if head else found


def commit(root: Path) -> str | None:
    """The checked-out commit of a git working tree, read from its files; None if there is none."""
    try:
        place = root / ".git"
        if place.is_file():  # a linked working tree or submodule: "gitdir: PATH"
            place = (root / place.read_text(encoding="utf-8").removeprefix("gitdir:").strip()).resolve()
        head = (place / "HEAD").read_text(encoding="utf-8").strip()
        if head.startswith("ref:"):
            head = _resolved(place, head.removeprefix("ref:").strip())
    except (OSError, UnicodeDecodeError):
        return None
    return head if head and _COMMIT.fullmatch(head) else None


def _resolved(place: Path, reference: str) -> str | None:
    """A branch's commit, from its own file or from the packed references.

    The branches of a linked working tree lie in the folder that ``commondir`` names.
    """
    common = place / "commondir"
    folders = [place, *([(place / common.read_text(encoding="utf-8").strip()).resolve()] if common.is_file() else [])]
    for folder in folders:
        if (folder / reference).is_file():
            return (folder / reference).read_text(encoding="utf-8").strip()
    for folder in folders:
        lines = (
            (folder / "packed-refs").read_text(encoding="utf-8").splitlines()
            if (folder / "packed-refs").is_file()
            else []
        )
        for line in lines:
            value, _, name = line.partition(" ")
            if name.strip() == reference:
                return value
    return None


def data(dataset: Dataset) -> dict[str, Any]:
    """Source, licence, size and fingerprint of a dataset."""
    info = dataset.header.get("info", {})
    return {
        "data": str(info.get("source", "unknown")),
        "data_licence": str(info.get("licence", "unknown")),
        "clips": len(dataset),
        "hours": round(dataset.header["frames"] / dataset.fps / 3600, 3),
        "fingerprint": dataset.header["fingerprint"],
    }


def parent(name: str, checkpoint: Checkpoint) -> dict[str, Any]:
    """The model that a run began with: parts of its summary, without the model that it had begun with in turn."""
    summary = {
        key: checkpoint.summary[key]
        for key in ("preset", "data", "fingerprint", "steps", "version", "commit")
        if key in checkpoint.summary
    }
    return {"model": Path(name).name, "licence": checkpoint.licence, **summary}


def origin(preset: str, dataset: Dataset, config: TrainConfig) -> dict[str, Any]:
    """The first part of a trained model's summary: preset, data, code, and all settings of the training."""
    settings = {name: value for name, value in json.loads(to_json(config)).items() if name != "model"}
    return {"preset": preset, **data(dataset), **code(), "training": settings}
