"""What became of one video, kept until all are put together: a file of its clips' parts and a record that tells where
they lie.

The record is written last, so a unit is there as a whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...diffused_heads_core.errors import DiffusedHeadsError
from ...diffused_heads_core.files import atomic_path

PACKING = "shard-"  # beginning of the names of folders in which shards are put together
ABANDONED = 3600.0  # seconds after which such a folder is nobody's; another machine may be at work in a younger one
SAMPLES, SAMPLE = 4, 1 << 14  # places of a file, and bytes of each, that its fingerprint is taken from


@dataclass(frozen=True)
class Source:
    """A video: its path, and its name, the path within the folder of raw videos with forward slashes."""

    path: Path
    name: str

    @property
    def key(self) -> str:
        """A short name for files and clips, unlike that of any other source."""
        stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(self.name).stem).strip("-")[:40] or "video"
        return f"{stem}-{hashlib.sha256(self.name.encode()).hexdigest()[:10]}"


def fingerprint(path: Path) -> str:
    """A digest of a file's size and of parts spread over it: enough to see that it is another file, cheap for any
    length.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for i in range(SAMPLES):
            file.seek(max(0, size - SAMPLE) * i // (SAMPLES - 1))
            digest.update(file.read(SAMPLE))
    return digest.hexdigest()


def unit_path(work: Path, source: Source) -> Path:
    """Where the record of a source lies; its data beside it with the suffix .bin."""
    return work / source.key[-2:] / f"{source.key}.json"


class UnitWriter:
    """Collects the parts of a unit in a temporary file: ``add`` gives [offset, length]; ``finish`` makes it appear."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._at = path, 0
        handle, self._part = tempfile.mkstemp(".part", ".unit-", path.parent)
        self._file = os.fdopen(handle, "wb")

    def __enter__(self) -> UnitWriter:
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()
        Path(self._part).unlink(missing_ok=True)

    def add(self, data: bytes) -> list[int]:
        """Append bytes; where they are."""
        self._file.write(data)
        self._at += len(data)
        return [self._at - len(data), len(data)]

    def finish(self, record: dict[str, Any]) -> None:
        """Put data and then record in their places; the data's size goes into the record."""
        self._file.close()
        os.replace(self._part, self._path.with_suffix(".bin"))
        with atomic_path(self._path) as part:
            part.write_text(
                json.dumps({**record, "bytes": self._at}, sort_keys=True, ensure_ascii=False), encoding="utf-8"
            )


def read_record(path: Path) -> dict[str, Any] | None:
    """The record of a unit; None where there is none, or where it or its data is not whole."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return record if path.with_suffix(".bin").stat().st_size == record["bytes"] else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def read_part(path: Path, where: list[int]) -> bytes:
    """The bytes at [offset, length] of a unit's data; DiffusedHeadsError where they are not there."""
    with path.with_suffix(".bin").open("rb") as file:
        file.seek(where[0])
        data = file.read(where[1])
    if len(data) != where[1]:
        raise DiffusedHeadsError(
            f"{path.with_suffix('.bin')}: expected {where[1]} bytes at {where[0]}, found {len(data)}"
        )
    return data


def sweep(work: Path) -> None:
    """Remove what interrupted runs left unfinished; to be called when no unit is being made."""
    for path in work.glob("*/.unit-*.part"):
        path.unlink(missing_ok=True)
    for path in work.glob(f"{PACKING}*"):
        if time.time() - path.stat().st_mtime > ABANDONED:
            shutil.rmtree(path, ignore_errors=True)
