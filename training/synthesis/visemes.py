"""Mouth shapes for timed phonemes: a target per sound, blended by dominance (after Cohen and Massaro, 1993).

Every sound has a target and a weight on each mouth channel. The weight fades before and after the sound; a channel is
the weighted mean of all targets, smoothed a little for the inertia of the lips. There are two articulations: DRAWN has
targets set by hand, as animators do it; MEASURED is fitted to the mouths in 36 clips of real people
(docs/MODEL_CARD.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...diffused_heads_core.errors import DiffusedHeadsError
from .expression import MOUTH
from .speech import SILENCE, plain

GRID = 0.004  # seconds between points of the internal track
SMOOTHING = 0.030  # seconds, full width at half maximum of the smoothing kernel

Phonemes = Sequence[tuple[str, float, float]]
Channels = tuple[float, float, float, float, float]  # in the order of MOUTH


@dataclass(frozen=True)
class Viseme:
    """Targets of one sound and their weights, both in the order of MOUTH."""

    target: Channels
    weight: Channels


_VOWEL = (1.0, 1.0, 1.0, 0.6, 0.6)
_ROUND = (1.2, 2.0, 1.0, 0.8, 0.6)
_LIPS = (5.0, 0.3, 5.0, 4.0, 1.0)
_BITE = (3.5, 0.4, 4.0, 5.0, 1.0)
_HISS = (2.0, 0.7, 1.0, 3.0, 1.0)
_HUSH = (1.8, 2.0, 1.0, 2.5, 1.0)
_TIP = (1.2, 0.25, 1.0, 1.0, 2.0)
_LATERAL = (1.0, 0.25, 1.0, 0.6, 3.0)
_DENTAL = (1.6, 0.3, 1.0, 1.5, 5.0)
_BACK = (0.6, 0.2, 0.8, 0.5, 0.5)
_BREATH = (0.2, 0.1, 0.5, 0.2, 0.2)
_REST = (0.8, 0.5, 0.8, 0.8, 0.8)

# symbol: (target, weight), both (open, wide, press, teeth, tongue)
_TABLE: dict[str, tuple[Channels, Channels]] = {
    SILENCE: ((0.00, 0.0, 0, 0.00, 0.0), _REST),
    "i": ((0.28, 0.80, 0, 0.55, 0.10), _VOWEL),
    "ɪ": ((0.38, 0.50, 0, 0.40, 0.10), _VOWEL),
    "ᵻ": ((0.34, 0.35, 0, 0.35, 0.10), _VOWEL),
    "e": ((0.50, 0.60, 0, 0.40, 0.10), _VOWEL),
    "ɛ": ((0.62, 0.40, 0, 0.30, 0.10), _VOWEL),
    "æ": ((0.88, 0.50, 0, 0.30, 0.10), _VOWEL),
    "a": ((0.95, 0.25, 0, 0.20, 0.05), _VOWEL),
    "ɑ": ((1.00, 0.00, 0, 0.10, 0.00), _VOWEL),
    "ɐ": ((0.66, 0.10, 0, 0.15, 0.05), _VOWEL),
    "ʌ": ((0.72, 0.05, 0, 0.15, 0.05), _VOWEL),
    "ə": ((0.42, 0.00, 0, 0.20, 0.05), _VOWEL),
    "ɜ": ((0.46, -0.20, 0, 0.25, 0.05), _VOWEL),
    "ɚ": ((0.40, -0.35, 0, 0.25, 0.05), _VOWEL),
    "ɒ": ((0.85, -0.35, 0, 0.05, 0.00), _ROUND),
    "ɔ": ((0.72, -0.55, 0, 0.00, 0.00), _ROUND),
    "o": ((0.58, -0.75, 0, 0.00, 0.00), _ROUND),
    "ʊ": ((0.36, -0.65, 0, 0.05, 0.00), _ROUND),
    "u": ((0.26, -0.95, 0, 0.00, 0.00), _ROUND),
    "ʉ": ((0.28, -0.80, 0, 0.05, 0.00), _ROUND),
    "p": ((0.00, 0.0, 1, 0.00, 0.00), _LIPS),
    "b": ((0.00, 0.0, 1, 0.00, 0.00), _LIPS),
    "m": ((0.00, 0.0, 1, 0.00, 0.00), _LIPS),
    "f": ((0.10, 0.15, 0, 0.90, 0.00), _BITE),
    "v": ((0.10, 0.15, 0, 0.90, 0.00), _BITE),
    "θ": ((0.24, 0.10, 0, 0.50, 0.95), _DENTAL),
    "ð": ((0.24, 0.10, 0, 0.50, 0.90), _DENTAL),
    "t": ((0.18, 0.10, 0, 0.50, 0.50), _TIP),
    "d": ((0.18, 0.10, 0, 0.50, 0.50), _TIP),
    "n": ((0.22, 0.10, 0, 0.40, 0.60), _TIP),
    "ɾ": ((0.28, 0.10, 0, 0.30, 0.60), _TIP),
    "l": ((0.34, 0.05, 0, 0.25, 0.85), _LATERAL),
    "s": ((0.12, 0.35, 0, 1.00, 0.10), _HISS),
    "z": ((0.12, 0.30, 0, 0.95, 0.10), _HISS),
    "ʃ": ((0.20, -0.60, 0, 0.85, 0.05), _HUSH),
    "ʒ": ((0.20, -0.60, 0, 0.80, 0.05), _HUSH),
    "r": ((0.26, -0.35, 0, 0.20, 0.30), _TIP),
    "ɹ": ((0.24, -0.50, 0, 0.20, 0.15), _VOWEL),
    "j": ((0.24, 0.60, 0, 0.45, 0.10), _VOWEL),
    "w": ((0.10, -1.00, 0, 0.00, 0.00), (2.0, 4.0, 1.0, 1.5, 1.0)),
    "ʍ": ((0.10, -1.00, 0, 0.00, 0.00), (2.0, 4.0, 1.0, 1.5, 1.0)),
    "k": ((0.28, 0.05, 0, 0.25, 0.10), _BACK),
    "ɡ": ((0.28, 0.05, 0, 0.25, 0.10), _BACK),
    "ŋ": ((0.30, 0.10, 0, 0.25, 0.10), _BACK),
    "x": ((0.32, 0.05, 0, 0.25, 0.10), _BACK),
    "h": ((0.40, 0.00, 0, 0.15, 0.05), _BREATH),
    "ʔ": ((0.35, 0.00, 0, 0.15, 0.05), _BREATH),
}
SYMBOLS = tuple(_TABLE)
_BILABIALS = ("p", "b", "m")


@dataclass(frozen=True)
class Articulation:
    """How a mouth forms sounds. All times are in seconds. Those other than ``lead`` say how long a sound's weight takes
    to fall to 1/e before or after the sound.
    """

    visemes: Mapping[str, Viseme]
    before: float
    after: float
    lips: float  # before and after a sound that closes the lips (short: they part at once)
    rest: float  # before and after silence
    lead: float  # by which the mouth is ahead of the sound

    def reach(self, symbol: str) -> tuple[float, float]:
        """Seconds in which a sound's weight falls to 1/e before and after the sound."""
        if symbol == SILENCE:
            return self.rest, self.rest
        return (self.lips, self.lips) if symbol in _BILABIALS else (self.before, self.after)


def _measured() -> dict[str, Viseme]:
    """Visemes fitted to people: less weight on silence and more on open vowels, lips further apart for many consonants
    and almost closed for /r/, /w/ and /f/.
    """
    wide, back, curled = (1.6, 1.6, 1.6, 1.0, 1.0), (1.6, 2.6, 1.3, 1.0, 0.8), (2.0, 0.8, 1.8, 1.4, 2.4)
    weights = {
        SILENCE: (0.12, 0.075, 0.12, 0.12, 0.12),
        **dict.fromkeys("eɛæaɑ", wide),
        **dict.fromkeys("ɒɔ", back),
        **dict.fromkeys("pbm", (10.0, 0.3, 14.0, 8.0, 1.0)),
        **dict.fromkeys("fv", (3.5, 0.4, 4.0, 6.0, 1.0)),
        **dict.fromkeys("sz", (2.0, 0.7, 1.0, 4.0, 1.0)),
        **dict.fromkeys("rɹ", curled),
    }
    opening = {
        "i": 0.45, "ɪ": 0.58, "ᵻ": 0.50, "e": 0.70, "ɛ": 0.70, "æ": 0.95, "a": 1.00, "ɐ": 0.64, "ʌ": 0.64,
        "ə": 0.36, "ɜ": 0.36, "ɚ": 0.36, "ɒ": 0.60, "ɔ": 0.50, "o": 0.46, "ʊ": 0.34, "u": 0.24, "ʉ": 0.26,
        "f": 0.00, "v": 0.00, "θ": 0.30, "ð": 0.30, "t": 0.20, "d": 0.20, "n": 0.28, "l": 0.26, "s": 0.10,
        "z": 0.10, "r": 0.05, "ɹ": 0.05, "w": 0.06, "ʍ": 0.06, "k": 0.22, "ɡ": 0.22, "x": 0.22, "h": 0.48,
        "ʔ": 0.40,
    }  # fmt: skip
    teeth = {**dict.fromkeys("fv", 0.70), **dict.fromkeys("sz", 0.90), **dict.fromkeys("rɹ", 0.15)}
    found = {}
    for symbol, ((height, width, press, edge, tongue), weight) in _TABLE.items():
        target = opening.get(symbol, height), width, press, teeth.get(symbol, edge), tongue
        found[symbol] = Viseme(target, weights.get(symbol, weight))
    return found


DRAWN = Articulation(
    {symbol: Viseme(*entry) for symbol, entry in _TABLE.items()},
    before=0.016,
    after=0.016,
    lips=0.016,
    rest=0.070,
    lead=0.0,
)
MEASURED = Articulation(_measured(), before=0.060, after=0.035, lips=0.010, rest=0.062, lead=0.012)

# The speech engines time these sounds at their burst; the mouth closes so many seconds earlier.
CLOSURE = {"p": 0.060, "t": 0.050, "k": 0.045}
# Share of a compound's time that its first symbol takes, if the symbols do not share it equally.
_FIRST_SHARE = {"tʃ": 0.0, "dʒ": 0.45}


def symbols(ipa: str) -> tuple[str, ...]:
    """The symbols of one phoneme: "tʃ" -> ("t", "ʃ"). Raises DiffusedHeadsError for a sound without a viseme."""
    found = tuple("ɡ" if c == "g" else c for c in plain(ipa)) or (SILENCE,)
    unknown = sorted(set(found) - set(SYMBOLS))
    if unknown:
        raise DiffusedHeadsError(f"phoneme {ipa!r}: expected sounds of English, found {', '.join(map(repr, unknown))}")
    return found


def _pieces(ipa: str, start: float, end: float) -> list[tuple[str, float, float]]:
    found = symbols(ipa)
    first = _FIRST_SHARE.get(plain(ipa), 1 / len(found))
    shares = [1.0] if len(found) == 1 else [first] + [(1 - first) / (len(found) - 1)] * (len(found) - 1)
    edges = start + (end - start) * np.concatenate([[0.0], np.cumsum(shares)])
    return [(symbol, float(a), float(b)) for symbol, a, b in zip(found, edges[:-1], edges[1:])]


def gestures(phonemes: Phonemes) -> tuple[tuple[str, float, float], ...]:
    """The mouth's gestures as (symbol of SYMBOLS, start, end) in seconds: compounds are split, closures moved.

    A voiceless stop begins with its closure, before the burst at which the engine times it; this shortens the sound
    before it, by half at most. What follows the burst is breath. Raises DiffusedHeadsError for an unknown sound.
    """
    track: list[tuple[str, float, float]] = []
    for ipa, start, end in phonemes:
        for symbol, a, b in _pieces(ipa, start, end):
            if symbol not in CLOSURE:
                track += [(symbol, a, b)] if b > a else []
                continue
            shut = max(a - CLOSURE[symbol], 0.0)
            if track:
                name, before, _ = track[-1]
                shut = max(shut, (before + a) / 2)
                track[-1] = (name, before, shut)
            track.append((symbol, shut, a))
            track += [("h", a, b)] if b > a else []
    return tuple(track)


def _smooth(track: np.ndarray) -> np.ndarray:
    sigma = SMOOTHING / 2.3548 / GRID
    radius = int(np.ceil(4 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    padded = np.pad(track, ((radius, radius), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, kernel / kernel.sum(), "valid") for column in padded.T], 1)


def mouth_track(phonemes: Phonemes, frames: int, fps: float = 25.0, articulation: Articulation = DRAWN) -> np.ndarray:
    """Mouth channels (frames, 5) float32 in the order of expression.MOUTH. Frame n is the moment (n + 0.5) / fps.

    phonemes: (IPA, start, end) in seconds, in order. Raises DiffusedHeadsError for an unknown sound.
    """
    times = np.arange(0.0, frames / fps + GRID, GRID)
    total = np.full((len(times), len(MOUTH)), 1e-6)
    mixed = np.zeros_like(total)
    for symbol, start, end in gestures(phonemes):
        viseme, (before, after) = articulation.visemes[symbol], articulation.reach(symbol)
        distance = np.maximum(start - times, 0.0) / before + np.maximum(times - end, 0.0) / after
        weight = np.exp(-distance)[:, None] * np.asarray(viseme.weight)
        total += weight
        mixed += weight * np.asarray(viseme.target)
    track = _smooth(mixed / total)
    moments = (np.arange(frames) + 0.5) / fps + articulation.lead
    return np.stack([np.interp(moments, times, column) for column in track.T], 1).astype(np.float32)


def phoneme_track(phonemes: Phonemes, frames: int, fps: float = 25.0) -> np.ndarray:
    """Index (frames,) int16 into SYMBOLS of the gesture at (n + 0.5) / fps; silence where there is none."""
    moments = (np.arange(frames) + 0.5) / fps
    track = np.full(frames, SYMBOLS.index(SILENCE), np.int16)
    for symbol, start, end in gestures(phonemes):
        track[(moments >= start) & (moments < end)] = SYMBOLS.index(symbol)
    return track
