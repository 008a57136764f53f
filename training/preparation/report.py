"""The report on all videos: ``report.json`` for programs, and ``report.html`` with pictures of clips and of what was
dropped.
"""

from __future__ import annotations

import base64
import html
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...diffused_heads_core.files import atomic_path
from .identities import People
from .quality import REASONS
from .results import Video, read_part, record_path
from .settings import Settings

CLIPS_SHOWN, DROPPED_SHOWN, VIDEOS_SHOWN = 120, 60, 2000  # rows of the HTML page; the JSON file has all
_STYLE = (
    "body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em;color:#222;"
    "background:#fff}\n"
    "table{border-collapse:collapse;width:100%;margin:.5em 0 2em}"
    "td,th{padding:.3em .6em;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}\n"
    "img{display:block}"
    ".n{text-align:right;white-space:nowrap}"
    ".bad{color:#a00}"
    "small{color:#666}\n"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}"
    "td,th{border-color:#333}"
    ".bad{color:#f77}"
    "small{color:#999}}"
)


@dataclass(frozen=True, eq=False)
class Outcome:
    """The content of a report. records: of the videos, in the same order; validation: keys of the clips for validation;
    poor: keys of the clips that were dropped for their score.
    """

    videos: Sequence[Video]
    records: Sequence[dict[str, Any]]
    people: People
    validation: set[str]
    poor: set[str]
    remarks: Sequence[str]


def summary(outcome: Outcome, settings: Settings) -> dict[str, Any]:
    """The report as JSON values."""
    sources = [_source(record, outcome, settings) for record in outcome.records]
    clips = [clip for source in sources for clip in source["clips"]]
    lost: dict[str, dict[str, float]] = defaultdict(lambda: {"stretches": 0, "seconds": 0.0})
    for source in sources:
        for each in source["dropped"]:
            lost[each["reason"]]["stretches"] += 1
            lost[each["reason"]]["seconds"] = round(lost[each["reason"]]["seconds"] + each["seconds"], 3)
    return {
        "videos": len(sources),
        "videos_with_clips": sum(bool(s["clips"]) for s in sources),
        "unreadable": sum(bool(s["problem"]) for s in sources),
        "clips": len(clips),
        "seconds": _sum(clips),
        "train_clips": sum(c["split"] == "train" for c in clips),
        "validation_clips": sum(c["split"] == "validation" for c in clips),
        "validation_seconds": _sum([c for c in clips if c["split"] == "validation"]),
        "people": len({c["identity"] for c in clips}),
        "identity_from": outcome.people.rule,
        "alike": [list(pair) for pair in outcome.people.alike],
        "dropped": dict(sorted(lost.items())),
        "remarks": list(outcome.remarks),
        "settings": settings.of_clips(),
        "sources": sources,
    }


def _sum(clips: Sequence[Mapping[str, Any]]) -> float:
    return round(sum(clip["seconds"] for clip in clips), 3)


def _source(record: dict[str, Any], outcome: Outcome, settings: Settings) -> dict[str, Any]:
    def span(first: int, count: int) -> dict[str, float]:
        return {"start": round(first / settings.fps, 3), "seconds": round(count / settings.fps, 3)}

    clips = [
        {
            "key": c["key"],
            **span(c["first"], c["frames"]),
            "score": c["score"],
            "measures": c["measures"],
            "identity": outcome.people.identity[c["key"]],
            "split": "validation" if c["key"] in outcome.validation else "train",
        }
        for c in record["clips"]
        if c["key"] not in outcome.poor
    ]
    dropped = [
        {**span(d["first"], d["stop"] - d["first"]), "reason": d["reason"], "text": REASONS[d["reason"]]}
        for d in record["dropped"]
    ]
    dropped += [
        {
            **span(c["first"], c["frames"]),
            "reason": "poor",
            "text": f"{REASONS['poor']}: {c['score']} < {settings.quality}",
            "measures": c["measures"],
        }
        for c in record["clips"]
        if c["key"] in outcome.poor
    ]
    return {**{name: record[name] for name in ("name", "problem", "facts")}, "clips": clips, "dropped": dropped}


def explain(source: Mapping[str, Any]) -> str:
    """One line about a video: its clips and what was dropped; source: its entry in ``summary``."""
    if source["problem"]:
        return source["problem"]
    lost: dict[str, float] = defaultdict(float)
    for each in source["dropped"]:
        lost[REASONS[each["reason"]]] += each["seconds"]
    parts = [f"{len(source['clips'])} clips, {_sum(source['clips']):.1f} s"] if source["clips"] else ["no clip"]
    parts += [f"{text}: {seconds:.1f} s" for text, seconds in sorted(lost.items(), key=lambda item: -item[1])]
    parts += [f"{source['facts']['damaged']} damaged packets left out"] if source["facts"]["damaged"] else []
    return "; ".join([*parts, *source["facts"]["remarks"]])


def write_report(out: Path, work: Path, outcome: Outcome, settings: Settings) -> dict[str, Any]:
    """Write report.json and report.html into ``out``; returns the summary."""
    report = summary(outcome, settings)
    with atomic_path(out / "report.json") as part:
        part.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = "\n".join(_page(report, outcome, work))
    with atomic_path(out / "report.html") as part:
        part.write_text(page, encoding="utf-8")
    return report


def _page(report: dict[str, Any], outcome: Outcome, work: Path) -> Iterator[str]:
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Prepared videos</title><style>{_STYLE}</style>'
    yield (
        f"<h1>Prepared videos</h1><p>{report['videos']} videos, {report['videos_with_clips']} with clips, "
        f"{report['unreadable']} unreadable. {report['clips']} clips, {report['seconds']:.0f} s, "
        f"{report['people']} people (told apart by {report['identity_from']}): "
        f"{report['train_clips']} clips for training, {report['validation_clips']} for validation.</p>"
    )
    yield from (f"<p class=bad>{html.escape(remark)}</p>" for remark in report["remarks"])
    yield "<h2>Dropped</h2><table><tr><th>reason<th class=n>stretches<th class=n>seconds"
    for reason, lost in sorted(report["dropped"].items(), key=lambda item: -item[1]["seconds"]):
        yield f"<tr><td>{REASONS[reason]}<td class=n>{lost['stretches']}<td class=n>{lost['seconds']:.1f}"
    columns = "<th>six moments, lips boxed<th>clip<th class=n>score<th class=n>seconds<th>person"
    yield f"</table><h2>Clips</h2><table><tr>{columns}"
    yield from _clip_rows(report, outcome, work)
    yield "</table><h2>Examples of what was dropped</h2><table><tr><th>its middle<th>video<th>why"
    yield from _dropped_rows(outcome, work)
    yield "</table><h2>Videos</h2><table><tr><th>video<th>what became of it"
    yield from (
        f"<tr><td>{html.escape(s['name'])}<td{' class=bad' if s['problem'] else ''}>{html.escape(explain(s))}"
        for s in report["sources"][:VIDEOS_SHOWN]
    )
    more = report["videos"] - VIDEOS_SHOWN
    yield "</table>" + (f"<p><small>{more} more videos are in report.json.</small>" if more > 0 else "")


def _spread(rows: list[Any], count: int) -> list[Any]:
    """At most ``count`` of the rows, evenly spaced."""
    return rows if len(rows) <= count else [rows[i * len(rows) // count] for i in range(count)]


def _clip_rows(report: dict[str, Any], outcome: Outcome, work: Path) -> Iterator[str]:
    entries = {
        clip["key"]: (video, clip) for video, record in zip(outcome.videos, outcome.records) for clip in record["clips"]
    }
    for clip in _spread([clip for source in report["sources"] for clip in source["clips"]], CLIPS_SHOWN):
        video, entry = entries[clip["key"]]
        image = _image(record_path(work, video), entry["parts"]["jpg"])
        yield (
            f"<tr><td>{image}<td>{html.escape(clip['key'])}<br>"
            f"<small>from {clip['start']:.1f} s, {clip['split']}</small><td class=n>{clip['score']:.2f}"
            f"<td class=n>{clip['seconds']:.1f}<td>{html.escape(clip['identity'])}"
        )


def _dropped_rows(outcome: Outcome, work: Path) -> Iterator[str]:
    dropped = [(video, each) for video, record in zip(outcome.videos, outcome.records) for each in record["dropped"]]
    for video, each in _spread([row for row in dropped if "thumbnail" in row[1]], DROPPED_SHOWN):
        image = _image(record_path(work, video), each["thumbnail"])
        yield f"<tr><td>{image}<td>{html.escape(video.name)}<td>{REASONS[each['reason']]}"


def _image(record: Path, place: list[int]) -> str:
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(read_part(record, place)).decode()}">'
