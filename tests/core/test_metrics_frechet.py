"""Distances of populations against the closed form for Gaussians, and that gathering them in parts changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.evaluation.metrics.frechet import (
    Moments,
    Sample,
    degradation_rate,
    frechet_distance,
    kernel_distance,
)

linalg = pytest.importorskip("scipy.linalg", reason="scipy is not installed (the extra 'test')")


def exact(mean: np.ndarray, covariance: np.ndarray, count: int = 1000) -> Moments:
    """Moments of a population that has exactly this mean and sample covariance."""
    return Moments(count, count * mean, (count - 1) * covariance + count * np.outer(mean, mean))


def random_covariance(rng: np.random.Generator, width: int, rank: int) -> np.ndarray:
    root = rng.normal(size=(width, rank))
    return root @ root.T / rank


@pytest.mark.parametrize("width, rank", [(1, 1), (5, 5), (40, 60), (12, 4)])
def test_the_closed_form_for_gaussians(width: int, rank: int) -> None:
    rng = np.random.default_rng(width)
    ma, mb = rng.normal(size=(2, width))
    ca, cb = random_covariance(rng, width, rank), random_covariance(rng, width, rank)
    want = ((ma - mb) ** 2).sum() + np.trace(ca + cb - 2 * linalg.sqrtm(ca @ cb + 1e-14 * np.eye(width)).real)
    assert frechet_distance(exact(ma, ca), exact(mb, cb)) == pytest.approx(want, rel=1e-5)


def test_known_distances() -> None:
    one = np.eye(3)
    assert frechet_distance(exact(np.zeros(3), one), exact(np.array([3.0, 4, 0]), one)) == pytest.approx(25)
    assert frechet_distance(exact(np.zeros(3), one), exact(np.zeros(3), 9 * one)) == pytest.approx(3 * (3 - 1) ** 2)
    commuting = exact(np.zeros(2), np.diag([4.0, 1])), exact(np.zeros(2), np.diag([1.0, 16]))
    assert frechet_distance(*commuting) == pytest.approx((2 - 1) ** 2 + (1 - 4) ** 2)


def test_a_population_against_itself_is_at_no_distance() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 96)) + 5
    assert frechet_distance(Moments.of(rows), Moments.of(rows)) == 0
    assert np.isnan(frechet_distance(Moments.of(rows[:1]), Moments.of(rows)))


def test_parts_add_up_to_the_whole() -> None:
    rows = np.random.default_rng(1).normal(3, 2, (300, 7))
    gathered = Moments.empty(7)
    for part in np.array_split(rows, 11):
        gathered.add(Moments.of(part))
    assert (
        gathered.count == 300
        and gathered.mean == pytest.approx(rows.mean(0))
        and gathered.covariance == pytest.approx(np.cov(rows.T))
    )
    with pytest.raises(DiffusedHeadsError, match="7 numbers"):
        gathered.add(Moments.empty(8))


def test_samples_of_a_gaussian_come_near_its_distance() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(0, 1, (4000, 4)), rng.normal(0.5, 1, (4000, 4))
    assert frechet_distance(Moments.of(a), Moments.of(b)) == pytest.approx(1.0, abs=0.1)


def test_degradation_is_the_growth_of_the_distance() -> None:
    def at(distance: float) -> Moments:
        return exact(np.array([distance**0.5, 0]), np.eye(2))

    truth = at(0)
    assert degradation_rate((at(2), truth), (at(3), truth)) == pytest.approx(0.5)
    assert degradation_rate((at(2), truth), (at(1), truth)) == pytest.approx(-0.5)
    assert degradation_rate((truth, truth), (truth, truth)) == 0
    assert degradation_rate((truth, truth), (at(1), truth)) == float("inf")


def test_the_kernel_distance_is_unbiased_and_sees_a_shift() -> None:
    rng = np.random.default_rng(3)
    a, b, c = rng.normal(size=(600, 8)), rng.normal(size=(600, 8)), rng.normal(0.7, 1, (600, 8))
    near, far = kernel_distance(a, b), kernel_distance(a, c)
    assert abs(near) < 0.02 < far and kernel_distance(a, b) == near
    assert np.isnan(kernel_distance(a[:1], b))


def test_the_kernel_distance_by_hand() -> None:
    a, b = np.array([[1.0, 0], [0, 1]]), np.array([[1.0, 1], [0, 0]])

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return (x @ y / 2 + 1) ** 3

    want = k(a[0], a[1]) + k(b[0], b[1]) - 2 * np.mean([k(x, y) for x in a for y in b])
    assert kernel_distance(a, b) == pytest.approx(want)


def test_a_sample_keeps_everything_that_fits_and_a_fair_share_of_the_rest() -> None:
    few = Sample(10)
    few.add(np.arange(6.0)[:, None])
    assert few.array().ravel().tolist() == [0, 1, 2, 3, 4, 5]
    many = Sample(500)
    for part in np.array_split(np.arange(5000.0)[:, None], 7):
        many.add(part)
    assert len(many.array()) == 500 and many.array().mean() == pytest.approx(2500, abs=250)
