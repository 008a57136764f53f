"""Node: Example Dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths
from comfy_api.latest import io

from ..diffused_heads_core.errors import DiffusedHeadsError
from . import datasets
from .convert import uint8_to_image
from .example_clips import folder_name, make_example
from .sockets import CATEGORY, DATASET, DatasetFolders


class ExampleDataset(io.ComfyNode):
    """A tiny corpus of drawn avatars, or a dataset that is there already."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_ExampleDataset",
            display_name="Example Dataset",
            category=CATEGORY,
            description="A few drawn avatars that talk, made on the spot, to try training with; or a dataset from a folder.",
            search_aliases=["load dataset", "training data", "avatars", "synthetic corpus"],
            inputs=_inputs(),
            outputs=[
                io.Custom(DATASET).Output("dataset", tooltip="For Lip Crop Loss and Train Diffused Heads."),
                io.Image.Output("report", tooltip="Moments of some clips, one clip a row, the lips boxed."),
                io.String.Output("summary", tooltip="What there is, and where."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, folder: str | None = None, **more: Any) -> str:
        """Look again when the dataset in the folder changed."""
        try:
            return datasets.fingerprint(existing(folder)) if folder and folder.strip() else ""
        except DiffusedHeadsError:
            return ""

    @classmethod
    def execute(cls, clips: int, size: str, seconds: float = 2.0, seed: int = 0, folder: str = "") -> io.NodeOutput:
        from ..diffused_heads_core.data.shards import Dataset
        from .training_pictures import lip_sheet

        if folder.strip():
            found: DatasetFolders = datasets.open_folder(existing(folder))
        else:
            found = make_example(
                home() / folder_name(clips, int(size), seconds, seed), clips, int(size), seconds, seed, _progress()
            )
        return io.NodeOutput(found, uint8_to_image(lip_sheet(Dataset(found.train)))[None], datasets.describe(found))


def home() -> Path:
    """Where datasets lie."""
    return Path(folder_paths.get_output_directory()) / datasets.HOME / "datasets"


def existing(folder: str) -> Path:
    """The folder of a dataset that a user means."""
    return datasets.find_folder(
        folder, [home(), folder_paths.get_output_directory(), folder_paths.get_input_directory()], "folder"
    )


def _progress() -> Callable[[int, int], None]:
    bar = comfy.utils.ProgressBar(1)

    def on_clip(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return on_clip


def _inputs() -> list[io.Input]:
    return [
        io.Int.Input(
            "clips",
            default=12,
            min=2,
            max=64,
            tooltip=(
                "How many clips to make, each of another avatar and voice. A handful shows how training works; a good model takes thousands "
                "(diffused-heads synthesize)."
            ),
        ),
        io.Combo.Input(
            "size",
            options=["64", "128"],
            default="64",
            tooltip="Pixels of a frame's side: 64 for tiny-64, 128 for avatar.",
        ),
        io.Float.Input(
            "seconds",
            default=2.0,
            min=1.0,
            max=10.0,
            step=0.5,
            optional=True,
            advanced=True,
            tooltip="Length of each clip.",
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**31 - 1,
            control_after_generate=False,
            optional=True,
            advanced=True,
            tooltip=("Another seed gives other avatars and words."),
        ),
        io.String.Input(
            "folder",
            default="",
            optional=True,
            advanced=True,
            tooltip=(
                "An existing dataset in place of the avatars: its name in output/diffused_heads/datasets, a path in ComfyUI's output or input "
                "folder, or any absolute path. Empty makes the avatars."
            ),
        ),
    ]
