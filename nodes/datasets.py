"""Datasets as folders: their names, where they are, and what they hold."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import folder_paths

from ..diffused_heads_core.errors import DiffusedHeadsError
from .sockets import DatasetFolders

NAME = re.compile(r"\w[\w-]{0,63}")
RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)  # no file names on Windows
PARTS = ("train", "validation")


def home(kind: str = "datasets") -> Path:
    """The pack's folder for ``kind``, datasets or runs, in the host's output folder."""
    return Path(folder_paths.get_output_directory(), "diffused_heads", kind)


def name_problem(name: str, what: str) -> str | None:
    """Why ``name`` cannot be a folder's, in one line for the user, or None if it can; ``what`` is the input's name."""
    if NAME.fullmatch(name) and not RESERVED.fullmatch(name):
        return None
    return f"{what}={name!r:.80}: expected 1 to 64 letters, digits, - or _, beginning with a letter or digit"


def check_name(name: str, what: str) -> str:
    """Return ``name``; raises DiffusedHeadsError if ``name_problem`` finds one."""
    problem = name_problem(name, what)
    if problem:
        raise DiffusedHeadsError(problem)
    return name


def find_folder(text: str, roots: Sequence[str | os.PathLike[str]], what: str) -> Path:
    """The folder that a user names: an absolute path, or one in the first of ``roots`` that has it.

    Quotes around it are dropped. Raises DiffusedHeadsError that names the places that were searched.
    """
    asked = text.strip().strip("\"'").strip()
    if not asked:
        raise DiffusedHeadsError(f"{what}: expected the path of a folder, found none")
    places = [Path(os.path.normpath(Path(root) / Path(asked).expanduser())) for root in roots]
    for place in places:
        if place.is_dir():
            return place
    found = "found a file" if any(place.is_file() for place in places) else "there is none"
    searched = ", ".join(dict.fromkeys(map(str, places)))
    raise DiffusedHeadsError(f"{what}={asked!r:.200}: expected a folder, {found}; looked for {searched}")


def open_folder(folder: Path) -> DatasetFolders:
    """The datasets in a folder, which is one itself, or holds train and perhaps validation.

    Raises DiffusedHeadsError if there is none.
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
    """A few lines about the datasets; raises DiffusedHeadsError if one is damaged."""
    from ..diffused_heads_core.data.shards import Dataset

    lines = []
    for part, folder in zip(PARTS, (folders.train, folders.validation)):
        if folder is None:
            lines.append(f"{part}: none, the clips for training are shown in its place")
            continue
        data = Dataset(folder)
        clips, seconds = f"{len(data)} clip{'s' if len(data) > 1 else ''}", data.header["frames"] / data.fps
        lines.append(f"{part}: {clips}, {seconds:.0f} s at {data.size} px, {data.fps:g} frames per second, in {folder}")
    return "\n".join(lines)


def fingerprint(*folders: Path) -> str:
    """A text that changes whenever a dataset in one of the folders does."""
    marks = []
    for folder in folders:
        for place in (folder, *(folder / part for part in PARTS)):
            path = place / "dataset.json"
            marks.append(f"{path.stat().st_mtime_ns}" if path.is_file() else "-")
    return " ".join(marks)


def files_fingerprint(folder: Path) -> str:
    """A text that changes whenever a file in the folder, or in a folder in it, comes, goes or changes."""
    digest = hashlib.sha256()
    for place, inner, names in os.walk(folder):
        inner.sort()
        for path in (Path(place) / name for name in sorted(names)):
            found = path.stat()
            digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()
