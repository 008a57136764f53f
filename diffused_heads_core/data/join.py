"""Several datasets as one, without copying them: for training on people and avatars together."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ..errors import DiffusedHeadsError
from ..files import atomic_path
from .shards import Dataset, finish_dataset, load_index, shard_name


def join(out: Path, folders: Sequence[Path]) -> Dataset:
    """Make a dataset in the folder ``out`` of the shards of all ``folders``, as hard links (copies across disks).

    Raises DiffusedHeadsError where one is no finished dataset, they differ in size, frame rate or annotations, or two
    hold a clip of the same key.
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
    first, seen = datasets[0], set()
    for dataset in datasets:
        for name in ("size", "fps"):
            if dataset.header[name] != first.header[name]:
                raise DiffusedHeadsError(
                    f"{dataset.path}: expected {name} {first.header[name]} as {first.path}, found {dataset.header[name]}"
                )
        twice = seen.intersection(dataset.keys)
        if twice:
            raise DiffusedHeadsError(
                f"{dataset.path}: expected clips that the others lack, found {len(twice)} of the same key, such as {min(twice)}"
            )
        seen.update(dataset.keys)


def _take(folder: Path, shard: int, out: Path, number: int) -> None:
    """Shard ``shard`` of ``folder`` as shard ``number`` of ``out``; its index, written last, makes it count."""
    index, source, target = (
        load_index(folder, shard),
        folder / f"{shard_name(shard)}.tar",
        out / f"{shard_name(number)}.tar",
    )
    with atomic_path(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
    with atomic_path(target.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps({**index, "shard": target.name}), encoding="utf-8")


def _joined(infos: Sequence[dict[str, object]]) -> dict[str, object]:
    """Sources and licences, those that differ listed; the expressions that were measured in all, where any was only in
    part.
    """
    joined: dict[str, object] = {}
    for name in ("source", "licence"):
        values = sorted({str(info[name]) for info in infos if name in info})
        joined |= {name: "; ".join(values)} if values else {}
    measured = [list(info["measured"]) for info in infos if "measured" in info]
    return joined | (
        {"measured": [name for name in measured[0] if all(name in each for each in measured)]} if measured else {}
    )
