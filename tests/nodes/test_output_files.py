"""Names of output files: tokens as on ComfyUI's page, nothing that Windows forbids, nothing outside the folder."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError

DATE = datetime(2026, 3, 7, 9, 5, 2)


@pytest.fixture
def names(host: SimpleNamespace) -> Any:
    """The module."""
    host.output.mkdir()
    host.node("output_files", "Target")
    return sys.modules["diffused_heads.nodes.output_files"]


@pytest.mark.parametrize(  # as formatDate of ComfyUI's page writes them
    ("form", "wanted"),
    [
        ("yyyy-MM-dd", "2026-03-07"),
        ("yy-M-d", "26-3-7"),
        ("hh:mm:ss", "09:05:02"),
        ("h-m-s", "9-5-2"),
        ("yyyyMMdd_hhmmss", "20260307_090502"),
        ("yyy", "yyy"),
        ("y", "y"),
        ("HH", "HH"),
    ],
)
def test_dates_are_written_as_on_the_page(names: Any, form: str, wanted: str) -> None:
    assert names.format_date(form, DATE) == wanted


@pytest.mark.parametrize(
    ("prefix", "wanted"),
    [
        ("a", "a"),
        ("", "diffused_heads"),
        (" ", "diffused_heads"),
        (".", "diffused_heads"),
        ("a/b c", "a/b c"),
        ("a\\b", "a/b"),
        ("a/../b", "b"),
        ("talks/", "talks"),
        ('12:30 <x>|?*"\n', "12_30 _x_____"),
        ("a./b. ", "a/b"),
        ("con/nul.txt", "_con/_nul.txt"),
        ("%width%x%height% %year%", "%width%x%height% %year%"),
        ("%KSampler.seed%", "%KSampler.seed%"),
        ("é 肖/x", "é 肖/x"),
    ],
)
def test_prefixes_become_names_that_every_system_allows(names: Any, prefix: str, wanted: str) -> None:
    assert names.checked_prefix(prefix, str(names.folder_paths.get_output_directory())) == wanted


def test_dates_in_a_prefix_hold_no_colon(names: Any) -> None:
    found = names.checked_prefix("%date:yyyy%/%date:hh:mm:ss%_a", names.folder_paths.get_output_directory())
    assert re.fullmatch(r"20\d\d/\d\d_\d\d_\d\d_a", found)


@pytest.mark.parametrize("prefix", ["../a", "a/../../b", "/tmp/a", "..\\a", "C:\\a", "d:/a", "a\0b"])
def test_places_outside_are_refused_before_the_run_and_in_it(names: Any, host: SimpleNamespace, prefix: str) -> None:
    with pytest.raises(DiffusedHeadsError, match="filename_prefix="):
        names.next_target(prefix, (8, 8), ".mp4", True)
    said = host.node("video_combine", "VideoCombine").validate_inputs(prefix)
    assert isinstance(said, str) and ("outside the output folder" in said or "null" in said)
    assert not list(host.output.iterdir())


def test_an_absolute_place_inside_and_a_prefix_from_a_node_are_fine(names: Any, host: SimpleNamespace) -> None:
    assert names.checked_prefix(f"{host.output}/a/b", str(host.output)) == "a/b"
    node = host.node("video_combine", "VideoCombine")
    assert node.validate_inputs(None) is True and node.validate_inputs("a/%date:hh:mm%") is True
