"""How far sound and mouth are apart: the mouth's opening is predicted from the sound, and compared at every lag.

The prediction is linear in the log-mel spectrum around each moment. ``training.tools.synchrony`` fits its weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...diffused_heads_core.audio_encoder import log_mel

WEIGHTS = Path(__file__).with_name("synchrony.npz")
MELS = 24
COLUMNS = 100  # of the spectrum per second
AROUND, STEP = 4, 4  # columns on either side that a prediction takes, and the columns between them
CONTEXT = (AROUND * STEP + 3) / COLUMNS  # seconds of sound on either side that a prediction depends on
LARGEST = 0.4  # seconds; greatest offset that is tried
LAGS = np.arange(-round(LARGEST * COLUMNS), round(LARGEST * COLUMNS) + 1) / COLUMNS
# An offset is certain if the correlation there is at least CLEAR, and at least ABOVE more than at any lag that is
# more than NEAR seconds away, over at least SHORTEST seconds.
CLEAR, ABOVE, NEAR, SHORTEST = 0.5, 0.15, 0.12, 2.0
TRACK_CLEAR = 0.35  # least correlation of a track at its best lag; in others another face speaks, or nobody
SMALLEST = 0.06  # seconds; smaller offsets are within the measure's error
CONSTANT = 0.06  # seconds by which the offsets of a file's halves may differ


@dataclass(frozen=True)
class Opening:
    """The mouth's opening as the sound predicts it: values (n,), COLUMNS per second; begins: second of the first."""

    values: np.ndarray
    begins: float

    def at(self, times: np.ndarray) -> np.ndarray:
        """The prediction at ``times`` in seconds, of any shape; beyond its ends the nearest value."""
        places = (np.arange(len(self.values)) + 0.5) / COLUMNS + self.begins
        return np.interp(times, places, self.values)


@dataclass(frozen=True)
class Offset:
    """By how many seconds sound is late (early if negative); correlation: of mouth and prediction at that lag;
    constant: whether it is the same in both halves.
    """

    seconds: float
    correlation: float
    constant: bool = True

    @property
    def words(self) -> str:
        """The offset as a report says it."""
        return f"sound {abs(self.seconds) * 1000:.0f} ms {'late' if self.seconds > 0 else 'early'}"


def spectrum_around(mono: np.ndarray) -> np.ndarray:
    """Log-mel values around each moment: mono 16 kHz sound (s,) -> (n, MELS * (2 AROUND + 1)), COLUMNS per second."""
    frames = len(mono) * COLUMNS // (4 * 16000)
    mel = log_mel(mono, frames, COLUMNS // 4, MELS).numpy()
    smooth = np.stack([np.convolve(band, np.full(5, 0.2), "same") for band in mel], 1)
    places = np.arange(len(smooth))[:, None] + STEP * np.arange(-AROUND, AROUND + 1)
    return smooth[np.clip(places, 0, len(smooth) - 1)].reshape(len(smooth), -1)


@lru_cache
def _weights() -> tuple[np.ndarray, np.ndarray]:
    with np.load(WEIGHTS, allow_pickle=False) as file:
        return file["mean"], file["weight"]


def predicted_opening(mono: np.ndarray) -> np.ndarray:
    """The mouth's opening (n,), COLUMNS per second, in deviations from its mean, for mono 16 kHz sound (s,)."""
    mean, weight = _weights()
    return (spectrum_around(mono) - mean) @ weight


def correlations(mouth: np.ndarray, times: np.ndarray, opening: Opening) -> np.ndarray:
    """Correlation of a measured opening (T,) at ``times`` (T,) with the predicted one at LAGS: (L,), 0 if constant."""
    predicted = opening.at(times + LAGS[:, None])
    predicted = predicted - predicted.mean(1, keepdims=True)
    measured = mouth - mouth.mean()
    norms = np.linalg.norm(predicted, axis=1) * np.linalg.norm(measured)
    return np.where(norms > 1e-6, predicted @ measured / np.maximum(norms, 1e-6), 0.0)


def best_lag(curve: np.ndarray) -> tuple[float, float]:
    """Greatest of the correlations (L,) at LAGS, and its lag in seconds."""
    at = int(curve.argmax())
    return float(curve[at]), float(LAGS[at])


def find_offset(tracks: Sequence[tuple[np.ndarray, np.ndarray]], opening: Opening) -> Offset | None:
    """The offset between a file's mouths and its sound; None if it cannot be told.

    tracks: per face, the mouth's opening (T,) and the seconds (T,) of its pictures.
    """
    speakers = [track for track in tracks if len(track[0]) > 1 and correlations(*track, opening).max() >= TRACK_CLEAR]
    whole = _pooled(speakers, opening)
    if whole is None:
        return None
    middle = np.median(np.concatenate([times for _, times in speakers]))
    sides = (lambda times: times < middle), (lambda times: times >= middle)
    halves = [_pooled([(mouth[side(t)], t[side(t)]) for mouth, t in speakers], opening) for side in sides]
    apart = [abs(half.seconds - whole.seconds) for half in halves if half is not None]
    return replace(whole, constant=max(apart, default=0.0) <= CONSTANT)


def _pooled(tracks: Sequence[tuple[np.ndarray, np.ndarray]], opening: Opening) -> Offset | None:
    """The lag at which the tracks' mean correlation, weighted by length, is greatest; None if that is not certain."""
    lengths = [len(mouth) > 1 and float(times[-1] - times[0]) for mouth, times in tracks]
    if sum(lengths) < SHORTEST:
        return None
    curves = [correlations(*track, opening) for track, length in zip(tracks, lengths) if length]
    curve = np.average(curves, 0, [length for length in lengths if length])
    correlation, lag = best_lag(curve)
    elsewhere = curve[np.abs(LAGS - lag) > NEAR].max()
    return Offset(lag, correlation) if correlation >= max(CLEAR, elsewhere + ABOVE) else None
