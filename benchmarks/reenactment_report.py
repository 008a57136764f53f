"""The figures of reenactment.py as means over people with confidence intervals, as text, JSON and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sections

from diffused_heads.diffused_heads_core.evaluation.metrics.intervals import bootstrap_interval, mean_of_groups

FORMS = {  # figures in order, and how they are written
    **{"r": ".2f", "lag": "+.1f", "r at lag 0": ".2f", "width r": ".2f", "jaw r": ".2f", "gain": ".2f", "lmd": ".2f"},
    **{"shuffled": "+.2f", "true shuffled": "+.2f", "closed": ".2f", "pbm": ".2f", "true pbm": ".2f"},
    **{"two-sample": ".2f", "mouth sharp": ".2f", "flicker": ".2f", "lip dE": ".1f", "inside dE": ".1f"},
    **{"sharp": ".2f", "identity": ".2f", "other identity": ".2f", "blinks": ".2f", "true blinks": ".2f"},
    "found": ".2f",
}
BARS = {  # what is aimed at
    **{"r": ">= 0.80", "width r": ">= 0.45", "gain": "0.8-1.2", "lmd": "<= 0.36", "shuffled": "< 0.15"},
    **{"closed": ">= 0.85", "pbm": ">= 0.85", "mouth sharp": "0.8-1.2", "flicker": "<= 1.3", "lip dE": "<= 6"},
    **{"two-sample": "<= 0.75"},
}
LEGEND = """`r`, `width r`, `jaw r`: Pearson's r of mouth opening, mouth width and jaw with the true clip's, after the
constant lag of at most 3 frames with the best `r` is taken out (`lag`, positive if the mouth is late). `gain`: standard
deviation of the opening over the true one's. `lmd`: mouth landmarks' distance from the true ones, px of 128.
`shuffled`: r with the other clips' openings, at the clip's lag; `true shuffled`: the same of the true clip, above 0 if
all clips have one rhythm. `closed`: share of the true clip's closures in which the generated lips close (a mouth that
stays shut closes all: see `gain`). `pbm`: the same for spoken /p b m/, and `true pbm` for the true lips; missing if
nothing aligned them. `mouth sharp`: Laplacian variance in the lips' box over the
true frames'. `flicker`: change from frame to frame of cheeks, chin and upper lip that no motion explains, over the true
frames'. `lip dE`, `inside dE`: CIELAB difference of the mean colour of the lips, and of what is seen between them in
frames with both mouths open. `two-sample`: how often a network that has not seen the person tells true and generated
mouths apart; 0.5 is best. `sharp`: Laplacian variance of the face over the portrait's. `identity`, `other identity`:
cosine of HOG and colour features with the portrait and with the most similar other person. `blinks`, `true blinks`: per
second. `found`: share of frames in which a face is found."""


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means of each person's clips, and over people, with 95 % bootstrap intervals.

    rows: one per clip, with "person", "clip" and figures, of which those that no row has are left out.
    """
    people = list(dict.fromkeys(row["person"] for row in rows))
    means, by_person = {}, {person: {} for person in people}
    for name in (n for n in FORMS if any(n in row for row in rows)):
        groups = {p: [row.get(name, float("nan")) for row in rows if row["person"] == p] for p in people}
        low, high = bootstrap_interval(groups)
        means[name] = {"mean": mean_of_groups(groups), "low": low, "high": high}
        for person, values in groups.items():
            by_person[person][name] = mean_of_groups({person: values})
    return {"people": [{"person": person, **found} for person, found in by_person.items()], "mean": means}


def for_json(value: Any) -> Any:
    """Results with None for unknown figures (NaN), which JSON does not have."""
    if isinstance(value, dict):
        return {key: for_json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [for_json(each) for each in value]
    return None if isinstance(value, float) and value != value else value


def written(name: str, value: float) -> str:
    """A figure in its usual form; "-" if it is unknown."""
    return "-" if value != value else format(value, FORMS[name])


def figures_table(means: dict[str, Any]) -> str:
    """A Markdown table with a row per figure: mean, interval, and what is aimed at."""
    rows = []
    for name, found in means.items():
        low, high = (written(name, found[end]) for end in ("low", "high"))
        rows.append([f"`{name}`", written(name, found["mean"]), f"{low} to {high}", BARS.get(name, "")])
    return sections.table(["figure", "mean", "95 % interval", "aim"], rows)


def rows_table(rows: Sequence[dict[str, Any]], head: Sequence[str]) -> str:
    """A Markdown table with a row per clip or person; head: the keys that name it."""
    names = [name for name in FORMS if any(name in row for row in rows)]
    cells = [[*(str(row[key]) for key in head), *(written(n, row.get(n, float("nan"))) for n in names)] for row in rows]
    return sections.table([*head, *names], cells)


def document(results: dict[str, Any]) -> str:
    """The part of RESULTS.md."""
    counts = f"{len(results['clips'])} clips of {len(results['people'])} people, at most {results['seconds']:g} s each"
    return "\n".join(
        [
            "## Real people",
            "",
            "Written by `python benchmarks/reenactment.py FOLDER --model NAME --write`. Each clip's first frame speaks",
            "the clip's sound. Means over people, and 95 % bootstrap intervals over people and clips.",
            "",
            f"- model: `{results['model']}`, SHA-256 {results['sha256'][:12]}, seed {results['seed']}",
            f"- clips: {results['data']}: {counts}",
            "",
            figures_table(results["mean"]),
            "",
            LEGEND,
            "",
            "By person:",
            "",
            rows_table(results["people"], ["person"]),
        ]
    )
