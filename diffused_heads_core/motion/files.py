"""Motion tracks as files: JSON and CSV for people, NPZ for programs. ``docs/MOTION.md`` describes them.

JSON and CSV have angles in degrees, as people write them; NPZ has radians, as ``MotionTrack``. What a file leaves out
is 0, the portrait as it is.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DiffusedHeadsError
from ..files import atomic_path, check_writable, readable_file
from ..media.video import as_fps
from .clip import MotionClip
from .columns import as_stored, as_written, unknown_column
from .track import COLUMNS

FORMAT = "diffused-heads motion 1"
SUFFIXES = (".json", ".csv", ".npz")
UNITS = (
    "yaw, pitch, roll in degrees; tx, ty in sides of the model's frame; size 0.05 is 5 % larger; lids 0 open to 1 "
    "shut; gaze, brows and expression -1 to 1; 0 is the portrait as it is"
)
TIME = "time"  # of a CSV file, seconds
DECIMALS = {"yaw": 3, "pitch": 3, "roll": 3}
MOST_DECIMALS = 5
EVEN = 0.02  # frames by which the times of a CSV file's rows may be uneven


def read_motion(path: str | os.PathLike[str]) -> MotionClip:
    """The motion in a .json, .csv or .npz file.

    Raises DiffusedHeadsError that names the file and, of a CSV file, the line, for another kind of file, columns that
    are unknown or of different lengths, and values that are no finite numbers.
    """
    named = _known_suffix(Path(os.fspath(path)))
    file = readable_file(named, "a motion file")
    try:
        return _READERS[named.suffix.lower()](file)
    except DiffusedHeadsError as error:
        raise DiffusedHeadsError(f"{file}: {str(error).removeprefix(f'{file}: ')}") from error


def check_motion_output(path: str | os.PathLike[str]) -> None:
    """Raise DiffusedHeadsError if ``write_motion`` could not write ``path``; call it before long work."""
    check_writable(_known_suffix(Path(os.fspath(path))))


def write_motion(path: str | os.PathLike[str], clip: MotionClip) -> None:
    """Write a motion as .json, .csv or .npz. Raises DiffusedHeadsError for another name or if it cannot be written."""
    target = _known_suffix(Path(os.fspath(path)))
    data = _WRITERS[target.suffix.lower()](clip)
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def _known_suffix(path: Path) -> Path:
    if path.suffix.lower() not in SUFFIXES:
        found = path.suffix or "no suffix"
        raise DiffusedHeadsError(f"{path}: expected a motion file ending in {', '.join(SUFFIXES)}, found {found}")
    return path


def _rate(fps: Any) -> Fraction:
    """The rate that a file names: a number or text such as 30000/1001."""
    try:
        return as_fps(Fraction(fps) if isinstance(fps, str) and "/" in fps else float(fps))
    except (TypeError, ValueError, ZeroDivisionError) as error:
        if isinstance(error, DiffusedHeadsError):
            raise
        raise DiffusedHeadsError(f"fps={fps!r:.60}: expected frames per second, such as 25 or 30000/1001") from error


def _rate_text(fps: Fraction) -> int | str:
    return int(fps) if fps.denominator == 1 else f"{fps.numerator}/{fps.denominator}"


def _rounded(values: np.ndarray) -> list[list[float]]:
    """Columns (N, 16) as people read them: few decimals, no -0."""
    places = [DECIMALS.get(name, MOST_DECIMALS) for name in COLUMNS]
    written = as_written(values)
    return [[round(float(value), digits) + 0.0 for value, digits in zip(row, places)] for row in written]


def _of_columns(columns: Mapping[str, np.ndarray], fps: Fraction, degrees: bool = True) -> MotionClip:
    """A clip of named columns (N,), the others 0."""
    lengths = {name: len(column) for name, column in columns.items()}
    if not lengths or min(lengths.values()) == 0:
        raise DiffusedHeadsError("expected one column or more with one frame or more, found none")
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {count}" for name, count in lengths.items())
        raise DiffusedHeadsError(f"expected columns of the same length, found {found}")
    values = np.zeros((next(iter(lengths.values())), len(COLUMNS)))
    for name, column in columns.items():
        wrong = np.flatnonzero(~np.isfinite(column))
        if len(wrong):
            raise DiffusedHeadsError(
                f"column {name}, frame {wrong[0]}: expected a finite number, found {column[wrong[0]]}"
            )
        values[:, COLUMNS.index(name)] = column
    return MotionClip.of_values(as_stored(values) if degrees else values, fps)


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if name not in COLUMNS:
            raise unknown_column(name)


def _read_json(file: Path) -> MotionClip:
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DiffusedHeadsError(f"line {error.lineno}: expected JSON ({error.msg})") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise DiffusedHeadsError("expected JSON, found something else") from error
    if not isinstance(found, dict) or not isinstance(found.get("columns"), dict) or "fps" not in found:
        raise DiffusedHeadsError('expected {"fps": number, "columns": {"yaw": [numbers], ...}}')
    if found.get("format", FORMAT) != FORMAT:
        raise DiffusedHeadsError(f"format {found['format']!r:.60}: expected {FORMAT!r}")
    columns = found["columns"]
    _check_names(list(columns))
    return _of_columns({name: _numbers(name, column) for name, column in columns.items()}, _rate(found["fps"]))


def _numbers(name: str, column: Any) -> np.ndarray:
    """A JSON list as an array."""
    if not isinstance(column, list):
        raise DiffusedHeadsError(f"column {name}: expected a list of numbers, found {type(column).__name__}")
    for number, value in enumerate(column):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DiffusedHeadsError(f"column {name}, frame {number}: expected a number, found {value!r:.60}")
    try:
        return np.array(column, np.float64)
    except OverflowError as error:
        raise DiffusedHeadsError(f"column {name}: expected finite numbers, found a larger one") from error


def _write_json(clip: MotionClip) -> bytes:
    """A line per column, so that it is easy to find and to compare."""
    rows = list(zip(*_rounded(clip.track.values)))
    lines = [f'    "{name}": {json.dumps(list(row))}' for name, row in zip(COLUMNS, rows, strict=True)]
    head = {"format": FORMAT, "units": UNITS, "fps": _rate_text(clip.fps)}
    top = "".join(f'  "{name}": {json.dumps(value)},\n' for name, value in head.items())
    return ("{\n" + top + '  "columns": {\n' + ",\n".join(lines) + "\n  }\n}\n").encode()


def read_table(text: str) -> tuple[list[str], list[tuple[int, list[float | None]]], dict[str, str]]:
    """Names, rows with their line numbers, and notes of CSV text: a row of names, then rows of numbers.

    Lines that begin with # are notes, ``# name=value``. Commas, semicolons or tabs separate; a decimal comma is
    understood with semicolons and tabs. An empty cell is None. Raises DiffusedHeadsError that names the line.
    """
    notes: dict[str, str] = {}
    names: list[str] = []
    rows: list[tuple[int, list[float | None]]] = []
    lines = text.removeprefix("\ufeff").splitlines()
    head = next((line for line in lines if line.strip() and not line.lstrip("\"' ").startswith("#")), "")
    mark = next((mark for mark in ";\t" if mark in head), ",")
    for number, line in enumerate(lines, 1):
        plain = line.strip().strip("\"'")
        if plain.startswith("#"):
            pairs = (part.split("=", 1) for part in plain.lstrip("# ").replace(";", ",").split(",") if "=" in part)
            notes.update({name.strip(): value.strip().strip("\"'") for name, value in pairs})
            continue
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=mark), [])]
        if not any(cells):
            continue
        if not names:
            names = [cell.lower() for cell in cells]
            continue
        if len(cells) != len(names):
            raise DiffusedHeadsError(f"line {number}: expected {len(names)} values, found {len(cells)}")
        rows.append((number, [_cell(cell, mark, number, name) for cell, name in zip(cells, names)]))
    return names, rows, notes


def _cell(text: str, mark: str, line: int, name: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text.replace(",", ".") if mark != "," else text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DiffusedHeadsError(f"line {line}, {name}: expected a finite number, found {text!r:.60}")
    return value


def _read_csv(file: Path) -> MotionClip:
    try:
        names, rows, notes = read_table(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DiffusedHeadsError("expected text with comma-separated values, found something else") from error
    if not rows:
        raise DiffusedHeadsError("expected a line of column names and a line for each frame, found none")
    doubled = [name for name in names if names.count(name) > 1]
    if doubled:
        raise DiffusedHeadsError(f"column {doubled[0]}: expected once, found more often")
    _check_names([name for name in names if name not in (TIME, "frame")])
    for number, cells in rows:
        if None in cells:
            name = names[cells.index(None)]
            raise DiffusedHeadsError(f"line {number}, {name}: expected a number, found an empty cell")
    table = np.array([cells for _, cells in rows], np.float64)
    rate = _rate(notes["fps"]) if "fps" in notes else _rate_of_times(names, table)
    return _of_columns({name: table[:, i] for i, name in enumerate(names) if name in COLUMNS}, rate)


def _rate_of_times(names: Sequence[str], table: np.ndarray) -> Fraction:
    """The rate that a column of even times tells."""
    if TIME not in names or len(table) < 2:
        raise DiffusedHeadsError('expected a first line "# fps=25", or a column time in seconds, found neither')
    times = table[:, names.index(TIME)]
    step = (times[-1] - times[0]) / (len(times) - 1)
    if step <= 0 or np.abs(np.diff(times) / step - 1).max() > EVEN:
        raise DiffusedHeadsError(
            "column time: expected even steps, as one row per frame has them; "
            "uneven rows are keyframes: `diffused-heads motion edit --keyframes`"
        )
    return as_fps(float(1 / step))


def _write_csv(clip: MotionClip) -> bytes:
    text = io.StringIO()
    text.write(f"# fps={_rate_text(clip.fps)}; yaw, pitch, roll in degrees; one row per frame\n")
    out = csv.writer(text, lineterminator="\n")
    out.writerow([TIME, *COLUMNS])
    for number, row in enumerate(_rounded(clip.track.values)):
        out.writerow([round(float((number + Fraction(1, 2)) / clip.fps), 4), *row])
    return text.getvalue().encode()


def _read_npz(file: Path) -> MotionClip:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, zipfile.BadZipFile, KeyError, EOFError) as error:
        raise DiffusedHeadsError(f"expected an NPZ file of arrays, cannot read it ({error})") from error
    if "fps" not in found:
        raise DiffusedHeadsError("expected fps and columns such as yaw as arrays, found no fps")
    rate = _rate(str(found.pop("fps")))
    _check_names(list(found))
    for name, column in found.items():
        if column.ndim != 1 or column.dtype.kind not in "fiu":
            raise DiffusedHeadsError(f"column {name}: expected numbers (N,), found {column.dtype} {column.shape}")
    return _of_columns({name: column.astype(np.float64) for name, column in found.items()}, rate, degrees=False)


def _write_npz(clip: MotionClip) -> bytes:
    data = io.BytesIO()
    columns = dict(zip(COLUMNS, clip.track.values.T, strict=True))
    np.savez(data, fps=np.array(str(_rate_text(clip.fps))), **columns)
    return data.getvalue()


_READERS: dict[str, Callable[[Path], MotionClip]] = {".json": _read_json, ".csv": _read_csv, ".npz": _read_npz}
_WRITERS: dict[str, Callable[[MotionClip], bytes]] = {".json": _write_json, ".csv": _write_csv, ".npz": _write_npz}
