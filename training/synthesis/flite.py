"""A second speech engine, Flite: voices made from recordings of people, with the time of every phoneme.

Flite (Carnegie Mellon University, a BSD-like licence) is loaded at run time if the system has it (Debian:
``libflite1``), only to make training data for an audio encoder. espeak-ng synthesises its voices from formants; Flite's
sound more like people.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import lru_cache

import numpy as np

from ...diffused_heads_core.errors import DiffusedHeadsError
from .speech import SILENCE, Speech

VOICES = ("awb", "kal16", "rms", "slt")
BURST = 0.6  # share of a voiceless stop before its burst, at which espeak-ng lets the phoneme begin
_IPA = {
    "aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ax": "ə", "axr": "ɚ", "ay": "aɪ", "b": "b", "ch": "tʃ",
    "d": "d", "dh": "ð", "dx": "ɾ", "eh": "ɛ", "el": "l", "em": "m", "en": "n", "er": "ɚ", "ey": "eɪ", "f": "f",
    "g": "ɡ", "hh": "h", "hv": "h", "ih": "ɪ", "iy": "i", "jh": "dʒ", "k": "k", "l": "l", "m": "m", "n": "n",
    "ng": "ŋ", "nx": "n", "ow": "oʊ", "oy": "ɔɪ", "p": "p", "pau": SILENCE, "r": "ɹ", "s": "s", "sh": "ʃ",
    "ssil": SILENCE, "t": "t", "th": "θ", "uh": "ʊ", "uw": "u", "v": "v", "w": "w", "y": "j", "z": "z", "zh": "ʒ",
}  # fmt: skip
_MISSING = (
    "the speech engine Flite is missing: expected the system's libflite with its cmu_us voices "
    "(Debian and Ubuntu: apt install libflite1)"
)


class _Wave(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    ]


class _Voice(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("features", ctypes.c_void_p)]


_SIGNATURES = {
    "flite_synth_text": (ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_void_p)),
    "utt_wave": (ctypes.POINTER(_Wave), (ctypes.c_void_p,)),
    "utt_relation": (ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_char_p)),
    "relation_head": (ctypes.c_void_p, (ctypes.c_void_p,)),
    "item_next": (ctypes.c_void_p, (ctypes.c_void_p,)),
    "item_feat_float": (ctypes.c_float, (ctypes.c_void_p, ctypes.c_char_p)),
    "item_feat_string": (ctypes.c_char_p, (ctypes.c_void_p, ctypes.c_char_p)),
    "delete_utterance": (None, (ctypes.c_void_p,)),
    "flite_feat_set_float": (None, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float)),
}


@lru_cache
def _engine() -> tuple[ctypes.CDLL, dict[str, int]]:
    """The library and its voices."""
    try:
        files = {
            name: ctypes.CDLL(_file(name), mode=getattr(ctypes, "RTLD_GLOBAL", 0))
            for name in ("flite", "flite_usenglish", "flite_cmulex", *(f"flite_cmu_us_{voice}" for voice in VOICES))
        }
    except OSError as error:
        raise DiffusedHeadsError(f"{_MISSING} ({error})") from None
    library = files["flite"]
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.flite_init()
    voices = {}
    for voice in VOICES:
        register = getattr(files[f"flite_cmu_us_{voice}"], f"register_cmu_us_{voice}")
        register.restype, register.argtypes = ctypes.c_void_p, (ctypes.c_char_p,)
        voices[voice] = register(None)
    return library, voices


def _file(name: str) -> str:
    found = ctypes.util.find_library(name)
    if found is None:
        raise DiffusedHeadsError(_MISSING)
    return found


def available() -> bool:
    """Whether Flite and its voices are installed."""
    try:
        return bool(_engine())
    except DiffusedHeadsError:
        return False


def speak(text: str, voice: str = "slt", stretch: float = 1.0) -> Speech:
    """Speak a text; a ``stretch`` above 1 is slower. Phonemes are timed as in ``speech.speak``.

    Raises DiffusedHeadsError for an unknown voice, and if the engine is missing.
    """
    if voice not in VOICES:
        raise DiffusedHeadsError(f"voice={voice!r}: expected one of {', '.join(VOICES)}")
    library, voices = _engine()
    library.flite_feat_set_float(_Voice.from_address(voices[voice]).features, b"duration_stretch", stretch)
    utterance = library.flite_synth_text(text.encode(), voices[voice])
    try:
        wave = library.utt_wave(utterance).contents
        samples = np.ctypeslib.as_array(wave.samples, (wave.num_samples,)).astype(np.float32) / 32768
        return Speech(
            samples, wave.sample_rate, _timed(_segments(library, utterance), wave.num_samples / wave.sample_rate)
        )
    finally:
        library.delete_utterance(utterance)


def _segments(library: ctypes.CDLL, utterance: int) -> list[tuple[str, float]]:
    """Flite's names of the phonemes and their ends in seconds."""
    item, found = library.relation_head(library.utt_relation(utterance, b"Segment")), []
    while item:
        found.append((library.item_feat_string(item, b"name").decode(), float(library.item_feat_float(item, b"end"))))
        item = library.item_next(item)
    return found


def _timed(segments: list[tuple[str, float]], seconds: float) -> tuple[tuple[str, float, float], ...]:
    """Flite's segments as (IPA, start, end) that cover the sound; a voiceless stop begins at its burst."""
    track: list[tuple[str, float, float]] = []
    start = 0.0
    for name, end in segments:
        end = min(end, seconds)
        ipa, begins = _IPA[name], start
        if ipa in ("p", "t", "k") and track:
            begins = start + BURST * (end - start)
            track[-1] = (*track[-1][:2], begins)
        if end > begins:
            track.append((ipa, begins, end))
        start = end
    return (*track[:-1], (*track[-1][:2], seconds)) if track else ((SILENCE, 0.0, seconds),)
