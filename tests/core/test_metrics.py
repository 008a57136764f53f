"""Which figure notices what: the truth against itself is ideal, and copies that are wrong in one way are noticed by
those that should.
"""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from evaluation_clips import COPIES, talk

from diffused_heads.diffused_heads_core.evaluation.measure import Settings, measure
from diffused_heads.diffused_heads_core.evaluation.metrics.names import METRICS, NEAR, scoped
from diffused_heads.diffused_heads_core.evaluation.sources import Group
from diffused_heads.diffused_heads_core.evaluation.totals import Totals

PEOPLE = (0, 1)
SUPPLIED = {"av_offset", "av_confidence", "fid", "kid", "fvd"}  # see test_metrics_networks.py and test_evaluation.py
ENOUGH = {
    "mouth_r": 0.05,
    "mouth_lag": 0.5,
    "lmd": 0.05,
    "ssim": 0.01,
    "psnr": 50,
    "eye_error": 1,
    "mouth_error": 1,
    "background_error": 1,
    "sharpness_ratio": 0.05,
    "face_similarity": 0.05,
    "frechet": 1e-3,
    "degradation": 0.25,
}  # differences to the ideal that count as noticing
SHARE = 0.15  # and to the truth's own value, of the figures that are meant to be near it
SEEN = {"lmd", "ssim", "psnr", "eye_error", "mouth_error"}  # by whatever moves something elsewhere
MUST = {
    "truth": set(),
    "frozen": SEEN | {"mouth_r", "ofm", "f_mse", "blinks_per_second", "frechet"},
    "other sound": {"mouth_r", "mouth_error", "ssim", "psnr", "lmd"},
    "blurred": {
        "ssim",
        "psnr",
        "eye_error",
        "mouth_error",
        "background_error",
        "f_mse",
        "cpbd",
        "sharpness",
        "sharpness_eyes",
        "sharpness_ratio",
        "frechet",
    },
    "jittered": {"ssim", "psnr", "eye_error", "mouth_error", "background_error", "ofm", "f_mse", "background_change"},
    "colour drift": {
        "ssim",
        "psnr",
        "eye_error",
        "mouth_error",
        "background_error",
        "background_change",
        "frechet",
        "degradation",
    },
    "late": SEEN | {"mouth_r", "mouth_lag"},
    "other person": {"face_similarity", "ssim", "psnr", "eye_error", "mouth_error", "frechet"},
}
MUST_NOT = {
    "truth": set(METRICS),
    "frozen": {"sharpness_ratio", "cpbd", "face_similarity"},
    "other sound": {"blinks_per_second", "face_similarity", "sharpness_ratio", "background_error"},
    "blurred": {"mouth_r", "mouth_lag", "lmd", "blinks_per_second", "blink_duration", "face_similarity"},
    "jittered": {"mouth_r", "mouth_lag", "lmd", "blinks_per_second", "sharpness_ratio"},
    "colour drift": {"mouth_r", "mouth_lag", "lmd", "blinks_per_second", "ofm"},
    "late": {"blinks_per_second", "blink_duration", "ofm", "sharpness_ratio", "face_similarity", "background_change"},
    "other person": {"mouth_lag", "blinks_per_second", "background_change"},
}


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Any]]:
    """The result of each copy of two people, against the truth."""
    found = {}
    for name, copy in COPIES.items():
        totals = Totals(Settings())
        for person in PEOPLE:
            true = talk(person)
            totals.add(measure(Group(true.name, (copy(true, person).source(),), true.source()), totals.settings))
        found[name] = totals.result({})
    return found


def noticed(name: str, figure: dict[str, Any] | None, true: dict[str, Any] | None) -> bool:
    """Whether a copy's figure differs from the truth's by more than is of no interest; so it does where there is none
    any more.
    """
    if true is None or figure is None or figure["value"] is None:
        return true is not None
    if METRICS[name].aim == NEAR:
        return abs(figure["value"] / true["value"] - 1) > SHARE if true["value"] else figure["value"] > 0
    return abs(figure["value"] - true["value"]) > ENOUGH[name]


def matrix(results: dict[str, dict[str, Any]]) -> dict[str, set[str]]:
    truth = results["truth"]["metrics"]
    return {
        copy: {name for name in METRICS if noticed(name, result["metrics"].get(name), truth.get(name))}
        for copy, result in results.items()
    }


def test_the_truth_against_itself_is_ideal(results: dict[str, dict[str, Any]]) -> None:
    figures = results["truth"]["metrics"]
    assert set(figures) == set(METRICS) - SUPPLIED - {m.name for m in scoped("takes")}
    for name, figure in figures.items():
        want = figure["reference"] if METRICS[name].aim == NEAR else METRICS[name].ideal
        assert figure["value"] == pytest.approx(want, abs=1e-6), name


def test_who_notices_what(results: dict[str, dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    found = matrix(results)
    names = [name for name in METRICS if name in results["truth"]["metrics"]]
    with capsys.disabled():
        print("\n\n" + table(found, results, names))
    for copy, must in MUST.items():
        assert must <= found[copy], f"{copy} is not noticed by {sorted(must - found[copy])}"
        assert not found[copy] & MUST_NOT[copy], f"{copy} is noticed by {sorted(found[copy] & MUST_NOT[copy])}"
    for name in names:
        assert any(name in found[copy] for copy in found), f"{name} notices nothing"


def table(found: dict[str, set[str]], results: dict[str, dict[str, Any]], names: list[str]) -> str:
    """A row a metric, a column a copy: the value, with a star where the metric notices."""
    width = max(map(len, names))
    lines = [" " * width + "".join(f"{copy:>14}" for copy in found)]
    for name in names:
        cells = []
        for copy in found:
            value = results[copy]["metrics"].get(name, {"value": None})["value"]
            cells.append(f"{('-' if value is None else f'{value:.3g}') + (' *' if name in found[copy] else '  '):>14}")
        lines.append(name.ljust(width) + "".join(cells))
    return "\n".join([*lines, "* notices: differs from the truth's own value by more than is of no interest"])


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_described(name: str) -> None:
    metric = METRICS[name]
    assert (
        metric.name == name
        and metric.label
        and metric.source
        and metric.scope in ("clip", "pair", "population", "takes")
    )
    assert metric.limits[0] < metric.limits[1]
    assert metric.ideal is None or metric.limits[0] <= metric.ideal <= metric.limits[1]


@pytest.mark.parametrize("name", METRICS)
def test_values_stay_within_their_limits(results: dict[str, dict[str, Any]], name: str) -> None:
    low, high = METRICS[name].limits
    for result in results.values():
        value = result["metrics"].get(name, {"value": None})["value"]
        assert value is None or (low - 1e-9 <= value <= high + 1e-9 and math.isfinite(value))


def test_the_documentation_names_every_metric() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "METRICS.md").read_text(encoding="utf-8")
    assert not [name for name in METRICS if not re.search(rf"`{name}`", text)]
    assert not [name for name in re.findall(r"^\| `(\w+)`", text, re.M) if name not in METRICS]
