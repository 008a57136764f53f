"""The engines that are installed against PyTorch, on a CPU: time of a denoising step, frames, and mouths.

    python benchmarks/engines.py [--model human] [--threads 2] [--rounds 30] [--write]

All engines take turns, so that the ratios hold on a busy machine too. Frames: bundled portraits speak bundled
recordings, and each engine's frames are compared with PyTorch's.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import islice, product

import numpy as np

from diffused_heads.diffused_heads_core.processes import wait_passively

if __name__ == "__main__":
    wait_passively()  # before PyTorch is imported

import mouth_meter
import sections
import torch

from diffused_heads import animate, load_model
from diffused_heads.diffused_heads_core.assets import ASSETS, PORTRAITS, RECORDINGS
from diffused_heads.diffused_heads_core.engines.engine import ENGINES, GraphNetwork
from diffused_heads.diffused_heads_core.engines.graph import example_inputs
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.evaluation.metrics.faces import correlation
from diffused_heads.diffused_heads_core.talking_head import TalkingHead


def installed(name: str) -> dict[str, TalkingHead]:
    """The model on the CPU with each engine that works here, PyTorch first."""
    found = {}
    for engine in ENGINES[1:]:
        try:
            model = load_model(name, "cpu", engine=engine)
        except DiffusedHeadsError as error:
            print(error, file=sys.stderr)
            continue
        if engine == "pytorch" or isinstance(model.network(), GraphNetwork):
            found[engine] = model
    return found


@torch.no_grad()
def step_times(models: dict[str, TalkingHead], rounds: int) -> dict[str, float]:
    """Least seconds for a denoising step at batch 1 with each engine, of some rounds in which all take turns."""
    inputs = example_inputs(models["pytorch"].config.unet)
    taken: dict[str, list[float]] = {engine: [] for engine in models}
    for number in range(rounds + 2):
        for engine, model in models.items():
            network = model.network()
            began = time.perf_counter()
            network(inputs["x_t"], inputs["t"], inputs, inputs)
            if number >= 2:  # the first calls allocate
                taken[engine].append(time.perf_counter() - began)
    return {engine: min(values) for engine, values in taken.items()}


def clips(model: TalkingHead, seconds: float) -> list[np.ndarray]:
    """The model's frames, (T, S, S, 3) uint8, of two bundled portraits and both recordings."""
    portraits, recordings = sorted(ASSETS.glob(PORTRAITS))[:2], sorted(ASSETS.glob(RECORDINGS))[:2]
    pairs = product(portraits, recordings)
    made = [animate(*pair, model, duration=seconds, whole_picture=False) for pair in pairs]
    return [np.stack(list(islice(animation.frames(), len(animation)))) for animation in made]


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="portrait", help="bundled model or checkpoint (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's choice)")
    parser.add_argument("--rounds", type=int, default=30, help="of which the best counts (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="per clip (default: %(default)g)")
    parser.add_argument("--write", action="store_true", help="put the figures into RESULTS.md")
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    models = installed(options.model)
    times = step_times(models, options.rounds)
    expected, rows = clips(models["pytorch"], options.seconds), []
    mouths = [mouth_meter.measure(clip) for clip in expected]
    for engine, model in models.items():
        found = expected if engine == "pytorch" else clips(model, options.seconds)
        apart = np.mean([np.abs(a.astype(float) - b).mean() for a, b in zip(found, expected)])
        follows = min(correlation(mouth_meter.measure(clip), mouth) for clip, mouth in zip(found, mouths))
        ratio = times["pytorch"] / times[engine]
        rows.append([engine, f"{1e3 * times[engine]:.1f}", f"{ratio:.2f}", f"{apart:.3f}", f"{follows:.4f}"])
    body = (
        f"## Engines\n\nWritten by `python benchmarks/engines.py --model {options.model} --write`: "
        f"{torch.get_num_threads()} threads, PyTorch {torch.__version__}.\nDifference: of frames from PyTorch's, mean, "
        "of 255. Mouth r: Pearson's r of the mouth opening with PyTorch's, the\nworst of four clips.\n\n"
        + sections.table(["engine", "step, ms", "times as fast", "difference", "mouth r"], rows)
    )
    print(body)
    if options.write:
        sections.write("engines", body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
