"""``diffused-heads train-motion``: from motion files and their sounds to a motion prior."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ...diffused_heads_core import checkpoints
from ..train import OVERRIDES, finish, run_arguments
from .presets import new_prior
from .trainer import MotionJob, MotionTrainer


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``train-motion``."""
    add = parser.add_argument
    add("data", type=Path, nargs="+", help="folders of motion files (.npz, .json, .csv), a sound beside each")
    add("run", type=Path, help="folder for states, losses and model.safetensors")
    text = f"model whose audio embeddings the motion follows (default: {checkpoints.DEFAULT_MODEL})"
    add("--audio-encoder", metavar="MODEL", help=text)
    add("--terms", default="unknown", help="what the data are and under which terms, for the summary")
    run_arguments(parser)
    add("--velocity", type=float, help="weight of the error of differences from frame to frame (overrides the preset)")


def job_from(options: argparse.Namespace) -> MotionJob:
    """The job that the command line describes."""
    encoder = checkpoints.find_model(options.audio_encoder or checkpoints.DEFAULT_MODEL)
    config = new_prior(checkpoints.load(encoder).config)
    names = [name for name in (*OVERRIDES, "velocity") if name != "steps" and getattr(options, name, None) is not None]
    config = replace(config.with_steps(options.steps or config.steps), **{n: getattr(options, n) for n in names})
    if options.patience is not None:
        config = replace(config, validation=replace(config.validation, patience=options.patience))
    return MotionJob(
        options.data[0],
        options.run,
        config,
        preset="motion",
        audio_encoder=encoder,
        validation=options.validation,
        licence=options.licence,
        resume=options.resume,
        device="cpu" if options.cpu else "auto",
        others=tuple(options.data[1:]),
        terms=options.terms,
    )


def run(options: argparse.Namespace) -> None:
    """Train as the command line says; raises DiffusedHeadsError for bad values or data."""
    finish(MotionTrainer(job_from(options)), options.minutes)
