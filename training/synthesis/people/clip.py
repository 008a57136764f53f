"""A whole clip of one person: looks from one stream of randomness, small movements of the face from another."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..choices import rated
from ..expression import index
from .face_model import load_face_model
from .person import sample_person
from .render import Portrait

# Movements that no channel tells, and their greatest usual weight.
MICRO = {
    "noseSneer_L": 0.10, "noseSneer_R": 0.10, "cheekPuff_L": 0.04, "cheekPuff_R": 0.04, "jawLeft": 0.06,
    "jawRight": 0.06, "mouthLeft": 0.09, "mouthRight": 0.09, "mouthShrugUpper": 0.08, "browInnerUp_L": 0.08,
    "browInnerUp_R": 0.08, "eyeSquint_L": 0.10, "eyeSquint_R": 0.10, "cheekSquint_L": 0.06, "cheekSquint_R": 0.06,
    "mouthDimple_L": 0.10, "mouthDimple_R": 0.10,
}  # fmt: skip

# Moods that a clip keeps to, and that no channel tells either: the blend shapes of each at its strongest.
MOODS = {
    "joy": {
        "mouthSmile": 0.85, "cheekSquint": 0.6, "eyeSquint": 0.4, "mouthUpperUp": 0.35, "mouthDimple": 0.3,
        "cheekRaiser": 0.4,
    },
    "disgust": {"noseSneer": 0.9, "mouthUpperUp": 0.35, "browDown": 0.6, "mouthFrown": 0.4, "eyeSquint": 0.4},
    "anger": {"browDown": 0.95, "eyeSquint": 0.35, "mouthPress": 0.25, "mouthLowerDown": 0.25, "noseSneer": 0.4},
    "sorrow": {"mouthFrown": 0.8, "browInnerUp": 0.8, "mouthShrugLower": 0.4},
    "surprise": {"browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.6, "mouthUpperUp": 0.1},
}  # fmt: skip
_RATES = {"none": 0.5, "joy": 0.28, "disgust": 0.05, "anger": 0.06, "sorrow": 0.06, "surprise": 0.05}


def _drift(rng: np.random.Generator, frames: int, spread: float) -> np.ndarray:
    """Smooth noise (frames,) of unit deviation; ``spread`` is the deviation of its Gaussian memory in frames."""
    radius = int(np.ceil(3 * spread))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / spread) ** 2)
    return np.convolve(rng.standard_normal(frames + 2 * radius), kernel / np.sqrt((kernel**2).sum()), "valid")


def micro_track(rng: np.random.Generator, names: tuple[str, ...], frames: int, fps: float) -> np.ndarray:
    """Weights (frames, 57) that drift on the face by themselves, never below zero."""
    track = np.zeros((frames, len(names)), np.float32)
    for name, most in MICRO.items():
        if name in names:
            track[:, names.index(name)] = most * np.maximum(0.6 * _drift(rng, frames, 0.6 * fps), 0)
    return track


def mood_track(rng: np.random.Generator, names: tuple[str, ...], press: np.ndarray, fps: float) -> np.ndarray:
    """Weights (frames, 57) of a mood that swells and fades a little while one speaks, and lets lips meet that are
    pressed, (frames,) 0..1; half of the clips have none.
    """
    mood, strength = rated(rng, _RATES), rng.uniform(0.3, 1.0)
    swell = strength * np.clip(1 + 0.25 * _drift(rng, len(press), 1.5 * fps), 0, 1.4)
    most = np.array([MOODS.get(mood, {}).get(name.removesuffix("_L").removesuffix("_R"), 0.0) for name in names])
    parting = np.array([name.startswith(("mouthUpperUp", "mouthLowerDown")) for name in names])
    return (swell[:, None] * most * np.where(parting, 1 - press[:, None], 1.0)).astype(np.float32)


def rendered(
    face_model: Path,
    looks: np.random.Generator,
    moves: np.random.Generator,
    expression: np.ndarray,
    pose: np.ndarray,
    size: int,
    fps: float,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Frames (T, size, size, 3) uint8 and their truth, for expressions (T, 12) and poses (T, 5)."""
    model, person = load_face_model(Path(face_model)), sample_person(looks)
    extra = micro_track(moves, model.names, len(expression), fps) + mood_track(
        moves, model.names, expression[:, index("press")], fps
    )
    with Portrait(person, model, size) as shown:
        images, truths = zip(*shown.clip(expression, pose, extra))
    names = ("landmarks", "lip_box", "mouth_open", "mouth_width")
    return np.stack(images), {name: np.array([getattr(t, name) for t in truths], np.float32) for name in names}
