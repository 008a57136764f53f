"""Clips side by side in one picture."""

from __future__ import annotations

import numpy as np


def contact_sheet(rows: list[np.ndarray], columns: int) -> np.ndarray:
    """Evenly spaced frames of clips (T, S, S, 3), one clip a row, as one picture."""
    picked = [np.concatenate(list(row[np.linspace(0, len(row) - 1, columns).round().astype(int)]), 1) for row in rows]
    return np.concatenate(picked)
