"""Speech with the time of every phoneme, from espeak-ng through its C interface.

espeak-ng is a separate program under the GPL; it is loaded at run time, only to make training corpora. The engine keeps
state between sentences (flutter, noise, echo) and seeds its noise with the time of day. Every call therefore loads a
fresh copy and sets the seed, so that the same text and voice always give the same samples. This holds for the library
of espeakng-loader. A system library that refuses to unload keeps its state, and one older than 1.52 has no seed: both
change flutter and noise, but no timing.
"""

from __future__ import annotations

import _ctypes
import ctypes
import ctypes.util
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...diffused_heads_core.errors import DiffusedHeadsError
from .voices import ACCENTS, Voice

SILENCE = "_"
SAMPLE_RATE = 22050

_SYNCHRONOUS, _PHONEME_EVENTS, _IPA, _DONT_EXIT = 2, 0x0001, 0x0002, 0x8000
_EVENT_END, _EVENT_PHONEME = 0, 7
_RATE, _PITCH, _RANGE = 1, 3, 4
_UTF8, _CHARACTERS = 1, 1
_MISSING = (
    'the speech engine espeak-ng is missing: expected a loadable library; run: pip install "diffused-heads[train]"'
)


class _Name(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Name),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Speech:
    """samples: (n,) float32 mono in -1..1; phonemes: (IPA without stress marks, start, end) in seconds.

    The phonemes cover the whole sound without gaps; pauses are the phoneme SILENCE.
    """

    samples: np.ndarray
    sample_rate: int
    phonemes: tuple[tuple[str, float, float], ...]

    @property
    def seconds(self) -> float:
        """Length of the sound in seconds."""
        return len(self.samples) / self.sample_rate

    def fit(self, seconds: float) -> Speech:
        """The same speech, cut or followed by silence, in exactly round(seconds * sample_rate) samples."""
        count = round(seconds * self.sample_rate)
        samples = np.pad(self.samples[:count], (0, max(0, count - len(self.samples))))
        phonemes = [(name, start, min(end, seconds)) for name, start, end in self.phonemes if start < seconds]
        if self.seconds < seconds:
            phonemes.append((SILENCE, self.seconds, seconds))
        return Speech(samples, self.sample_rate, tuple(phonemes))


def _library_files() -> tuple[str, str | None]:
    """Path or name of the library and, unless built in, its data folder."""
    try:
        import espeakng_loader

        return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
    except ImportError:
        found = ctypes.util.find_library("espeak-ng")
        if found is None:
            raise DiffusedHeadsError(_MISSING) from None
        return found, None


def available() -> bool:
    """Whether a usable espeak-ng library is installed."""
    try:
        with _engine():
            return True
    except DiffusedHeadsError:
        return False


def version() -> str:
    """Version of the espeak-ng library in use, such as "1.52.0"; raises DiffusedHeadsError if there is none."""
    with _engine() as library:
        return library.espeak_Info(None).decode()


def _unload(library: ctypes.CDLL) -> None:
    unload = getattr(_ctypes, "dlclose", None) or _ctypes.FreeLibrary
    unload(library._handle)


@contextmanager
def _engine() -> Iterator[ctypes.CDLL]:
    """A freshly loaded and initialised library, unloaded on exit."""
    path, data = _library_files()
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise DiffusedHeadsError(f"{_MISSING} ({error})") from None
    library.espeak_Info.restype = ctypes.c_char_p
    options = _PHONEME_EVENTS | _IPA | _DONT_EXIT
    try:
        rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode() if data else None, options)
        if rate != SAMPLE_RATE:
            raise DiffusedHeadsError(f"espeak-ng at {path}: expected {SAMPLE_RATE} Hz, found {rate}")
        if hasattr(library, "espeak_ng_SetRandSeed"):  # since 1.52
            library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        yield library
    finally:
        library.espeak_Terminate()
        _unload(library)


def _select(library: ctypes.CDLL, voice: Voice) -> None:
    if library.espeak_SetVoiceByName(f"{ACCENTS[voice.accent]}+{voice.variant}".encode()):
        raise DiffusedHeadsError(f"voice {voice}: this espeak-ng has no such accent")
    data = ctypes.c_char_p()
    library.espeak_Info(ctypes.byref(data))
    # For an unknown variant the engine silently speaks with its plain voice.
    if not (Path(data.value.decode()) / "voices" / "!v" / voice.variant).is_file():
        raise DiffusedHeadsError(f"voice {voice}: this espeak-ng has no such variant")
    for parameter, value in ((_RATE, voice.rate), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range)):
        library.espeak_SetParameter(parameter, value, 0)


def _collect(library: ctypes.CDLL, text: str) -> tuple[np.ndarray, list[tuple[str, int]]]:
    """Samples (n,) int16 of one text, and its phonemes as espeak-ng names them, with their first samples."""
    blocks: list[np.ndarray] = []
    events: list[tuple[str, int]] = []

    def receive(samples: ctypes._Pointer, count: int, event: ctypes._Pointer) -> int:
        if samples and count > 0:
            blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        position = 0
        while event[position].type != _EVENT_END:
            if event[position].type == _EVENT_PHONEME:
                events.append((event[position].id.string.decode(), event[position].sample))
            position += 1
        return 0

    callback = _Callback(receive)
    library.espeak_SetSynthCallback(callback)
    encoded = text.encode()
    library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded) + 1), 0, _CHARACTERS, 0, _UTF8, None, None)
    return (np.concatenate(blocks) if blocks else np.zeros(0, np.int16)), events


def _timed(events: list[tuple[str, int]], count: int) -> tuple[tuple[str, float, float], ...]:
    starts = [(SILENCE, 0)] + [(plain(name) or SILENCE, min(sample, count)) for name, sample in events]
    ends = [sample for _, sample in starts[1:]] + [count]
    return tuple(
        (name, start / SAMPLE_RATE, end / SAMPLE_RATE) for (name, start), end in zip(starts, ends) if end > start
    )


def plain(ipa: str) -> str:
    """An IPA phoneme without stress, length, tie and syllable marks."""
    return "".join(c for c in ipa if c not in "ˈˌːˑ:͡‿.|-'\u0329\u032f\u0361\u02b0\u0303\u032a\u0325\u02b2")


def speak(text: str, voice: Voice) -> Speech:
    """Speak a text; the result depends only on text, voice and library (see the top of the module for exceptions).

    Raises DiffusedHeadsError if the library or the voice is missing, or the text contains no sound.
    """
    with _engine() as library:
        _select(library, voice)
        samples, events = _collect(library, text)
    if not any(plain(name) for name, _ in events):
        raise DiffusedHeadsError(f"text {text!r}: expected something to say, espeak-ng found no sound in it")
    return Speech((samples / 32768.0).astype(np.float32), SAMPLE_RATE, _timed(events, len(samples)))


def pause(seconds: float) -> Speech:
    """Silence of the given length."""
    count = round(seconds * SAMPLE_RATE)
    return Speech(np.zeros(count, np.float32), SAMPLE_RATE, ((SILENCE, 0.0, count / SAMPLE_RATE),) if count else ())


def join(parts: Sequence[Speech]) -> Speech:
    """The parts, which share one sample rate, one after the other, with their phonemes."""
    phonemes: list[tuple[str, float, float]] = []
    offset, rate = 0, parts[0].sample_rate if parts else SAMPLE_RATE
    for part in parts:
        shift = offset / rate
        phonemes += [(name, start + shift, end + shift) for name, start, end in part.phonemes]
        offset += len(part.samples)
    samples = np.concatenate([part.samples for part in parts]) if parts else np.zeros(0, np.float32)
    return Speech(samples, rate, tuple(phonemes))


def recite(
    script: Iterable[str | float], speak: Callable[[str], Speech], pause: Callable[[float], Speech], seconds: float
) -> tuple[Speech, list[str]]:
    """As much of a script (``text.script``) as fills ``seconds``, exactly that long, and the texts that were spoken.

    speak: speaks a text; pause: makes silence of so many seconds, at the same sample rate.
    """
    parts: list[Speech] = []
    texts, length = [], 0.0
    for item in script:
        if length >= seconds:
            break
        parts.append(pause(item) if isinstance(item, float) else speak(item))
        texts += [] if isinstance(item, float) else [item]
        length += parts[-1].seconds
    return join(parts).fit(seconds), texts
