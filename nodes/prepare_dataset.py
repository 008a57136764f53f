"""Node: Prepare Talking-Head Dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths
import numpy as np
from comfy_api.latest import io

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.face.finder import Face
from . import datasets, runtime
from .convert import uint8_to_image
from .sockets import CATEGORY, DATASET

TOLD = 8  # videos without clips that the summary explains


class PrepareDataset(io.ComfyNode):
    """From a folder of videos to datasets, with the host's face networks, in this process."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_PrepareDataset",
            display_name="Prepare Talking-Head Dataset",
            category=CATEGORY,
            description="Makes a dataset for training of a folder of videos of talking people: faces found, aligned, cut and judged.",
            search_aliases=["training data", "dataset", "own clips", "face tracks"],
            inputs=_inputs(),
            outputs=[
                io.Custom(DATASET).Output("dataset", tooltip="For Lip Crop Loss and Train Diffused Heads."),
                io.Image.Output(
                    "report",
                    tooltip="Moments of some clips, one clip a row, the lips boxed: the box must lie on the mouth.",
                ),
                io.String.Output(
                    "summary", tooltip="How many clips of how many people came out, and why videos gave none."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        """Refuse a name that cannot be a folder's. A linked name is not known yet."""
        return True if name is None else datasets.name_problem(name, "name") or True

    @classmethod
    def fingerprint_inputs(cls, folder: str | None = None, name: str | None = None, **more: Any) -> str:
        """Look again when a video came, went or changed, or the dataset did."""
        try:
            raw = datasets.find_folder(folder or "", [folder_paths.get_input_directory()], "folder")
            return f"{datasets.files_fingerprint(raw)} {(home(name or '') / 'report.json').is_file()}"
        except (DiffusedHeadsError, OSError):
            return ""

    @classmethod
    def execute(
        cls,
        folder: str,
        name: str,
        size: int = 128,
        validation: float = 0.05,
        fps: float = 25.0,
        margin: float = 0.0,
        seconds: float = 10.0,
        quality: float = 0.3,
        identity_from: str = "auto",
        licence: str = "unknown",
    ) -> io.NodeOutput:
        from ..diffused_heads_core.data.shards import Dataset
        from ..training.preparation.prepare import prepare
        from ..training.preparation.settings import Settings
        from .training_pictures import lip_sheet

        out = home(datasets.check_name(name, "name"))
        raw = datasets.find_folder(folder, [folder_paths.get_input_directory()], "folder")
        settings = Settings(
            size=size,
            fps=fps,
            margin=margin,
            seconds=seconds,
            quality=quality,
            identity_from=identity_from,
            validation=validation,
            licence=licence,
        )
        out.mkdir(parents=True, exist_ok=True)
        told = prepare(raw, out, settings, workers=1, progress=Bar(), make_finder=watched_finder)
        text = summary(told)
        if not told["train_clips"]:
            raise DiffusedHeadsError(f"no clip to train on came out of {raw}. {text}")
        found = datasets.open_folder(out)
        return io.NodeOutput(
            found,
            uint8_to_image(lip_sheet(Dataset(found.train)))[None],
            f"{text}\n{datasets.describe(found)}\nReport: {out / 'report.html'}",
        )


def home(name: str) -> Path:
    """Where the dataset of that name lies."""
    return Path(folder_paths.get_output_directory()) / datasets.HOME / "datasets" / name


class Watched:
    """A face finder that lets the host interrupt at every picture."""

    def __init__(self, finder: Any, check: Callable[[], None]):
        self.finder, self.check = finder, check

    def find(self, picture: np.ndarray, landmarks: bool = True) -> list[Face]:
        """As ``FaceFinder.find``."""
        self.check()
        return self.finder.find(picture, landmarks)

    def track(self, picture: np.ndarray, previous: Face) -> Face | None:
        """As ``FaceFinder.track``."""
        self.check()
        return self.finder.track(picture, previous)


def watched_finder() -> Watched:
    """The host's face finder, interrupted by the host."""
    check = comfy.model_management.throw_exception_if_processing_interrupted
    check()
    return Watched(runtime.face_finder(), check)


class Bar:
    """The host's bar, moved by every video that is done; the host can interrupt there too."""

    def __init__(self) -> None:
        self.bar = comfy.utils.ProgressBar(1)

    def __call__(self, done: int, videos: int) -> None:
        """done of the ``videos`` are done."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.bar.update_absolute(done, videos)


def summary(told: dict[str, Any]) -> str:
    """What became of the videos, a few lines; told: what ``prepare`` returns."""
    from ..training.preparation.report import explain

    empty = [source for source in told["sources"] if not source["clips"]]
    clips, people = (
        ("1 clip" if told["clips"] == 1 else f"{told['clips']} clips"),
        ("1 person" if told["people"] == 1 else f"{told['people']} people"),
    )
    lines = [
        f"{clips} ({told['seconds']:.0f} s) of {people} from {told['videos_with_clips']} of {told['videos']} videos"
    ]
    lines += [*told["remarks"], *(f"{source['name']}: {explain(source)}" for source in empty[:TOLD])]
    return "\n".join([*lines, *([f"and {len(empty) - TOLD} more videos without a clip"] if len(empty) > TOLD else [])])


def _inputs() -> list[io.Input]:
    return [
        io.String.Input(
            "folder",
            default="clips",
            tooltip=(
                "A folder of videos with talking people, searched with the folders in it: a path in ComfyUI's input folder, or any absolute path."
            ),
        ),
        io.String.Input(
            "name",
            default="my_clips",
            tooltip=(
                "What the dataset is called: it goes into output/diffused_heads/datasets. The same name again goes on where it stopped, and takes in new videos."
            ),
        ),
        io.Int.Input(
            "size",
            default=128,
            min=32,
            max=512,
            step=32,
            tooltip=(
                "Pixels of a frame's side; it must be that of the model to train: 128 for avatar, 64 for tiny-64."
            ),
        ),
        io.Float.Input(
            "validation",
            default=0.05,
            min=0.0,
            max=0.5,
            step=0.01,
            tooltip=(
                "Share that is kept from training, to see how the model does with people it does not know. 0 keeps none."
            ),
        ),
        io.Float.Input(
            "fps",
            default=25.0,
            min=10.0,
            max=60.0,
            step=0.5,
            optional=True,
            advanced=True,
            tooltip=("Frames per second; it must be that of the model to train. All models here have 25."),
        ),
        io.Float.Input(
            "margin",
            default=0.0,
            min=-0.3,
            max=2.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip=("More room around the head; 0 is as the bundled model was trained."),
        ),
        io.Float.Input(
            "seconds",
            default=10.0,
            min=1.0,
            max=120.0,
            step=0.5,
            optional=True,
            advanced=True,
            tooltip="Longest clip, in seconds.",
        ),
        io.Float.Input(
            "quality",
            default=0.3,
            min=0.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip=("Clips that score less are dropped: 0 keeps all, 1 none. The report shows every clip's score."),
        ),
        io.Combo.Input(
            "identity_from",
            options=["auto", "folder", "prefix", "file"],
            default="auto",
            optional=True,
            advanced=True,
            tooltip=(
                "Which videos show one person, for the split: those of one folder, those whose names begin alike, or each file by itself. "
                "Auto is by folder where there are several, otherwise by file."
            ),
        ),
        io.String.Input(
            "licence",
            default="unknown",
            optional=True,
            advanced=True,
            tooltip=("Licence of the videos, noted in the dataset and in the models trained on it."),
        ),
    ]
