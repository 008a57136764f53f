"""When /p/, /b/ and /m/ are spoken, by forced alignment with PocketSphinx (``pip install pocketsphinx``; optional).

The words come from a text file beside the clip (NAME.txt), or from the clip's name if it is one of the GRID corpus,
whose names code six words: "bbaf2n" is "bin blue at f two now" (Cooke et al. 2006).
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from diffused_heads.diffused_heads_core.media.audio import SAMPLE_RATE, Audio, to_mono_16k

BILABIALS = ("P", "B", "M")
PHONE_RATE = 100  # of the aligner's frames, per second
DIGITS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
GRID_WORDS: tuple[dict[str, str], ...] = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"},
    {"z": "zero", **{str(n): word for n, word in enumerate(DIGITS, 1)}},
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)


def words_of(clip: Path) -> str | None:
    """The words of a clip in lower case, None if they are not known."""
    text = clip.with_suffix(".txt")
    if text.is_file():
        return " ".join(re.findall(r"[a-z']+", text.read_text(encoding="utf-8").lower())) or None
    code = clip.stem
    if len(code) != len(GRID_WORDS) or any(c not in words for c, words in zip(code, GRID_WORDS)):
        return None
    return " ".join(words[c] for c, words in zip(code, GRID_WORDS))


def can_align() -> bool:
    """Whether PocketSphinx is installed."""
    return find_spec("pocketsphinx") is not None


def bilabials(audio: Audio, words: str) -> list[tuple[float, float]]:
    """Start and end in seconds of each /p/, /b/ and /m/; none if the words do not fit the sound or are unknown ones.

    Call it only if ``can_align()``.
    """
    import pocketsphinx

    decoder = pocketsphinx.Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")
    sound = np.int16(np.clip(to_mono_16k(audio), -1, 1) * 32767).tobytes()
    try:
        decoder.set_align_text(words)
        _decode(decoder, sound)
        if decoder.hyp() is None:
            return []
        decoder.set_alignment()
        _decode(decoder, sound)
    except RuntimeError:
        return []
    phones = [phone for word in decoder.get_alignment() or () for phone in word]
    spans = [(phone.start, phone.start + phone.duration) for phone in phones if phone.name in BILABIALS]
    return [(start / PHONE_RATE, end / PHONE_RATE) for start, end in spans]


def _decode(decoder, sound: bytes) -> None:  # type: ignore[no-untyped-def]
    decoder.start_utt()
    decoder.process_raw(sound, full_utt=True)
    decoder.end_utt()
