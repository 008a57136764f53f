"""The result of an evaluation as JSON on disk, a table for the terminal, an HTML page and a picture.

Table, page and picture follow from the JSON alone. Page and picture need matplotlib (the extra ``evaluate``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import DiffusedHeadsError
from ..files import atomic_path, readable_file
from .figures import FIGURES, Style, heading, picture, sheet_picture, svg
from .metrics.names import METRICS, shown
from .totals import FORMAT, VERSION

Result = Mapping[str, Any]
RENAMED = {"identity": "face_similarity"}  # metrics of older results
Row = tuple[str, str, str, str]  # label with unit, generated, truth or ideal, which way is good
TITLE = "Talking heads, measured"
MARGIN = 14  # px at the left of what is narrower than the picture
HEADINGS = {
    "bars": (
        "Against the ground truth",
        "Blue: generated, with its standard deviation over clips. Orange: the truth's own value, or the ideal.",
    ),
    "drift": (
        "Over the clips' time",
        "Mean of each second; the band is one standard deviation over clips. Orange, dashed: the ground truth.",
    ),
    "traces": ("Mouth and sound", "Opening of the mouth in eye distances over the waveform."),
    "flow": ("Where it moves", "Mean optical flow at every place of the frame."),
}
CSS = """
body{font:15px/1.5 system-ui,"Segoe UI",Roboto,Helvetica,Arial,sans-serif;color:#262a31;background:#f4f5f7;margin:0}
main{max-width:1120px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:0 0 2px}p{margin:0 0 10px;color:#5b626d}
section{background:#fff;border:1px solid #e2e5ea;border-radius:8px;padding:18px 20px;margin:18px 0;overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:4px 12px 4px 0;border-bottom:1px solid #eef0f3;vertical-align:top;white-space:nowrap}
td.n,th.n{text-align:right}td.w{white-space:normal;color:#5b626d}tr.g th{padding-top:14px;color:#5b626d;font-weight:600}
tr.g th{border-bottom:1px solid #cfd4db}table.small th{white-space:normal;vertical-align:bottom}
table.small tr>:first-child{position:sticky;left:0;background:#fff}@media(max-width:760px){.w{display:none}}
svg{width:100%;min-width:640px;height:auto;display:block}
img{width:100%;max-width:1024px;display:block;margin:4px 0 14px;border-radius:4px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;margin:8px 0 0}
dt{color:#5b626d}dd{margin:0;overflow-wrap:anywhere}
.small{font-size:13px}ul{margin:6px 0 0;padding-left:20px}"""
HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">"""
COLUMNS = (
    '<tr><th></th><th class="n">generated</th><th class="n">truth or ideal</th><th>good is</th>'
    '<th class="w">what it is</th></tr>'
)


def save_result(path: Path, result: Result) -> None:
    """Write a result as JSON, whole or not at all."""
    text = json.dumps(result, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    with atomic_path(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def load_result(path: Path) -> dict[str, Any]:
    """Read a result, metrics of older versions under their present names.

    Raises DiffusedHeadsError that names the file if it is missing, damaged or of another kind.
    """
    expected = f"the JSON of an evaluation ({FORMAT} version {VERSION})"
    text = readable_file(path, expected).read_bytes()
    try:
        value = json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DiffusedHeadsError(f"{path}: expected {expected}, found a damaged file ({error})") from None
    found = (value.get("format"), value.get("version")) if isinstance(value, dict) else (type(value).__name__, None)
    if found != (FORMAT, VERSION):
        raise DiffusedHeadsError(f"{path}: expected {expected}, found {found[0]} version {found[1]}")
    parts = {name: _renamed(value[name]) for name in ("metrics", "not_measured", "drift") if name in value}
    return {**value, **parts, "rows": [_renamed(row) for row in value.get("rows", [])]}


def _renamed(by_metric: dict[str, Any]) -> dict[str, Any]:
    return {RENAMED.get(name, name): value for name, value in by_metric.items()}


def compared(result: Result) -> list[tuple[str, list[Row]]]:
    """Rows of the table by group."""
    groups: dict[str, list[Row]] = {}
    for name, figure in result["metrics"].items():
        metric = METRICS[name]
        label = f"{metric.label} ({metric.unit})" if metric.unit else metric.label
        row = label, shown(figure["value"], figure["spread"]), shown(figure["reference"]), metric.aim
        groups.setdefault(metric.group, []).append(row)
    return list(groups.items())


def table(result: Result) -> str:
    """The result as lines for a terminal, with what was not measured and why."""
    rows: list[Row] = [("", "generated", "truth or ideal", "")]
    for group, members in compared(result):
        rows.append((group.upper(), "", "", ""))
        rows += [("  " + label, made, true, aim) for label, made, true, aim in members]
    first, second, third, _ = (max(len(row[i]) for row in rows) for i in range(4))
    lines = [headline(result)]
    lines += [f"{a:{first}}  {b:>{second}}  {c:>{third}}  {d}".rstrip() for a, b, c, d in rows]
    if result["not_measured"]:
        lines += ["not measured:", *(f"  {names}: {reason}" for reason, names in missing(result))]
    return "\n".join([*lines, *(f"note: {note}" for note in result["notes"])])


def headline(result: Result) -> str:
    """What was measured, in one line."""
    against = f" against {count(result['references'], 'reference')}" if result["references"] else ""
    return f"{count(result['clips'], 'clip')}, {result['frames']:,} frames, {result['seconds']:.1f} s{against}"


def count(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def missing(result: Result) -> list[tuple[str, str]]:
    """Each reason with the labels of the metrics that have no value for it."""
    reasons: dict[str, list[str]] = {}
    for name, reason in result["not_measured"].items():
        reasons.setdefault(reason, []).append(METRICS[name].label)
    return [(reason, "; ".join(labels)) for reason, labels in reasons.items()]


def plain(result: Result) -> dict[str, float]:
    """Name -> value of every metric that was measured."""
    values = {name: figure["value"] for name, figure in result["metrics"].items()}
    return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}


def page(result: Result) -> str:
    """The report as one HTML page without outside files. The same result gives the same page.

    Raises DiffusedHeadsError if matplotlib is not installed.
    """
    title = str(result["about"].get("title", TITLE))
    parts = [f"<h1>{escape(title)}</h1><p>{escape(headline(result))}</p>", _about(result), _figures(result)]
    with Style() as figure_of:
        for name, draw in FIGURES.items():
            figure = draw(result, figure_of)
            if figure is not None:
                title_of, words = HEADINGS[name]
                image = f'<div role="img" aria-label="{escape(title_of)}">{svg(figure)}</div>'
                parts.append(_section(title_of, words, image))
    body = "\n".join([*parts, _sheets(result), _clips(result)])
    head = f"{HEAD}<title>{escape(title)}</title><style>{CSS}</style></head>"
    return f"{head}\n<body><main>\n{body}\n</main></body></html>\n"


def write_page(path: Path, result: Result) -> None:
    """Write the report as HTML, whole or not at all; errors of ``page``."""
    text = page(result)
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def _section(title: str, words: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{f'<p>{escape(words)}</p>' if words else ''}{body}</section>"


def _list(lines: list[str], kind: str = "") -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul{kind}>{items}</ul>" if lines else ""


def _about(result: Result) -> str:
    rows = [(k, v) for k, v in result["about"].items() if k != "title"]
    listed = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in rows)
    notes = _list(result["notes"])
    return _section("What was measured", "", f"<dl>{listed}</dl>{notes}") if listed or notes else ""


def _figures(result: Result) -> str:
    sources = {f"{m.label} ({m.unit})" if m.unit else m.label: m.source for m in METRICS.values()}
    body = COLUMNS
    for group, rows in compared(result):
        body += f'<tr class="g"><th colspan="5">{escape(group)}</th></tr>'
        for label, made, true, aim in rows:
            body += f'<tr><td>{escape(label)}</td><td class="n">{escape(made)}</td><td class="n">{escape(true)}</td>'
            body += f'<td>{escape(aim)}</td><td class="w">{escape(sources[label])}</td></tr>'
    absent = _list([f"{names}: {reason}" for reason, names in missing(result)], ' class="small"')
    absent = f'<p class="small" style="margin-top:14px">Not measured:</p>{absent}' if absent else ""
    return _section("Figures", "", f"<table>{body}</table>{absent}")


def _sheets(result: Result) -> str:
    body = "".join(
        f'<div class="small">{escape(sheet["clip"])}: {escape(sheet["rows"])}</div>'
        f'<img alt="{escape(sheet["clip"])}" src="data:image/jpeg;base64,{sheet["jpeg"]}">'
        for sheet in result["sheets"]
    )
    return _section("Frames", "Evenly spaced over the clip.", body) if body else ""


def _clips(result: Result) -> str:
    names = [n for n in METRICS if any(row.get(n) is not None for row in result["rows"])]
    heads = (f'<th class="n" title="{escape(METRICS[n].label)}">{escape(n).replace("_", "_<wbr>")}</th>' for n in names)
    head = f"<tr><th>clip</th>{''.join(heads)}</tr>"
    cells = ("".join(f'<td class="n">{escape(shown(row.get(n)))}</td>' for n in names) for row in result["rows"])
    body = "".join(f"<tr><td>{escape(row['clip'])}</td>{rest}</tr>" for row, rest in zip(result["rows"], cells))
    return _section("Clip by clip", "", f'<table class="small">{head}{body}</table>')


def report_picture(result: Result, width: int = 1210) -> np.ndarray:
    """The report's figures and first contact sheets as one picture, uint8 (H, width, 3) RGB.

    Raises DiffusedHeadsError if matplotlib is not installed.
    """
    parts = []
    with Style() as figure_of:

        def words(title: str, text: str) -> np.ndarray:
            return picture(heading(title, text, figure_of))

        parts.append(words(str(result["about"].get("title", TITLE)), headline(result)))
        for name, draw in FIGURES.items():
            figure = draw(result, figure_of)
            parts += [words(*HEADINGS[name]), picture(figure)] if figure is not None else []
        for sheet in result["sheets"][:2]:
            parts += [words(sheet["clip"], sheet["rows"]), sheet_picture(sheet["jpeg"])]
    return np.concatenate([_fitted(part, width) for part in parts])


def _fitted(part: np.ndarray, width: int) -> np.ndarray:
    """A part on white at the page's width: narrower ones keep their size at the left, wider ones are scaled down."""
    if part.shape[1] > width:
        part = cv2.resize(part, (width, round(part.shape[0] * width / part.shape[1])), interpolation=cv2.INTER_AREA)
    left = min(MARGIN, width - part.shape[1])
    right = width - part.shape[1] - left
    return cv2.copyMakeBorder(part, 8, 8, left, right, cv2.BORDER_CONSTANT, value=(255, 255, 255))
