"""When and how long people blink as they speak: onsets as a random process that follows the speech, and their shape."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

SPANS = ((-0.6, -0.1), (-0.1, 0.1), (0.1, 0.4))  # seconds around a frame over which the level of speech is averaged
QUANTILES = 17  # of the durations that are stored
CLOSING = 0.35  # share of the lids' way down in a blink's ramps
LEAST_SHUT = 0.04  # seconds that the lids are down
ROUNDS, MOST = 20, 50.0  # of solving for the rate between blinks, and its limit
REFRACTORY = 0.32  # seconds from one blink's onset to the earliest next one


class BlinkModel(nn.Module):
    """What the training data tell of blinks.

    level: a linear map from embeddings to the level of speech, 0 (silence) .. 1. urge: logarithm of how much likelier a
    blink is per unit of level in each of ``SPANS``. durations: quantiles of the time for which lids are more than half
    closed, seconds, ascending.
    """

    urge: Tensor
    durations: Tensor

    def __init__(self, embedding: int):
        super().__init__()
        self.level = nn.Linear(embedding, 1)
        self.register_buffer("urge", torch.zeros(len(SPANS)))
        self.register_buffer("durations", torch.full((QUANTILES,), 0.15))

    @torch.no_grad()
    def speech_level(self, audio: Tensor) -> np.ndarray:
        """Embeddings (N, E) -> how loudly speech is going on at each frame, (N,) in 0..1."""
        return self.level(audio)[:, 0].clamp(0, 1).double().cpu().numpy()

    def likelihood(self, level: np.ndarray, fps: float) -> np.ndarray:
        """How likely a blink begins at each frame, (N,) with mean 1, from the level of speech (N,)."""
        raised = np.exp(span_means(level, fps) @ self.urge.double().numpy())
        return raised / max(float(raised.mean()), 1e-9)


def span_means(level: np.ndarray, fps: float) -> np.ndarray:
    """Means of the level (N,) over ``SPANS`` around each frame, (N, len(SPANS)); the ends are repeated."""
    frames = len(level)
    total = np.concatenate([[0.0], np.cumsum(level)])
    columns = []
    for begin, end in SPANS:
        low = np.clip(np.arange(frames) + round(begin * fps), 0, frames - 1)
        high = np.clip(np.arange(frames) + round(end * fps), 0, frames - 1) + 1
        columns.append((total[high] - total[low]) / (high - low))
    return np.stack(columns, 1)


def onsets(likelihood: np.ndarray, fps: float, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Times (k,) in seconds at which blinks begin: ``rate`` per second on average, likelier where ``likelihood`` (N,),
    of mean 1, is high, and never within ``REFRACTORY`` of the last.
    """
    if rate <= 0 or not len(likelihood):
        return np.zeros(0)
    between = rate  # outside the time in which none can begin
    for _ in range(ROUNDS):
        wished = between * likelihood
        between = min(between * rate / float((wished / (1 + wished * REFRACTORY)).mean()), MOST)
    urge = np.concatenate([[0.0], np.cumsum(likelihood) * between / fps])  # at each frame's beginning
    clock = np.arange(len(urge)) / fps
    found: list[float] = []
    at = 0.0
    while True:
        wanted = float(np.interp(at, clock, urge)) + rng.exponential()
        if wanted >= urge[-1]:
            return np.array(found)
        found.append(float(np.interp(wanted, urge, clock)))
        at = found[-1] + REFRACTORY


def blink_closure(
    begins: np.ndarray, durations: np.ndarray, frames: int, fps: float, rng: np.random.Generator
) -> np.ndarray:
    """Lid closure (frames,), 0 open .. 1 shut, of blinks that begin at times (k,), seconds.

    durations: quantiles of the time for which lids are more than half closed.
    """
    closure, time = np.zeros(frames), (np.arange(frames) + 0.5) / fps
    for begin in begins:
        half = float(np.interp(rng.uniform(), np.linspace(0, 1, len(durations)), durations))
        ramps = max(2 * (half - LEAST_SHUT), 2 * LEAST_SHUT)
        shut = max(half - ramps / 2, LEAST_SHUT)
        marks = begin + np.cumsum([0.0, CLOSING * ramps, shut, (1 - CLOSING) * ramps])
        closure = np.maximum(closure, 0.5 - 0.5 * np.cos(np.pi * np.interp(time, marks, (0, 1, 1, 0))))
    return closure
