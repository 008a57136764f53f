"""Many channels to one, so that a voice in any channel and any phase survives, without what is constant in it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CERTAIN = 4.0  # standard errors beyond which a mean is an offset of the recording, and not a slow wave


def mix_channels(samples: np.ndarray, rate: int) -> Iterator[np.ndarray]:
    """Mix float32 (channels, n) at ``rate`` Hz to one channel, given in blocks of float32 (k,).

    Each channel's constant offset is taken off first. Offset and weights at a sample follow from the sound up to
    10 ms later at most.
    """
    channels, hop = len(samples), max(1, rate // 100)
    centre, products, last = _Centre(channels, hop), np.zeros((channels, channels)), None
    for begin in range(0, samples.shape[1], 1024 * hop):
        block = samples[:, begin : begin + 1024 * hop].astype(np.float64)
        n = block.shape[1]
        frames = centre(np.pad(block, ((0, 0), (0, -n % hop)), mode="edge").reshape(channels, -1, hop))
        if channels == 1:
            yield frames.reshape(-1)[:n].astype(np.float32)
            continue
        history = products + np.cumsum(np.einsum("cft,dft->fcd", frames, frames), 0)
        weights = _mixing_weights(history)
        previous = np.concatenate([weights[:1] if last is None else last, weights[:-1]])
        ramp = (np.arange(hop) + 1) / hop
        mixed = np.einsum("fc,cft->ft", previous, frames) * (1 - ramp) + np.einsum("fc,cft->ft", weights, frames) * ramp
        products, last = history[-1], weights[-1:]
        yield mixed.reshape(-1)[:n].astype(np.float32)


class _Centre:
    """Takes off the mean of what was heard so far, as far as it is certain: sound without an offset stays as it is.

    The certain part of a mean m with standard error s is m (1 - (CERTAIN s / m)^2), none where that is negative; a
    frame counts as one observation (positive-part shrinkage, James & Stein 1961).
    """

    def __init__(self, channels: int, hop: int):
        self.sums, self.count, self.last = np.zeros((2, channels, 1)), 0, None
        self.ramp = (np.arange(hop) + 1) / hop

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """float64 (channels, f, hop) -> the same, centred."""
        counts = self.count + np.arange(1, frames.shape[1] + 1)
        sums = self.sums + np.cumsum([frames.mean(2), np.square(frames).mean(2)], 2)
        means, powers = sums / counts
        errors = np.maximum(powers - means**2, 0) / counts
        offsets = means * np.maximum(1 - CERTAIN**2 * errors / np.maximum(means**2, 1e-30), 0)
        before = np.concatenate([offsets[:, :1] if self.last is None else self.last, offsets[:, :-1]], 1)
        self.sums, self.count, self.last = sums[..., -1:], int(counts[-1]), offsets[:, -1:]
        return frames - before[..., None] - (offsets - before)[..., None] * self.ramp


def _mixing_weights(products: np.ndarray) -> np.ndarray:
    """Weights (frames, channels) from the channels' products so far, (frames, channels, channels).

    A channel that opposes the mixture of those before it (correlation below -0.6) is turned; the divisor
    counts channels by their level, so that one voice on one channel of many keeps its level.
    """
    energy = np.maximum(np.einsum("fcc->fc", products), 0)
    signs = np.ones_like(energy)
    for c in range(1, energy.shape[1]):
        before = signs[:, :c]
        cross = np.einsum("fc,fc->f", before, products[:, :c, c])
        mixture = np.einsum("fc,fcd,fd->f", before, products[:, :c, :c], before)
        signs[:, c] = np.where(cross < -0.6 * np.sqrt(np.maximum(mixture, 0) * energy[:, c]), -1, 1)
    loudest = energy.max(1, keepdims=True)
    share = np.sqrt(energy / np.where(loudest > 0, loudest, 1))
    return signs / np.where(loudest > 0, share.sum(1, keepdims=True), energy.shape[1])
