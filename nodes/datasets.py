"""Datasets as folders: names, places, what is in them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from ..diffused_heads_core.errors import DiffusedHeadsError
from .sockets import DatasetFolders

HOME = "diffused_heads"  # in the host's output folder
NAME = re.compile(r"\w[\w-]{0,63}")
RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)  # no file names on Windows
PARTS = ("train", "validation")


def name_problem(name: str, what: str) -> str | None:
    """Why ``name`` cannot become that of a folder, in a line for its user, or None; ``what`` is the input's name."""
    if NAME.fullmatch(name) and not RESERVED.fullmatch(name):
        return None
    return f"{what}={name!r:.80}: expected 1 to 64 letters, digits, - or _, beginning with a letter or digit"


def check_name(name: str, what: str) -> str:
    """``name``; raises DiffusedHeadsError where ``name_problem`` finds one."""
    problem = name_problem(name, what)
    if problem:
        raise DiffusedHeadsError(problem)
    return name


def find_folder(text: str, roots: Sequence[str | os.PathLike[str]], what: str) -> Path:
    """The folder that a user means: an absolute path, or one in the first of ``roots`` that has it, quotes around it or
    not.

    Raises DiffusedHeadsError that names where it was looked for.
    """
    asked = text.strip().strip("\"'").strip()
    if not asked:
        raise DiffusedHeadsError(f"{what}: expected the path of a folder, found none")
    places = [Path(os.path.normpath(Path(root) / Path(asked).expanduser())) for root in roots]
    for place in places:
        if place.is_dir():
            return place
    found = "found a file" if any(place.is_file() for place in places) else "there is none"
    raise DiffusedHeadsError(
        f"{what}={asked!r:.200}: expected a folder, {found}; looked for {', '.join(dict.fromkeys(map(str, places)))}"
    )


def open_folder(folder: Path) -> DatasetFolders:
    """The datasets in a folder: it is one itself, or holds train and perhaps validation. Raises DiffusedHeadsError
    where there is none.
    """
    if (folder / "dataset.json").is_file():
        return DatasetFolders(folder)
    train, validation = (folder / part for part in PARTS)
    if not (train / "dataset.json").is_file():
        raise DiffusedHeadsError(
            f"{folder}: expected a finished dataset (dataset.json, or train/dataset.json), found none"
        )
    return DatasetFolders(train, validation if (validation / "dataset.json").is_file() else None)


def describe(folders: DatasetFolders) -> str:
    """A few lines about the datasets; raises DiffusedHeadsError where one is damaged."""
    from ..diffused_heads_core.data.shards import Dataset

    lines = []
    for part, folder in zip(PARTS, (folders.train, folders.validation)):
        if folder is None:
            lines.append(f"{part}: none, the clips for training are shown in its place")
            continue
        data = Dataset(folder)
        seconds = data.header["frames"] / data.fps
        lines.append(
            f"{part}: {len(data)} clip{'s' if len(data) > 1 else ''}, {seconds:.0f} s at {data.size} px, {data.fps:g} frames a second, in {folder}"
        )
    return "\n".join(lines)


def fingerprint(*folders: Path) -> str:
    """Changes whenever a dataset in one of the folders does."""
    marks = []
    for folder in folders:
        for place in (folder, *(folder / part for part in PARTS)):
            path = place / "dataset.json"
            marks.append(f"{path.stat().st_mtime_ns}" if path.is_file() else "-")
    return " ".join(marks)


def files_fingerprint(folder: Path) -> str:
    """Changes whenever a file in a folder or in the folders in it comes, goes or changes."""
    digest = hashlib.sha256()
    for place, inner, names in os.walk(folder):
        inner.sort()
        for path in (Path(place) / name for name in sorted(names)):
            found = path.stat()
            digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()
