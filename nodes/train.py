"""Node: Train Diffused Heads."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths
import numpy as np
import torch
from comfy_api.latest import io

from ..diffused_heads_core.errors import DiffusedHeadsError
from . import datasets, model_files, runtime, training_pictures as pictures, training_runs as runs
from .convert import uint8_to_image
from .load_model import files, path_of
from .sockets import DATASET, LOSS, MODEL, TRAINING, DatasetFolders, Model

PREVIEW_INTERVAL = 0.5  # seconds


class TrainDiffusedHeads(io.ComfyNode):
    """Runs ``training.trainer``, which the host can follow and interrupt, and returns its model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_Train",
            display_name="Train Diffused Heads",
            category=TRAINING,
            is_output_node=True,
            description="Trains a talking-head model on a dataset, or goes on training one. Cancel saves; running the "
            "same inputs again goes on from there.",
            search_aliases=["train", "fine-tune", "finetune"],
            inputs=_inputs(),
            outputs=[
                io.Custom(MODEL).Output(
                    "model",
                    tooltip="The trained model, for Load Identity, Encode Audio and Diffused Heads Sampler. It is also "
                    "in models/diffused_heads, under the run's name.",
                ),
                io.Custom("LOSS_MAP").Output("loss", tooltip="The losses of all steps so far, for Plot Loss Graph."),
                io.Image.Output(
                    "samples",
                    tooltip="The last validation round: the true frames of each clip with the model's below them.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, run_name: str | None = None) -> bool | str:
        """Refuse a name that cannot be a folder's. The name is None if it comes from another node."""
        return True if run_name is None else datasets.name_problem(run_name, "run_name") or True

    @classmethod
    def fingerprint_inputs(cls, start_from: str | None = None, **more: Any) -> str:
        """Train again if the file to start from was replaced. The name is None if it comes from another node."""
        if start_from is None or start_from.startswith(runs.SCRATCH):
            return ""
        try:
            return model_files.fingerprint(path_of(start_from))
        except (DiffusedHeadsError, OSError):
            return ""

    @classmethod
    def execute(
        cls,
        dataset: DatasetFolders,
        start_from: str,
        steps: int,
        learning_rate: float,
        batch: int,
        seed: int,
        run_name: str,
        resume: str = runs.RESUME[0],
        loss: Any = None,
        validate_every: int = 0,
        licence: str = "",
        trust_torchscript: bool = False,
    ) -> io.NodeOutput:
        path = None if start_from.startswith(runs.SCRATCH) else Path(path_of(start_from))
        request = runs.Request(
            dataset, start_from, path, loss, steps, learning_rate, batch, seed, validate_every, licence.strip() or None
        )
        run = datasets.home("runs") / datasets.check_name(run_name, "run_name")
        target = Path(folder_paths.models_dir) / model_files.FOLDER / f"{run_name}{model_files.SUFFIX}"
        train(request, run, target, resume, trust_torchscript)
        head = model_files.load(target, trust_torchscript)
        patcher = runtime.manage(head)
        head.to(dtype=runtime.choose_dtype("auto", patcher.load_device))
        losses = runs.plottable(value for _, value in runs.losses(run))
        sheet = uint8_to_image(_sheet(run, head.config.frame_size))[None]
        return io.NodeOutput(Model(target.name, head, patcher), {"loss": losses}, sheet)


def train(request: runs.Request, run: Path, target: Path, resume: str, trust_torchscript: bool) -> None:
    """Bring a run to its end, from the beginning or from its last state, and copy its model to ``target``."""
    device = host_device()
    config = runs.configure(request, wants_bfloat16(torch.device(device)))
    runs.check_target(run, target, request.path)
    runs.begin(run, runs.settings(request, config), resume)
    if not runs.finished(run, config.steps):
        comfy.model_management.unload_all_models()
        comfy.model_management.soft_empty_cache()
        try:
            with torch.inference_mode(False):
                _fit(request, run, config, device, trust_torchscript)
        finally:
            gc.collect()
            comfy.model_management.soft_empty_cache()
    runs.publish(run, target)


def _fit(request: runs.Request, run: Path, config: Any, device: str, trust_torchscript: bool) -> None:
    from ..training.train import speech_embedder
    from ..training.trainer import Job, Trainer

    watch = Watch(run, config.steps)
    embed_speech = (
        None if request.path is None else speech_embedder(config.model, request.path, None, trust_torchscript)
    )
    job = Job(
        request.data.train,
        run,
        config,
        preset=request.preset,
        start=request.path,
        audio_encoder=request.audio_encoder,
        validation=request.data.validation,
        licence=request.licence,
        embed_speech=embed_speech,
        device=device,
        board=False,
    )
    Trainer(job, watch.busy).fit(watch)


def host_device() -> str:
    """The host's device as the trainer names it; raises DiffusedHeadsError if it cannot train there."""
    device = comfy.model_management.get_torch_device()
    if device.type not in ("cpu", "cuda", "mps"):
        raise DiffusedHeadsError(
            f"training: expected a device of CUDA, ROCm, Apple (mps) or the CPU, found {device}; "
            "start ComfyUI with --cpu to train there"
        )
    return str(device)


def wants_bfloat16(device: torch.device) -> bool:
    """Whether to ask for bfloat16: as the host says, and always on a CPU, where the trainer decides."""
    return device.type == "cpu" or bool(comfy.model_management.should_use_bf16(device))


def _sheet(run: Path, size: int) -> np.ndarray:
    found = runs.last_sheet(run)
    return np.zeros((size, size, 3), np.uint8) if found is None else found


class Watch:
    """Called after every step: interrupts if the user cancels, moves the bar, shows loss curve and sample sheet."""

    def __init__(self, run: Path, steps: int):
        self.steps, self.bar = steps, comfy.utils.ProgressBar(steps)
        self.points = [point for point in runs.losses(run) if point[0] <= runs.last_step(run)]
        self.waiting: list[tuple[int, torch.Tensor]] = []
        self.sheet = runs.last_sheet(run)
        self.shown = -PREVIEW_INTERVAL

    def busy(self, what: str, done: int, total: int) -> None:
        """Called while data are decoded, and at every frame of a validation round, which leaves the bar as it is."""
        runtime.check_interruption()
        if what != "validating":
            self.bar.update_absolute(done, total)

    def __call__(self, progress: Any) -> None:
        """progress: ``training.trainer.Progress``; losses stay on the device until a picture is drawn."""
        runtime.check_interruption()
        self.waiting.append((progress.step, progress.tensors["total"].detach()))
        self.sheet = self.sheet if progress.sheet is None else progress.sheet
        now = time.monotonic()
        due = progress.sheet is not None or progress.step == self.steps or now - self.shown >= PREVIEW_INTERVAL
        self.shown = now if due else self.shown
        self.bar.update_absolute(progress.step, self.steps, ("JPEG", self.picture(), None) if due else None)

    def picture(self) -> Any:
        """A PIL picture of the loss curve, with the newest sample sheet below it."""
        from PIL import Image

        values = torch.stack([value.float() for _, value in self.waiting]).tolist() if self.waiting else []
        self.points += zip((step for step, _ in self.waiting), values)
        self.waiting = []
        return Image.fromarray(pictures.stacked(pictures.loss_curve(self.points, self.steps), self.sheet))


def _inputs() -> list[io.Input]:
    return [
        io.Custom(DATASET).Input(
            "dataset", tooltip="From Prepare Dataset or Example Dataset. Its frames must have the model's size."
        ),
        io.Combo.Input(
            "start_from",
            display_name="start from",
            options=runs.starts(files()),
            default=runs.SCRATCH + runs.FIRST,
            tooltip="A new model, or one to go on from: a bundled one, or a checkpoint in models/diffused_heads. For a "
            "few minutes of one person, take a model that can already speak; tiny-64 shows within minutes how training "
            "works.",
        ),
        io.Int.Input(
            "steps",
            default=1000,
            min=0,
            max=10_000_000,
            tooltip="Number of training steps in all. A run that has done fewer goes on. 0 takes the preset's number.",
        ),
        io.Float.Input(
            "learning_rate",
            display_name="learning rate",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.000001,
            round=False,
            tooltip="How far each step goes. 0 takes the preset's: 0.001 for tiny-64, 0.0001 for a model to go on "
            "from.",
        ),
        io.Int.Input(
            "batch",
            default=0,
            min=0,
            max=4096,
            tooltip="Samples per step. Fewer take less memory. 0 takes the preset's number: 16, for avatar 32.",
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**31 - 1,
            control_after_generate=False,  # else the page draws another seed for each run
            tooltip="Sets the order of the data and all noise. The same seed gives the same model on a CPU.",
        ),
        io.String.Input(
            "run_name",
            display_name="run name",
            default="my_head",
            tooltip="Name of the run and of its model: states, losses and samples go into output/diffused_heads/runs, "
            "the finished model into models/diffused_heads.",
        ),
        io.Combo.Input(
            "resume",
            options=list(runs.RESUME),
            default=runs.RESUME[0],
            tooltip="What to do with an earlier run of this name. Auto goes on with it if nothing but the number of "
            "steps has changed; with changed settings takes over other data, loss or learning rate; start over puts it "
            "aside.",
        ),
        *_optional_inputs(),
    ]


def _optional_inputs() -> list[io.Input]:
    return [
        io.Custom(LOSS).Input("loss", optional=True, tooltip="From Lip Crop Loss; without it, the preset's loss."),
        io.Int.Input(
            "validate_every",
            display_name="validate every (steps)",
            default=0,
            min=0,
            max=1_000_000,
            optional=True,
            advanced=True,
            tooltip="Steps between two validation rounds, in which clips are generated, shown and scored. 0 makes at "
            "least five rounds.",
        ),
        io.String.Input(
            "licence",
            default="",
            optional=True,
            advanced=True,
            tooltip="Licence of the trained model, noted in its file. Empty takes that of the model it goes on from, "
            "or unknown.",
        ),
        io.Boolean.Input(
            "trust_torchscript",
            display_name="trust TorchScript",
            default=False,
            optional=True,
            advanced=True,
            tooltip="Only to go on from converted models of the paper's authors: run the TorchScript program that is "
            "their audio encoder. Such a program can do anything on your computer, so switch this on only for files "
            "that you trust.",
        ),
    ]
