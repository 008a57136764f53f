"""What 10, 1,000 and 100,000 hours of video cost: the calculations in docs/SCALING.md, from measured figures.

    python benchmarks/scaling.py PREPARED [--picture-ms 12.1] [--teraflops 100]

PREPARED is a folder that `diffused-heads prepare` made at 128 px; bytes and times are measured on it at each call, on
one processor. --picture-ms is what `benchmarks/prepare.py` prints. --teraflops is not measured: one GPU is assumed to
sustain it. PyTorch counts the operations, on networks without weights (device "meta").
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from diffused_heads.diffused_heads_core.data.shards import Dataset
from diffused_heads.diffused_heads_core.pretrained_audio import ENCODERS, columns_per_frame
from diffused_heads.training.cache import cache_size, clip_mels
from diffused_heads.training.config import TrainConfig
from diffused_heads.training.dataset import POOL, FrameSamples
from diffused_heads.training.presets import preset
from diffused_heads.training.start import build
from diffused_heads.training.streaming import ShardStore

HOURS = (10, 1_000, 100_000)
PASSES = {10: 20, 1_000: 1, 100_000: 0.05}  # over all frames; neighbouring frames hardly differ
CORES = {10: 2, 1_000: 64, 100_000: 2_048}  # for `prepare`
PICTURES = 25 * 3600  # per hour
CLIP = 4.0  # seconds of a usual clip
STATE = 4 + 4 + 8 + 4  # bytes per parameter: weight, gradient, Adam's two moments, average
ANNOTATIONS = 4 * (5 + 12 + 4)  # bytes per frame that training holds: pose, expression, lip_box
ASSEMBLY = 4096  # bytes per clip that `prepare` holds when it assembles datasets


@dataclass(frozen=True)
class Measured:
    """Figures of a prepared folder. shard, cache: bytes per frame; work: bytes per second of video; index, report,
    memory: bytes per clip of shard indexes, report and an open dataset; opening: seconds per clip; decoding: processor
    seconds per frame, into the cache; streaming: processor seconds per sample from shards; used: share of the videos'
    time that became clips.
    """

    shard: float
    cache: float
    work: float
    index: float
    report: float
    memory: float
    opening: float
    decoding: float
    streaming: float
    used: float


def size(paths: list[Path]) -> int:
    """Total size of files in bytes."""
    return sum(path.stat().st_size for path in paths if path.is_file())


def processor(task: Callable[[], object]) -> float:
    """Processor time of a task in seconds."""
    began = time.process_time()
    task()
    return time.process_time() - began


def measure(prepared: Path) -> Measured:
    """Measure a folder that ``prepare`` made."""
    folders = [prepared / part for part in ("train", "validation") if (prepared / part / "dataset.json").is_file()]
    report, data = json.loads((prepared / "report.json").read_text(encoding="utf-8")), Dataset(folders[0])
    clips, frames = (sum(Dataset(folder).header[name] for folder in folders) for name in ("clips", "frames"))
    seconds = sum(source["facts"]["ends"] for source in report["sources"] if source["facts"])
    tracemalloc.start()
    opened = Dataset(folders[0])
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    store, config = ShardStore(folders[0], 64), preset("crema").model
    samples = FrameSamples(store, config)
    for number in range(len(data)):
        store.mel(number, 0, 1, 0)  # from the second use on, sound comes from memory

    def decode() -> None:
        for number in range(len(data)):
            clip = data.clip(number)
            clip_mels(clip.audio, clip.sample_rate, number, data, 64)

    return Measured(
        shard=size([p for f in folders for p in f.glob("shard-*.tar")]) / frames,
        cache=cache_size(data) / data.header["frames"],
        work=size(list((prepared / "work").rglob("*"))) / seconds,
        index=size([p for f in folders for p in f.glob("shard-*.json")]) / clips,
        report=size([prepared / "report.json"]) / clips,
        memory=memory / len(opened),
        opening=processor(lambda: [Dataset(folders[0]) for _ in range(50)]) / 50 / len(data),
        decoding=processor(decode) / data.header["frames"],
        streaming=processor(lambda: [samples[n] for n in range(200)]) / 200,
        used=frames / data.fps / seconds,
    )


def operations(config: TrainConfig) -> tuple[float, int]:
    """Floating-point operations per training sample, scheduled sampling included, and the number of parameters."""
    model = config.model
    side, neighbours = model.unet.image_size, model.unet.audio_neighbours
    reach = ENCODERS[model.audio.kind].reach + neighbours
    with torch.device("meta"):
        network = build(model, 0)
        inputs = (
            torch.zeros(1, 3, side, side),
            torch.zeros(1, dtype=torch.long),
            {s.name: torch.zeros(1, s.channels, side, side) for s in model.unet.spatial},
            torch.zeros(1, model.audio.mels, (2 * reach + 2) * columns_per_frame(model.audio)),
            torch.zeros(1, 2 * neighbours + 1, dtype=torch.long),
            torch.ones(1),
        )
        with FlopCounterMode(display=False) as forward:
            network(*inputs)
        with FlopCounterMode(display=False) as both:
            network(*inputs)[0].sum().backward()
    predicted = config.stability.predicted * forward.get_total_flops()
    return both.get_total_flops() + predicted, sum(p.numel() for p in network.parameters())


def sizes() -> dict[str, TrainConfig]:
    """Presets, and larger models that have not been trained."""
    crema = preset("crema")

    def larger(**changes: object) -> TrainConfig:
        return replace(crema, model=replace(crema.model, unet=replace(crema.model.unet, **changes)))

    return {
        "`avatar`": preset("avatar"),
        "`crema`": crema,
        "`crema` at 256 px": larger(image_size=256),
        "`crema`, twice as wide": larger(model_channels=512),
    }


def amount(number: float, unit: str = "") -> str:
    """A number with three digits; bytes in powers of a thousand."""
    if unit == "B":
        for name in ("B", "kB", "MB", "GB", "TB"):
            if number < 1000 or name == "TB":
                return f"{number:.3g} {name}" if number < 1000 else f"{number:,.0f} {name}"
            number /= 1000
    return f"{number:,.0f}{unit}" if number >= 100 else f"{number:.3g}{unit}"


def table(head: str, rows: dict[str, list[str]]) -> None:
    """Print a table with one column per amount of video."""
    print(f"\n| {head} | " + " | ".join(f"{hours:,} h" for hours in HOURS) + " |\n|---" + "|--:" * len(HOURS) + "|")
    for name, cells in rows.items():
        print(f"| {name} | " + " | ".join(cells) + " |")


def preparing(found: Measured, picture: float) -> dict[str, list[str]]:
    """Rows about ``prepare`` and decoding into the cache."""

    def rows(values: Callable[[int], str]) -> list[str]:
        return [values(hours) for hours in HOURS]

    busy = PICTURES * picture / 1000 / 3600  # processor hours per hour of video
    return {
        "pictures": rows(lambda h: amount(h * PICTURES)),
        "processor hours of `prepare`": rows(lambda h: amount(h * busy)),
        "on processors": rows(lambda h: amount(CORES[h])),
        "days": rows(lambda h: amount(h * busy / CORES[h] / 24)),
        "processor hours to decode it into the cache": rows(lambda h: amount(h * PICTURES * found.decoding / 3600)),
    }


def storing(found: Measured) -> dict[str, list[str]]:
    """Rows about bytes on disk and in memory, if all of the video becomes clips."""

    def rows(one_hour: float) -> list[str]:
        return [amount(hours * one_hour, "B") for hours in HOURS]

    clips = 3600 / CLIP
    return {
        "shards": rows(PICTURES * found.shard),
        "`work`, until it is deleted": rows(3600 * found.work / found.used),
        "decoded cache": rows(PICTURES * found.cache),
        f"clips of {CLIP:g} s": [amount(hours * clips) for hours in HOURS],
        "shards' indexes": rows(clips * found.index),
        "`report.json`": rows(clips * found.report),
        "memory to lay the cache out, one process": rows(PICTURES * ANNOTATIONS),
        "memory to combine the videos' results": rows(clips * ASSEMBLY),
        "memory of an open dataset, per process": rows(clips * found.memory),
        "seconds to open it": [amount(hours * clips * found.opening) for hours in HOURS],
        "memory of the order of clips, per process": rows(clips * 5 * 8),
        "pools, shuffled one after the other": [amount(max(1, hours * PICTURES / POOL)) for hours in HOURS],
    }


def training(found: Measured, teraflops: float) -> None:
    """Print the cost of training on GPUs that sustain so many TFLOP/s."""
    print(f"\nGPU-hours at an assumed {teraflops:g} TFLOP/s per GPU (no GPU was measured)")
    rows = {
        "passes over the frames": [f"{PASSES[hours]:g}" for hours in HOURS],
        "samples": [amount(hours * PICTURES * PASSES[hours]) for hours in HOURS],
    }
    facts = {}
    for name, config in sizes().items():
        flops, parameters = operations(config)
        rate = teraflops * 1e12 / flops
        rows[f"GPU-hours, {name}"] = [amount(hours * PICTURES * PASSES[hours] / rate / 3600) for hours in HOURS]
        facts[name] = (parameters, flops, rate, rate * found.streaming)
    table("training", rows)
    heads = ("model", "parameters", "operations per sample", "weights, gradients, Adam, average", "samples per second")
    print("\n| " + " | ".join(heads) + " | processors that stream as many |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, (parameters, flops, rate, processors) in facts.items():
        cells = (
            f"{parameters / 1e6:.3g} million",
            f"{flops / 1e9:,.0f} GFLOP",
            amount(parameters * STATE, "B"),
            amount(rate),
            amount(processors),
        )
        print(f"| {name} | " + " | ".join(cells) + " |")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", type=Path, help="a folder that `diffused-heads prepare` made at 128 px")
    parser.add_argument(
        "--picture-ms", type=float, default=12.1, help="processor time of `prepare` per picture (default: %(default)s)"
    )
    parser.add_argument(
        "--teraflops", type=float, default=100.0, help="assumed sustained rate of one GPU (default: %(default)s)"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    np.seterr(all="raise", under="ignore")
    found = measure(options.prepared)
    print(
        f"shards {amount(found.shard, 'B')} per frame ({amount(found.shard * PICTURES, 'B')} per hour); "
        f"cache {amount(found.cache, 'B')} per frame ({amount(found.cache * PICTURES, 'B')} per hour); "
        f"{100 * found.used:.0f}% of these videos became clips"
    )
    print(
        f"one processor: prepare {options.picture_ms:g} ms per picture, decoding into the cache "
        f"{1000 * found.decoding:.2f} ms per frame, a sample from the shards {1000 * found.streaming:.1f} ms"
    )
    table("preparing", preparing(found, options.picture_ms))
    table("storing", storing(found))
    training(found, options.teraflops)


if __name__ == "__main__":
    main()
