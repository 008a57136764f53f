"""From the twelve expression channels to the face model's blend shapes, in the manner of one speaker."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..expression import EXPRESSION

# Which blend shapes a channel moves, before the speaker's own habits; pairs _L / _R are written without the side.
_SMILE = {"mouthSmile": 0.62, "cheekSquint": 0.45, "eyeSquint": 0.28, "mouthDimple": 0.22, "cheekRaiser": 0.25}
_FROWN = {"mouthFrown": 0.7, "mouthShrugLower": 0.3}
_SPREAD = {"mouthStretch": 0.50, "mouthSmile": 0.30, "mouthDimple": 0.18}
_ROUND = {"mouthPucker": 0.85, "mouthFunnel": 0.42}
_PRESS = {"mouthPress": 0.55, "mouthRollLower": 0.30, "mouthRollUpper": 0.28}
_SHOW = {"mouthLowerDown": 0.36, "mouthUpperUp": 0.26, "mouthStretch": 0.10}
_RAISED = {"browInnerUp": 0.75, "browOuterUp": 0.75, "eyeWide": 0.22}
_LOWERED = {"browDown": 0.75, "eyeSquint": 0.15}


def _add(weights: dict[str, float], shapes: Mapping[str, float], amount: float) -> None:
    for name, value in shapes.items():
        weights[name] = weights.get(name, 0.0) + value * amount


def _mouth(value: Mapping[str, float], jaw: float) -> dict[str, float]:
    """Mouth shapes for the five mouth channels and the smile; ``jaw``: jawOpen of the widest vowel."""
    opened, wide, press, teeth = value["open"], value["wide"], value["press"], value["teeth"]
    rounded, spread = max(-wide, 0.0), max(wide, 0.0)
    free = 1.0 - press
    weights: dict[str, float] = {}
    drop = jaw * (0.9 * opened + 0.10 * min(teeth, 0.6) * (1 - opened))
    shut = 0.10 * jaw * press
    weights["jawOpen"] = drop * (1 - 0.30 * rounded) + shut
    # Lips meet over a jaw that stays a little open.
    weights["mouthClose"] = shut + 0.25 * drop * rounded
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
        plain = name[:-2] if name.endswith(("_L", "_R")) else name
        out[column] = weights.get(name, weights.get(plain, 0.0))
    return out


def _eyes(value: Mapping[str, float]) -> dict[str, float]:
    """Lids and brows. Image left is the model's _R."""
    weights: dict[str, float] = {}
    x, y = value["gaze_x"], value["gaze_y"]
    for side, name in (("R", "left"), ("L", "right")):
        shut, brow = value[f"blink_{name}"], value[f"brow_{name}"]
        weights[f"eyeBlink_{side}"] = shut
        weights[f"eyeLookDown_{side}"] = 0.55 * max(y, 0.0) * (1 - shut)
        weights[f"eyeLookUp_{side}"] = 0.75 * max(-y, 0.0) * (1 - shut)
        outward = x if side == "L" else -x
        weights[f"eyeLookOut_{side}"] = max(outward, 0.0) * (1 - shut)
        weights[f"eyeLookIn_{side}"] = max(-outward, 0.0) * (1 - shut)
        for shapes, amount in ((_RAISED, max(brow, 0.0)), (_LOWERED, max(-brow, 0.0))):
            for shape, weight in shapes.items():
                key = f"{shape}_{side}"
                weights[key] = weights.get(key, 0.0) + weight * amount
    return weights


def blend_weights(
    expression: np.ndarray, names: tuple[str, ...], jaw: float, habits: np.ndarray, rest: np.ndarray
) -> np.ndarray:
    """Blend weights (57,) of one frame, within [0, 1.2].

    expression: (12,) channels; names: of the blend shapes; jaw: jawOpen of the widest vowel, 0.3..0.7; habits: (57,)
    factors near one, the speaker's own stress on each shape and side; rest: (57,) weights of the face at rest, shut out
    by a blink.
    """
    value = dict(zip(EXPRESSION, np.asarray(expression, np.float64).tolist()))
    mouth, eyes = _sided(_mouth(value, jaw), names), _sided(_eyes(value), names)
    lids = np.array([name.startswith(("eyeBlink", "eyeLook")) for name in names])
    shared = np.where(lids, eyes, (mouth + eyes) * habits + rest)
    for column, name in enumerate(names):
        if name.startswith(("eyeSquint", "eyeWide")):
            shared[column] *= 1 - value["blink_left" if name.endswith("_R") else "blink_right"]
    return np.clip(shared, 0.0, 1.2).astype(np.float32)
