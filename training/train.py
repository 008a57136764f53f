"""``diffused-heads train``: one command from a dataset to a model; the same command again resumes.

Also runs under ``accelerate launch -m diffused_heads.training.train`` for many GPUs and machines.
"""
from __future__ import annotations

import argparse
import logging
import time
from dataclasses import replace
from pathlib import Path

import torch

from ..diffused_heads_core.checkpoints import Checkpoint, load, save
from ..diffused_heads_core.config import to_json
from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.schedule import noise_schedule
from ..diffused_heads_core.talking_head import TalkingHead
from .cache import open_store
from .config import PRESETS, TrainConfig, preset
from .dataset import FrameSamples
from .loop import Run, build_model, setup, train
from .losses import Batch, training_losses
from .preview import write_previews
from .shards import Dataset
from .state import states

OVERRIDES = {"steps": int, "batch": int, "lr": float, "seed": int, "save_every": int, "sample_every": int, "workers": int}
log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``train``."""
    parser.add_argument("data", type=Path, help="dataset folder, as `diffused-heads synthesize` writes it")
    parser.add_argument("run", type=Path, help="folder for states, losses, sample clips and model.safetensors")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="avatar", help="what to train (default: %(default)s)")
    parser.add_argument("--resume", choices=("auto", "never"), default="auto", help="auto continues a run in the folder (default)")
    parser.add_argument("--audio-encoder", type=Path, help="checkpoint to take the audio encoder from, as `pretrain-audio` writes it")
    parser.add_argument("--validation", type=Path, help="dataset of held-out identities for sample clips (default: the training data)")
    parser.add_argument("--licence", default="unknown", help="licence of the trained model, for its checkpoint")
    parser.add_argument("--minutes", type=float, help="stop after this time, with a state to resume from")
    parser.add_argument("--cpu", action="store_true", help="train on the CPU even where there is a GPU")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, parameters and estimated time, and stop")
    for name, kind in OVERRIDES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help="overrides the preset")


def configured(options: argparse.Namespace) -> TrainConfig:
    """The preset with the overrides of the command line."""
    return replace(preset(options.preset), **{n: getattr(options, n) for n in OVERRIDES if getattr(options, n) is not None})


def run(options: argparse.Namespace) -> None:
    """Train as the command line says; raises DiffusedHeadsError for bad values or data."""
    config = configured(options)
    if options.resume == "never" and states(options.run):
        raise DiffusedHeadsError(f"{options.run}: expected an empty folder with --resume never, found {states(options.run)[-1].name}")
    dataset = Dataset(options.data)
    _fits(options.data, dataset, config)
    model = build_model(config, _audio_weights(options.audio_encoder))
    samples = FrameSamples(open_store(options.data, config.model.audio, max(config.workers, 1)), config.model, config.seed)
    run = setup(config, options.run, model, options.resume, options.cpu)
    run.summary = {"preset": options.preset, "data": str(dataset.header.get("info", {}).get("source", "unknown")), "clips": len(dataset),
                   "fingerprint": dataset.header["fingerprint"], "licence": options.licence}
    if options.dry_run:
        describe(run, samples)
        return
    previews = Dataset(options.validation) if options.validation else dataset

    def show(now: Run) -> None:
        head = as_model(now)
        write_previews(head, previews, now.folder / "samples", f"step-{now.step:09d}")

    train(run, samples, show, time.monotonic() + 60 * options.minutes if options.minutes else None)


def _fits(folder: Path, dataset: Dataset, config: TrainConfig) -> None:
    found = {"size": (dataset.size, config.model.unet.image_size), "fps": (dataset.fps, config.model.fps)}
    wrong = [f"{name} is {a}, the preset wants {b}" for name, (a, b) in found.items() if a != b]
    if wrong:
        raise DiffusedHeadsError(f"{folder}: " + "; ".join(wrong))


def as_model(run: Run) -> TalkingHead:
    """The run's EMA weights, ready to generate."""
    return TalkingHead(run.config.model, run.ema.model.unet, run.ema.model.audio_encoder)


def _audio_weights(path: Path | None) -> dict[str, torch.Tensor] | None:
    if path is None:
        return None
    tensors = load(path).tensors
    return {n.removeprefix("audio_encoder."): t for n, t in tensors.items() if n.startswith("audio_encoder.")}


def describe(run: Run, samples: FrameSamples) -> None:
    """Print the plan of a run: parameters, data, steps, and the time that three measured steps foretell."""
    config, plain = run.config, run.plain
    rows = [samples[i] for i in range(config.batch // run.accelerator.num_processes)]
    batch = Batch.of({n: torch.stack([r[n] for r in rows]).to(run.accelerator.device) for n in rows[0]})
    schedule = noise_schedule(config.model.schedule, config.model.timesteps)
    for measured in range(4):
        if measured == 1:
            began = time.monotonic()
        with run.accelerator.autocast():
            found, _ = training_losses(batch, config, schedule, run.model, run.ema.model, torch.Generator().manual_seed(measured))
        run.accelerator.backward(found["total"].mean())
    seconds = (time.monotonic() - began) / 3
    counts = {n: sum(p.numel() for p in m.parameters()) for n, m in (("UNet", plain.unet), ("audio encoder", plain.audio_encoder))}
    left = config.steps - run.step
    print(f"device       {run.accelerator.device}, {run.accelerator.num_processes} process(es), precision {config.precision}")
    print("parameters   " + ", ".join(f"{n} {c:,}" for n, c in counts.items()))
    print(f"data         {len(samples):,} frames in {len(samples.store.lengths):,} clips")
    print(f"steps        {left:,} of {config.steps:,} to do, {config.batch} samples each ({left * config.batch / len(samples):.1f} epochs)")
    print(f"time         {seconds:.2f} s a step: about {left * seconds / 3600:.1f} h ({config.batch / seconds:.0f} samples/s)")
    print(f"configuration {to_json(config)}")


def pretrain_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``pretrain-audio``."""
    parser.add_argument("data", type=Path, help="dataset folder with mouth shapes, as `diffused-heads synthesize` writes it")
    parser.add_argument("output", type=Path, help="checkpoint to write (audio encoder only)")
    parser.add_argument("--validation", type=Path, help="dataset of held-out voices to measure on")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="avatar", help="whose audio configuration (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=2500, help="optimiser steps (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode the dataset (default: %(default)s)")


def pretrain(options: argparse.Namespace) -> None:
    """Pretrain an audio encoder on mouth shapes and write it as a checkpoint without a network."""
    from .speech_pretraining import pretrain as learn, score

    config = preset(options.preset).model
    data, *held_out = [open_store(folder, config.audio, options.workers) for folder in (options.data, options.validation) if folder]
    encoder, head = learn(data, config.audio, options.steps)
    figures = score(held_out[0], encoder, head) if held_out else {}
    tensors = {f"audio_encoder.{n}": t for n, t in encoder.state_dict().items()}
    save(options.output, Checkpoint(config, tensors, "Apache-2.0", {"kind": "audio encoder", "correlation": figures}))
    print(f"held-out voices, Pearson r: {figures}" if figures else f"written: {options.output}")


def main(argv: list[str] | None = None) -> None:
    """Entry point for ``accelerate launch -m``."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="diffused-heads train", description=__doc__)
    arguments(parser)
    run(parser.parse_args(argv))


if __name__ == "__main__":
    main()
