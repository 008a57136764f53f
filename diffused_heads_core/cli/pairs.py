"""Which portrait speaks which recording in a batch: from the command line or from a table."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ..errors import DiffusedHeadsError
from ..files import as_path, readable_file
from .parser import Parser, explain
from .request import add_head, add_part, add_sampling, add_video

COLUMNS = ("identity", "audio", "output")
_FLAGS = {"": False, "0": False, "no": False, "false": False, "1": True, "yes": True, "true": True}


@dataclass(frozen=True)
class Pair:
    """One video: its portrait, recording and output, and the options for it."""

    identity: Path
    audio: Path
    output: Path
    options: argparse.Namespace

    def line(self, error: Exception) -> str:
        """A failure in one line."""
        return f"{self.output}: failed: {explain(error)}"


def crossed(options: argparse.Namespace) -> Iterator[Pair]:
    """Pairs of the portraits and recordings on the command line."""
    portraits, recordings = options.identity, options.audio
    if options.all_pairs:
        both = [(portrait, recording) for portrait in portraits for recording in recordings]
    elif len(portraits) == len(recordings) or 1 in (len(portraits), len(recordings)):
        count = max(len(portraits), len(recordings))
        both = list(zip(portraits * (count // len(portraits)), recordings * (count // len(recordings))))
    else:
        raise DiffusedHeadsError(
            f"{len(portraits)} portraits and {len(recordings)} recordings: expected as many of both, one of either, "
            "or --all-pairs"
        )
    names = _Names()
    for portrait, recording in both:
        yield Pair(portrait, recording, options.output_folder / names.of(portrait, recording, options.alpha), options)


class _Names:
    """Names of outputs, of which no two are the same, also where upper and lower case are."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, portrait: Path, recording: Path, alpha: bool) -> str:
        """PORTRAIT-RECORDING.mp4 (.webm with alpha), or with -2, -3 and so on if that is taken."""
        stem, number, suffix = f"{portrait.stem}-{recording.stem}", 1, ".webm" if alpha else ".mp4"
        name = f"{stem}{suffix}"
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}-{number}{suffix}"
        self._taken.add(name.casefold())
        return name


class _RowParser(Parser):
    """Parses the options in a row; an error is raised instead of ending the program."""

    def error(self, message: str) -> NoReturn:
        raise DiffusedHeadsError(message)


def rows(options: argparse.Namespace) -> Iterator[Pair]:
    """Pairs of a table. Raises DiffusedHeadsError that lists everything that is wrong in it."""
    parser = _RowParser(prog="table", add_help=False)
    for add in (add_part, add_head, add_video, add_sampling):
        add(parser)
    actions = {action.option_strings[0].lstrip("-").replace("-", "_"): action for action in parser._actions}
    folder, names, wrong, pairs = options.table.parent, _Names(), [], []
    for number, row in _read(options.table, {*COLUMNS, *actions}):
        try:
            words = [word for name, text in row.items() if name in actions for word in _words(actions[name], text)]
            own = parser.parse_args(words, copy(options))
            portrait, recording = (_input(folder, name, row.get(name, "")) for name in COLUMNS[:2])
            given = row.get("output") or names.of(portrait, recording, own.alpha)
            pairs.append(Pair(portrait, recording, (options.output_folder or folder) / as_path(given), own))
        except DiffusedHeadsError as error:
            wrong.append(f"line {number}: {error}")
    if wrong or not pairs:
        raise DiffusedHeadsError(f"{options.table}: {'; '.join(wrong) or 'expected rows, found none'}")
    yield from pairs


def _read(table: Path, known: set[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and cells of a table's rows, by column; the separator is a comma, semicolon or tab."""
    try:
        text = readable_file(table, "a CSV table").read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DiffusedHeadsError(f"{table}: expected a CSV table in UTF-8, found another encoding") from None
    lines = text.splitlines() or [""]
    found = csv.reader(lines, delimiter=max(",;\t", key=lines[0].count))
    columns = [name.strip().lstrip("-").replace("-", "_").lower() for name in next(found)]
    unknown = [name for name in columns if name not in known]
    missing = [name for name in COLUMNS[:2] if name not in columns]
    if unknown or missing or len(set(columns)) < len(columns):
        wrong = f"unknown columns {', '.join(unknown)}" if unknown else f"columns {', '.join(columns)}"
        raise DiffusedHeadsError(f"{table}: expected the columns identity, audio and names of options, found {wrong}")
    for row in found:
        if any(cell.strip() for cell in row):
            if len(row) > len(columns):
                raise DiffusedHeadsError(f"{table}: line {found.line_num}: {len(row)} cells, {len(columns)} columns")
            yield found.line_num, dict(zip(columns, (cell.strip() for cell in row)))


def _words(action: argparse.Action, text: str) -> list[str]:
    """A cell as words of a command line; an empty one leaves the option as the command line has it."""
    name = action.option_strings[0]
    if action.nargs == 0:  # a flag
        if text.lower() not in _FLAGS:
            raise DiffusedHeadsError(f"{name} {text}: expected yes or no")
        return [name] if _FLAGS[text.lower()] else []
    if action.nargs is None:
        return [f"{name}={text}"] if text else []
    return [name, *text.split()] if text else []


def _input(folder: Path, column: str, text: str) -> Path:
    if not text:
        raise DiffusedHeadsError(f"{column}: expected a file, found an empty cell")
    path = as_path(text)
    return path if path.is_absolute() or (path.exists() and not (folder / path).exists()) else folder / path
