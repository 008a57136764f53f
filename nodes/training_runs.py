"""Training runs of the node: from its inputs to a run's settings, and from a run to a model in the list."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..diffused_heads_core import checkpoints
from ..diffused_heads_core.checkpoints import to_json
from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.files import atomic_path
from ..diffused_heads_core.media.pictures import load_picture
from ..diffused_heads_core.pretrained_audio import audio_encoder_path
from ..training.config import LossConfig, TrainConfig
from ..training.presets import FROM_A_MODEL, PRESETS, preset
from .model_files import SUFFIX, choices, fingerprint
from .sockets import DatasetFolders

SCRATCH = "from scratch: "
FIRST = "tiny-64"  # of the presets
RESUME = ("auto", "with changed settings", "start over")
RECORD = "node.json"  # in a run's folder: what it was asked for, and what was made of it
# settings that may change without making another run
CHANGEABLE = ("steps", "warmup", "save_every", "sample_every", "log_every", "workers", "precision")
CURVE_POINTS = 50  # in the loss curve, at least, in long runs
VALIDATION_ROUNDS = 5  # at least
ENCODER_SOURCE = "avatar"  # the bundled model whose audio encoder new models of its kind take over


def starts(files: Iterable[str]) -> list[str]:
    """What training can start from: presets of new models, bundled models, checkpoints of the folder."""
    presets = sorted((name for name in PRESETS if name not in FROM_A_MODEL), key=lambda name: name != FIRST)
    models = [name for name in choices(files) if name.endswith(SUFFIX) or name in checkpoints.bundled_models()]
    return [*(SCRATCH + name for name in presets), *models]


@dataclass(frozen=True)
class Request:
    """What the node is asked for; zeros stand for the preset's values.

    start: as ``starts`` lists it. path: its file, if it is a model.
    """

    data: DatasetFolders
    start: str
    path: Path | None
    loss: LossConfig | None
    steps: int
    lr: float
    batch: int
    seed: int
    validate_every: int = 0
    licence: str | None = None

    @property
    def preset(self) -> str:
        """Name of the preset that the rest comes from."""
        return self.start.removeprefix(SCRATCH) if self.path is None else "finetune"

    @property
    def audio_encoder(self) -> Path | None:
        """The model that a new model takes its frozen audio encoder from, if it does not train one."""
        takes_one = self.path is None and "audio" in preset(self.preset).freeze
        return checkpoints.bundled_models().get(ENCODER_SOURCE) if takes_one else None


def configure(request: Request, half: bool) -> TrainConfig:
    """The run's configuration; ``half``: whether to use bfloat16. Raises DiffusedHeadsError for bad values."""
    config = preset(request.preset)
    if request.path is not None:
        config = replace(config, model=checkpoints.load(request.path).config)
    config = config if request.loss is None else replace(config, loss=request.loss)
    config = config if half else replace(config, precision="no")
    config = config.with_steps(request.steps or config.steps)
    return replace(
        config,
        lr=request.lr or config.lr,
        batch=request.batch or config.batch,
        seed=request.seed,
        workers=0,
        log_every=max(1, min(config.log_every, config.steps // CURVE_POINTS)),
        sample_every=request.validate_every or min(config.sample_every, max(1, -(-config.steps // VALIDATION_ROUNDS))),
    )


def settings(request: Request, config: TrainConfig) -> dict[str, Any]:
    """What a run depends on, as JSON values: with the choice "auto" it goes on only while this stays the same."""
    from ..diffused_heads_core.data.shards import Dataset

    trained = {name: value for name, value in json.loads(to_json(config)).items() if name not in CHANGEABLE}
    folders = {"dataset": request.data.train, "validation dataset": request.data.validation}
    data = {name: None if folder is None else Dataset(folder).header["fingerprint"] for name, folder in folders.items()}
    return {
        **data,
        "start_from": request.start,
        "start_from file": None if request.path is None else fingerprint(request.path),
        **trained,
    }


def read_record(run: Path) -> dict[str, Any]:
    """What is noted about a run; empty if there is nothing."""
    try:
        return json.loads((run / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write_record(run: Path, **values: Any) -> None:
    """Add to what is noted about a run."""
    run.mkdir(parents=True, exist_ok=True)
    with atomic_path(run / RECORD) as part:
        part.write_text(json.dumps({**read_record(run), **values}, indent=1) + "\n", encoding="utf-8")


def begin(run: Path, wanted: dict[str, Any], resume: str) -> None:
    """Make a run's folder ready to begin or to go on, as ``resume`` (one of RESUME) says.

    Raises DiffusedHeadsError that names what differs if the run there was made with other settings.
    """
    if resume not in RESUME:
        raise DiffusedHeadsError(f"resume={resume!r}: expected one of {', '.join(RESUME)}")
    published = read_record(run).get("published", [])
    if resume == RESUME[2] and run.exists():
        run.rename(_aside(run))
    if last_step(run) and resume == RESUME[0]:
        found = read_record(run).get("settings", {})
        differing = [name for name in wanted if found.get(name) != json.loads(json.dumps(wanted[name]))]
        if differing:
            raise DiffusedHeadsError(
                f"run_name={run.name!r}: there is a run of this name with other {', '.join(differing)}; "
                f"choose another name, or for resume {RESUME[1]!r} or {RESUME[2]!r}"
            )
    write_record(run, settings=wanted, published=published)


def _aside(run: Path) -> Path:
    number = 1
    while (place := run.with_name(f"{run.name}-before-{number}")).exists():
        number += 1
    return place


def last_step(run: Path) -> int:
    """The step of a run's newest saved state, 0 without one."""
    from ..training.state import states

    found = states(run)
    return int(found[-1].stem.removeprefix("state-")) if found else 0


def finished(run: Path, steps: int) -> bool:
    """Whether a run has taken ``steps`` steps, its model is there, and its last validation was not interrupted."""
    from ..training.validation import Scores

    last = last_step(run)
    return last >= steps and (run / "model.safetensors").is_file() and (last > steps or Scores(run, last).known(last))


def losses(run: Path) -> list[tuple[int, float]]:
    """(step, mean total loss since the line before) of a run, from losses.csv."""
    path = run / "losses.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [(int(row[0]), float(row[2])) for row in csv.reader(file) if len(row) == 3 and row[1] == "loss/total"]


def plottable(values: Iterable[float]) -> list[float]:
    """Losses that core's Plot Loss Graph can draw: at least two finite numbers that are not all equal."""
    found = [value for value in values if math.isfinite(value)] or [0.0]
    return found if min(found) < max(found) else [*found, math.nextafter(found[-1], math.inf)]


def last_sheet(run: Path) -> np.ndarray | None:
    """The newest picture of a validation round, uint8 (H, W, 3), or None."""
    found = sorted((run / "samples").glob("step-*.png"))
    return load_picture(found[-1])[..., :3] if found else None


def check_target(run: Path, target: Path, start: Path | None) -> None:
    """Raise DiffusedHeadsError if the run's model would overwrite a file that this run did not make."""
    if start is not None and target.exists() and target.samefile(start):
        raise DiffusedHeadsError(
            f"run_name={run.name!r}: its model would take the place of the one that it starts from, choose another name"
        )
    if target.exists() and digest(target) not in read_record(run).get("published", []):
        raise DiffusedHeadsError(
            f"run_name={run.name!r}: {target} is there already and not of this run; "
            "choose another name, or remove the file"
        )


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        found = hashlib.sha256()
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def publish(run: Path, target: Path) -> None:
    """Copy the run's model, with its TorchScript audio encoder if it has one, to ``target``, and note that it did."""
    source = run / "model.safetensors"
    there, made = digest(target) if target.exists() else None, digest(source)
    write_record(run, published=[value for value in (there, made) if value])  # first, for the copy may be cut short
    if there == made:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    for original, copy in ((audio_encoder_path(source), audio_encoder_path(target)), (source, target)):
        if original.is_file():
            with atomic_path(copy) as part:
                shutil.copyfile(original, part)
