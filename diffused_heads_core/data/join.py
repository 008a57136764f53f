"""Several datasets as one, without copying them: for training on people and avatars together."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import DiffusedHeadsError
from ..files import atomic_path
from .shards import Dataset, finish_dataset, finished_index, shard_name


def join(out: Path, folders: Sequence[Path]) -> Dataset:
    """Make a dataset in the folder ``out`` of the shards of all ``folders``, as hard links (copies across disks).

    Raises DiffusedHeadsError if one of them is no finished dataset, if they differ in size, frame rate or annotations,
    or if two have a clip of the same key.
    """
    datasets = [Dataset(folder) for folder in folders]
    _check_alike(datasets)
    out.mkdir(parents=True, exist_ok=True)
    number = 0
    for dataset in datasets:
        for shard in range(dataset.header["shards"]):
            _take(dataset.path, shard, out, number)
            number += 1
    units = {name: entry["unit"] for name, entry in datasets[0].header["annotations"].items()}
    finish_dataset(out, number, units, _joined([dataset.header.get("info", {}) for dataset in datasets]))
    return Dataset(out)


def _check_alike(datasets: Sequence[Dataset]) -> None:
    if not datasets:
        raise DiffusedHeadsError("join: expected one dataset or more, found none")
    first = datasets[0]
    seen: set[str] = set()
    for dataset in datasets:
        for name in ("size", "fps"):
            wanted, found = first.header[name], dataset.header[name]
            if found != wanted:
                raise DiffusedHeadsError(f"{dataset.path}: expected {name} {wanted} as {first.path}, found {found}")
        twice = seen.intersection(dataset.keys)
        if twice:
            raise DiffusedHeadsError(
                f"{dataset.path}: expected keys that the others lack, found {len(twice)} of the same key, "
                f"such as {min(twice)}"
            )
        seen.update(dataset.keys)


def _take(folder: Path, shard: int, out: Path, number: int) -> None:
    """Shard ``shard`` of ``folder`` as shard ``number`` of ``out``; its index, written last, makes it count."""
    index = finished_index(folder, shard)
    source, target = folder / f"{shard_name(shard)}.tar", out / f"{shard_name(number)}.tar"
    with atomic_path(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
    with atomic_path(target.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps({**index, "shard": target.name}), encoding="utf-8")


def _joined(infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All sources and licences, and the expressions that were measured in every dataset that lists them."""
    joined: dict[str, Any] = {}
    for name in ("source", "licence"):
        values = sorted({str(info[name]) for info in infos if name in info})
        joined |= {name: "; ".join(values)} if values else {}
    measured = [list(info["measured"]) for info in infos if "measured" in info]
    if measured:
        joined["measured"] = [name for name in measured[0] if all(name in each for each in measured)]
    return joined
