"""The result of one video in OUT/work, from which datasets are assembled: a binary file with the members of its clips,
and a JSON record that says where in that file they are.

The record is written last, so a result is either complete or absent.
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

PACKING = "shard-"  # first letters of folders in which shards are written
ABANDONED = 3600.0  # seconds after which such a folder is removed; a newer one may be in use by another machine
SAMPLES, SAMPLE = 4, 1 << 14  # number and size in bytes of the parts of a file that its fingerprint covers


@dataclass(frozen=True)
class Video:
    """A video file; name: its path within the folder of raw videos, with forward slashes."""

    path: Path
    name: str

    @property
    def key(self) -> str:
        """A short name for files and clips, which no other video has."""
        stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(self.name).stem).strip("-")[:40] or "video"
        return f"{stem}-{hashlib.sha256(self.name.encode()).hexdigest()[:10]}"


def fingerprint(path: Path) -> str:
    """A digest of a file's size and of parts spread over it; quick for any size, and enough to detect another file."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for i in range(SAMPLES):
            file.seek(max(0, size - SAMPLE) * i // (SAMPLES - 1))
            digest.update(file.read(SAMPLE))
    return digest.hexdigest()


def record_path(work: Path, video: Video) -> Path:
    """Path of a video's record; its binary file has the same name with the suffix .bin."""
    return work / video.key[-2:] / f"{video.key}.json"


class ResultWriter:
    """Writes the result of one video: ``add`` appends to a temporary file, ``finish`` puts file and record in place."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._at = path, 0
        handle, self._part = tempfile.mkstemp(".part", ".result-", path.parent)
        self._file = os.fdopen(handle, "wb")

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()
        Path(self._part).unlink(missing_ok=True)

    def add(self, data: bytes) -> list[int]:
        """Append bytes; returns [offset, length]."""
        self._file.write(data)
        self._at += len(data)
        return [self._at - len(data), len(data)]

    def finish(self, record: dict[str, Any]) -> None:
        """Put the binary file and then the record in place; the record gets the size of the file."""
        self._file.close()
        os.replace(self._part, self._path.with_suffix(".bin"))
        with atomic_path(self._path) as part:
            text = json.dumps({**record, "bytes": self._at}, sort_keys=True, ensure_ascii=False)
            part.write_text(text, encoding="utf-8")


def read_record(path: Path) -> dict[str, Any] | None:
    """The record of a video; None if it or the binary file is missing or incomplete."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return record if path.with_suffix(".bin").stat().st_size == record["bytes"] else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def read_part(record: Path, place: list[int]) -> bytes:
    """The bytes at [offset, length] of a result's binary file; raises DiffusedHeadsError if it is too short."""
    path, (offset, length) = record.with_suffix(".bin"), place
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(length)
    if len(data) != length:
        raise DiffusedHeadsError(f"{path}: expected {length} bytes at {offset}, found {len(data)}")
    return data


def remove_leftovers(work: Path) -> None:
    """Remove the unfinished files of interrupted runs; must not be called while results are being written."""
    for path in work.glob("*/.result-*.part"):
        path.unlink(missing_ok=True)
    for path in work.glob(f"{PACKING}*"):
        if time.time() - path.stat().st_mtime > ABANDONED:
            shutil.rmtree(path, ignore_errors=True)
