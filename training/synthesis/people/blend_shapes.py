"""Weights of the face model's blend shapes: from the expression channels, in the manner of one speaker, and for
movements that no channel describes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..choices import choose_weighted
from ..expression import EXPRESSION
from ..motion import smooth_noise

# Blend shapes that a channel moves, before the speaker's habits; pairs _L and _R are written without the side.
_SMILE = {"mouthSmile": 0.62, "cheekSquint": 0.45, "eyeSquint": 0.28, "mouthDimple": 0.22, "cheekRaiser": 0.25}
_FROWN = {"mouthFrown": 0.7, "mouthShrugLower": 0.3}
_SPREAD = {"mouthStretch": 0.50, "mouthSmile": 0.30, "mouthDimple": 0.18}
_ROUND = {"mouthPucker": 0.85, "mouthFunnel": 0.42}
_PRESS = {"mouthPress": 0.55, "mouthRollLower": 0.30, "mouthRollUpper": 0.28}
_SHOW = {"mouthLowerDown": 0.36, "mouthUpperUp": 0.26, "mouthStretch": 0.10}
_RAISED = {"browInnerUp": 0.75, "browOuterUp": 0.75, "eyeWide": 0.22}
_LOWERED = {"browDown": 0.75, "eyeSquint": 0.15}

# Small movements that no channel describes, and their usual maximum.
_SMALL = {
    "noseSneer_L": 0.10, "noseSneer_R": 0.10, "cheekPuff_L": 0.04, "cheekPuff_R": 0.04, "jawLeft": 0.06,
    "jawRight": 0.06, "mouthLeft": 0.09, "mouthRight": 0.09, "mouthShrugUpper": 0.08, "browInnerUp_L": 0.08,
    "browInnerUp_R": 0.08, "eyeSquint_L": 0.10, "eyeSquint_R": 0.10, "cheekSquint_L": 0.06, "cheekSquint_R": 0.06,
    "mouthDimple_L": 0.10, "mouthDimple_R": 0.10,
}  # fmt: skip

# Moods, one per clip at most, which no channel describes either: the blend shapes of each at its strongest.
MOODS = {
    "joy": {
        "mouthSmile": 0.85,
        "cheekSquint": 0.6,
        "eyeSquint": 0.4,
        "mouthUpperUp": 0.35,
        "mouthDimple": 0.3,
        "cheekRaiser": 0.4,
    },
    "disgust": {"noseSneer": 0.9, "mouthUpperUp": 0.35, "browDown": 0.6, "mouthFrown": 0.4, "eyeSquint": 0.4},
    "anger": {"browDown": 0.95, "eyeSquint": 0.35, "mouthPress": 0.25, "mouthLowerDown": 0.25, "noseSneer": 0.4},
    "sorrow": {"mouthFrown": 0.8, "browInnerUp": 0.8, "mouthShrugLower": 0.4},
    "surprise": {"browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.6, "mouthUpperUp": 0.1},
}
_MOOD_WEIGHTS = {"none": 0.5, "joy": 0.28, "disgust": 0.05, "anger": 0.06, "sorrow": 0.06, "surprise": 0.05}


def without_side(name: str) -> str:
    """Name of a blend shape without its ending _L or _R."""
    return name.removesuffix("_L").removesuffix("_R")


def _add(weights: dict[str, float], shapes: Mapping[str, float], amount: float) -> None:
    for name, value in shapes.items():
        weights[name] = weights.get(name, 0.0) + value * amount


def _mouth(value: Mapping[str, float], jaw: float) -> dict[str, float]:
    """Weights for the five mouth channels and the smile; jaw: weight of jawOpen for the widest vowel."""
    opened, wide, press, teeth = value["open"], value["wide"], value["press"], value["teeth"]
    rounded, spread = max(-wide, 0.0), max(wide, 0.0)
    free = 1.0 - press
    weights: dict[str, float] = {}
    drop = jaw * (0.9 * opened + 0.10 * min(teeth, 0.6) * (1 - opened))
    # The jaw stays a little open when the lips are closed.
    closed = 0.10 * jaw * press
    weights["jawOpen"] = drop * (1 - 0.30 * rounded) + closed
    weights["mouthClose"] = closed + 0.25 * drop * rounded
    lips = free * np.sqrt(opened) * (1 - 0.75 * rounded)
    _add(weights, {"mouthLowerDown": 0.30, "mouthUpperUp": 0.20}, lips)
    _add(weights, _SHOW, free * teeth * (1 - 0.4 * opened))
    _add(weights, _SPREAD, spread * (1 - 0.35 * opened))
    _add(weights, _ROUND, rounded * (1 - 0.25 * opened))
    _add(weights, {"mouthFunnel": 0.45}, rounded * opened)
    _add(weights, _PRESS, press)
    smile = value["smile"]
    _add(weights, _SMILE, max(smile, 0.0) * (1 - 0.35 * rounded))
    _add(weights, _FROWN, max(-smile, 0.0))
    return weights


def _sided(weights: Mapping[str, float], names: tuple[str, ...]) -> np.ndarray:
    out = np.zeros(len(names), np.float32)
    for column, name in enumerate(names):
        out[column] = weights.get(name, weights.get(without_side(name), 0.0))
    return out


def _eyes(value: Mapping[str, float]) -> dict[str, float]:
    """Weights of lids and brows. Image left is _R of the model."""
    weights: dict[str, float] = {}
    x, y = value["gaze_x"], value["gaze_y"]
    for side, name in (("R", "left"), ("L", "right")):
        blink, brow = value[f"blink_{name}"], value[f"brow_{name}"]
        weights[f"eyeBlink_{side}"] = blink
        weights[f"eyeLookDown_{side}"] = 0.55 * max(y, 0.0) * (1 - blink)
        weights[f"eyeLookUp_{side}"] = 0.75 * max(-y, 0.0) * (1 - blink)
        outward = x if side == "L" else -x
        weights[f"eyeLookOut_{side}"] = max(outward, 0.0) * (1 - blink)
        weights[f"eyeLookIn_{side}"] = max(-outward, 0.0) * (1 - blink)
        for shapes, amount in ((_RAISED, max(brow, 0.0)), (_LOWERED, max(-brow, 0.0))):
            _add(weights, {f"{shape}_{side}": weight for shape, weight in shapes.items()}, amount)
    return weights


def blend_weights(
    expression: np.ndarray, names: tuple[str, ...], jaw: float, habits: np.ndarray, rest: np.ndarray
) -> np.ndarray:
    """Weights (57,) of the blend shapes in one frame, 0..1.2.

    expression: (12,) channels; names: of the blend shapes; jaw: weight of jawOpen for the widest vowel, 0.3..0.7;
    habits: (57,) factors near 1, how strongly the speaker uses each shape; rest: (57,) weights of the face at rest.
    """
    value = dict(zip(EXPRESSION, np.asarray(expression, np.float64).tolist()))
    mouth, eyes = _sided(_mouth(value, jaw), names), _sided(_eyes(value), names)
    lids = np.array([name.startswith(("eyeBlink", "eyeLook")) for name in names])
    shared = np.where(lids, eyes, (mouth + eyes) * habits + rest)
    for column, name in enumerate(names):
        if name.startswith(("eyeSquint", "eyeWide")):
            shared[column] *= 1 - value["blink_left" if name.endswith("_R") else "blink_right"]
    return np.clip(shared, 0.0, 1.2).astype(np.float32)


def micro_track(rng: np.random.Generator, names: tuple[str, ...], frames: int, fps: float) -> np.ndarray:
    """Weights (frames, 57), 0 or more, of small random movements."""
    track = np.zeros((frames, len(names)), np.float32)
    for name, most in _SMALL.items():
        if name in names:
            track[:, names.index(name)] = most * np.maximum(0.6 * smooth_noise(rng, frames, fps, 0.6), 0)
    return track


def mood_track(rng: np.random.Generator, names: tuple[str, ...], press: np.ndarray, fps: float) -> np.ndarray:
    """Weights (frames, 57) of a mood that grows and fades a little during the clip; half of the clips have none.

    press: (frames,) 0..1, the channel; the mood does not keep pressed lips apart.
    """
    mood, strength = choose_weighted(rng, _MOOD_WEIGHTS), rng.uniform(0.3, 1.0)
    course = strength * np.clip(1 + 0.25 * smooth_noise(rng, len(press), fps, 1.5), 0, 1.4)
    most = np.array([MOODS.get(mood, {}).get(without_side(name), 0.0) for name in names])
    parting = np.array([name.startswith(("mouthUpperUp", "mouthLowerDown")) for name in names])
    return (course[:, None] * most * np.where(parting, 1 - press[:, None], 1.0)).astype(np.float32)
