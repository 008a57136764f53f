"""A tiny training run for the tests: ``python small_run.py DATA RUN [name=value …]`` trains on the CPU and resumes."""

from __future__ import annotations

import ast
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diffused_heads.diffused_heads_core.config import AudioConfig, FeatureGroup, ModelConfig, SpatialInput, UNetConfig
from diffused_heads.training.config import LossConfig, StabilityConfig, TrainConfig, ValidationConfig
from diffused_heads.training.trainer import Job, Notify, Trainer

slow = pytest.mark.skipif(
    "DIFFUSED_HEADS_SLOW" not in os.environ, reason="takes minutes: set DIFFUSED_HEADS_SLOW=1 to run it"
)


def small_config(**changes: object) -> TrainConfig:
    """A 32 px model with every kind of input, dropout, degraded motion frames and its own predictions as such."""
    audio = AudioConfig(mels=16, channels=16, embedding=8)
    unet = UNetConfig(
        image_size=32,
        model_channels=16,
        channel_mult=(1, 2),
        res_blocks=1,
        head_channels=16,
        norm_groups=4,
        dropout=0.1,
        unshuffle=2,
        refine=4,
        prediction="x0",
        learned_variance=False,
        skip=("identity", "still"),
        spatial=(
            SpatialInput("motion", 6),
            SpatialInput("identity", 3),
            SpatialInput("still", 3, 0.2),
            SpatialInput("face", 6),
        ),
        features=(FeatureGroup("audio", 8, 2),),
    )
    model = ModelConfig(unet=unet, audio=audio, head_motion=True, sampler="ddim", steps=2)
    config = TrainConfig(
        model=model,
        loss=LossConfig(lip=0.5, vlb=0.0),
        stability=StabilityConfig(0.5, 0.1, 0.3, 0.5, 0.4),
        validation=ValidationConfig(1, 0.2),
        steps=8,
        batch=4,
        lr=1e-3,
        warmup=2,
        ema=0.9,
        colour=0.5,
        precision="no",
        save_every=2,
        sample_every=1000,
        log_every=2,
        workers=0,
    )
    return replace(config, **changes)


def plain(config: TrainConfig) -> TrainConfig:
    """The same without dropout, whose masks depend on how samples are spread over processes."""
    unet = replace(config.model.unet, dropout=0.0)
    return replace(config, model=replace(config.model, unet=unet))


def open_run(data: Path, folder: Path, config: TrainConfig, notify: Notify | None = None, **changes: object) -> Trainer:
    """A run of that configuration on the CPU."""
    return Trainer(Job(data, folder, config, device="cpu", board=False, **changes), notify)


def main(data: Path, folder: Path, **changes: object) -> Trainer:
    """Train or resume a run in ``folder``."""
    trainer = open_run(data, folder, small_config(**changes))
    trainer.fit()
    return trainer


def count_collectives(trainer: Trainer) -> dict[str, list[int]]:
    """Lists that fill, while a run trains, with how often processes communicate in each call of two of its methods."""
    from torch.distributed.tensor.debug import CommDebugMode

    counts: dict[str, list[int]] = {"update": [], "gathered": []}
    update, gathered = trainer.ema.update, trainer.ema.gathered

    def counted_update(*arguments: Any) -> None:
        with CommDebugMode() as collectives:
            update(*arguments)
        counts["update"].append(collectives.get_total_counts())

    @contextmanager
    def counted_gathered() -> Iterator[None]:
        with ExitStack() as stack:
            with CommDebugMode() as collectives:
                stack.enter_context(gathered())
            counts["gathered"].append(collectives.get_total_counts())
            yield

    trainer.ema.update, trainer.ema.gathered = counted_update, counted_gathered
    return counts


if __name__ == "__main__":
    settings = {name: ast.literal_eval(value) for name, value in (argument.split("=", 1) for argument in sys.argv[3:])}
    shard, without_dropout, count = (settings.pop(name, False) for name in ("shard", "plain", "count"))
    config = plain(small_config(**settings)) if without_dropout else small_config(**settings)
    trainer = open_run(Path(sys.argv[1]), Path(sys.argv[2]), config, shard=shard)
    counts = count_collectives(trainer) if count else None
    trainer.fit()
    if counts is not None and trainer.parallel.is_main:
        (trainer.job.run / "collectives.json").write_text(json.dumps(counts))
    trainer.parallel.close()
