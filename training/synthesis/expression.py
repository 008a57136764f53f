"""The expression vector that avatars and people are rendered from: its channels, their order and ranges."""

from __future__ import annotations

import numpy as np

from ...diffused_heads_core.errors import DiffusedHeadsError

# open: lips closed .. widest vowel; wide: rounded .. spread; blink: open .. closed; gaze: x right, y down.
# Left and right are those of the image.
RANGES: dict[str, tuple[float, float]] = {
    "open": (0.0, 1.0),
    "wide": (-1.0, 1.0),
    "press": (0.0, 1.0),
    "teeth": (0.0, 1.0),
    "tongue": (0.0, 1.0),
    "smile": (-0.3, 1.0),
    "blink_left": (0.0, 1.0),
    "blink_right": (0.0, 1.0),
    "gaze_x": (-1.0, 1.0),
    "gaze_y": (-1.0, 1.0),
    "brow_left": (-1.0, 1.0),
    "brow_right": (-1.0, 1.0),
}
EXPRESSION = tuple(RANGES)
MOUTH, FACE = EXPRESSION[:5], EXPRESSION[5:]


def index(name: str) -> int:
    """Column of a channel in an expression array; raises DiffusedHeadsError if there is no such channel."""
    if name not in EXPRESSION:
        raise DiffusedHeadsError(f"expression channel {name!r}: expected one of {', '.join(EXPRESSION)}")
    return EXPRESSION.index(name)


def neutral(frames: int | None = None) -> np.ndarray:
    """A face at rest: (12,) float32 zeros, or (frames, 12)."""
    shape = (len(EXPRESSION),) if frames is None else (frames, len(EXPRESSION))
    return np.zeros(shape, np.float32)


def clamp(expression: np.ndarray) -> np.ndarray:
    """Expressions (..., 12), as float32, with every channel clipped to its range."""
    low, high = np.array([RANGES[name] for name in EXPRESSION], np.float32).T
    return np.clip(np.asarray(expression, np.float32), low, high)
