"""The columns of a motion track as people name and write them: groups of columns, and angles in degrees."""

from __future__ import annotations

import numpy as np

from ..errors import DiffusedHeadsError
from ..pose import FACE, POSE
from .track import COLUMNS, EXPRESSION, SIZE

ANGLES = POSE[:3]
GROUPS = {
    "all": COLUMNS,
    "pose": (*POSE, SIZE),
    "turn": ANGLES,
    "place": (*POSE[3:], SIZE),
    "lids": FACE[:2],
    "gaze": FACE[2:4],
    "brows": FACE[4:],
    "expression": EXPRESSION,
}
WRITTEN = np.array([np.degrees(1.0) if name in ANGLES else 1.0 for name in COLUMNS])  # factor of what people write


def column_numbers(names: str) -> list[int]:
    """Numbers of columns in ``COLUMNS``, for names of columns and groups with commas between them.

    Raises DiffusedHeadsError that lists all names for one that is unknown.
    """
    chosen: set[str] = set()
    for name in (part.strip().lower() for part in names.split(",")):
        if name not in GROUPS and name not in COLUMNS:
            raise unknown_column(name, (*COLUMNS, *GROUPS))
        chosen.update(GROUPS.get(name, (name,)))
    return [number for number, name in enumerate(COLUMNS) if name in chosen]


def unknown_column(name: str, known: tuple[str, ...] = COLUMNS) -> DiffusedHeadsError:
    """The error about a name that no column has."""
    return DiffusedHeadsError(f"motion column {name!r:.60}: expected one of {', '.join(known)}")


def as_written(values: np.ndarray) -> np.ndarray:
    """Columns (N, 16) with angles in degrees, float64."""
    return np.asarray(values, np.float64) * WRITTEN


def as_stored(values: np.ndarray) -> np.ndarray:
    """Columns (N, 16) with angles in radians, from degrees, float64."""
    return np.asarray(values, np.float64) / WRITTEN
