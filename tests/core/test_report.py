"""A result as a file, a table, a page and a picture: all follow from its numbers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from evaluation_clips import FPS, FRAMES, noise, result_of, talk

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.evaluation import report
from diffused_heads.diffused_heads_core.evaluation.measure import Settings
from diffused_heads.diffused_heads_core.evaluation.metrics.names import METRICS, shown
from diffused_heads.diffused_heads_core.evaluation.sources import ArraySource, Group
from diffused_heads.diffused_heads_core.evaluation.totals import Totals


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    """A late copy of two people against the truth."""
    groups = []
    for person in (0, 1):
        true = talk(person)
        rows = np.maximum(np.arange(FRAMES) - 2, 0)
        made = ArraySource(true.name, list(true.frames[rows]), FPS, None, true.landmarks[rows])
        groups.append(Group(true.name, (made,), true.source()))
    return result_of(*groups)


def test_the_result_is_json_and_comes_back(result: dict[str, Any], tmp_path: Path) -> None:
    report.save_result(tmp_path / "a.json", result)
    assert report.load_result(tmp_path / "a.json") == result
    assert (
        json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
        and result["metrics"]["mouth_lag"]["value"] == 2
    )


def test_older_results_called_the_face_similarity_identity(result: dict[str, Any], tmp_path: Path) -> None:
    def old(values: dict[str, Any]) -> dict[str, Any]:
        return {"identity" if name == "face_similarity" else name: value for name, value in values.items()}

    parts = {name: old(result[name]) for name in ("metrics", "not_measured", "drift")}
    report.save_result(tmp_path / "old.json", {**result, **parts, "rows": [old(row) for row in result["rows"]]})
    assert '"identity"' in (tmp_path / "old.json").read_text() and report.load_result(tmp_path / "old.json") == result


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "damaged"),
        ("[]", "found list"),
        ('{"format": "other", "version": 1}', "found other version 1"),
        ("", "empty"),
    ],
)
def test_other_files_are_no_results(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DiffusedHeadsError, match=f"a.json.*{words}"):
        report.load_result(tmp_path / "a.json")


@pytest.mark.parametrize(
    "value, spread, want",
    [
        (None, None, "-"),
        (0.0, None, "0"),
        (-0.0, 0.0, "0"),
        (1.0, 0.0, "1.00"),
        (0.123456, None, "0.123"),
        (-12.345, 0.5, "-12.3 ± 0.500"),
        (1234.5, None, "1234"),
        (99.96, None, "100"),
        (0.00001234, None, "1.2e-05"),
    ],
)
def test_figures_for_people(value: float | None, spread: float | None, want: str) -> None:
    assert shown(value, spread) == want


def test_the_table_has_every_figure_and_every_reason(result: dict[str, Any]) -> None:
    text = report.table(result)
    assert (
        all(METRICS[name].label in text for name in METRICS)
        and "2 clips, 120 frames, 4.8 s against 2 references" in text
    )
    assert max(map(len, text.split("not measured")[0].splitlines())) < 100


def test_the_page_holds_everything_and_follows_from_the_json(
    result: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra 'evaluate')")
    report.save_result(tmp_path / "a.json", result)
    page, again = report.page(result), report.page(report.load_result(tmp_path / "a.json"))
    assert page == again and page.count("<svg") == 4 and page.count("data:image/jpeg;base64,") == 2
    for name in ("http://www.w3.org/", "https://matplotlib.org/", "http://purl.org", "http://creativecommons.org"):
        page = page.replace(name, "")  # of the SVG's own description
    for outside in ("http://", "https://", "<script", "<link", "@import"):
        assert outside not in page, outside
    monkeypatch.setattr(report, "FIGURES", {})
    nasty = {**result, "about": {"title": "<b>&", "generated": '"><script>'}, "notes": ["<i>"]}
    assert "<script>" not in report.page(nasty) and "&lt;i&gt;" in report.page(nasty)


def test_the_picture_of_a_report(result: dict[str, Any]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra 'evaluate')")
    picture = report.report_picture(result)
    assert (
        picture.dtype == np.uint8 and picture.shape[1:] == (1210, 3) and picture.shape[0] > 1000 and picture.std() > 20
    )


def test_reports_of_very_little(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra 'evaluate')")
    one = result_of(Group("a", (ArraySource("a", noise(1), 25),)))
    assert "F-MSE" in report.table(one) and report.page(one).startswith("<!DOCTYPE html>")
    assert one["not_measured"]["ofm"] == "needs two frames"
    with pytest.raises(DiffusedHeadsError, match="at least one clip"):
        Totals(Settings()).result({})


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, result: dict[str, Any]) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DiffusedHeadsError, match=r"pip install .*diffused-heads\[evaluate\]"):
        report.page(result)
    assert report.table(result)
