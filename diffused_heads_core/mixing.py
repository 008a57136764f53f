"""Many channels to one, so that a voice in any channel and any phase survives."""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def mix_channels(samples: np.ndarray, rate: int) -> Iterator[np.ndarray]:
    """Mix float32 (channels, n) at ``rate`` Hz to one channel, given in blocks of float32 (k,).

    The weights at a sample follow from the sound up to 10 ms later at most.
    """
    channels, hop = len(samples), max(1, rate // 100)
    if channels == 1:
        for begin in range(0, samples.shape[1], 1024 * hop):
            yield samples[0, begin:begin + 1024 * hop]
        return
    products, last = np.zeros((channels, channels)), None
    for begin in range(0, samples.shape[1], 1024 * hop):
        block = samples[:, begin:begin + 1024 * hop].astype(np.float64)
        n = block.shape[1]
        frames = np.pad(block, ((0, 0), (0, -n % hop))).reshape(channels, -1, hop)
        history = products + np.cumsum(np.einsum("cft,dft->fcd", frames, frames), 0)
        weights = _mixing_weights(history)
        previous = np.concatenate([weights[:1] if last is None else last, weights[:-1]])
        ramp = (np.arange(hop) + 1) / hop
        mixed = (np.einsum("fc,cft->ft", previous, frames) * (1 - ramp)
                 + np.einsum("fc,cft->ft", weights, frames) * ramp)
        products, last = history[-1], weights[-1:]
        yield mixed.reshape(-1)[:n].astype(np.float32)


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
