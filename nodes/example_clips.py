"""A tiny corpus of talking avatars, drawn and spoken on the spot."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from ..diffused_heads_core.errors import DiffusedHeadsError
from .datasets import PARTS, open_folder
from .sockets import DatasetFolders

HELD_OUT = 2  # clips of held-out voices and avatars, for validation


def folder_name(clips: int, size: int, seconds: float, seed: int) -> str:
    """What the folder of an example is called: its content follows from its name."""
    return f"example-{size}px-{clips}x{seconds:g}s-seed{seed}"


def check_speech_engine() -> None:
    """Raise DiffusedHeadsError with the command that installs the speech engine where it is missing."""
    from ..training.synthesis.speech import version

    try:
        version()
    except (DiffusedHeadsError, OSError) as error:
        raise DiffusedHeadsError(
            "Example Dataset: the speech engine espeak-ng is missing, install it with ComfyUI's Python and start ComfyUI again: "
            f'"{sys.executable}" -m pip install "espeakng-loader>=0.2.4"'
        ) from error


def make_example(
    folder: Path, clips: int, size: int, seconds: float, seed: int, on_clip: Callable[[int, int], None]
) -> DatasetFolders:
    """Make the corpus in ``folder``, or open it where it is there; on_clip(done, total) before each clip may raise to
    interrupt.

    Raises DiffusedHeadsError for bad values and a missing speech engine.
    """
    counts = dict(zip(PARTS, (clips, HELD_OUT)))
    todo = [part for part in PARTS if not (folder / part / "dataset.json").is_file()]
    if todo:
        check_speech_engine()
    done, total = 0, sum(counts[part] for part in todo)
    for part in todo:
        _make_part(
            folder / part,
            counts[part],
            size,
            seconds,
            seed,
            part == "validation",
            lambda number, before=done: on_clip(before + number, total),
        )
        done += counts[part]
    return open_folder(folder)


def _make_part(
    folder: Path, clips: int, size: int, seconds: float, seed: int, held_out: bool, on_clip: Callable[[int], None]
) -> None:
    from ..diffused_heads_core.data.shards import ShardWriter, finish_dataset
    from ..training.synthesis.corpus import FPS, SOURCES, UNITS, Job, make_clip

    job = Job(seed, size, seconds, held_out)
    folder.mkdir(parents=True, exist_ok=True)
    with ShardWriter(folder, 0, FPS, size, job.described()) as shard:
        for index in range(clips):
            on_clip(index)
            shard.add(job.key(index), make_clip(job, index))
    finish_dataset(
        folder, 1, UNITS, {"source": SOURCES[0], "licence": "Apache-2.0", "seed": seed, "held_out": held_out}
    )
