"""The expression vector of an avatar: order, ranges and index helpers."""

from __future__ import annotations

import numpy as np

from ...diffused_heads_core.errors import DiffusedHeadsError

EXPRESSION = (
    "open", "wide", "press", "teeth", "tongue", "smile", "blink_left", "blink_right", "gaze_x", "gaze_y",
    "brow_left", "brow_right",
)  # fmt: skip
MOUTH = EXPRESSION[:5]
FACE = EXPRESSION[5:]

# open: lips closed .. widest vowel; wide: rounded .. spread; blink: open .. closed; gaze: x right, y down.
RANGES: dict[str, tuple[float, float]] = {
    "open": (0.0, 1.0), "wide": (-1.0, 1.0), "press": (0.0, 1.0), "teeth": (0.0, 1.0), "tongue": (0.0, 1.0),
    "smile": (-0.3, 1.0), "blink_left": (0.0, 1.0), "blink_right": (0.0, 1.0), "gaze_x": (-1.0, 1.0),
    "gaze_y": (-1.0, 1.0), "brow_left": (-1.0, 1.0), "brow_right": (-1.0, 1.0),
}  # fmt: skip


def index(name: str) -> int:
    """Column of a named channel in an expression array; DiffusedHeadsError when there is no such channel."""
    if name not in EXPRESSION:
        raise DiffusedHeadsError(f"expression channel {name!r}: expected one of {', '.join(EXPRESSION)}")
    return EXPRESSION.index(name)


def neutral(frames: int | None = None) -> np.ndarray:
    """A face at rest: (12,) float32 zeros, or (frames, 12)."""
    shape = (len(EXPRESSION),) if frames is None else (frames, len(EXPRESSION))
    return np.zeros(shape, np.float32)


def clamp(expression: np.ndarray) -> np.ndarray:
    """The (..., 12) array with every channel held inside RANGES, float32."""
    low, high = np.array([RANGES[name] for name in EXPRESSION], np.float32).T
    return np.clip(np.asarray(expression, np.float32), low, high)
