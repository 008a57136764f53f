"""Random choices for the appearance of avatars and people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def choose(rng: np.random.Generator, values: Sequence) -> Any:
    """One of the values, all with the same probability."""
    return values[int(rng.integers(len(values)))]


def choose_weighted(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    """One of the names, with probabilities proportional to their weights."""
    names = list(weights)
    steps = np.cumsum([weights[name] for name in names])
    return names[int(np.searchsorted(steps, rng.random() * sum(weights.values())))]


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number from low to high, rounded to four decimals."""
    return round(float(rng.uniform(low, high)), 4)
