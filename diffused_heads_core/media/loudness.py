"""The level at which the audio encoder hears a recording: a causal automatic gain."""

from __future__ import annotations

import numpy as np

FRAME = 160  # samples at 16 kHz: 10 ms
TARGET = -20.0  # dBFS, of the loudest recent 10 or 30 ms
DECAY = 6.0  # dB/s, at which a loud passage is forgotten
FLOOR = -55.0  # dBFS; quieter sound is not speech
OPENING, OPENING_DECAY = -30.0, 20.0  # dBFS and dB/s: the level that is presumed before anything was heard
NOISE_TARGET, NOISE_RISE = -40.0, 3.0  # dBFS, dB/s: what never stops sounding is not raised beyond this


def normalise_level(mono: np.ndarray) -> np.ndarray:
    """Bring speech of any loudness to the encoder's level: float32 (n,) at 16 kHz to the same shape.

    The level is the loudest recent 10 or 30 ms, forgotten at 6 dB/s; the gain takes it to -20 dBFS. Amplification
    (35 dB at most) stops where the background, the quietest recent sound, would pass -40 dBFS: leading room
    noise stays quiet. A sample's gain follows from samples up to 10 ms after it, never from later ones.
    """
    mono = np.asarray(mono, np.float32)
    if not len(mono):
        return mono.copy()
    gains = _gains(*_energies(mono))
    knots, values = np.arange(len(gains) + 1) * FRAME, np.concatenate([gains[:1], gains])
    levelled = np.empty_like(mono)
    for begin in range(0, len(mono), 1 << 20):  # in blocks: an hour would need gigabytes
        block = slice(begin, min(begin + (1 << 20), len(mono)))
        levelled[block] = mono[block] * 10 ** (np.interp(np.arange(block.start, block.stop), knots, values) / 20)
    return levelled


def _energies(mono: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Loudest and steady level in dBFS at each frame's end, at least -100: of its 10 or 30 ms, and of its 30 ms."""
    padded = np.pad(mono, (0, -len(mono) % FRAME)).reshape(-1, FRAME)
    power = np.einsum("ft,ft->f", padded, padded, dtype=np.float64) / FRAME
    history = np.pad(power, (2, 0), mode="edge")
    steady = (history[2:] + history[1:-1] + history[:-2]) / 3
    return tuple(10 * np.log10(np.maximum(p, 1e-10)) for p in (np.maximum(power, steady), steady))


def _gains(loudest: np.ndarray, steady: np.ndarray) -> np.ndarray:
    """Gain in dB at the end of each frame."""
    time = np.arange(len(loudest)) * 0.01
    level = np.maximum.accumulate(loudest + DECAY * time) - DECAY * time
    level = np.maximum(level, np.maximum(OPENING - OPENING_DECAY * time, FLOOR))
    background = np.minimum.accumulate(steady - NOISE_RISE * time) + NOISE_RISE * time
    return np.minimum(TARGET - level, np.maximum(NOISE_TARGET - background, 0))
