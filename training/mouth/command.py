"""``diffused-heads train-mouth``: from datasets with face meshes to a model that paints the mouth alone."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...diffused_heads_core import checkpoints
from ..train import OVERRIDES, finish, run_arguments
from .presets import MouthTrainConfig, new_mouth, person_mouth
from .trainer import MouthJob, MouthTrainer

LOSSES = {"lip": "weight of the error around the lips"}
SHARPNESS = {
    "gradient": "weight of the error of differences between neighbouring pixels",
    "adversarial": "weight of the critic's verdict relative to the other losses",
    "matching": "weight of the error of the critic's features",
    "after": "steps before the critic begins",
}
LIPS = {
    "ridge": "penalty of the regression of lip shapes",
    "opening": "share by which mouths open wider than the regression says",
    "width": "share by which mouths widen and narrow more than the regression says",
    "closing": "added to the log odds of closed lips: more closes them more often",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``train-mouth``."""
    add = parser.add_argument
    add("data", type=Path, nargs="+", help="datasets with face meshes, as `prepare --size 256` writes them")
    add("run", type=Path, help="folder for states, losses, sample clips and model.safetensors")
    text = "how often each dataset is sampled, relative to the others (default: equally)"
    add("--weights", type=float, nargs="+", metavar="W", help=text)
    text = "begin with a model that paints the mouth alone, and keep its lip shapes: for one person's clips"
    add("--from", dest="start", metavar="MODEL", help=text)
    text = (
        f"model or checkpoint whose audio encoder is used (default: that of --from, else {checkpoints.DEFAULT_MODEL})"
    )
    add("--audio-encoder", metavar="MODEL", help=text)
    add("--fit-lips", action="store_true", help="fit the lip shapes to the data even with --from")
    run_arguments(parser)
    for name, about in {**LOSSES, **SHARPNESS, **LIPS}.items():
        kind = int if name == "after" else float
        add(f"--{name.replace('_', '-')}", type=kind, help=f"{about} (overrides the preset)")


def config_from(options: argparse.Namespace) -> MouthTrainConfig:
    """The settings for many people or, with ``--from``, for one, and the overrides of the command line."""
    source = options.start or options.audio_encoder or checkpoints.DEFAULT_MODEL
    model = checkpoints.load(checkpoints.find_model(source)).config
    config = person_mouth(model) if options.start is not None else new_mouth(model.audio)
    given: dict[str, Any] = {name: value for name, value in vars(options).items() if value is not None}

    def changed(names: dict[str, Any]) -> dict[str, Any]:
        return {name: given[name] for name in names if name in given and name != "steps"}

    if "patience" in given:
        config = replace(config, validation=replace(config.validation, patience=options.patience))
    return replace(
        config.with_steps(given.get("steps", config.steps)),
        loss=replace(config.loss, **changed(LOSSES)),
        sharpness=replace(config.sharpness, **changed(SHARPNESS)),
        lips=replace(config.lips, **changed(LIPS)),
        **changed(OVERRIDES),
    )


def job_from(options: argparse.Namespace) -> MouthJob:
    """The job that the command line describes."""
    encoder = options.audio_encoder or (None if options.start else checkpoints.DEFAULT_MODEL)
    return MouthJob(
        options.data[0],
        options.run,
        config_from(options),
        preset="mouth" if options.start is None else "mouth-person",
        start=options.start,
        audio_encoder=None if encoder is None else checkpoints.find_model(encoder),
        validation=options.validation,
        licence=options.licence,
        cache_gb=options.cache_gb,
        resume=options.resume,
        device="cpu" if options.cpu else "auto",
        others=tuple(options.data[1:]),
        weights=tuple(options.weights or ()),
        fit_lips=options.fit_lips or options.start is None,
    )


def run(options: argparse.Namespace) -> None:
    """Train as the command line says; raises DiffusedHeadsError for bad values or data."""
    finish(MouthTrainer(job_from(options)), options.minutes)
