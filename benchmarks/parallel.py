"""Two processes (gloo, CPU) against one with the whole batch, and a run that two begin and one ends.

    python benchmarks/parallel.py DATA [--preset tiny-64] [--steps 50] [--batch 16] [--precision no]

`torchrun` starts the two processes. Losses are compared step by step. In float32 (the default) they differ by the order
of sums, in bfloat16 also by its rounding.
"""

from __future__ import annotations

import argparse
import csv
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from diffused_heads.training.config import ValidationConfig
from diffused_heads.training.presets import PRESETS, preset
from diffused_heads.training.state import states
from diffused_heads.training.trainer import Job, Trainer

BAR = 0.01
COMPARED = ("loss/total", "loss/lip", "gradient_norm")


def train(run: Path, processes: int, options: argparse.Namespace, stop: int = 0) -> Path:
    """Train or resume a run on the CPU in new processes, to step ``stop`` or (0) to its end; returns its folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = f"-m torch.distributed.run --nproc-per-node={processes} --master-addr=127.0.0.1 --master-port={port}"
    settings = {
        "preset": options.preset,
        "steps": options.steps,
        "batch": options.batch,
        "precision": options.precision,
        "folder": run,
        "stop": stop,
    }
    command = [
        sys.executable,
        *(launcher.split() if processes > 1 else []),
        __file__,
        str(options.data),
        *(f"--{name}={value}" for name, value in settings.items()),
    ]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return run


def one_process(options: argparse.Namespace) -> None:
    """Train in one of a run's processes."""
    config = replace(
        preset(options.preset),
        steps=options.steps,
        batch=options.batch,
        precision=options.precision,
        workers=0,
        log_every=1,
        sample_every=10**6,
        save_every=10**6,
        validation=ValidationConfig(1, 0.2),
    )
    trainer = Trainer(Job(options.data, options.folder, config, options.preset, device="cpu", board=False))
    trainer.fit(lambda progress: progress.step == options.stop)
    trainer.parallel.close()


def lines(run: Path, name: str) -> np.ndarray:
    """Values of one name in a run's losses.csv, in order."""
    with (run / "losses.csv").open(newline="") as file:
        return np.array([float(row[2]) for row in csv.reader(file) if row[1] == name])


def weights_apart(run: Path, other: Path) -> float:
    """Norm of the difference of two runs' newest weights, divided by the norm of the second run's weights."""
    one, two = (load_file(states(folder)[-1]) for folder in (run, other))
    names = [name for name in one if name.startswith("model.")]
    return float(
        sum((one[n] - two[n]).double().square().sum() for n in names) ** 0.5
        / sum(one[n].double().square().sum() for n in names) ** 0.5
    )


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; returns 0 if all losses are within the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="dataset of the preset's size")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny-64")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--precision", choices=("bf16", "no"), default="no")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # for the processes that this one starts
    parser.add_argument("--stop", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.folder is not None:
        one_process(options)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        reference = train(Path(folder) / "one", 1, options)
        others = {"two processes": train(Path(folder) / "two", 2, options)}
        half = train(Path(folder) / "two-then-one", 2, options, stop=options.steps // 2)
        others["two, from the middle on one"] = train(half, 1, options)
        return show(reference, others, options)


def show(reference: Path, others: dict[str, Path], options: argparse.Namespace) -> int:
    """Print the differences; returns 0 if all losses are within the bar."""
    settings = f"{options.preset}, {options.steps} steps of {options.batch} samples, precision {options.precision}"
    print(f"{settings}: against one process with the whole batch\n")
    columns = ["run", *(f"{name}, largest difference" for name in COMPARED), "loss, mean of the last 10", "weights"]
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    largest = 0.0
    last = lines(reference, "loss/total")[-10:].mean()
    for name, run in others.items():
        apart = [float(np.abs(lines(run, column) / lines(reference, column) - 1).max()) for column in COMPARED]
        ended = float(lines(run, "loss/total")[-10:].mean())
        cells = [
            *(f"{100 * value:.4f}%" for value in apart),
            f"{ended:.6f} ({100 * abs(ended / last - 1):.4f}%)",
            f"{weights_apart(run, reference):.2e}",
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")
        largest = max(largest, apart[0])
    verdict = "PASS" if largest <= BAR else "FAIL"
    print(f"\nlargest difference of a step's loss {100 * largest:.4f}%, at most {100 * BAR:g}% expected: {verdict}")
    return 0 if largest <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
