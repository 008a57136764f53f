"""Frames of several clips in one picture."""

from __future__ import annotations

import numpy as np


def contact_sheet(rows: list[np.ndarray], columns: int) -> np.ndarray:
    """One picture of clips (T, S, S, 3): a row per clip, of ``columns`` frames at equal distances in time."""
    picked = [np.concatenate(list(row[np.linspace(0, len(row) - 1, columns).round().astype(int)]), 1) for row in rows]
    return np.concatenate(picked)
