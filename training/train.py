"""``diffused-heads train``: one command from a dataset to a model; the same command again resumes.

Also runs under ``accelerate launch -m diffused_heads.training.train`` or ``torchrun -m diffused_heads.training.train``
for many GPUs and machines.
"""

from __future__ import annotations

import argparse
import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from torch.utils.data import default_collate

from ..diffused_heads_core import checkpoints
from ..diffused_heads_core.pretrained_audio import (
    SPEECH_MODELS,
    feature_config,
    find_weights,
    load_audio_encoder,
    load_speech_model,
)
from ..diffused_heads_core.config import ModelConfig, to_json
from ..diffused_heads_core.errors import DiffusedHeadsError
from .config import PARTS, TrainConfig
from .features import Hear
from .journal import memory
from .presets import FROM_A_MODEL, PRESETS, preset, with_audio, with_model
from .trainer import Job, Trainer

OVERRIDES = {
    "steps": int,
    "batch": int,
    "lr": float,
    "seed": int,
    "save_every": int,
    "sample_every": int,
    "workers": int,
    "accumulate": int,
    "log_every": int,
    "ema": float,
    "precision": str,
}
LOSSES = {
    "lip": "weight of the lip loss",
    "lip_margin": "pixels around the lips' box that belong to it",
    "vlb": "weight of the variational bound",
    "simple": "weight of the whole picture's loss",
}
log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``train``."""
    parser.add_argument("data", type=Path, help="dataset folder, as `diffused-heads prepare` and `synthesize` write it")
    parser.add_argument("run", type=Path, help="folder for states, losses, sample clips and model.safetensors")
    parser.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        default=None,
        help="what to train (default: avatar, or finetune with --from)",
    )
    parser.add_argument(
        "--from",
        dest="start",
        metavar="MODEL",
        help="begin with a bundled model's name or a checkpoint and keep its architecture",
    )
    parser.add_argument(
        "--resume", choices=("auto", "never"), default="auto", help="auto continues a run in the folder (default)"
    )
    parser.add_argument(
        "--audio-encoder", type=Path, help="checkpoint to take the audio encoder from, as `pretrain-audio` writes it"
    )
    parser.add_argument(
        "--audio-features",
        choices=sorted(SPEECH_MODELS),
        help="hear frozen features of a pretrained speech model instead",
    )
    parser.add_argument(
        "--layer", type=int, help="hidden layer of the speech model (default: at three quarters of its depth)"
    )
    parser.add_argument(
        "--speech-model",
        type=Path,
        help="the speech model's weights, where features are not stored beside the data yet",
    )
    parser.add_argument(
        "--trust-torchscript", action="store_true", help="run the released audio encoder beside a converted model"
    )
    parser.add_argument(
        "--freeze",
        nargs="*",
        choices=PARTS,
        metavar="PART",
        help=f"parts that stay as they are: {', '.join(PARTS)} (default: the preset's)",
    )
    parser.add_argument(
        "--validation", type=Path, help="dataset of held-out identities for sample clips (default: the training data)"
    )
    parser.add_argument(
        "--patience", type=int, help="stop when the best score is this many sample rounds old (default: never)"
    )
    parser.add_argument(
        "--licence", help="licence of the trained model, for its checkpoint (default: that of --from, else unknown)"
    )
    parser.add_argument("--minutes", type=float, help="stop after this time, with a state to resume from")
    parser.add_argument(
        "--cache-gb",
        type=float,
        help="decoded frames may take this much of the disk (default: what is free); 0 reads the shards",
    )
    parser.add_argument("--cpu", action="store_true", help="train on the CPU even where there is a GPU")
    parser.add_argument(
        "--shard",
        action="store_true",
        help="cut the network up among the processes (FSDP) instead of copying it to each",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="decode the data, print what would be done and the estimated time, and stop",
    )
    for name, kind in OVERRIDES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help="overrides the preset")
    for name, about in LOSSES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, help=f"{about} (overrides the preset)")


def configured(options: argparse.Namespace) -> TrainConfig:
    """The preset with the model of ``--from``, where it is given, and the overrides of the command line."""
    config = preset(preset_name(options))
    if options.start is not None:
        config = with_model(config, checkpoints.load(checkpoints.find_model(options.start)).config)
    elif preset_name(options) in FROM_A_MODEL:
        raise DiffusedHeadsError(f"preset {preset_name(options)}: expected a model to begin with (--from)")
    if options.audio_features:
        if options.start is not None or options.audio_encoder is not None:
            raise DiffusedHeadsError(
                "--audio-features is for a new model: --from and --audio-encoder bring an ear of their own"
            )
        config = with_audio(config, feature_config(options.audio_features, options.layer, config.model.audio.embedding))
    given = {name: getattr(options, name) for name in OVERRIDES if getattr(options, name) is not None}
    losses = {name: getattr(options, name) for name in LOSSES if getattr(options, name) is not None}
    frozen = {"freeze": tuple(options.freeze)} if options.freeze is not None else {}
    patience = {} if options.patience is None else {"validation": replace(config.validation, patience=options.patience)}
    config = config.with_steps(given.pop("steps", config.steps))
    return replace(config, **given, **frozen, **patience, loss=replace(config.loss, **losses))


def preset_name(options: argparse.Namespace) -> str:
    """The preset that the command line means."""
    return options.preset or ("finetune" if options.start else "avatar")


def hearing(
    config: ModelConfig, start: str | Path | None, speech_model: Path | None, trust_torchscript: bool
) -> Hear | None:
    """The frozen speech model of a configuration, where its weights are there and (for the released one) its code is
    trusted.
    """
    if config.audio.kind == "torchscript" and trust_torchscript and start is not None:
        encoder = load_audio_encoder(checkpoints.find_model(start))
        return lambda mono, frames: encoder(mono, frames)
    weights = speech_model or (find_weights(config.audio.source) if config.audio.kind == "features" else None)
    if config.audio.kind != "features" or weights is None:
        return None
    model = load_speech_model(config.audio, weights)
    return lambda mono, frames: model.features(mono).at_frames(frames, config.fps)


def job_of(options: argparse.Namespace) -> Job:
    """What the command line asks for."""
    config = configured(options)
    return Job(
        options.data,
        options.run,
        config,
        preset_name(options),
        options.start,
        options.audio_encoder,
        options.validation,
        options.licence,
        hearing(config.model, options.start, options.speech_model, options.trust_torchscript),
        options.cache_gb,
        options.resume,
        "cpu" if options.cpu else "auto",
        options.shard,
    )


def run(options: argparse.Namespace) -> None:
    """Train as the command line says; raises DiffusedHeadsError for bad values or data."""
    trainer = Trainer(job_of(options))
    try:
        if options.dry_run:
            describe(trainer)
            return
        with asked_to_stop() as stop:
            ended = trainer.fit(
                lambda progress: stop.is_set(), time.monotonic() + 60 * options.minutes if options.minutes else None
            )
        told = {
            "done": "finished",
            "early": f"stopped at step {trainer.step}: no better score since step {trainer.best_step}",
            "stopped": f"stopped at step {trainer.step}; the same command goes on from here",
        }
        if trainer.parallel.main:
            log.info("%s: %s", options.run, told[ended])
        if stop.is_set():
            raise KeyboardInterrupt
    finally:
        trainer.parallel.leave()


@contextmanager
def asked_to_stop() -> Iterator[threading.Event]:
    """An event that the first interrupt or SIGTERM sets, so that a run can save before it stops; a second one
    interrupts at once.
    """
    event, before = threading.Event(), {}

    def note(number: int, frame: object) -> None:
        event.set()
        signal.signal(number, before[number] or signal.SIG_DFL)

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def describe(trainer: Trainer) -> None:
    """Print the plan of a run: parameters, data, steps, and the time that three measured steps foretell."""
    config, plain, samples = trainer.config, trainer.plain, trainer.samples
    rows = default_collate(
        [samples[i] for i in range(config.batch // (trainer.parallel.processes * config.accumulate))]
    )
    part = trainer.prepared(rows)
    for measured in range(4):
        if measured == 1:
            began = time.monotonic()
        trainer.losses(part)["total"].mean().backward()
    seconds = (time.monotonic() - began) / 3 * config.accumulate
    counts = {
        n: sum(p.numel() for p in m.parameters())
        for n, m in (("UNet", plain.unet), ("audio encoder", plain.audio_encoder))
    }
    trained, left = sum(p.numel() for p in trainer.trained), config.steps - trainer.step
    if not trainer.parallel.main:
        return
    print(f"device       {trainer.parallel.describe()}, {'bfloat16 autocast' if trainer.parallel.half else 'float32'}")
    print("parameters   " + ", ".join(f"{n} {c:,}" for n, c in counts.items()) + f"; {trained:,} trained")
    print(f"hearing      {config.model.audio.describe()}")
    print(
        f"data         {len(samples):,} frames in {len(samples.store.lengths):,} clips, {type(samples.store).__name__}"
    )
    print(
        f"steps        {left:,} of {config.steps:,} to do, {config.batch} samples each ({left * config.batch / len(samples):.1f} epochs)"
    )
    print(
        f"time         {seconds:.2f} s a step: about {left * seconds / 3600:.1f} h ({config.batch / seconds:.0f} samples/s)"
    )
    print(f"memory       {memory(trainer.parallel.device):.1f} GB")
    print(f"configuration {to_json(config)}")


def main(argv: list[str] | None = None) -> None:
    """Entry point for launchers of many processes."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="diffused-heads train", description=__doc__)
    arguments(parser)
    run(parser.parse_args(argv))


if __name__ == "__main__":
    main()
