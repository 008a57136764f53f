"""The benchmark of GPUs runs from end to end, with small networks on the CPU, and says so if there is no GPU."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import gpu
import sections


def test_the_small_networks_are_measured_in_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--tiny"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"largest difference [0-9.e+-]+ in float32 .*PASS", out)
    sampled, trained = out.split("**Training**")
    frames = re.findall(r"^\| (?:avatar|crema)[^|]*\| [124] +\| [12] +\| +[0-9.,]+ ", sampled, re.M)
    samples = re.findall(r"^\| (?:avatar|crema)[^|]*\| [248] +\| +[0-9.,]+ ", trained, re.M)
    assert len(frames) == 2 * 3 * 2 and len(samples) == 2 * 3, out


def test_without_a_gpu_the_part_says_so_and_measured_figures_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "RESULTS.md"
    read, write = sections.read, sections.write
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu.sections, "read", lambda path=results: read(path))
    monkeypatch.setattr(gpu.sections, "write", lambda name, body, path=results: write(name, body, path))
    assert gpu.main(["--write"]) == 0
    assert "Not measured" in read(results)["gpu"]
    write("gpu", "measured", results)
    assert gpu.main(["--write"]) == 0 and read(results)["gpu"] == "measured"
