"""The trainer's sub-commands of ``diffused-heads``: prepare, synthesize, the train commands, pretrain-audio.

Only the standard library is imported here; a command's module is imported when that command is chosen.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from ..diffused_heads_core.cli.parser import add_command, add_threads, positive
from ..diffused_heads_core.errors import DiffusedHeadsError

TRAIN_EXTRA = 'pip install "diffused-heads[train]"'


def _module(name: str, command: str) -> Any:
    """A module of the trainer; DiffusedHeadsError with the remedy where a package that it needs is missing."""
    try:
        return import_module(f".{name}", __package__)
    except ModuleNotFoundError as error:
        raise DiffusedHeadsError(
            f"{command} needs the module {error.name}, which is not installed: {TRAIN_EXTRA}"
        ) from error


def _add_synthesize(commands: Any, chosen: bool) -> None:
    parser = add_command(
        commands,
        "synthesize",
        _synthesize,
        "make a training corpus of talking avatars",
        "Make a corpus of drawn avatars that speak synthetic speech, with exact ground truth for every frame. Needs\n"
        f"the training extra: {TRAIN_EXTRA}. The same command again goes on where it stopped.",
        "diffused-heads synthesize corpora/avatars --clips 2000 --seed 1",
        "diffused-heads synthesize corpora/held-out --clips 64 --seed 2 --held-out",
    )
    add = parser.add_argument
    add("out", type=Path, metavar="OUT", help="folder of the corpus")
    add("--clips", type=positive, required=True, metavar="N", help="clips, each with its own identity and voice")
    add("--seed", type=int, required=True, metavar="S", help="the same seed makes the same corpus")
    add("--size", type=positive, default=128, metavar="PX", help="pixels of a side (default: %(default)s)")
    add("--seconds", type=float, default=3.0, metavar="S", help="length of a clip (default: %(default)g)")
    add("--workers", type=positive, metavar="N", help="processes (default: one per processor)")
    add("--held-out", action="store_true", help="identities and voices that training never sees")
    add("--people", type=Path, metavar="NPZ", help="render people from this packed face model instead of avatars")
    add("--mesh", action="store_true", help="find the face mesh of every frame, for `train-mouth`")


def _synthesize(options: argparse.Namespace) -> None:
    made = _module("synthesis.corpus", "synthesize").synthesize(
        options.out,
        options.clips,
        options.seed,
        options.size,
        options.seconds,
        options.workers,
        options.held_out,
        face_model=options.people,
        mesh=options.mesh,
    )
    print(f"{options.out}: {len(made)} clips of {options.seconds:g} s at {made.size} px and {made.fps:g} frames/s")


def _of_module(
    name: str, module: str, about: str, description: str, *examples: str, threads: bool = True
) -> Callable[[Any, bool], None]:
    """What adds a command whose options and work are ``arguments`` and ``run`` of a module; threads: with --threads."""

    def add(commands: Any, chosen: bool) -> None:
        parser = add_command(
            commands, name, lambda options: _module(module, name).run(options), about, description, *examples
        )
        if threads:
            add_threads(parser)
        if chosen:
            _module(module, name).arguments(parser)

    return add


COMMANDS = {
    "synthesize": _add_synthesize,
    "prepare": _of_module(
        "prepare",
        "preparation.prepare",
        "make training datasets of videos of talking people",
        "Find, follow and cut out the talking faces in a folder of videos, and make a dataset for training and one\n"
        "for validation, with a report. The same command again goes on where it stopped.",
        "diffused-heads prepare videos corpora/mine",
        "diffused-heads prepare videos corpora/mine --size 256 --identity-from prefix --shard 3/8",
        threads=False,
    ),
    "train": _of_module(
        "train",
        "train",
        "train a model on a corpus",
        "Train a model on a corpus. The same command again resumes the run. Under `torchrun -m\n"
        "diffused_heads.training.train` it takes many GPUs and machines.",
        "diffused-heads train corpora/avatars runs/avatar --preset avatar",
        "diffused-heads train corpora/avatars runs/avatar --dry-run",
    ),
    "train-mouth": _of_module(
        "train-mouth",
        "mouth.command",
        "train a model that paints the mouth alone",
        "Train a model that paints the mouth alone into a portrait, on datasets with face meshes: first its lip\n"
        "shapes, then its painter. The same command again resumes the run.",
        "diffused-heads train-mouth corpora/talkers/train corpora/people runs/mouth --weights 3 1",
        "diffused-heads train-mouth corpora/me/train runs/me --from runs/mouth/model.safetensors",
        threads=False,
    ),
    "train-motion": _of_module(
        "train-motion",
        "motion.command",
        "train a motion prior",
        "Train what samples a head's motion from speech, on motion files (`motion measure` writes them) with a sound\n"
        "of the same name beside each; a sub-folder per person. The same command again resumes the run.",
        "diffused-heads train-motion tracks/train runs/motion --validation tracks/test",
    ),
    "pretrain-audio": _of_module(
        "pretrain-audio",
        "tools.speech_pretraining",
        "pretrain an audio encoder",
        "Pretrain an audio encoder on synthetic speech and its mouth shapes, for `train --audio-encoder`.",
        "diffused-heads pretrain-audio corpora/avatars runs/audio.safetensors",
    ),
}
