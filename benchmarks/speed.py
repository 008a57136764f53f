"""Speed of a model on this machine: loading, 25 frames by each sampler at 1, 2, 4 and 8 steps, and the bars for a CPU.

    python benchmarks/speed.py [--model avatar] [--threads 2] [--engine auto] [--bf16]

All settings are measured in one run and take turns, so that the ratios hold on a busy machine too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice, product
from pathlib import Path

import numpy as np

from diffused_heads.diffused_heads_core.processes import wait_passively

if __name__ == "__main__":
    wait_passively()  # before PyTorch is imported

import sections
import sharing
import torch

from diffused_heads import animate, load_model
from diffused_heads.diffused_heads_core.assets import PORTRAITS, RECORDINGS, bundled_file
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.media.audio import Audio, from_waveform
from diffused_heads.diffused_heads_core.samplers import SAMPLERS
from diffused_heads.diffused_heads_core.talking_head import TalkingHead

FRAMES, LIMIT = 25, 4.0  # the bar: 25 frames at the default steps in 4 s on 2 CPU cores
STEPS = (1, 2, 4, 8)
FAST = 1  # steps of the fastest setting
SIDE = 1536  # of the matrices by which machines are compared
PER_100_GFLOPS = {"auto": 26.0, "pytorch": 14.6}  # frames/s of the whole command, by engine
RELEASED, FASTER = ("ancestral", 100), 60.0  # the released procedure, and how many times as fast ours is to be
FIRST_FRAME = 0.3  # seconds


def import_seconds() -> float:
    """Seconds that a new Python takes to import what loads a model."""
    code = "import time; began = time.perf_counter(); import diffused_heads; diffused_heads.load_model; "
    code += "print(time.perf_counter() - began)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def humming(seconds: float, rate: int = 16000) -> Audio:
    """A recording of a swelling tone; speed does not depend on the sound."""
    moments = np.arange(round(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * 150 * moments) * np.sin(2 * np.pi * 3 * moments) ** 2
    return from_waveform(tone[None].astype(np.float32), rate, "tone")


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that ``work`` takes, until a GPU has finished too."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def frames_of(
    model: TalkingHead, embeddings: torch.Tensor, sampler: str, steps: int, bf16: bool, frames: int
) -> Callable[[], object]:
    """The generation of ``frames`` frames as a function without arguments."""
    size, options = model.config.frame_size, model.options(sampler=sampler, steps=steps)
    identity = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)

    def work() -> list[np.ndarray]:
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            return list(islice(model.generate(identity, embeddings, options), frames))

    return work


def measure(
    model: TalkingHead, settings: list[tuple[str, int, bool]], rounds: int, frames: int
) -> dict[tuple[str, int, bool], float]:
    """Least seconds for 25 frames of each (sampler, steps, bf16) over some rounds in which all take turns."""
    embeddings = model.encode_audio(humming(FRAMES / model.config.fps))
    work = {setting: frames_of(model, embeddings, *setting, frames) for setting in settings}
    for bf16 in {bf16 for _, _, bf16 in settings}:  # the first calls compile and allocate
        frames_of(model, embeddings, model.config.sampler, 1, bf16, min(frames, 3))()
    taken: dict[tuple[str, int, bool], list[float]] = {setting: [] for setting in settings}
    for _ in range(rounds):
        for setting in settings:
            taken[setting].append(timed(work[setting], model.device) * FRAMES / frames)
    return {setting: min(values) for setting, values in taken.items()}


def main(argv: list[str] | None = None) -> int:
    """0 if the bar is passed, 1 if it is not, 2 for wrong input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="portrait", help="bundled model or checkpoint (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's choice)")
    parser.add_argument("--rounds", type=int, default=2, help="of which the best counts (default: %(default)s)")
    parser.add_argument(
        "--frames", type=int, default=FRAMES, help="frames per measurement, scaled to 25 (default: %(default)s)"
    )
    parser.add_argument("--bf16", action="store_true", help="also under bfloat16 autocast; the engine is pytorch then")
    parser.add_argument("--engine", default="auto", help="what computes the network (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of video for the bars (default: %(default)g)")
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    began = time.perf_counter()
    try:
        engine = "pytorch" if options.bf16 else options.engine
        model = load_model(options.model, options.device, engine=engine)
        model.network()
    except DiffusedHeadsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    passed = show(model, time.perf_counter() - began, options)
    if model.device.type == "cpu":
        passed &= show_bars(options)
    return 0 if passed else 1


def product_gflops() -> float:
    """10^9 operations per second of the product of two float32 matrices, the best of twenty."""
    a = torch.randn(SIDE, SIDE)
    return 2e-9 * SIDE**3 / min(timed(lambda: a @ a, a.device) for _ in range(20))


def whole_command(model: TalkingHead, seconds: float) -> tuple[float, float]:
    """Frames per second from a picture and sound to a finished H.264 file, and seconds to the first finished frame."""
    portrait, speech = bundled_file(PORTRAITS, None), bundled_file(RECORDINGS, None)
    began = time.perf_counter()
    animation = animate(portrait, speech, model, duration=seconds, steps=FAST)
    next(iter(animation.frames()))
    first = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        taken = timed(lambda: animation.write(Path(folder) / "talk.mp4"), model.device)
    return len(animation) / taken, first


def released_ratio(reference: TalkingHead, model: TalkingHead) -> float:
    """How many times as fast a frame is made at FAST steps as by the released procedure on the same weights."""
    embeddings = reference.encode_audio(humming(1.0))
    slow = timed(frames_of(reference, embeddings, *RELEASED, False, 2), reference.device) / 2
    return slow / (
        timed(frames_of(model, embeddings, model.config.sampler, FAST, False, FRAMES), model.device) / FRAMES
    )


def show_bars(options: argparse.Namespace) -> bool:
    """Measure and print the bars for a CPU; True if all are passed."""
    models = {engine: load_model(options.model, "cpu", engine=engine) for engine in PER_100_GFLOPS}
    rows, gflops = [], product_gflops()
    for engine, model in models.items():
        model.network()
        rate, first = whole_command(model, options.seconds)
        name, least = f"whole command, {FAST} step, engine {engine}", PER_100_GFLOPS[engine]
        rows.append((f"{name}: frames/s ({rate:.1f}) per 100 GFLOP/s", 100 * rate / gflops, ">=", least))
        rows.append((f"first finished frame, engine {engine}: seconds", first, "<=", FIRST_FRAME))
    rows.append(("to the released procedure", released_ratio(models["pytorch"], models["auto"]), ">=", FASTER))
    shared = sharing.measure(argparse.Namespace(engine="auto", steps=4, seconds=2.0, rounds=1), {})
    rows += [
        (f"{name}: share of alone", shared[name] / shared["alone"], ">=", bar) for name, bar in sharing.BARS.items()
    ]
    verdicts = [found >= bar if way == ">=" else found <= bar for _, found, way, bar in rows]
    cells = [
        [name, f"{found:.2f}", f"{way} {bar:g}", "PASS" if good else "FAIL"]
        for (name, found, way, bar), good in zip(rows, verdicts)
    ]
    print(f"\nA product of two {SIDE} x {SIDE} float32 matrices: {gflops:.0f} GFLOP/s\n")
    print(sections.table(["bar", "found", "expected", ""], cells))
    return all(verdicts)


def show(model: TalkingHead, loading: float, options: argparse.Namespace) -> bool:
    """Measure and print; True if the bar is passed."""
    default = (model.config.sampler, model.config.steps, False)
    settings = [default, *product(SAMPLERS, STEPS, [False, True] if options.bf16 else [False])]
    settings = list(dict.fromkeys(settings))
    found = measure(model, settings, max(options.rounds, 1), min(max(options.frames, 1), FRAMES))
    speech = humming(4.0)
    print(f"device            {model.device}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}")
    print(f"imports           {import_seconds():.2f} s")
    print(f"loading           {loading:.2f} s")
    print(f"encoding 4 s      {timed(lambda: model.encode_audio(speech), model.device):.2f} s\n")
    cells = []
    for (sampler, steps, half), seconds in found.items():
        rate, ratio = f"{FRAMES / seconds:.1f}", f"{seconds / found[default]:.2f}"
        cells.append([sampler, str(steps), "bf16" if half else "float32", f"{seconds:.2f}", rate, ratio])
    cells[0][0] += " (default)"
    print(sections.table(["sampler", "steps", "precision", "25 frames, s", "frames/s", "to the default"], cells))
    passed, verdict = found[default] <= LIMIT, f"{found[default]:.2f} s, at most {LIMIT:g} s expected"
    print(f"\n25 frames at the default steps: {verdict}: {'PASS' if passed else 'FAIL'}")
    return passed


if __name__ == "__main__":
    sys.exit(main())
