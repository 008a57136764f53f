"""A dataset of drawn faces whose mouths follow the sound, and a tiny model that paints such mouths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from diffused_heads.diffused_heads_core.checkpoints import Checkpoint, save
from diffused_heads.diffused_heads_core.config import AudioConfig, ModelConfig, MouthConfig
from diffused_heads.diffused_heads_core.data.shards import Clip, ShardWriter, finish_dataset
from diffused_heads.diffused_heads_core.mouth.face_mesh import face_mesh, usual_mesh
from diffused_heads.diffused_heads_core.mouth.warp import INNER_LIPS, OUTER_LIPS
from diffused_heads.diffused_heads_core.pretrained_audio import new_encoder
from diffused_heads.training.mouth.presets import mouth_model

SIZE, FPS, RATE, FRAMES = 64, 25.0, 16000, 14
OPEN = -0.5  # first coefficient of an open mouth
GEOMETRY = ModelConfig().geometry


def mouth_config() -> ModelConfig:
    """A model of a few thousand weights that paints a window of 32 x 24 px in frames of 64 px."""
    model = mouth_model(AudioConfig(mels=16, channels=16, embedding=8))
    small = {"model_channels": 8, "channel_mult": (1, 2), "head_channels": 8, "norm_groups": 4, "refine": 4}
    unet = replace(model.unet, image_size=32, image_height=24, unshuffle=2, **small)
    mouth = MouthConfig(frame_size=SIZE, window=(-16, -8, 32, 24), components=4, neighbours=1, at_lips=True)
    return replace(model, unet=unet, mouth=mouth)


def moved_mesh(
    coefficients: np.ndarray,
    scale: float = 1.0,
    angle: float = 0.0,
    shift: tuple[float, float] = (0, 0),
    size: int = SIZE,
) -> np.ndarray:
    """The usual face in a frame of ``size`` px with a lip shape (K,), turned, scaled and shifted in the picture."""
    mesh = usual_mesh(GEOMETRY, size)
    mesh = mesh + face_mesh().pose(mesh).directions(face_mesh().shape(coefficients))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    flat = (mesh[:, :2] - size / 2) @ turn.T + size / 2 + shift
    return np.column_stack([flat, scale * mesh[:, 2]])


def drawn(mesh: np.ndarray, skin: tuple[int, int, int]) -> np.ndarray:
    """A picture (SIZE, SIZE, 3) uint8 of lips and mouth on a plain skin."""
    picture = np.full((SIZE, SIZE, 3), skin, np.uint8)
    for contour, colour in ((OUTER_LIPS, (180, 40, 60)), (INNER_LIPS, (30, 10, 10))):
        corners = np.rint((mesh[contour, :2] - 0.5) * 32).astype(np.int32)
        cv2.fillPoly(picture, [corners], colour, cv2.LINE_AA, 5)
    return picture


def talking_clip(seed: int, person: int) -> Clip:
    """A face whose lip shape follows the loudness, and which sways a little."""
    rng = np.random.default_rng(seed)
    level = np.abs(np.sin(np.arange(FRAMES) * 0.9 + seed))
    sway = 0.5 * np.sin(np.arange(FRAMES) / 5 + seed)
    meshes = np.stack(
        [moved_mesh(np.array([OPEN * loud, 0, 0, 0]), 1.0, 0.02 * x, (x, x)) for loud, x in zip(level, sway)]
    )
    skin = (120 + 30 * person, 140, 110 + 10 * person)
    frames = np.stack([drawn(mesh, skin) for mesh in meshes])
    sound = np.repeat(level, RATE // 25) * rng.normal(size=FRAMES * RATE // 25) * 0.2
    lips = meshes[:, OUTER_LIPS, :2]
    annotations = {
        "mesh": meshes.astype(np.float16),
        "pose": np.zeros((FRAMES, 5), np.float32),
        "lip_box": np.concatenate([lips.min(1), lips.max(1)], 1).astype(np.float32),
    }
    return Clip(frames, sound.astype(np.float32), RATE, annotations, {"identity": f"person-{person}"})


def faces(folder: Path, clips: int = 5) -> Path:
    """A dataset: the first person has one clip, the second the others."""
    with ShardWriter(folder, 0, FPS, SIZE) as writer:
        for seed in range(clips):
            writer.add(f"clip-{seed}", talking_clip(seed, min(seed, 1)))
    finish_dataset(folder, 1, info={"source": "drawn", "licence": "CC0"})
    return folder


def encoder_checkpoint(path: Path) -> Path:
    """A checkpoint that has a random audio encoder of ``mouth_config`` alone."""
    config = mouth_config()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = new_encoder(config.audio)
    save(path, Checkpoint(config, {f"audio_encoder.{n}": t for n, t in encoder.state_dict().items()}))
    return path
