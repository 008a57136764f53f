"""The result of an evaluation as a file and as text: JSON on disk, a table for the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DiffusedHeadsError
from ..files import atomic_path, readable_file
from .metrics.names import METRICS
from .totals import FORMAT, VERSION

Result = Mapping[str, Any]


def save_result(path: Path, result: Result) -> None:
    """Write a result as JSON, whole or not at all."""
    with atomic_path(path) as part:
        part.write_text(
            json.dumps(result, indent=None, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n",
            encoding="utf-8",
        )


def load_result(path: Path) -> dict[str, Any]:
    """Read a result; DiffusedHeadsError naming the file where it is missing, damaged or of another kind."""
    expected = f"the JSON of an evaluation ({FORMAT} version {VERSION})"
    text = readable_file(path, expected).read_bytes()
    try:
        value = json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DiffusedHeadsError(f"{path}: expected {expected}, found a damaged file ({error})") from None
    found = (value.get("format"), value.get("version")) if isinstance(value, dict) else (type(value).__name__, None)
    if found != (FORMAT, VERSION):
        raise DiffusedHeadsError(f"{path}: expected {expected}, found {found[0]} version {found[1]}")
    return value


def shown(value: float | None, spread: float | None = None) -> str:
    """A figure for people: about three digits, its spread behind it; "-" for none."""
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2 if abs(value) >= 0.9995 else 3
    plain = f"{value:.{digits}f}" if value == 0 or abs(value) >= 0.0005 else f"{value:.1e}"
    plain = "0" if float(plain) == 0 else plain
    return f"{plain} ± {shown(spread)}" if spread is not None and spread > 0 else plain


def compared(result: Result) -> list[tuple[str, list[tuple[str, str, str, str]]]]:
    """Rows of the table by group: label with unit, generated, truth, which way is good."""
    groups: dict[str, list[tuple[str, str, str, str]]] = {}
    for name, figure in result["metrics"].items():
        metric = METRICS[name]
        label = f"{metric.label} ({metric.unit})" if metric.unit else metric.label
        groups.setdefault(metric.group, []).append(
            (label, shown(figure["value"], figure["spread"]), shown(figure["reference"]), metric.aim)
        )
    return list(groups.items())


def table(result: Result) -> str:
    """The result as lines for a terminal, and what was not measured and why."""
    rows = [("", "generated", "truth or ideal", "")]
    for group, members in compared(result):
        rows += [(group.upper(), "", "", ""), *(("  " + label, *rest) for label, *rest in members)]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [headline(result)]
    lines += [
        "  ".join((row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].rjust(widths[2]), row[3])).rstrip()
        for row in rows
    ]
    lines += (
        ["not measured:", *(f"  {names}: {reason}" for reason, names in missing(result))]
        if result["not_measured"]
        else []
    )
    return "\n".join([*lines, *(f"note: {note}" for note in result["notes"])])


def headline(result: Result) -> str:
    """What was measured, in a line."""
    against = f" against {count(result['references'], 'reference')}" if result["references"] else ""
    return f"{count(result['clips'], 'clip')}, {result['frames']:,} frames, {result['seconds']:.1f} s{against}"


def count(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def missing(result: Result) -> list[tuple[str, str]]:
    """Reasons and the metrics that have no value for them."""
    reasons: dict[str, list[str]] = {}
    for name, reason in result["not_measured"].items():
        reasons.setdefault(reason, []).append(METRICS[name].label)
    return [(reason, "; ".join(labels)) for reason, labels in reasons.items()]


def plain(result: Result) -> dict[str, float]:
    """Name -> value of every metric that was measured."""
    return {
        name: figure["value"]
        for name, figure in result["metrics"].items()
        if figure["value"] is not None and math.isfinite(figure["value"])
    }
