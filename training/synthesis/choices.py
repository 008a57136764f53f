"""How looks are drawn at random and written down, for avatars and people alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def listed(value: object) -> Any:
    """Plain JSON values: tuples become lists, at any depth."""
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    return [listed(item) for item in value] if isinstance(value, (list, tuple)) else value


def frozen(value: object) -> Any:
    """The way back: lists become tuples."""
    return tuple(frozen(item) for item in value) if isinstance(value, (list, tuple)) else value


def pick(rng: np.random.Generator, values: Sequence) -> Any:
    """One of the values, each as likely."""
    return values[int(rng.integers(len(values)))]


def rated(rng: np.random.Generator, rates: Mapping[str, float]) -> str:
    """One of the names, as often as its rate says; rates need not sum to 1."""
    names = list(rates)
    return names[int(np.searchsorted(np.cumsum([rates[n] for n in names]), rng.random() * sum(rates.values())))]


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Uniform in low .. high, to four decimals."""
    return round(float(rng.uniform(low, high)), 4)
