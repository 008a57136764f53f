"""Means over people, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

DRAWS, COVERED = 2000, 95  # bootstrap samples; percent

Groups = Mapping[str, Sequence[float]]


def _known(groups: Groups) -> list[np.ndarray]:
    arrays = [np.asarray(values, np.float64) for values in groups.values()]
    return [kept for values in arrays if len(kept := values[np.isfinite(values)])]


def mean_of_groups(groups: Groups) -> float:
    """Mean over people of the means of their clips, so that people with many clips count no more; NaN of none.

    groups: a person's name to the figures of that person's clips, NaN where unknown.
    """
    found = _known(groups)
    return float(np.mean([values.mean() for values in found])) if found else float("nan")


def bootstrap_interval(groups: Groups, seed: int = 0, draws: int = DRAWS) -> tuple[float, float]:
    """95 % bootstrap confidence interval of ``mean_of_groups`` (Efron 1979, percentiles).

    People are drawn with replacement, then clips of each; clips alone if there is one person. It widens with the
    differences between people however many clips they have. Few people give too narrow an interval. NaN, NaN for fewer
    than two figures.
    """
    found = _known(groups)
    if sum(map(len, found)) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = np.empty(draws)
    for draw in range(draws):
        people = rng.integers(len(found), size=len(found))
        means[draw] = np.mean([found[p][rng.integers(len(found[p]), size=len(found[p]))].mean() for p in people])
    low, high = np.percentile(means, [(100 - COVERED) / 2, (100 + COVERED) / 2])
    return float(low), float(high)
