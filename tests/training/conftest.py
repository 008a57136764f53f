"""Small made-up datasets, without a speech engine or pictures of people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.data.shards import Clip, ShardWriter, finish_dataset

FPS, SIZE, RATE = 25.0, 32, 16000


def made_up_clip(seed: int, frames: int = 12) -> Clip:
    """A coloured rectangle whose height follows the loudness, with all annotations that the trainer reads."""
    rng = np.random.default_rng(seed)
    level = np.abs(np.sin(np.arange(frames) / 2 + seed))
    pictures = np.full((frames, SIZE, SIZE, 3), rng.integers(40, 200, 3), np.uint8)
    for n, height in enumerate((2 + 6 * level).astype(int)):
        pictures[n, 20 : 20 + height, 10:22] = (200, 30, 60)
    sound = np.repeat(level, RATE // 25) * np.sin(np.arange(frames * RATE // 25) * 0.2)
    boxes = np.stack([np.full(frames, 10.0), np.full(frames, 20.0), np.full(frames, 22.0), 22 + 6 * level], -1)
    expression = np.zeros((frames, 12), np.float32)
    expression[:, 0] = level
    annotations = {
        "pose": rng.normal(0, 0.05, (frames, 5)).astype(np.float32),
        "expression": expression,
        "lip_box": boxes.astype(np.float32),
    }
    return Clip(pictures, sound.astype(np.float32) * 0.5, RATE, annotations, {"identity": f"made-up-{seed}"})


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of four made-up clips of 12 frames at 32 px."""
    folder = tmp_path_factory.mktemp("corpus")
    with ShardWriter(folder, 0, FPS, SIZE) as writer:
        for seed in range(4):
            writer.add(f"clip-{seed}", made_up_clip(seed))
    finish_dataset(folder, 1, info={"source": "made up"})
    return folder
