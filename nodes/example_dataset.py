"""Node: Example Dataset."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..diffused_heads_core.errors import DiffusedHeadsError
from . import datasets, runtime
from .convert import uint8_to_image
from .sockets import DATASET, TRAINING, DatasetFolders

HELD_OUT = 2  # clips for validation, of voices and avatars that training does not see


class ExampleDataset(io.ComfyNode):
    """A small corpus of drawn avatars, or a dataset that exists already."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_ExampleDataset",
            display_name="Example Dataset",
            category=TRAINING,
            description="A few drawn avatars that talk, made on the spot, to try training with; or a dataset from a "
            "folder.",
            search_aliases=["load dataset", "training data", "synthetic corpus"],
            inputs=_inputs(),
            outputs=[
                io.Custom(DATASET).Output("dataset", tooltip="For Lip Crop Loss and Train Diffused Heads."),
                io.Image.Output(
                    "report", tooltip="Moments of some clips, one clip per row, with a box around the lips."
                ),
                io.String.Output("summary", tooltip="What the dataset holds, and where it is."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, folder: str | None = None, **more: Any) -> str:
        """Run again if the dataset in the folder changed."""
        try:
            return datasets.fingerprint(existing(folder)) if folder and folder.strip() else ""
        except (DiffusedHeadsError, OSError):
            return ""

    @classmethod
    def execute(cls, clips: int, size: str, seconds: float = 2.0, seed: int = 0, folder: str = "") -> io.NodeOutput:
        from ..diffused_heads_core.data.shards import Dataset
        from .training_pictures import lip_sheet

        if folder.strip():
            found = datasets.open_folder(existing(folder))
        else:
            found = make_example(clips, int(size), seconds, seed, runtime.progress_bar())
        return io.NodeOutput(found, uint8_to_image(lip_sheet(Dataset(found.train)))[None], datasets.describe(found))


def existing(folder: str) -> Path:
    """The folder of a dataset that a user names; raises DiffusedHeadsError if there is none."""
    roots = [datasets.home(), folder_paths.get_output_directory(), folder_paths.get_input_directory()]
    return datasets.find_folder(folder, roots, "folder")


def make_example(
    clips: int, size: int, seconds: float, seed: int, on_clip: Callable[[int, int], None]
) -> DatasetFolders:
    """Make the corpus in a folder whose name says what is in it, or open it if it is there.

    on_clip(done, total) is called before each clip and may raise to interrupt. Raises DiffusedHeadsError for bad
    values, and if the speech engine is missing.
    """
    folder = datasets.home() / f"example-{size}px-{clips}x{seconds:g}s-seed{seed}"
    counts = dict(zip(datasets.PARTS, (clips, HELD_OUT)))
    todo = [part for part in datasets.PARTS if not (folder / part / "dataset.json").is_file()]
    if todo:
        check_speech_engine()
    done, total = 0, sum(counts[part] for part in todo)
    for part in todo:
        _make_part(folder / part, counts[part], size, seconds, seed, partial(_advance, on_clip, done, total))
        done += counts[part]
    return datasets.open_folder(folder)


def _advance(on_clip: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    on_clip(before + done, total)


def check_speech_engine() -> None:
    """Raise DiffusedHeadsError with the command that installs the speech engine, if it is missing."""
    from ..training.synthesis.speech import version

    try:
        version()
    except (DiffusedHeadsError, OSError) as error:
        raise DiffusedHeadsError(
            "Example Dataset: the speech engine espeak-ng is missing, install it with ComfyUI's Python and start "
            f'ComfyUI again: "{sys.executable}" -m pip install "espeakng-loader>=0.2.4"'
        ) from error


def _make_part(folder: Path, clips: int, size: int, seconds: float, seed: int, on_clip: Callable[[int], None]) -> None:
    from ..diffused_heads_core.data.shards import ShardWriter, finish_dataset
    from ..training.synthesis.corpus import FPS, SOURCES, UNITS, Job, make_clip

    job = Job(seed, size, seconds, held_out=folder.name == "validation")
    folder.mkdir(parents=True, exist_ok=True)
    with ShardWriter(folder, 0, FPS, size, job.described()) as shard:
        for index in range(clips):
            on_clip(index)
            shard.add(job.key(index), make_clip(job, index))
    info = {"source": SOURCES[0], "licence": "Apache-2.0", "seed": seed, "held_out": job.held_out}
    finish_dataset(folder, 1, UNITS, info)


def _inputs() -> list[io.Input]:
    return [
        io.Int.Input(
            "clips",
            default=12,
            min=2,
            max=64,
            tooltip="How many clips to make, each with another avatar and voice. A handful shows how training works; a "
            "good model takes thousands (diffused-heads synthesize).",
        ),
        io.Combo.Input(
            "size",
            display_name="size (px)",
            options=["64", "128"],
            default="64",
            tooltip="Side of a frame in pixels: 64 for tiny-64, 128 for avatar.",
        ),
        io.Float.Input(
            "seconds",
            default=2.0,
            min=1.0,
            max=10.0,
            step=0.5,
            optional=True,
            advanced=True,
            tooltip="Length of each clip in seconds.",
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**31 - 1,
            control_after_generate=False,
            optional=True,
            advanced=True,
            tooltip="Another seed gives other avatars and words.",
        ),
        io.String.Input(
            "folder",
            default="",
            optional=True,
            advanced=True,
            tooltip="An existing dataset in place of the avatars: its name in output/diffused_heads/datasets, a path "
            "in ComfyUI's output or input folder, or any absolute path. Leave it empty to make the avatars.",
        ),
    ]
