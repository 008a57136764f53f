"""A tiny training run for the tests: ``python small_run.py DATA RUN`` trains on the CPU and resumes."""
from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from diffused_heads.diffused_heads_core.config import AudioConfig, FeatureGroup, ModelConfig, SpatialInput, UNetConfig
from diffused_heads.training.cache import open_store
from diffused_heads.training.config import LossConfig, StabilityConfig, TrainConfig
from diffused_heads.training.dataset import FrameSamples
from diffused_heads.training.loop import Run, build_model, setup, train


def small_config(**changes: object) -> TrainConfig:
    """A 32 px model with every kind of input, dropout, worsened motion frames and its own predictions."""
    audio = AudioConfig(mels=16, channels=16, embedding=8, context=4)
    unet = UNetConfig(
        image_size=32, model_channels=16, channel_mult=(1, 2), res_blocks=1, head_channels=16, norm_groups=4, dropout=0.1,
        unshuffle=2, refine=4, prediction="x0", learned_variance=False, skip=("identity", "still"),
        spatial=(SpatialInput("motion", 6), SpatialInput("identity", 3), SpatialInput("still", 3, 0.2), SpatialInput("face", 6)),
        features=(FeatureGroup("audio", 8, 2),))
    model = ModelConfig(unet=unet, audio=audio, head_motion=True, sampler="ddim", steps=2)
    config = TrainConfig(model=model, loss=LossConfig(lip=0.5, vlb=0.0), stability=StabilityConfig(0.5, 0.1, 0.3, 0.5), steps=8, batch=4,
                         lr=1e-3, warmup=2, ema=0.9, colour=0.5, precision="no", save_every=2, sample_every=1000, log_every=2, workers=0)
    return replace(config, **changes)


def main(data: Path, folder: Path, **changes: object) -> Run:
    """Train, or go on training, in ``folder``."""
    config = small_config(**changes)
    run = setup(config, folder, build_model(config), cpu=True)
    train(run, FrameSamples(open_store(data, config.model.audio), config.model, config.seed))
    return run


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), steps=40, save_every=1)
