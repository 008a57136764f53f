"""Training throughput against a plain loop, and the rate at which loaders deliver samples.

    python benchmarks/training.py [--data corpora/avatars] [--preset avatar] [--batch 16] [--steps 6] [--threads 2]

The plain loop is float32 and decodes a clip's mp4 for every sample; all else is equal: the same network, samples,
losses, optimiser and average. Both run in this process, step by step in turns, so that the ratio holds on a busy
machine too. The processor time of each is printed as well.
"""

from __future__ import annotations

import argparse
import io
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import torch
from torch.utils.data import DataLoader

from diffused_heads.diffused_heads_core.checkpoints import bundled_models, load
from diffused_heads.diffused_heads_core.data.shards import Dataset
from diffused_heads.training.cache import open_store
from diffused_heads.training.config import TrainConfig
from diffused_heads.training.dataset import FrameSamples, StepBatches, Store
from diffused_heads.training.presets import PRESETS, preset
from diffused_heads.training.streaming import ShardStore
from diffused_heads.training.synthesis.corpus import synthesize
from diffused_heads.training.trainer import Job, Trainer

ROOT = Path(__file__).resolve().parents[1]
BAR = 3.0
WARM_UP = 2


class DecodedEachTime(ShardStore):
    """Decodes a clip's whole mp4 for every sample; sound and annotations stay in memory."""

    def pictures(self, clip: int, frames: Sequence[int]) -> np.ndarray:
        """The given frames of a clip, (n, S, S, 3) uint8."""
        return self.dataset.decoded(clip, "mp4", usual_decoding)[np.asarray(frames)]


def usual_decoding(data: bytes) -> np.ndarray:
    """All frames (T, S, S, 3) uint8 of an mp4, decoded as in PyAV's documentation."""
    with av.open(io.BytesIO(data)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def corpus(path: Path | None, size: int) -> Path:
    """The dataset at ``path``, by default a small one of drawn avatars, made on the first call."""
    if path is not None:
        return path
    folder = ROOT / "corpora" / f"benchmark-64x3s-{size}px"
    synthesize(folder, 64, 0, size, 3.0, workers=1, progress=False)
    return folder


def settings(name: str, batch: int) -> TrainConfig:
    """A preset's training without an end; the audio encoder is trained too, unless a trained one is loaded."""
    config = preset(name)
    return replace(config, batch=batch, steps=10**6, workers=0, freeze=() if name != "avatar" else config.freeze)


def plain_loop(data: Path, config: TrainConfig, start: str | None, folder: Path) -> Trainer:
    """The same training in float32, mp4 decoded for every sample, weights in the usual memory order."""
    trainer = Trainer(Job(data, folder, replace(config, precision="no"), start=start, cache_gb=0.0, board=False))
    trainer.samples = FrameSamples(DecodedEachTime(data, config.model.audio.mels), config.model, config.seed)
    trainer.model.to(memory_format=torch.contiguous_format)
    return trainer


def timed(steps: Iterator[object], device: torch.device) -> tuple[float, float]:
    """Seconds of the next step, by the clock and of processor time."""
    wall, processor = time.perf_counter(), time.process_time()
    next(steps)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - wall, time.process_time() - processor


def compare(trainers: dict[str, Trainer], rounds: int, batch: int) -> dict[str, tuple[float, float]]:
    """Samples per second by the clock and per second of processor time, from the median of steps taken in turns."""
    running = {name: trainer.train_steps() for name, trainer in trainers.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in trainers}
    for number in range(rounds + WARM_UP):
        for name, steps in running.items():
            seconds = timed(steps, trainers[name].parallel.device)
            if number >= WARM_UP:
                found[name].append(seconds)
    return {name: tuple(batch / np.median(rows, 0)) for name, rows in found.items()}


def delivery(store: Store, config: TrainConfig, workers: int, batches: int) -> float:
    """Samples per second that a loader delivers if nothing else is done."""
    samples = FrameSamples(store, config.model, config.seed)
    loader = iter(
        DataLoader(
            samples,
            batch_sampler=StepBatches(0, batches + WARM_UP * max(workers, 1), config.batch),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            multiprocessing_context="spawn" if workers else None,
        )
    )
    for _ in range(WARM_UP * max(workers, 1)):
        next(loader)
    began = time.perf_counter()
    delivered = sum(len(batch["position"]) for batch in loader)
    return delivered / (time.perf_counter() - began)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; returns 0 if the bar is passed, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="dataset of the preset's size (default: 64 drawn avatars, made on the first call)"
    )
    parser.add_argument(
        "--preset", choices=sorted(PRESETS), default="avatar", help="what to train (default: %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=16, help="samples per step (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=6, help="measured steps (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's choice)")
    parser.add_argument(
        "--workers", type=int, default=1, help="loader processes whose delivery is measured too (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    config, start = settings(options.preset, options.batch), "avatar" if options.preset == "avatar" else None
    if start:
        config = replace(config, model=load(bundled_models()[start]).config)
    data = corpus(options.data, config.model.unet.image_size)
    with tempfile.TemporaryDirectory() as folder:
        trainers = {
            "plain loop": plain_loop(data, config, start, Path(folder) / "plain"),
            "trainer": Trainer(Job(data, Path(folder) / "trainer", config, start=start, board=False)),
        }
        return show(trainers, data, config, options)


def show(trainers: dict[str, Trainer], data: Path, config: TrainConfig, options: argparse.Namespace) -> int:
    """Measure and print; returns 0 if the bar is passed."""
    found = compare(trainers, options.steps, options.batch)
    wall, processor = (found["trainer"][i] / found["plain loop"][i] for i in (0, 1))
    device, threads = trainers["trainer"].parallel.device, torch.get_num_threads()
    work = f"preset {options.preset}, batch {options.batch}, {len(Dataset(data))} clips"
    print(f"{platform.machine()}, {device}, {threads} threads, PyTorch {torch.__version__}; {work}\n")
    print("| loop       | samples per second | samples per processor second |")
    print("| ---------- | ------------------ | ---------------------------- |")
    for name, (rate, rate_processor) in found.items():
        print(f"| {name:10} | {rate:18.1f} | {rate_processor:28.1f} |")
    print(f"| ratio      | {wall:18.1f} | {processor:28.1f} |\n")
    print("| frames from     | processes | samples per second delivered |")
    print("| --------------- | --------- | ---------------------------- |")
    audio = config.model.audio
    for name, store, batches in (
        ("decoded cache", open_store(data, audio, 0), 60),
        ("shards", ShardStore(data, audio.mels), 12),
        ("whole mp4", DecodedEachTime(data, audio.mels), 3),
    ):
        for workers in sorted({0, options.workers}):
            rate = delivery(store, config, workers, batches * max(workers, 1))
            print(f"| {name:15} | {workers:9} | {rate:28.0f} |")
    print(f"\ntrainer to plain loop: {wall:.1f}, at least {BAR:g} expected: {'PASS' if wall >= BAR else 'FAIL'}")
    return 0 if wall >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
