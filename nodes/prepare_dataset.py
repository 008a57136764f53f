"""Node: Prepare Dataset."""

from __future__ import annotations

from typing import Any

import folder_paths
import numpy as np
from comfy_api.latest import io

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.face.finder import Face
from . import datasets, runtime
from .convert import uint8_to_image
from .sockets import DATASET, TRAINING

EXPLAINED = 8  # videos without clips for which the summary gives the reason


class PrepareDataset(io.ComfyNode):
    """From a folder of videos to datasets, with the host's face networks, in the host's process."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_PrepareDataset",
            display_name="Prepare Dataset",
            category=TRAINING,
            description="Makes a training dataset from a folder of videos of talking people: finds, aligns, cuts and "
            "rates the faces.",
            search_aliases=["training data", "dataset", "own clips", "face tracks"],
            inputs=_inputs(),
            outputs=[
                io.Custom(DATASET).Output("dataset", tooltip="For Lip Crop Loss and Train Diffused Heads."),
                io.Image.Output(
                    "report",
                    tooltip="Moments of some clips, one clip per row, with a box around the lips: it must lie on the "
                    "mouth.",
                ),
                io.String.Output(
                    "summary", tooltip="How many clips of how many people were made, and why videos gave none."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        """Refuse a name that cannot be a folder's. The name is None if it comes from another node."""
        return True if name is None else datasets.name_problem(name, "name") or True

    @classmethod
    def fingerprint_inputs(cls, folder: str | None = None, name: str | None = None, **more: Any) -> str:
        """Run again if a video came, went or changed, or if the dataset is no longer there."""
        try:
            raw = datasets.find_folder(folder or "", [folder_paths.get_input_directory()], "folder")
            return f"{datasets.files_fingerprint(raw)} {(datasets.home() / (name or '') / 'report.json').is_file()}"
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
        audio_track: int = 0,
    ) -> io.NodeOutput:
        from ..diffused_heads_core.data.shards import Dataset
        from ..training.preparation.prepare import prepare
        from ..training.preparation.settings import Settings
        from .training_pictures import lip_sheet

        out = datasets.home() / datasets.check_name(name, "name")
        raw = datasets.find_folder(folder, [folder_paths.get_input_directory()], "folder")
        settings = Settings(
            size=size,
            fps=fps,
            margin=margin,
            audio_track=audio_track,
            seconds=seconds,
            quality=quality,
            identity_from=identity_from,
            validation=validation,
            licence=licence,
        )
        out.mkdir(parents=True, exist_ok=True)
        progress = runtime.progress_bar()
        outcome = prepare(raw, out, settings, workers=1, progress=progress, make_finder=InterruptibleFinder)
        text = summary(outcome)
        if not outcome["train_clips"]:
            raise DiffusedHeadsError(f"no clip to train on came out of {raw}. {text}")
        found = datasets.open_folder(out)
        return io.NodeOutput(
            found,
            uint8_to_image(lip_sheet(Dataset(found.train)))[None],
            f"{text}\n{datasets.describe(found)}\nReport: {out / 'report.html'}",
        )


class InterruptibleFinder:
    """The host's face finder, which the user can cancel at every picture."""

    def __init__(self) -> None:
        runtime.check_interruption()
        self.finder = runtime.face_finder()

    def find(self, picture: np.ndarray, landmarks: bool = True) -> list[Face]:
        """As ``FaceFinder.find``."""
        runtime.check_interruption()
        return self.finder.find(picture, landmarks)

    def track(self, picture: np.ndarray, previous: Face) -> Face | None:
        """As ``FaceFinder.track``."""
        runtime.check_interruption()
        return self.finder.track(picture, previous)


def summary(outcome: dict[str, Any]) -> str:
    """What became of the videos, in a few lines; outcome: what ``prepare`` returns."""
    from ..training.preparation.report import explain

    clips = "1 clip" if outcome["clips"] == 1 else f"{outcome['clips']} clips"
    people = "1 person" if outcome["people"] == 1 else f"{outcome['people']} people"
    videos = f"{outcome['videos_with_clips']} of {outcome['videos']} videos"
    empty = [source for source in outcome["sources"] if not source["clips"]]
    lines = [f"{clips} ({outcome['seconds']:.0f} s) of {people} from {videos}", *outcome["remarks"]]
    lines += [f"{source['name']}: {explain(source)}" for source in empty[:EXPLAINED]]
    if len(empty) > EXPLAINED:
        lines.append(f"and {len(empty) - EXPLAINED} more videos without a clip")
    return "\n".join(lines)


def _inputs() -> list[io.Input]:
    return [
        io.String.Input(
            "folder",
            default="clips",
            tooltip="A folder of videos with talking people, which is searched with the folders in it: a path in "
            "ComfyUI's input folder, or any absolute path.",
        ),
        io.String.Input(
            "name",
            default="my_clips",
            tooltip="Name of the dataset, which goes into output/diffused_heads/datasets. With the same name again, "
            "the work goes on where it stopped and takes in new videos.",
        ),
        io.Int.Input(
            "size",
            display_name="size (px)",
            default=128,
            min=32,
            max=512,
            step=32,
            tooltip="Side of a frame in pixels. It must be that of the model to train: 128 for avatar, 64 for tiny-64.",
        ),
        io.Float.Input(
            "validation",
            default=0.05,
            min=0.0,
            max=0.5,
            step=0.01,
            tooltip="Share that is held out from training, to see how well the model does with people it has not seen. "
            "0 holds out none.",
        ),
        *_optional_inputs(),
    ]


def _optional_inputs() -> list[io.Input]:
    return [
        io.Float.Input(
            "fps",
            display_name="frames per second",
            default=25.0,
            min=10.0,
            max=60.0,
            step=0.5,
            optional=True,
            advanced=True,
            tooltip="Frames per second. It must be that of the model to train; all models here have 25.",
        ),
        io.Float.Input(
            "margin",
            default=0.0,
            min=-0.3,
            max=2.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip="More room around the head; 0 is how the bundled model was trained.",
        ),
        io.Float.Input(
            "seconds",
            default=10.0,
            min=1.0,
            max=120.0,
            step=0.5,
            optional=True,
            advanced=True,
            tooltip="Length of the longest clip in seconds.",
        ),
        io.Float.Input(
            "quality",
            default=0.3,
            min=0.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip="Clips with a lower score are dropped: 0 keeps all, 1 none. The report shows every clip's score.",
        ),
        io.Combo.Input(
            "identity_from",
            display_name="identity from",
            options=["auto", "folder", "prefix", "file"],
            default="auto",
            optional=True,
            advanced=True,
            tooltip="Which videos show the same person, for the split into training and validation: those of one "
            "folder, those whose names begin alike, or each file by itself. Auto goes by folder if there are several, "
            "otherwise by file.",
        ),
        io.String.Input(
            "licence",
            default="unknown",
            optional=True,
            advanced=True,
            tooltip="Licence of the videos, noted in the dataset and in the models trained on it.",
        ),
        io.Int.Input(
            "audio_track",
            display_name="audio track",
            default=0,
            min=0,
            max=64,
            optional=True,
            advanced=True,
            tooltip="Which sound track of the videos, from 1; 0 takes the one that players play.",
        ),
    ]
