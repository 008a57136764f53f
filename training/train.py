"""``diffused-heads train``: one command from a dataset to a model; the same command again resumes the run.

For many GPUs and machines: ``torchrun --nproc-per-node 8 -m diffused_heads.training.train DATA RUN ...``.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..diffused_heads_core.processes import Stopped, on_first_signal, stopped_by_signals, wait_passively

if __name__ == "__main__":
    wait_passively()  # before PyTorch is imported

from torch import Tensor
from torch.utils.data import default_collate

from ..diffused_heads_core import checkpoints
from ..diffused_heads_core.checkpoints import to_json
from ..diffused_heads_core.config import ModelConfig
from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.pretrained_audio import (
    SPEECH_MODELS,
    feature_config,
    find_weights,
    load_audio_encoder,
    load_speech_model,
)
from .config import PARTS, TrainConfig
from .features import EmbedSpeech
from .job import Job
from .journal import memory
from .loop import Run
from .presets import FROM_A_MODEL, PRESETS, preset, with_audio, with_model
from .trainer import Trainer

INTEGERS = ("steps", "batch", "seed", "save_every", "sample_every", "workers", "accumulate", "log_every")
OVERRIDES = {**dict.fromkeys(INTEGERS, int), "lr": float, "ema": float, "precision": str}
LOSSES = {
    "lip": "weight of the lip loss",
    "lip_margin": "pixels around the lip box that belong to the lip loss",
    "vlb": "weight of the variational bound",
    "simple": "weight of the loss of the whole picture",
}
log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``train``."""
    add = parser.add_argument
    add("data", type=Path, help="dataset folder, as `diffused-heads prepare` and `synthesize` write it")
    add("run", type=Path, help="folder for states, losses, sample clips and model.safetensors")
    add("--preset", choices=sorted(PRESETS), help="what to train (default: avatar, or finetune with --from)")
    text = "begin with a bundled model's name or a checkpoint and keep its architecture"
    add("--from", dest="start", metavar="MODEL", help=text)
    text = "checkpoint to take the audio encoder from, its kind and its weights, as `pretrain-audio` writes it"
    add("--audio-encoder", type=Path, help=text)
    text = "use frozen features of a pretrained speech model as audio input instead"
    add("--audio-features", choices=sorted(SPEECH_MODELS), help=text)
    add("--layer", type=int, help="hidden layer of the speech model (default: at three quarters of its depth)")
    text = "weights of the speech model, if the dataset's folder has no features of it yet"
    add("--speech-model", type=Path, help=text)
    text = "run the released audio encoder that lies beside a converted model"
    add("--trust-torchscript", action="store_true", help=text)
    text = f"parts that are not trained: {', '.join(PARTS)} (default: the preset's)"
    add("--freeze", nargs="*", choices=PARTS, metavar="PART", help=text)
    run_arguments(parser)
    text = "divide the network among the processes (FSDP) instead of copying it to each"
    add("--shard", action="store_true", help=text)
    text = "decode the data, print what would be done and the estimated time, and stop"
    add("--dry-run", action="store_true", help=text)
    for name, about in LOSSES.items():
        add(f"--{name.replace('_', '-')}", type=float, help=f"{about} (overrides the preset)")


def run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that all trainings share."""
    add = parser.add_argument
    text = "auto continues a run in the folder (default)"
    add("--resume", choices=("auto", "never"), default="auto", help=text)
    add("--validation", type=Path, help="dataset of held-out identities for sample clips (default: the training data)")
    add("--patience", type=int, help="stop when the best score is this many sample rounds old (default: never)")
    add("--licence", help="licence of the trained model, for its checkpoint (default: that of --from, else unknown)")
    add("--minutes", type=float, help="stop after this time, with a state to resume from")
    text = "most disk space for decoded frames (default: what is free); 0 reads the shards instead"
    add("--cache-gb", type=float, help=text)
    add("--cpu", action="store_true", help="train on the CPU even if there is a GPU")
    for name, kind in OVERRIDES.items():
        add(f"--{name.replace('_', '-')}", type=kind, help="overrides the preset")


def config_from(options: argparse.Namespace) -> TrainConfig:
    """The preset with the model of ``--from``, if it is given, and the overrides of the command line."""
    config = preset(preset_name(options))
    if options.start is not None:
        config = with_model(config, checkpoints.load(checkpoints.find_model(options.start)).config)
    elif preset_name(options) in FROM_A_MODEL:
        raise DiffusedHeadsError(f"preset {preset_name(options)}: expected a model to begin with (--from)")
    if options.audio_features:
        if options.start is not None or options.audio_encoder is not None:
            raise DiffusedHeadsError(
                "--audio-features is for a new model: --from and --audio-encoder bring an audio encoder"
            )
        config = with_audio(config, feature_config(options.audio_features, options.layer, config.model.audio.embedding))
    if options.audio_encoder is not None:
        audio = checkpoints.load(options.audio_encoder).config.audio
        config = replace(config, model=replace(config.model, audio=audio))
    given: dict[str, Any] = {name: value for name, value in vars(options).items() if value is not None}
    changes = {name: given[name] for name in OVERRIDES if name in given and name != "steps"}
    changes["loss"] = replace(config.loss, **{name: given[name] for name in LOSSES if name in given})
    if "freeze" in given:
        changes["freeze"] = tuple(options.freeze)
    if "patience" in given:
        changes["validation"] = replace(config.validation, patience=options.patience)
    return replace(config.with_steps(given.get("steps", config.steps)), **changes)


def preset_name(options: argparse.Namespace) -> str:
    """The preset that the command line names, or its default."""
    return options.preset or ("finetune" if options.start else "avatar")


def speech_embedder(
    config: ModelConfig, start: str | Path | None, speech_model: Path | None, trust_torchscript: bool
) -> EmbedSpeech | None:
    """The frozen speech model of a configuration; None if it has none, or its weights are not found.

    The released audio encoder is TorchScript code beside ``start``, which runs only with ``trust_torchscript``.
    """
    if config.audio.kind == "torchscript" and trust_torchscript and start is not None:
        return load_audio_encoder(checkpoints.find_model(start))
    weights = speech_model or (find_weights(config.audio.source) if config.audio.kind == "features" else None)
    if config.audio.kind != "features" or weights is None:
        return None
    model = load_speech_model(config.audio, weights)
    return lambda mono, frames: model.features(mono).at_frames(frames, config.fps)


def job_from(options: argparse.Namespace) -> Job:
    """The job that the command line describes."""
    config = config_from(options)
    return Job(
        options.data,
        options.run,
        config,
        preset=preset_name(options),
        start=options.start,
        audio_encoder=options.audio_encoder,
        validation=options.validation,
        licence=options.licence,
        embed_speech=speech_embedder(config.model, options.start, options.speech_model, options.trust_torchscript),
        cache_gb=options.cache_gb,
        resume=options.resume,
        device="cpu" if options.cpu else "auto",
        shard=options.shard,
    )


def run(options: argparse.Namespace) -> None:
    """Train as the command line says; raises DiffusedHeadsError for bad values or data."""
    trainer = Trainer(job_from(options))
    if options.dry_run:
        try:
            describe(trainer)
        finally:
            trainer.parallel.close()
    else:
        finish(trainer, options.minutes)


def finish(trainer: Run, minutes: float | None) -> None:
    """Train to the end, until the ``minutes`` are over, or until a signal, after which Stopped is raised."""
    try:
        until = time.monotonic() + 60 * minutes if minutes else None
        with on_first_signal(lambda number: None) as request:
            ended = trainer.fit(lambda progress: bool(request.number), until)
        messages = {
            "done": "finished",
            "early": f"stopped at step {trainer.step}: no better score since step {trainer.best_step}",
            "stopped": f"stopped at step {trainer.step}; the same command goes on from here",
        }
        if trainer.parallel.is_main:
            log.info("%s: %s", trainer.job.run, messages[ended])
        if request.number:
            raise Stopped(request.number)
    finally:
        trainer.parallel.close()


def describe(trainer: Trainer) -> None:
    """Print the plan of a run: parameters, data, steps, and the time estimated from three steps."""
    config, samples, parallel = trainer.config, trainer.samples, trainer.parallel
    seconds = _seconds_per_step(trainer)
    network, encoder = (_count(part.parameters()) for part in (trainer.denoiser.unet, trainer.denoiser.audio_encoder))
    if not parallel.is_main:
        return
    left, store = config.steps - trainer.step, samples.store
    epochs, hours, rate = left * config.batch / len(samples), left * seconds / 3600, config.batch / seconds
    print(f"device       {parallel.describe()}, {'bfloat16 autocast' if parallel.autocast_enabled else 'float32'}")
    print(f"parameters   UNet {network:,}, audio encoder {encoder:,}; {_count(trainer.trained):,} trained")
    print(f"audio input  {config.model.audio.describe()}")
    print(f"data         {len(samples):,} frames in {len(store.lengths):,} clips, {type(store).__name__}")
    print(f"steps        {left:,} of {config.steps:,} to do, {config.batch} samples each ({epochs:.1f} epochs)")
    print(f"time         {seconds:.2f} s per step: about {hours:.1f} h ({rate:.0f} samples/s)")
    print(f"memory       {memory(parallel.device):.1f} GB")
    print(f"configuration {to_json(config)}")


def _count(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _seconds_per_step(trainer: Trainer) -> float:
    """Mean time of three forward and backward passes, without an optimiser step; every process must call this."""
    config, samples, parallel = trainer.config, trainer.samples, trainer.parallel
    share = config.batch // (parallel.processes * config.accumulate)
    rows = default_collate([samples[i] for i in range(share)])
    part = trainer.prepared(rows)
    for measured in range(4):
        if measured == 1:
            began = time.monotonic()
        float(trainer.backward([part])["total"])  # waits for the device
    return (time.monotonic() - began) / 3 * config.accumulate


def main(argv: list[str] | None = None) -> int:
    """Entry point for ``torchrun``; returns the exit status: 1 after a DiffusedHeadsError, 128 + a signal's number."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="diffused-heads train", description=__doc__)
    arguments(parser)
    try:
        with stopped_by_signals():
            run(parser.parse_args(argv))
    except Stopped as stopped:
        return stopped.status
    except DiffusedHeadsError as error:
        print(f"diffused-heads: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
