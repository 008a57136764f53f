"""Lip sync as SyncNet measures it (Chung & Zisserman 2016), with weights that the user supplies (``networks``).

The network is a TorchScript archive with two methods, named as in the publication's code: ``forward_lip`` takes (B, 3,
5, 224, 224) float32, five frames of a face, 0..255 in the order blue, green, red; ``forward_aud`` takes (B, 1, 13, 20)
float32, 0.2 s of MFCC; both give (B, D).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...errors import DiffusedHeadsError
from ...media.audio import SAMPLE_RATE

FPS = 25.0
PICTURES, COLUMNS = 5, 20  # frames and MFCC columns of one window
COLUMNS_PER_FRAME = 4
REACH = 15  # frames by which picture and sound are shifted at most
FILTERS, COEFFICIENTS, FFT = 26, 13, 512
WINDOW, HOP = SAMPLE_RATE // 40, SAMPLE_RATE // 100  # 25 ms, 10 ms
PREEMPHASIS, LIFTER = 0.97, 22


def mfcc(mono: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstral coefficients (13, n) of sound (m,) at 16 kHz, one column every 10 ms.

    Davis & Mermelstein 1980: pre-emphasis 0.97, frames of 25 ms, power spectrum, 26 triangular filters even in mel from
    0 to 8 kHz, logarithm, orthonormal DCT-II, lifter 22, the first coefficient replaced by the frame's log energy. The
    sound is scaled to 16-bit integers, as the released SyncNet was trained. Raises DiffusedHeadsError for less than
    25 ms.
    """
    signal = np.asarray(mono, np.float64) * 32767
    if len(signal) < WINDOW:
        raise DiffusedHeadsError(f"sound: expected at least {WINDOW} samples, found {len(signal)}")
    signal = np.concatenate([signal[:1], signal[1:] - PREEMPHASIS * signal[:-1]])
    frames = np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[::HOP]
    power = np.square(np.abs(np.fft.rfft(frames, FFT, axis=1))) / FFT
    energy, tiny = power.sum(1), np.finfo(float).eps
    bands = np.log(np.maximum(power @ mel_filters().T, tiny))
    k, n = np.arange(COEFFICIENTS)[:, None], np.arange(FILTERS)
    transform = np.sqrt(np.where(k == 0, 1, 2) / FILTERS) * np.cos(np.pi * k * (2 * n + 1) / (2 * FILTERS))
    lift = 1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER)
    found = (bands @ transform.T * lift).T
    found[0] = np.log(np.maximum(energy, tiny))
    return found.astype(np.float32)


def mel_filters() -> np.ndarray:
    """Triangular filters (26, 257) over the bins of a 512-point spectrum at 16 kHz."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, FILTERS + 2) / 2595) - 1)
    edges = np.floor((FFT + 1) * hertz / SAMPLE_RATE)
    bins = np.arange(FFT // 2 + 1)
    rise = (bins - edges[:-2, None]) / np.maximum(edges[1:-1] - edges[:-2], 1)[:, None]
    fall = (edges[2:, None] - bins) / np.maximum(edges[2:] - edges[1:-1], 1)[:, None]
    return np.clip(np.minimum(rise, fall), 0, None)


def sound_windows(mono: np.ndarray, frames: int) -> np.ndarray:
    """MFCC windows (n, 1, 13, 20) of sound (m,) at 16 kHz, one per video frame at 25 fps, at most ``frames`` - 4."""
    columns = mfcc(mono)
    count = min(frames - PICTURES + 1, (columns.shape[1] - COLUMNS) // COLUMNS_PER_FRAME + 1)
    if count < 1:
        return np.empty((0, 1, COEFFICIENTS, COLUMNS), np.float32)
    return np.stack([columns[None, :, i : i + COLUMNS] for i in range(0, count * COLUMNS_PER_FRAME, COLUMNS_PER_FRAME)])


def offset_and_confidence(pictures: np.ndarray, sounds: np.ndarray, reach: int = REACH) -> tuple[float, float]:
    """AV offset in frames (0 is best, positive if the picture is late) and AV confidence (0 or more, higher is better).

    pictures, sounds: embeddings (n, D) of the windows that begin at the same frames. The mean distance between them is
    taken for offsets of -reach .. reach frames; the offset is the one of the least distance, the confidence is the
    median distance minus the least (Chung & Zisserman 2016). NaN, NaN for clips shorter than twice the reach.
    """
    count = min(len(pictures), len(sounds))
    if count <= 2 * reach:
        return float("nan"), float("nan")

    def distance(offset: int) -> float:
        a, b = pictures[max(offset, 0) : count + min(offset, 0)], sounds[max(-offset, 0) : count - max(offset, 0)]
        return float(np.linalg.norm(a - b, axis=1).mean())

    curve = np.array([distance(offset) for offset in range(-reach, reach + 1)])
    return float(int(curve.argmin()) - reach), float(np.median(curve) - curve.min())


class SyncMeter:
    """Gathers the picture embeddings of one clip, frame by frame; ``lips`` embeds windows, as ``Networks.lips``."""

    BATCH = 16

    def __init__(self, lips: Callable[[np.ndarray], np.ndarray]):
        self._lips, self.frames = lips, 0
        self._recent: list[np.ndarray] = []
        self._batch: list[np.ndarray] = []
        self._found: list[np.ndarray] = []

    def add(self, face: np.ndarray) -> None:
        """Take the clip's next frame, (224, 224, 3) uint8 RGB."""
        self.frames += 1
        self._recent = [*self._recent[-(PICTURES - 1) :], face[..., ::-1]]
        if len(self._recent) == PICTURES:
            self._batch.append(np.stack(self._recent).transpose(3, 0, 1, 2))
        if len(self._batch) == self.BATCH:
            self._flush()

    def embeddings(self) -> np.ndarray:
        """Embeddings (frames - 4, D); no rows for fewer than five frames."""
        self._flush()
        return np.concatenate(self._found) if self._found else np.empty((0, 1), np.float32)

    def _flush(self) -> None:
        if self._batch:
            self._found.append(self._lips(np.stack(self._batch).astype(np.float32)))
        self._batch = []
