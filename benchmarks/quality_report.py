"""The figures of quality.py as Markdown, a model beside the others, which are kept in quality.json."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sections

from diffused_heads.diffused_heads_core.files import atomic_path

KEPT = Path(__file__).with_name("quality.json")
SPEECH = ("r", "lag", "shuffled", "ceiling", "gain")
LOOKS = ("sharp", "sharp_eyes", "sharp_mouth", "drift", "background")
REENACTED = ("psnr", "psnr_mouth", "psnr_eyes", "r_posed")
POSED = {
    "": "generated with the true head track",
    "warp_": "identity warped to the true pose",
    "still_": "identity repeated",
}
BUNDLED = ("portrait", "human", "avatar")
SAME = ("model", "sha256", "clips", "seconds", "seed")  # runs that agree in these are in one table

HEAD = """# Measured quality

Models on drawn avatars that are held out from training and whose truth is known exactly; figures of avatars, not of
people, but for the part [Real people](#real-people). `portrait` is the bundled default; `human` and `avatar` paint
whole frames. Each part is written by the script that it names, which leaves the other parts as they are. Figures belong
to a model's name and SHA-256; those of other models stay.

- [Eight clips of 5 s](#eight-clips-of-5-s): lip sync, sharpness, background, and the bars for a bundled model
- [Fixed sets](#fixed-sets-by-length-sampler-and-steps): 5 s, 30 s and 300 s, by sampler and steps, measured by
  `diffused-heads evaluate`
- [Real people](#real-people): lips, jaw, sharpness, flicker, colours and a two-sample test against true clips
- [Ablations](#ablations-of-the-paper-at-small-scale): the paper's, at small scale
- [The evaluation itself](#time-and-memory-of-an-evaluation): time and memory
- [Output rates](#output-rates): lip sync at other frame rates than the model's"""
LEGEND = """`r`: Pearson's r of the measured mouth opening with the true one; `lag`: frames by which the mouth is
late at the best r; `shuffled`: mean r with the other clips' truth; `ceiling`: the meter's own r on true frames; `gain`:
standard deviation of the opening over the true one's. `sharp`: variance of the Laplacian over the identity frame's
(whole, around the eyes, around the mouth, which is shut there: compare with the true frames); `drift`: sharpness of the
last second over the first's; `background`: mean squared difference to the identity frame in the corners (0..1).
`r_posed`: r with the true head track."""


def _cell(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "-"
    forms = {"background": ".1e", "lag": "+.1f", "shuffled": "+.2f", "frames/s": ".1f"}
    forms |= {"steps": "d", "parameters": ",d"}
    return format(value, forms.get(name, ".1f" if name.startswith("psnr") else ".2f"))


def table(rows: Iterable[dict[str, Any]], names: Iterable[str]) -> list[str]:
    """Lines of a Markdown table of the named figures, and an empty line."""
    names = list(names)
    return [sections.table(names, [[_cell(n, row.get(n)) for n in names] for row in rows]), ""]


def report(run: dict[str, Any], title: str = "") -> str:
    """One run's figures: bars, and a row per clip, with the true frames' mean below."""
    mean = run["mean"]
    true = {"clip": "true frames, mean", "voice": "", "r": mean["ceiling"], "lag": 0.0}
    true |= {name: mean[f"truth_{name}"] for name in LOOKS}
    lines = [f"### {title}{run['sampler']}, {run['steps']} steps", ""]
    bars = [{**bar, "passed": "PASS" if bar["passed"] else "FAIL"} for bar in run["bars"]]
    lines += table(bars, ["bar", "found", "expected", "passed"])
    lines += table([*run["clips"], {"clip": "mean", "voice": "", **mean}, true], ["clip", "voice", *SPEECH, *LOOKS])
    return "\n".join(lines)


def summary(models: list[dict[str, Any]]) -> list[str]:
    """A row per model, sampler and number of steps, below the true frames'."""
    runs = [(model, run) for model in models for run in model["runs"]]
    rows, posed = [_true_row(runs[0][1])], [_posed_row("", "", prefix, runs[0][1]) for prefix in ("still_", "warp_")]
    for model, run in runs:
        name, worst = f"`{model['model']}`", min(clip["r"] for clip in run["clips"])
        row = {"frames": name, "sampler": run["sampler"], "steps": run["steps"], "frames/s": run["frames_per_second"]}
        rows.append({**row, **run["mean"], "r worst": worst})
        posed.append(_posed_row(name, f"{run['sampler']} {run['steps']}", "", run))
    lines = table(rows, ["frames", "sampler", "steps", "frames/s", "r", "r worst", *SPEECH[1:3], "gain", *LOOKS])
    lines += ["Against the true frames (PSNR in dB), with the true head track:", ""]
    return lines + table([row for row in posed if "psnr" in row], ["frames", "sampling", *REENACTED])


def _true_row(run: dict[str, Any]) -> dict[str, Any]:
    mean = run["mean"]
    return {
        "frames": "true",
        "sampler": "",
        "steps": "",
        "r": mean["ceiling"],
        "r worst": min(clip["ceiling"] for clip in run["clips"]),
        "lag": 0.0,
        "gain": 1.0,
        **{name: mean[f"truth_{name}"] for name in LOOKS},
    }


def _posed_row(model: str, sampling: str, prefix: str, run: dict[str, Any]) -> dict[str, Any]:
    found = {name: run["mean"][prefix + name] for name in REENACTED if prefix + name in run["mean"]}
    return {"frames": model or POSED[prefix], "sampling": sampling, **found}


def document(models: list[dict[str, Any]]) -> str:
    """The first part of RESULTS.md: what the page is, the models side by side, then each by clip."""
    first = models[0]
    lines = [
        HEAD,
        "",
        "## Eight clips of 5 s",
        "",
        f"Written by `python benchmarks/quality.py --model NAME --write`. {first['clips']} held-out identities and",
        f"voices of {first['seconds']:g} s, seed {first['seed']}; the head moves by the model's own track.",
        "",
    ]
    lines += table([_of_model(model) for model in models], ["model", "SHA-256", "parameters", "trained", "measured on"])
    lines += [LEGEND, "", *summary(models), "Clip by clip:", ""]
    return "\n".join(
        [*lines, *(report(run, f"Model `{model['model']}`: ") for model in models for run in model["runs"])]
    )


def _of_model(model: dict[str, Any]) -> dict[str, Any]:
    shown = ("preset", "data", "clips", "steps", "samples")
    training = {name: model["training"][name] for name in shown if name in model["training"]}
    return {
        "model": f"`{model['model']}`",
        "SHA-256": model["sha256"][:12],
        "parameters": model["parameters"],
        "trained": ", ".join(f"{name} {value}" for name, value in training.items()) or "unknown",
        "measured on": model["machine"],
    }


def rank(name: str) -> tuple[int, str]:
    """Order of models: the bundled default, the other bundled one, then by name."""
    return BUNDLED.index(name) if name in BUNDLED else len(BUNDLED), name


def merged(kept: list[dict[str, Any]], found: dict[str, Any]) -> list[dict[str, Any]]:
    """The kept models and the one just measured, in order.

    It replaces a model of the same name, except for other samplings of the same weights on the same clips.
    """
    same = [m for m in kept if all(m[key] == found[key] for key in SAME)]
    runs = {(run["sampler"], run["steps"]): run for model in [*same, found] for run in model["runs"]}
    one = {**found, "runs": [run for _, run in sorted(runs.items())]}
    return sorted([*(m for m in kept if m["model"] != found["model"]), one], key=lambda m: rank(m["model"]))


def keep(found: dict[str, Any], path: Path = KEPT, results: Path = sections.RESULTS) -> None:
    """Add a model's figures to the kept ones, and write the first part of RESULTS.md."""
    models = merged(json.loads(path.read_text(encoding="utf-8"))["models"] if path.is_file() else [], found)
    with atomic_path(path) as part:
        part.write_text(json.dumps({"models": models}, indent=1) + "\n", encoding="utf-8", newline="\n")
    sections.write("quick", document(models), results)
