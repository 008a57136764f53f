"""SIGKILL at random moments: the same command resumes, and the run ends as an undisturbed one does, bit for bit."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from diffused_heads.diffused_heads_core.data.shards import Clip, ShardWriter, finish_dataset
from diffused_heads.training.state import states

SCRIPT = Path(__file__).with_name("small_run.py")
sys.path.insert(0, str(SCRIPT.parent))
from conftest import FPS, SIZE, made_up_clip  # noqa: E402
from small_run import open_run, slow, small_config  # noqa: E402

SETTINGS = {"save_every": 1, "log_every": 1, "sample_every": 20}


def run(data: Path, folder: Path, steps: int) -> subprocess.Popen[bytes]:
    settings = {"steps": steps, **SETTINGS}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(data), str(folder), *(f"{name}={n}" for name, n in settings.items())],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def corpus_of(folder: Path) -> Path:
    with ShardWriter(folder, 0, FPS, SIZE) as writer:
        for seed in range(12):
            writer.add(f"clip-{seed}", Clip(*vars(made_up_clip(seed)).values()))
    finish_dataset(folder, 1)
    return folder


def reached(folder: Path) -> int:
    """The step of a run's newest state."""
    found = states(folder)
    return int(found[-1].stem.removeprefix("state-")) if found else 0


def kill(process: subprocess.Popen[bytes], folder: Path, step: int, delay: float) -> bool:
    """Kill a run ``delay`` seconds after it has passed a step; returns whether it was still alive."""
    while reached(folder) < step and process.poll() is None:
        time.sleep(0.005)
    time.sleep(delay)
    alive = process.poll() is None
    process.kill()
    process.wait()
    return alive


def kill_and_compare(tmp_path: Path, kills: int, steps: int, seed: int) -> None:
    """Kill a run at random moments, every fifth time while it starts or decodes; then let it finish, and compare."""
    moments = random.Random(seed)
    whole = open_run(corpus_of(tmp_path / "data"), tmp_path / "whole", small_config(steps=steps, **SETTINGS))
    assert whole.fit() == "done"
    data, folder = corpus_of(tmp_path / "other"), tmp_path / "killed"
    plan = [
        (0 if n % 5 == 4 else step, moments.uniform(0, 3 if n % 5 == 4 else 0.1))
        for n, step in enumerate(sorted(moments.sample(range(1, steps - 2), kills)))
    ]
    killed = [kill(run(data, folder, steps), folder, step, delay) for step, delay in plan]
    assert sum(killed) >= kills - 2 and reached(folder) < steps and run(data, folder, steps).wait() == 0
    for name in (states(folder)[-1].name, "model.safetensors", "best.safetensors"):
        found, want = load_file(folder / name), load_file(tmp_path / "whole" / name)
        assert found.keys() == want.keys() and all(torch.equal(found[n], want[n]) for n in want), name
    assert (folder / "validation.csv").read_text() == (tmp_path / "whole" / "validation.csv").read_text()
    assert not list(folder.glob(".*.tmp.*"))


def test_a_run_that_is_killed_twice_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    kill_and_compare(tmp_path, kills=2, steps=20, seed=1)


@slow
def test_a_run_that_is_killed_twenty_times_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    kill_and_compare(tmp_path, kills=20, steps=300, seed=2)
