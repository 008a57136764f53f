"""How threads share the processors: set for the program's own processes, never for a host's."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from diffused_heads.diffused_heads_core.processes import WorkerPool

CHOICES = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT", "KMP_LIBRARY", "OMP_NUM_THREADS")
SHOW = """
import os, sys
def show():
    print({name: os.environ[name] for name in CHOICES if name in os.environ})
""".replace("CHOICES", repr(CHOICES))


def environment(**chosen: str) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if name not in CHOICES}, **chosen}


def shown(code: str, *words: str, **chosen: str) -> list[str]:
    """The lines that a new process prints, the environment for each ``show()`` in ``code``."""
    command = [sys.executable, "-c", SHOW + code, *words]
    done = subprocess.run(command, env=environment(**chosen), capture_output=True, text=True, timeout=300, check=True)
    return [line for line in done.stdout.splitlines() if line.startswith(("{", "threads"))]


PROGRAM = "import diffused_heads\ntry: diffused_heads.main()\nfinally: show()"


def test_the_command_line_s_threads_wait_passively() -> None:
    assert shown(PROGRAM, "--version") == ["{'OMP_WAIT_POLICY': 'PASSIVE', 'KMP_BLOCKTIME': '0'}"]


@pytest.mark.parametrize("chosen", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}, {"KMP_BLOCKTIME": "1"}])
def test_what_the_user_has_set_stays(chosen: dict[str, str]) -> None:
    assert shown(PROGRAM, "--version", **chosen) == [str(chosen)]


HOST = f"""
import diffused_heads
diffused_heads.main(['info'])
show()  # the command is called by another program
diffused_heads.load_model('human', 'cpu')
show()  # a library
import torch
{PROGRAM}  # PyTorch was imported before the program's entry point
"""


def test_a_host_s_environment_is_not_changed() -> None:
    assert shown(HOST, "info") == ["{}"] * 3


TRAINER = """
import runpy
class AtPyTorch:
    def find_spec(name, *_):
        if name == "torch":
            show()
            sys.exit()
sys.meta_path.insert(0, AtPyTorch)
runpy.run_module("diffused_heads.training.train", run_name=NAME)
"""


@pytest.mark.parametrize(
    ("name", "found"), [("__main__", "{'OMP_WAIT_POLICY': 'PASSIVE', 'KMP_BLOCKTIME': '0'}"), ("a library", "{}")]
)
def test_the_trainer_s_own_processes_wait_passively_from_before_pytorch_on(name: str, found: str) -> None:
    assert shown(TRAINER.replace("NAME", repr(name))) == [found]


def test_threads_are_limited_and_passed_on_to_pytorch_and_opencv() -> None:
    code = (
        "import diffused_heads\n"
        "from diffused_heads.diffused_heads_core.cli import generate\n"
        "generate.demo = lambda options: None\n"
        "diffused_heads.main(['demo', '--threads', '1'])\n"
        "import cv2, torch; print('threads', torch.get_num_threads(), cv2.getNumThreads())"
    )
    assert shown(code) == ["threads 1 1"]


def worker_settings() -> tuple[dict[str, str], int]:
    import torch

    return {name: os.environ[name] for name in CHOICES if name in os.environ}, torch.get_num_threads()


def test_workers_compute_in_one_thread_each_and_wait_passively(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    with WorkerPool(1) as pool:
        settings, threads = pool.submit(worker_settings).result()
    assert settings == {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "OMP_NUM_THREADS": "1"} and threads == 1
    assert not any(name in os.environ for name in CHOICES)
