"""Frames per second on a machine that is shared: alone, two runs at once, and beside a busy loop on every processor.

    python benchmarks/sharing.py [--engine auto] [--steps 4] [--seconds 3] [--rounds 2] [--spinning]

Each run is the command ``demo`` in a process of its own, with the environment that a user's shell has: settings of
OpenMP are removed. ``--spinning`` measures also with idle threads that spin, as PyTorch's do by default.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sections

BARS = {"two at once": 0.40, "beside busy loops": 0.35}  # of alone, for each run
OPENMP = ("OMP_", "GOMP_", "KMP_")
SPINNING = {"GOMP_SPINCOUNT": "300000"}  # the default of GNU's OpenMP


def rates(options: argparse.Namespace, runs: int, settings: dict[str, str]) -> list[float]:
    """Frames per second of ``runs`` commands that start together, as they report it: without loading."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OPENMP)}
    words = ["demo", "--duration", options.seconds, "--steps", options.steps, "--engine", options.engine, "--output"]
    command = [sys.executable, "-m", "diffused_heads.diffused_heads_core", *map(str, words)]
    with tempfile.TemporaryDirectory() as folder:
        started = [
            subprocess.Popen(
                [*command, str(Path(folder) / f"{number}.mp4")],
                env={**environment, **settings},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for number in range(runs)
        ]
        try:
            said = [process.communicate()[0] for process in started]
        finally:
            for process in started:
                process.kill()
    return [float(re.search(r"\(([0-9.]+) frames/s\)", text)[1]) for text in said]


@contextmanager
def busy_loops(number: int) -> Iterator[None]:
    """Within the block, this many processes compute without a pause."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measure(options: argparse.Namespace, settings: dict[str, str]) -> dict[str, float]:
    """Frames per second of the slowest run in each situation, the best of some rounds in which all take turns."""
    found: dict[str, list[float]] = {"alone": [], **{name: [] for name in BARS}}
    for _ in range(options.rounds):
        found["alone"] += rates(options, 1, settings)
        found["two at once"].append(min(rates(options, 2, settings)))
        with busy_loops(os.cpu_count() or 1):
            found["beside busy loops"] += rates(options, 1, settings)
    return {name: max(values) for name, values in found.items()}


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; returns 0 if both bars are passed, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="auto", help="as of `generate` (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=4, help="denoising steps per frame (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of video per run (default: %(default)g)")
    parser.add_argument("--rounds", type=int, default=2, help="of which the best counts (default: %(default)s)")
    parser.add_argument("--spinning", action="store_true", help="measure spinning threads too")
    options = parser.parse_args(argv)
    kinds = {"sleep (default)": {}, **({"spin": SPINNING} if options.spinning else {})}
    found = {kind: measure(options, settings) for kind, settings in kinds.items()}
    rows = [
        [kind, *(f"{rate:.1f} ({rate / row['alone']:.0%})" for rate in row.values())] for kind, row in found.items()
    ]
    print(f"{os.cpu_count()} processors, engine {options.engine}, {options.steps} steps; frames/s of each run\n")
    print(sections.table(["idle threads", *found["sleep (default)"]], rows))
    default = found["sleep (default)"]
    failed = [name for name, bar in BARS.items() if default[name] < bar * default["alone"]]
    asked = ", ".join(f"{name} at least {bar:.0%}" for name, bar in BARS.items())
    print(f"\n{asked}: {'FAIL' if failed else 'PASS'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
