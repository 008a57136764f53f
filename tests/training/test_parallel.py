"""Runs in many processes, copied (DDP) or sharded (FSDP), equal one in a single process, and so do resumed ones."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed.fsdp
from safetensors.torch import load_file

from diffused_heads.diffused_heads_core.checkpoints import load
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.training.parallel import join
from diffused_heads.training.state import states

SCRIPT = Path(__file__).with_name("small_run.py")
sys.path.insert(0, str(SCRIPT.parent))
from small_run import open_run, plain, slow, small_config  # noqa: E402

STEPS = 4
SETTINGS = {"batch": 8, "decay": 0.0}


def run_processes(processes: int, data: Path, folder: Path, **settings: object) -> None:
    """Train the small run under torchrun on the CPU."""
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
def reference(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one process with the whole batch."""
    folder = tmp_path_factory.mktemp("reference")
    open_run(corpus, folder, plain(small_config(**SETTINGS, steps=STEPS))).fit()
    return folder


def assert_same_run(folder: Path, reference: Path) -> None:
    assert losses(folder) == pytest.approx(losses(reference), rel=0.01)
    found, want = load_file(states(folder)[-1]), load_file(states(reference)[-1])
    assert found.keys() == want.keys() and all(torch.allclose(found[n], want[n], atol=1e-4) for n in want)


def test_two_processes_train_as_one_with_the_whole_batch_and_one_resumes(
    corpus: Path, reference: Path, tmp_path: Path
) -> None:
    run_processes(2, corpus, tmp_path, steps=STEPS // 2, accumulate=2)
    assert losses(tmp_path) == pytest.approx(losses(reference)[: len(losses(tmp_path))], rel=0.01)
    open_run(corpus, tmp_path, plain(small_config(**SETTINGS, steps=STEPS))).fit()
    assert_same_run(tmp_path, reference)


@pytest.mark.skipif(not hasattr(torch.distributed.fsdp, "fully_shard"), reason="sharding needs PyTorch 2.6 or later")
def test_a_sharded_run_equals_a_whole_one_and_its_average_is_updated_without_communication(
    corpus: Path, reference: Path, tmp_path: Path
) -> None:
    run_processes(2, corpus, tmp_path, steps=STEPS, shard=True, count=True)
    assert_same_run(tmp_path, reference)
    counts = json.loads((tmp_path / "collectives.json").read_text())
    assert counts["update"] == [0] * STEPS
    assert counts["gathered"] and set(counts["gathered"]) == {len(load(reference / "model.safetensors").tensors)}
    state = load_file(states(tmp_path)[-1])
    for name in ("model", "best"):
        tensors = load(tmp_path / f"{name}.safetensors").tensors
        assert all(torch.equal(tensor, state[f"ema.{key}"]) for key, tensor in tensors.items())


@slow
def test_a_sharded_run_is_resumed_by_other_numbers_of_processes(corpus: Path, reference: Path, tmp_path: Path) -> None:
    open_run(corpus, tmp_path, plain(small_config(**SETTINGS, steps=1))).fit()
    run_processes(2, corpus, tmp_path, steps=2, shard=True)
    run_processes(4, corpus, tmp_path, steps=3, shard=True, accumulate=2)
    run_processes(2, corpus, tmp_path, steps=STEPS)
    assert_same_run(tmp_path, reference)


def test_sharding_a_single_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(DiffusedHeadsError, match="expected many processes"):
        join("cpu", "no", shard=True)


@pytest.mark.parametrize("supported", [True, False])
def test_devices_without_bfloat16_compute_in_float32(monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
    assert not join("cpu", "no").autocast_enabled
    monkeypatch.setattr("diffused_heads.training.parallel.supports_bfloat16", lambda device: supported)
    process = join("cpu", "bf16")
    with process.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert process.autocast_enabled is supported
    assert product.dtype is (torch.bfloat16 if supported else torch.float32)
