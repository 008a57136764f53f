"""Distances between populations of feature vectors, whose memory does not grow with the number of vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import DiffusedHeadsError

KEPT = 2000  # feature vectors kept of a population for the kernel distance
KID_SUBSETS, KID_SUBSET = 20, 500
ROUNDING = 1e-6  # of the truth's variance: smaller Fréchet distances are rounding errors


@dataclass
class Moments:
    """Count, sum and sum of outer products of feature vectors (D,), float64."""

    count: int
    total: np.ndarray
    products: np.ndarray

    @classmethod
    def empty(cls, width: int) -> Moments:
        """Moments of no vectors, each of ``width`` numbers."""
        return cls(0, np.zeros(width), np.zeros((width, width)))

    @classmethod
    def of(cls, rows: np.ndarray) -> Moments:
        """Moments of the rows of (n, D)."""
        rows = np.asarray(rows, np.float64)
        return cls(len(rows), rows.sum(0), rows.T @ rows)

    def add(self, other: Moments) -> None:
        """Add another population's vectors; raises DiffusedHeadsError if they are of another length."""
        if self.total.shape != other.total.shape:
            raise DiffusedHeadsError(
                f"features: expected {self.total.shape[0]} numbers per vector, found {other.total.shape[0]}"
            )
        self.count += other.count
        self.total = self.total + other.total
        self.products = self.products + other.products

    @property
    def mean(self) -> np.ndarray:
        """Mean vector (D,)."""
        return self.total / self.count

    @property
    def covariance(self) -> np.ndarray:
        """Sample covariance (D, D), divisor n - 1."""
        return (self.products - np.outer(self.total, self.mean)) / (self.count - 1)


def frechet_distance(a: Moments, b: Moments) -> float:
    """Fréchet distance of two Gaussians: |m_a - m_b|^2 + Tr(C_a + C_b - 2 (C_a C_b)^(1/2)), 0 or more, 0 is best.

    Dowson & Landau 1982; on Inception features it is the FID (Heusel et al. 2017). NaN for fewer than two vectors. With
    fewer vectors than numbers per vector the covariances are singular and the distance is too large: compare it between
    populations of the same size only.
    """
    if min(a.count, b.count) < 2:
        return float("nan")
    ca, cb = a.covariance, b.covariance
    values, vectors = np.linalg.eigh(ca)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ cb @ root), 0, None)).sum()
    distance = float(np.square(a.mean - b.mean).sum() + np.trace(ca) + np.trace(cb) - 2 * shared)
    return distance if distance > ROUNDING * float(np.trace(cb)) else 0.0


def degradation_rate(first: tuple[Moments, Moments], last: tuple[Moments, Moments]) -> float:
    """Degradation rate DR_n = FD(last n frames) / FD(first n frames) - 1 over all clips (DAWN, Cheng et al. 2024).

    first, last: generated and true features of the clips' first and last n frames. 0 is best; 1 means that the distance
    to the truth doubles from a clip's beginning to its end. FD is measured against the true frames of the same moments,
    so it is 0 for the truth itself. Infinite if clips begin without any error and end with one; NaN for fewer than two
    frames.
    """
    begin, end = frechet_distance(*first), frechet_distance(*last)
    if begin == end:
        return 0.0
    return end / begin - 1 if begin else float("inf") if end > 0 else float("nan")


class Sample:
    """A seeded random sample of at most KEPT of the rows that were added, all equally likely (Vitter's algorithm R)."""

    def __init__(self, kept: int = KEPT, seed: int = 0):
        self.kept, self.seen = kept, 0
        self.rows: list[np.ndarray] = []
        self._rng = np.random.default_rng([seed, 0x6B6964])

    def add(self, rows: np.ndarray) -> None:
        """Add rows (n, D)."""
        for row in rows:
            self.seen += 1
            place = len(self.rows) if len(self.rows) < self.kept else int(self._rng.integers(self.seen))
            if place < self.kept:
                self.rows[place : place + 1] = [np.array(row, np.float32)]

    def array(self) -> np.ndarray:
        """The rows kept, (k, D) float32."""
        return np.stack(self.rows)


def kernel_distance(a: np.ndarray, b: np.ndarray, seed: int = 0) -> float:
    """Squared maximum mean discrepancy with the kernel (x.y / D + 1)^3, unbiased: about 0, or below, for equal ones.

    a, b: features (n, D). On Inception features it is the KID (Bińkowski et al. 2018). Mean over 20 random subsets of
    up to 500; NaN for fewer than two vectors.
    """
    size = min(len(a), len(b), KID_SUBSET)
    if size < 2:
        return float("nan")
    rng = np.random.default_rng([seed, 0x4B4944])

    def drawn(rows: np.ndarray) -> np.ndarray:
        return rows[rng.choice(len(rows), size, False)]

    return float(np.mean([_mmd(drawn(a), drawn(b)) for _ in range(KID_SUBSETS)]))


def _mmd(a: np.ndarray, b: np.ndarray) -> float:
    a, b, count = a.astype(np.float64), b.astype(np.float64), len(a)
    aa, bb, ab = ((x @ y.T / a.shape[1] + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
    inside = sum((k.sum() - np.trace(k)) / (count * (count - 1)) for k in (aa, bb))
    return float(inside - 2 * ab.mean())
