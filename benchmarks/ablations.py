"""The paper's ablations at small scale, on drawn avatars: motion frames, audio neighbours, lip loss, RGB or gray.

    python benchmarks/ablations.py                       # all that is missing: train, measure, write
    python benchmarks/ablations.py --only base lip-0 --steps 500

Each variant is the preset tiny-64 (64 px, the paper's inputs) with the bundled avatar model's audio encoder, frozen, so
that the mouth follows the sound early, and with one setting changed; all are trained on the same corpus with the same
seed and data order, then measured on the set 8x5s at 64 px. Stopped runs resume; figures are kept in
benchmarks/ablations.json, and RESULTS.md shows them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import avatar_sets
import sections
from held_out import ROOT
from tqdm import tqdm

from diffused_heads import load_model
from diffused_heads.diffused_heads_core import checkpoints
from diffused_heads.diffused_heads_core.config import SpatialInput
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.evaluation.metrics.names import shown
from diffused_heads.diffused_heads_core.files import atomic_path
from diffused_heads.training.config import TrainConfig
from diffused_heads.training.job import Job, Progress
from diffused_heads.training.presets import preset
from diffused_heads.training.synthesis.corpus import synthesize
from diffused_heads.training.trainer import Trainer

ROWS = Path(__file__).with_name("ablations.json")
SIZE, SECONDS, SEED = 64, 3.0, 0
MEASURED = "8x5s"
ENCODER_OF = "avatar"  # the bundled model whose audio encoder they share


def motion(config: TrainConfig, frames: int, gray: bool = False) -> TrainConfig:
    """Another number or kind of motion frames."""
    unet = config.model.unet
    spatial = tuple(s for s in unet.spatial if s.name != "motion")
    channels = frames * (1 if gray else 3)
    spatial = (*([SpatialInput("motion", channels)] if frames else []), *spatial)
    return replace(
        config, model=replace(config.model, motion_frames=frames, motion_gray=gray, unet=replace(unet, spatial=spatial))
    )


def neighbours(config: TrainConfig, count: int) -> TrainConfig:
    """Another number of audio frames on either side."""
    features = tuple(replace(g, neighbours=count) if g.name == "audio" else g for g in config.model.unet.features)
    return replace(config, model=replace(config.model, unet=replace(config.model.unet, features=features)))


def lip(config: TrainConfig, weight: float) -> TrainConfig:
    """Another weight of the lip loss."""
    return replace(config, loss=replace(config.loss, lip=weight))


VARIANTS: dict[str, tuple[str, Callable[[TrainConfig], TrainConfig]]] = {
    "base": ("2 RGB motion frames, 2 audio neighbours, lip loss 0.2", lambda config: config),
    "motion-0": ("no motion frames", lambda config: motion(config, 0)),
    "motion-1": ("1 motion frame", lambda config: motion(config, 1)),
    "motion-gray": ("gray motion frames", lambda config: motion(config, 2, gray=True)),
    "audio-0": ("no audio neighbours", lambda config: neighbours(config, 0)),
    "audio-1": ("1 audio neighbour", lambda config: neighbours(config, 1)),
    "lip-0": ("no lip loss", lambda config: lip(config, 0.0)),
    "lip-0.5": ("lip loss 0.5", lambda config: lip(config, 0.5)),
}
COLUMNS = {
    "mouth_r": "mouth r",
    "mouth_lag": "lag",
    "shuffled": "shuffled",
    "ofm": "OFM",
    "f_mse": "F-MSE",
    "sharpness_ratio": "sharp",
    "face_similarity": "face similarity",
    "frechet": "FD",
    "degradation": "DR",
    "r_first": "r first",
    "r_last": "r last",
    "sharp_first": "sharp first",
    "sharp_last": "sharp last",
}


def configured(name: str, steps: int) -> TrainConfig:
    """The training configuration of a variant."""
    config = preset("tiny-64")
    audio = checkpoints.load(checkpoints.find_model(ENCODER_OF)).config.audio
    features = tuple(replace(g, channels=audio.embedding) for g in config.model.unet.features)
    model = replace(config.model, audio=audio, unet=replace(config.model.unet, features=features))
    brief = replace(config.validation, clips=1, seconds=1.0)  # hardly any: the set is measured afterwards
    every = {"save_every": min(100, steps), "sample_every": steps}
    return VARIANTS[name][1](replace(config, model=model, freeze=("audio",), steps=steps, validation=brief, **every))


def train(name: str, options: argparse.Namespace) -> Path:
    """Train a variant, or finish its training; returns the path of its model."""
    folder = options.runs / f"{name}-{options.clips}clips-{options.steps}steps"
    data = options.data or ROOT / "corpora" / f"avatars-{options.clips}x{SECONDS:g}s-{SIZE}px"
    synthesize(data, options.clips, SEED, SIZE, SECONDS, workers=options.workers, progress=True)
    job = Job(
        data,
        folder,
        configured(name, options.steps),
        f"ablation {name}",
        licence="Apache-2.0",
        device=options.device,
        board=False,
        audio_encoder=checkpoints.find_model(ENCODER_OF),
    )
    trainer = Trainer(job)
    with tqdm(total=options.steps, initial=trainer.step, desc=name, unit="step", mininterval=10) as bar:

        def on_step(progress: Progress) -> None:
            bar.update(progress.step - bar.n)

        trainer.fit(on_step)
    return folder / "model.safetensors"


def measure(model: Path, device: str) -> dict[str, Any]:
    """A trained variant's figures on the set at 64 px."""
    head = load_model(model, device)
    options = {"sampler": head.config.sampler, "steps": head.config.steps}
    return avatar_sets.run_set(avatar_sets.Run(head, MEASURED, options))


def document(found: dict[str, Any]) -> str:
    """The ablations' part of RESULTS.md."""
    true = {**next(iter(found["rows"].values()))["truth"], "r_first": 1, "r_last": 1, "sharp_first": 1, "sharp_last": 1}
    rows = [["true frames", *(shown(true.get(c)) for c in COLUMNS)]]
    rows += [[VARIANTS[name][0], *(shown(row[c]) for c in COLUMNS)] for name, row in found["rows"].items()]
    scale = f"{found['steps']:,} steps of 16 samples on {found['clips']} clips of {SECONDS:g} s"
    return "\n".join(
        [
            "## Ablations of the paper, at small scale",
            "",
            "Written by `python benchmarks/ablations.py`.",
            "",
            f"Drawn avatars at {SIZE} px, not people: the preset tiny-64 with the frozen audio encoder of",
            f"`{ENCODER_OF}` and one setting changed, {scale}, one seed.",
            "Differences between seeds were not measured, so small differences say nothing. Columns as in the tables",
            "above, over the set 8x5s: `first` and `last` second.",
            "",
            sections.table(["variant", *COLUMNS.values()], rows),
            "",
            *found.get("remarks", []),
            "",
        ]
    )


def run(options: argparse.Namespace) -> None:
    """Train and measure what is missing, and write after each variant; without any, write the kept figures again."""
    kept = json.loads(ROWS.read_text(encoding="utf-8")) if ROWS.is_file() else {}
    scale = {"steps": options.steps, "clips": options.clips}
    same = kept.items() >= scale.items()
    rows = kept["rows"] if same else {}
    remarks = [options.remark] if options.remark else kept.get("remarks", []) if same else []
    missing = [name for name in options.only or VARIANTS if name not in rows or options.again]
    for name in missing or [None]:
        if name is not None:
            rows[name] = json.loads(json.dumps(measure(train(name, options), options.device), default=float))
        found = {**scale, "remarks": remarks, "rows": {n: rows[n] for n in VARIANTS if n in rows}}
        print(document(found), flush=True)
        if not options.dry:
            keep(found)


def keep(found: dict[str, Any]) -> None:
    """Write the figures, and their part of RESULTS.md."""
    with atomic_path(ROWS) as part:
        part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8", newline="\n")
    sections.write("ablations", document(found))


def main(argv: list[str] | None = None) -> int:
    """0 on success, 2 after an error of the input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", nargs="+", choices=VARIANTS, help="variants (default: all that are missing)")
    add("--steps", type=int, default=4000, help="optimiser steps of each (default: %(default)s)")
    add("--clips", type=int, default=640, help="clips of the corpus (default: %(default)s)")
    add("--data", type=Path, help="corpus, made if it is missing (default: in corpora/, by the number of clips)")
    add("--workers", type=int, default=1, help="processes that make the corpus (default: %(default)s)")
    runs = ROOT / "runs" / "ablations"
    add("--runs", type=Path, default=runs, help="folder of the runs (default: %(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    add("--again", action="store_true", help="also measure again what has been measured")
    add("--remark", help="a sentence for below the table")
    add("--dry", action="store_true", help="only print; write neither ablations.json nor RESULTS.md")
    options = parser.parse_args(argv)
    try:
        run(options)
    except DiffusedHeadsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
