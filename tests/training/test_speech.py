import hashlib
import time
from itertools import cycle, pairwise

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.training.synthesis import speech, text, visemes
from diffused_heads.training.synthesis.voices import (
    ACCENTS,
    FEMALE_VARIANTS,
    HELD_OUT_VARIANTS,
    MALE_VARIANTS,
    Voice,
    sample_voice,
)

needs_engine = pytest.mark.skipif(not speech.available(), reason="no espeak-ng library is installed")
VARIANTS = FEMALE_VARIANTS + MALE_VARIANTS + HELD_OUT_VARIANTS
HISS = 4000  # Hz; most of an s lies above, most of a vowel below


def digest(said):
    return hashlib.sha256(said.samples.tobytes()).hexdigest()


def high_share(samples, rate, time, window=0.008):
    """Share of the energy above HISS in a window centred at a time."""
    middle, half = round(time * rate), round(window * rate / 2)
    spectrum = np.abs(np.fft.rfft(samples[middle - half : middle + half] * np.hanning(2 * half), 1024)) ** 2
    frequencies = np.fft.rfftfreq(1024, 1 / rate)
    return spectrum[frequencies > HISS].sum() / spectrum.sum()


@needs_engine
def test_samples_and_phonemes_cover_the_same_time():
    said = speech.speak("The puppy sees my mother.", Voice("en-us", "m3"))
    assert said.samples.dtype == np.float32 and 0.05 < np.abs(said.samples).max() <= 1.0
    starts = [start for _, start, _ in said.phonemes]
    ends = [end for _, _, end in said.phonemes]
    assert starts[0] == 0 and ends[-1] == pytest.approx(said.seconds) and starts[1:] == ends[:-1]
    assert [name for name, _, _ in said.phonemes if name != speech.SILENCE][:7] == ["ð", "ə", "p", "ʌ", "p", "i", "s"]


@needs_engine
@pytest.mark.parametrize("variant", ["m3", "f2", "klatt2", "Andy"])
def test_hiss_ends_where_the_phoneme_says(variant):
    said = speech.speak("sigh. saw. sir. sad. sum.", Voice("en-us", variant, rate=140))
    errors = []
    for (name, _, boundary), (following, _, _) in pairwise(said.phonemes):
        if name != "s" or following == speech.SILENCE:
            continue
        times = np.arange(boundary - 0.04, boundary + 0.04, 0.001)
        share = np.array([high_share(said.samples, said.sample_rate, t) for t in times])
        assert share[0] > 0.5 > share[-1]
        errors.append(abs(times[np.argmax(share < 0.5)] - boundary))
    assert len(errors) == 5 and max(errors) < 0.010


@needs_engine
def test_a_sentence_does_not_depend_on_what_was_said_before():
    pytest.importorskip("espeakng_loader", reason="a system library may refuse to unload")
    voice = Voice("en-gb", "f2", rate=150)
    first = speech.speak("She sells sea shells.", voice)
    speech.speak("Hello there, a long way to go!", Voice("en-us", "croak", rate=200, pitch=80))
    time.sleep(1.1)  # the engine's own seed is the second of its start
    assert digest(first) == digest(speech.speak("She sells sea shells.", voice))


@needs_engine
@pytest.mark.parametrize(("accent", "variant"), list(zip(cycle(ACCENTS), VARIANTS)))
def test_every_voice_speaks_with_known_sounds(accent, variant):
    said = speech.speak("My thumb, vision.", Voice(accent, variant))
    assert np.abs(said.samples).max() > 0.05
    assert len(visemes.gestures(said.phonemes)) > 8


@needs_engine
@pytest.mark.parametrize("accent", ACCENTS)
def test_every_word_has_visemes_in_every_accent(accent):
    for words in text.WORDS.values():
        said = speech.speak(", ".join(words) + ", 1 2 3 4 5 6 7 8 9 10 11 12 13 20 1999", Voice(accent))
        visemes.gestures(said.phonemes)


@needs_engine
def test_every_voice_sounds_different():
    assert len({digest(speech.speak("So we move.", Voice("en-us", name))) for name in VARIANTS}) == len(VARIANTS)


@needs_engine
def test_unknown_variant_is_an_error():
    with pytest.raises(DiffusedHeadsError, match="no such variant"):
        speech.speak("Hello", Voice("en-us", "nobody"))


@needs_engine
def test_nothing_to_say_is_an_error():
    with pytest.raises(DiffusedHeadsError, match="something to say"):
        speech.speak("", Voice())


def test_missing_library_names_the_remedy(monkeypatch):
    monkeypatch.setattr(speech, "_library_files", lambda: ("no-such-library", None))
    with pytest.raises(DiffusedHeadsError, match=r'pip install "diffused-heads\[train\]"'):
        speech.speak("Hello", Voice())
    assert not speech.available()


def test_bad_voice_reports_everything():
    with pytest.raises(DiffusedHeadsError, match="accent 'xx'.*rate=5 .*pitch=100 "):
        Voice("xx", "m1", rate=5, pitch=100)


def test_join_and_fit():
    said = speech.Speech(np.ones(22050, np.float32), 22050, (("a", 0.0, 0.4), ("m", 0.4, 1.0)))
    both = speech.join([speech.pause(0.5), said])
    assert both.phonemes == (("_", 0.0, 0.5), ("a", 0.5, 0.9), ("m", 0.9, 1.5)) and not both.samples[:11025].any()
    assert both.fit(1.0).phonemes[-1] == ("m", 0.9, 1.0) and len(both.fit(1.0).samples) == 22050
    assert both.fit(2.0).phonemes[-1] == ("_", 1.5, 2.0) and len(both.fit(2.0).samples) == 44100


def test_held_out_voices_never_train():
    held, train = set(HELD_OUT_VARIANTS), {*FEMALE_VARIANTS, *MALE_VARIANTS}
    assert len(held) == 4 and len(train) == 57 and not held & train
    rng = np.random.default_rng(0)
    assert {sample_voice(rng, held_out=True).variant for _ in range(200)} == held
    assert {sample_voice(rng).variant for _ in range(2000)} == train


def test_script_is_seeded_and_varied():
    def first(seed, count=400):
        return [item for item, _ in zip(text.script(np.random.default_rng(seed)), range(count))]

    assert first(1) == first(1) != first(2)
    assert all(isinstance(item, float) for item in first(3)[::2]) and all(
        isinstance(item, str) for item in first(3)[1::2]
    )
    assert len(set(first(3)[1::2])) > 150 and not any(c in item for item in first(3)[1::2] for c in "{}_")


def test_every_template_and_list_is_used():
    slots = {t.split("}")[0] for line in text.TEMPLATES for t in line.split("{")[1:]}
    assert slots == set(text.WORDS) | {"number"}
