"""What became of the videos: ``report.json`` for programs, ``report.html`` for people, with pictures of clips and of
what was dropped.
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
from .results import Source, read_part, unit_path
from .settings import Settings

CLIPS_SHOWN, DROPPED_SHOWN, VIDEOS_SHOWN = 120, 60, 2000  # rows of the HTML page; the JSON file has all
_STYLE = """body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em;color:#222;background:#fff}
table{border-collapse:collapse;width:100%;margin:.5em 0 2em}td,th{padding:.3em .6em;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}
img{display:block}.n{text-align:right;white-space:nowrap}.bad{color:#a00}small{color:#666}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}td,th{border-color:#333}.bad{color:#f77}small{color:#999}}"""


@dataclass(frozen=True, eq=False)
class Outcome:
    """Everything that a report tells: the records of the sources in order, who is who, the keys of the clips for
    validation and of those dropped for their score.
    """

    sources: Sequence[Source]
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

    kept = [clip for clip in record["clips"] if clip["key"] not in outcome.poor]
    clips = [
        {
            "key": c["key"],
            **span(c["first"], c["frames"]),
            "score": c["score"],
            "measures": c["measures"],
            "identity": outcome.people.identity[c["key"]],
            "split": "validation" if c["key"] in outcome.validation else "train",
        }
        for c in kept
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
    return {
        "name": record["name"], "problem": record["problem"], "facts": record["facts"], "clips": clips,
        "dropped": dropped,
    }  # fmt: skip


def explain(source: Mapping[str, Any]) -> str:
    """One line on what became of a video, from its entry in ``summary``."""
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
    """Write report.json and report.html into ``out``; the summary."""
    told = summary(outcome, settings)
    with atomic_path(out / "report.json") as part:
        part.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = "\n".join(_page(told, outcome, work))
    with atomic_path(out / "report.html") as part:
        part.write_text(page, encoding="utf-8")
    return told


def _page(told: dict[str, Any], outcome: Outcome, work: Path) -> Iterator[str]:
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Prepared videos</title><style>{_STYLE}</style>'
    yield (
        f"<h1>Prepared videos</h1><p>{told['videos']} videos, {told['videos_with_clips']} with clips, {told['unreadable']} unreadable. "
        f"{told['clips']} clips, {told['seconds']:.0f} s, {told['people']} people (told apart by {told['identity_from']}): "
        f"{told['train_clips']} clips for training, {told['validation_clips']} for validation.</p>"
    )
    yield from (f"<p class=bad>{html.escape(remark)}</p>" for remark in told["remarks"])
    yield "<h2>Dropped</h2><table><tr><th>reason<th class=n>stretches<th class=n>seconds"
    for reason, lost in sorted(told["dropped"].items(), key=lambda item: -item[1]["seconds"]):
        yield f"<tr><td>{REASONS[reason]}<td class=n>{lost['stretches']}<td class=n>{lost['seconds']:.1f}"
    yield "</table><h2>Clips</h2><table><tr><th>six moments, lips boxed<th>clip<th class=n>score<th class=n>seconds<th>person"
    yield from _clip_rows(told, outcome, work)
    yield "</table><h2>Examples of what was dropped</h2><table><tr><th>its middle<th>video<th>why"
    yield from _dropped_rows(outcome, work)
    yield "</table><h2>Videos</h2><table><tr><th>video<th>what became of it"
    yield from (
        f"<tr><td>{html.escape(s['name'])}<td{' class=bad' if s['problem'] else ''}>{html.escape(explain(s))}"
        for s in told["sources"][:VIDEOS_SHOWN]
    )
    yield "</table>" + (
        f"<p><small>{told['videos'] - VIDEOS_SHOWN} more videos are in report.json.</small>"
        if told["videos"] > VIDEOS_SHOWN
        else ""
    )


def _spread(rows: list[Any], count: int) -> list[Any]:
    """At most ``count`` of the rows, evenly spread."""
    return rows if len(rows) <= count else [rows[i * len(rows) // count] for i in range(count)]


def _clip_rows(told: dict[str, Any], outcome: Outcome, work: Path) -> Iterator[str]:
    pictures = {
        clip["key"]: (source, clip)
        for source, record in zip(outcome.sources, outcome.records)
        for clip in record["clips"]
    }
    for clip in _spread([clip for source in told["sources"] for clip in source["clips"]], CLIPS_SHOWN):
        source, entry = pictures[clip["key"]]
        image = _image(unit_path(work, source), entry["parts"]["jpg"])
        yield (
            f"<tr><td>{image}<td>{html.escape(clip['key'])}<br><small>from {clip['start']:.1f} s, {clip['split']}</small>"
            f"<td class=n>{clip['score']:.2f}<td class=n>{clip['seconds']:.1f}<td>{html.escape(clip['identity'])}"
        )


def _dropped_rows(outcome: Outcome, work: Path) -> Iterator[str]:
    rows = [
        (source, each)
        for source, record in zip(outcome.sources, outcome.records)
        for each in record["dropped"]
        if "thumbnail" in each
    ]
    for source, each in _spread(rows, DROPPED_SHOWN):
        yield f"<tr><td>{_image(unit_path(work, source), each['thumbnail'])}<td>{html.escape(source.name)}<td>{REASONS[each['reason']]}"


def _image(unit: Path, where: list[int]) -> str:
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(read_part(unit, where)).decode()}">'
