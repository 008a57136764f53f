"""The report of a result: one HTML page that holds all it shows, or one picture. Both follow from the JSON alone."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..files import atomic_path
from .figures import FIGURES, Style, heading, picture, sheet_picture, svg
from .metrics.names import METRICS
from .report import compared, headline, missing, shown

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
TITLE = "Talking heads, measured"
MARGIN = 14  # px at the left of what is narrower than the picture
FRAMES = "Evenly spaced over the clip."
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
svg{width:100%;min-width:640px;height:auto;display:block}img{width:100%;max-width:1024px;display:block;margin:4px 0 14px;border-radius:4px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;margin:8px 0 0}dt{color:#5b626d}dd{margin:0;overflow-wrap:anywhere}
.small{font-size:13px}ul{margin:6px 0 0;padding-left:20px}"""


def page(result: Mapping[str, Any]) -> str:
    """The report as HTML. Needs matplotlib; the same result gives the same page."""
    title = str(result["about"].get("title", TITLE))
    parts = [f"<h1>{escape(title)}</h1><p>{escape(headline(result))}</p>", _about(result), _table(result)]
    with Style() as figure_of:
        for name, draw in FIGURES.items():
            figure = draw(result, figure_of)
            if figure is not None:
                heading, words = HEADINGS[name]
                parts.append(
                    _section(heading, words, f'<div role="img" aria-label="{escape(heading)}">{svg(figure)}</div>')
                )
    parts += [_sheets(result), _clips(result)]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def write_page(path: Path, result: Mapping[str, Any]) -> None:
    """Write the report as HTML, whole or not at all."""
    text = page(result)
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def _section(heading: str, words: str, body: str) -> str:
    return f"<section><h2>{escape(heading)}</h2>{f'<p>{escape(words)}</p>' if words else ''}{body}</section>"


def _about(result: Mapping[str, Any]) -> str:
    rows = [(k, v) for k, v in result["about"].items() if k != "title"]
    listed = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in rows)
    notes = "".join(f"<li>{escape(note)}</li>" for note in result["notes"])
    return (
        _section("What was measured", "", f"<dl>{listed}</dl>" + (f"<ul>{notes}</ul>" if notes else ""))
        if listed or notes
        else ""
    )


def _table(result: Mapping[str, Any]) -> str:
    sources = {f"{m.label} ({m.unit})" if m.unit else m.label: m.source for m in METRICS.values()}
    body = '<tr><th></th><th class="n">generated</th><th class="n">truth or ideal</th><th>good is</th><th class="w">what it is</th></tr>'
    for group, rows in compared(result):
        body += f'<tr class="g"><th colspan="5">{escape(group)}</th></tr>'
        body += "".join(
            f'<tr><td>{escape(label)}</td><td class="n">{escape(made)}</td><td class="n">{escape(true)}</td><td>{escape(aim)}</td>'
            f'<td class="w">{escape(sources[label])}</td></tr>'
            for label, made, true, aim in rows
        )
    lacking = "".join(f"<li>{escape(names)}: {escape(reason)}</li>" for reason, names in missing(result))
    rest = (
        f'<p class="small" style="margin-top:14px">Not measured:</p><ul class="small">{lacking}</ul>' if lacking else ""
    )
    return _section("Figures", "", f"<table>{body}</table>{rest}")


def _sheets(result: Mapping[str, Any]) -> str:
    if not result["sheets"]:
        return ""
    shown_clips = "".join(
        f'<div class="small">{escape(s["clip"])}: {escape(s["rows"])}</div>'
        f'<img alt="{escape(s["clip"])}" src="data:image/jpeg;base64,{s["jpeg"]}">'
        for s in result["sheets"]
    )
    return _section("Frames", FRAMES, shown_clips)


def _clips(result: Mapping[str, Any]) -> str:
    names = [n for n in METRICS if any(row.get(n) is not None for row in result["rows"])]
    heads = (f'<th class="n" title="{escape(METRICS[n].label)}">{escape(n).replace("_", "_<wbr>")}</th>' for n in names)
    head = f"<tr><th>clip</th>{''.join(heads)}</tr>"
    cells = ("".join(f'<td class="n">{escape(shown(row.get(n)))}</td>' for n in names) for row in result["rows"])
    body = "".join(f"<tr><td>{escape(row['clip'])}</td>{rest}</tr>" for row, rest in zip(result["rows"], cells))
    return _section("Clip by clip", "", f'<table class="small">{head}{body}</table>')


def report_picture(result: Mapping[str, Any], width: int = 1210) -> np.ndarray:
    """The report's figures and first contact sheets as one picture, uint8 (H, width, 3) RGB. Needs matplotlib."""
    parts = []
    with Style() as figure_of:

        def told(title: str, words: str) -> np.ndarray:
            return picture(heading(title, words, figure_of))

        parts.append(told(str(result["about"].get("title", TITLE)), headline(result)))
        for name, draw in FIGURES.items():
            figure = draw(result, figure_of)
            parts += [told(*HEADINGS[name]), picture(figure)] if figure is not None else []
        for sheet in result["sheets"][:2]:
            parts += [told(sheet["clip"], sheet["rows"]), sheet_picture(sheet["jpeg"])]
    return np.concatenate([_fitted(part, width) for part in parts])


def _fitted(part: np.ndarray, width: int) -> np.ndarray:
    """A part at the page's width, with white around: narrower ones keep their size at its left edge, wider ones are
    scaled down.
    """
    if part.shape[1] > width:
        part = cv2.resize(part, (width, round(part.shape[0] * width / part.shape[1])), interpolation=cv2.INTER_AREA)
    left = min(MARGIN, width - part.shape[1])
    return cv2.copyMakeBorder(
        part, 8, 8, left, width - part.shape[1] - left, cv2.BORDER_CONSTANT, value=(255, 255, 255)
    )
