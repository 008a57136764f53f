"""The exact ground truth of a rendered frame, the same for avatars and people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True, eq=False)
class Truth:
    """landmarks: (68, 2) and lip_box: (4,) x0, y0, x1, y1, in pixels from the image's edge (pixel centres at .5);
    mouth_open, mouth_width: gap between the inner lips and mouth width over the distance between the eyes' centres.
    """

    landmarks: np.ndarray
    lip_box: np.ndarray
    mouth_open: float
    mouth_width: float


def stacked(truths: Iterable[Truth]) -> dict[str, np.ndarray]:
    """The truths of T frames as annotations: float32 arrays (T, ...) by field name."""
    truths = list(truths)
    names = [field.name for field in fields(Truth)]
    return {name: np.array([getattr(truth, name) for truth in truths], np.float32) for name in names}
