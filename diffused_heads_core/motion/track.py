"""Motion tracks: pose, size, eyes, brows and expression of a head, one row per video frame.

Every value is the change from the portrait as it is: 0 everywhere leaves it alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from ..conditioning import HeadState
from ..errors import DiffusedHeadsError
from ..pose import FACE, POSE

SIZE = "size"
EXPRESSION = ("smile", "frown", "furrow", "squint")
COLUMNS = (*POSE, SIZE, *FACE, *EXPRESSION)
# The values that a column may have. Angles are in radians, tx and ty in sides of the model's frame.
LIMITS = {
    **dict.fromkeys(POSE[:3], (-0.8, 0.8)),
    **dict.fromkeys(POSE[3:], (-0.3, 0.3)),
    SIZE: (-0.4, 0.6),
    **dict.fromkeys(FACE[:2], (0.0, 1.0)),
    **dict.fromkeys(FACE[2:], (-1.0, 1.0)),
    **dict.fromkeys(EXPRESSION, (-1.0, 1.0)),
}


@dataclass(frozen=True, eq=False)
class MotionTrack:
    """A head's motion, float32 arrays with one row per frame.

    pose: (N, 5) as in ``pose.POSE``: yaw, pitch, roll in radians, tx, ty in sides of the model's frame. face: (N, 6) as
    in ``pose.FACE``: lid closure 0..1 of either eye (left is the image's left), gaze (1 is as far as eyes turn, to the
    image's right and down), raise of either brow -1..1. size: (N,), 0.05 is a head 5 % larger. expression: (N, 4) as in
    ``EXPRESSION``, each -1..1 and 0 in the portrait: corners of the mouth up and out, corners down, brows drawn
    together, lower lids raised. size and expression are zeros if they are left out. Raises DiffusedHeadsError for other
    shapes and values that are not finite.
    """

    pose: np.ndarray
    face: np.ndarray
    size: np.ndarray = None  # type: ignore[assignment]
    expression: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        frames = len(self.pose)
        parts = {"pose": (len(POSE),), "face": (len(FACE),), "size": (), "expression": (len(EXPRESSION),)}
        for name, shape in parts.items():
            given = getattr(self, name)
            rows = np.zeros((frames, *shape), np.float32) if given is None else np.asarray(given, np.float32)
            if rows.shape != (frames, *shape) or not np.isfinite(rows).all():
                raise DiffusedHeadsError(
                    f"motion track, {name}: expected finite numbers {(frames, *shape)}, found {rows.shape}"
                )
            object.__setattr__(self, name, rows)

    def __len__(self) -> int:
        return len(self.pose)

    @property
    def values(self) -> np.ndarray:
        """All columns, (N, 16) float32, in the order of ``COLUMNS``."""
        return np.concatenate([self.pose, self.size[:, None], self.face, self.expression], 1)

    @classmethod
    def of_values(cls, values: np.ndarray) -> MotionTrack:
        """The track of columns (N, 16) in the order of ``COLUMNS``."""
        ends = np.cumsum([len(POSE), 1, len(FACE)])
        pose, size, face, expression = np.split(np.asarray(values, np.float32), ends, axis=1)
        return cls(pose, face, size[:, 0], expression)

    @classmethod
    def still(cls, frames: int) -> MotionTrack:
        """The portrait as it is, for a number of frames."""
        return cls.of_values(np.zeros((frames, len(COLUMNS)), np.float32))

    def limited(self) -> MotionTrack:
        """The same track within ``LIMITS``."""
        low, high = np.array([LIMITS[name] for name in COLUMNS], np.float32).T
        return self.of_values(self.values.clip(low, high))

    def part(self, frames: slice | Iterable[int]) -> MotionTrack:
        """Some frames of it."""
        return self.of_values(self.values[frames if isinstance(frames, slice) else list(frames)])

    def states(self, frames: int, device: torch.device | str) -> HeadState:
        """Pose and face of the first ``frames`` frames. Raises DiffusedHeadsError if the track is shorter."""
        if len(self) < frames:
            raise DiffusedHeadsError(
                f"head track: expected at least {frames} frames, as the speech lasts, found {len(self)}"
            )
        pose, face = (torch.from_numpy(np.ascontiguousarray(rows[:frames])) for rows in (self.pose, self.face))
        return HeadState(pose.to(device), face.to(device))
