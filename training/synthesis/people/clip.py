"""A whole clip of one person: looks from one stream of randomness, small movements of the face from another."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from .face_model import load_face_model
from .person import sample_person
from .render import Portrait

# Movements that no channel tells, and their greatest usual weight.
MICRO = {"noseSneer_L": 0.10, "noseSneer_R": 0.10, "cheekPuff_L": 0.04, "cheekPuff_R": 0.04, "jawLeft": 0.06, "jawRight": 0.06, "mouthLeft": 0.09,
         "mouthRight": 0.09, "mouthShrugUpper": 0.08, "browInnerUp_L": 0.08, "browInnerUp_R": 0.08, "eyeSquint_L": 0.10, "eyeSquint_R": 0.10,
         "cheekSquint_L": 0.06, "cheekSquint_R": 0.06, "mouthDimple_L": 0.10, "mouthDimple_R": 0.10}


def _drift(rng: np.random.Generator, frames: int, spread: float) -> np.ndarray:
    """Smooth noise (frames,) of unit deviation; ``spread`` is the deviation of its Gaussian memory in frames."""
    radius = int(np.ceil(3 * spread))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / spread) ** 2)
    return np.convolve(rng.standard_normal(frames + 2 * radius), kernel / np.sqrt((kernel ** 2).sum()), "valid")


def micro_track(rng: np.random.Generator, names: tuple[str, ...], frames: int, fps: float) -> np.ndarray:
    """Weights (frames, 57) that drift on the face by themselves, never below zero."""
    track = np.zeros((frames, len(names)), np.float32)
    for name, most in MICRO.items():
        if name in names:
            track[:, names.index(name)] = most * np.maximum(0.6 * _drift(rng, frames, 0.6 * fps), 0)
    return track


def rendered(face_model: Path, looks: np.random.Generator, moves: np.random.Generator, expression: np.ndarray, pose: np.ndarray, size: int,
             fps: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Frames (T, size, size, 3) uint8 and their truth, for expressions (T, 12) and poses (T, 5)."""
    model, person = load_face_model(Path(face_model)), sample_person(looks)
    extra = micro_track(moves, model.names, len(expression), fps)
    with Portrait(person, model, size) as shown:
        images, truths = zip(*shown.clip(expression, pose, extra))
    names = ("landmarks", "lip_box", "mouth_open", "mouth_width")
    return np.stack(images), {name: np.array([getattr(t, name) for t in truths], np.float32) for name in names}
