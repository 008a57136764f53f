"""Speed of a model on this machine: loading, and 25 frames by each sampler at 1, 2, 4 and 8 steps.

    python benchmarks/speed.py [--model avatar] [--threads 2] [--bf16]

All of it is measured in one run, the settings taking turns, so that the ratios hold on a busy machine too.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from itertools import islice

BEGAN = time.perf_counter()

import numpy as np
import torch

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.media.audio import Audio, from_waveform
from diffused_heads.diffused_heads_core.samplers import SAMPLERS
from diffused_heads.diffused_heads_core.talking_head import TalkingHead, load_model

IMPORTS = time.perf_counter() - BEGAN
FRAMES, LIMIT = 25, 4.0  # the bar: 25 frames at the default steps in 4 s on 2 CPU cores
STEPS = (1, 2, 4, 8)


def humming(seconds: float, rate: int = 16000) -> Audio:
    """A recording of a swelling tone; speed does not depend on what is said."""
    time_axis = np.arange(round(seconds * rate)) / rate
    return from_waveform(
        (0.3 * np.sin(2 * np.pi * 150 * time_axis) * np.sin(2 * np.pi * 3 * time_axis) ** 2)[None].astype(np.float32),
        rate,
        "tone",
    )


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that ``work`` takes, what it left running on a GPU included."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def frames_of(
    model: TalkingHead, embeddings: torch.Tensor, sampler: str, steps: int, bf16: bool, frames: int
) -> Callable[[], object]:
    """The generation of ``frames`` frames as a call without arguments."""
    size = model.config.unet.image_size
    identity = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)

    def work() -> list[np.ndarray]:
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            return list(
                islice(model.generate(identity, embeddings, model.options(sampler=sampler, steps=steps)), frames)
            )

    return work


def measure(
    model: TalkingHead, settings: list[tuple[str, int, bool]], rounds: int, frames: int
) -> dict[tuple[str, int, bool], float]:
    """Least seconds for 25 frames of each (sampler, steps, bf16) over some rounds in which all take turns."""
    embeddings = model.encode_audio(humming(FRAMES / model.config.fps))
    work = {setting: frames_of(model, embeddings, *setting, frames) for setting in settings}
    for setting in settings[:1] + [s for s in settings if s[2]][:1]:  # what is compiled or allocated at the first call
        list(
            islice(
                model.generate(
                    np.zeros((model.config.unet.image_size,) * 2 + (3,), np.uint8), embeddings, model.options(steps=1)
                ),
                3,
            )
        )
    taken: dict[tuple[str, int, bool], list[float]] = {setting: [] for setting in settings}
    for _ in range(rounds):
        for setting in settings:
            taken[setting].append(timed(work[setting], model.device) * FRAMES / frames)
    return {setting: min(values) for setting, values in taken.items()}


def main(argv: list[str] | None = None) -> int:
    """0 when the bar is passed, 1 when it is not, 2 after an error of the input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="human", help="bundled model or checkpoint (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's choice)")
    parser.add_argument("--rounds", type=int, default=2, help="of which the best counts (default: %(default)s)")
    parser.add_argument(
        "--frames", type=int, default=FRAMES, help="frames generated a measurement, scaled to 25 (default: %(default)s)"
    )
    parser.add_argument("--bf16", action="store_true", help="also under bfloat16 autocast")
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    began = time.perf_counter()
    try:
        model = load_model(options.model, options.device)
    except DiffusedHeadsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return show(model, time.perf_counter() - began, options)


def show(model: TalkingHead, loading: float, options: argparse.Namespace) -> int:
    """Measure and print; 0 when the bar is passed."""
    default = (model.config.sampler, model.config.steps, False)
    settings = [
        (sampler, steps, half)
        for half in ([False, True] if options.bf16 else [False])
        for sampler in SAMPLERS
        for steps in STEPS
    ]
    found = measure(
        model,
        [default, *(s for s in settings if s != default)],
        max(options.rounds, 1),
        min(max(options.frames, 1), FRAMES),
    )
    speech = humming(4.0)
    print(f"device            {model.device}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}")
    print(f"imports           {IMPORTS:.2f} s")
    print(f"loading           {loading:.2f} s")
    print(f"encoding 4 s      {timed(lambda: model.encode_audio(speech), model.device):.2f} s\n")
    print(
        "| sampler   | steps | precision | 25 frames, s | frames/s | to the default |\n| --------- | ----- | --------- | ------------ | -------- | -------------- |"
    )
    for setting, seconds in found.items():
        sampler, steps, half = setting
        mark = " (default)" if setting == default else ""
        print(
            f"| {sampler:9} | {steps:5} | {'bf16' if half else 'float32':9} | {seconds:12.2f} | {FRAMES / seconds:8.1f} | {seconds / found[default]:14.2f} |{mark}"
        )
    passed = found[default] <= LIMIT
    print(
        f"\n25 frames at the default steps: {found[default]:.2f} s, at most {LIMIT:g} s expected: {'PASS' if passed else 'FAIL'}"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
