"""Many processes: the same run as one, in copies and in parts, and taken up by another number of them."""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.training.parallel import join
from diffused_heads.training.state import states

SCRIPT = Path(__file__).with_name("small_run.py")
sys.path.insert(0, str(SCRIPT.parent))
from small_run import open_run, plain, slow, small_config  # noqa: E402

STEPS = 8
SETTINGS = {"batch": 8, "decay": 0.0}


def on_many(processes: int, data: Path, folder: Path, **settings: object) -> None:
    """Run the small run under torchrun on the CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nproc-per-node={processes}",
        "--master-addr=127.0.0.1",
        f"--master-port={port}",
        str(SCRIPT),
        str(data),
        str(folder),
        *(f"{name}={value!r}" for name, value in {"plain": True, **SETTINGS, **settings}.items()),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]


def losses(folder: Path) -> list[float]:
    with (folder / "losses.csv").open() as file:
        return [float(value) for _, name, value in csv.reader(file) if name in ("loss/total", "gradient_norm")]


@pytest.fixture(scope="module")
def alone(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process with the whole batch, to the end."""
    folder = tmp_path_factory.mktemp("alone")
    open_run(corpus, folder, plain(small_config(**SETTINGS, steps=STEPS))).fit()
    return folder


def assert_same_run(folder: Path, alone: Path) -> None:
    assert losses(folder) == pytest.approx(losses(alone), rel=0.01)
    found, want = load_file(states(folder)[-1]), load_file(states(alone)[-1])
    assert found.keys() == want.keys() and all(torch.allclose(found[n], want[n], atol=1e-4) for n in want)


def test_two_processes_train_as_one_with_the_whole_batch_and_one_goes_on_alone(
    corpus: Path, alone: Path, tmp_path: Path
) -> None:
    on_many(2, corpus, tmp_path, steps=STEPS // 2, accumulate=2)
    assert losses(tmp_path) == pytest.approx(losses(alone)[: len(losses(tmp_path))], rel=0.01)
    open_run(corpus, tmp_path, plain(small_config(**SETTINGS, steps=STEPS))).fit()
    assert_same_run(tmp_path, alone)


@slow
def test_a_network_in_parts_trains_as_a_whole_one_and_is_taken_up_by_another_number(
    corpus: Path, alone: Path, tmp_path: Path
) -> None:
    open_run(corpus, tmp_path, plain(small_config(**SETTINGS, steps=2))).fit()
    on_many(2, corpus, tmp_path, steps=4, shard=True)
    on_many(4, corpus, tmp_path, steps=6, shard=True, accumulate=2)
    on_many(2, corpus, tmp_path, steps=STEPS)
    assert_same_run(tmp_path, alone)


def test_sharding_a_single_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(DiffusedHeadsError, match="expected many processes"):
        join("cpu", "no", shard=True)


def test_devices_without_bfloat16_compute_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not join("cpu", "no").half
    for supported in (True, False):
        monkeypatch.setattr("diffused_heads.training.parallel.computes_bfloat16", lambda device: supported)
        place = join("cpu", "bf16")
        with place.autocast():
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert place.half is supported and product.dtype is (torch.bfloat16 if supported else torch.float32)
