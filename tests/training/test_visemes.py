import numpy as np
import pytest

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.training.synthesis import visemes
from diffused_heads.training.synthesis.expression import MOUTH, RANGES
from diffused_heads.training.synthesis.visemes import (
    DRAWN,
    MEASURED,
    SYMBOLS,
    gestures,
    mouth_track,
    phoneme_track,
    symbols,
)

OPEN, WIDE, PRESS, TEETH, TONGUE = range(5)
both_articulations = pytest.mark.parametrize("articulation", [DRAWN, MEASURED], ids=["drawn", "measured"])


def spoken(*names, each=0.12):
    """A track of equally long sounds with 0.4 s of silence around."""
    times = 0.4 + each * np.arange(len(names) + 1)
    inner = [(n, float(a), float(b)) for n, a, b in zip(names, times[:-1], times[1:])]
    return [("_", 0.0, 0.4), *inner, ("_", float(times[-1]), float(times[-1]) + 0.4)]


def at(track, time, fps):
    return track[min(int(time * fps), len(track) - 1)]


@both_articulations
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_long_sound_reaches_its_target(symbol, articulation):
    track = mouth_track([(symbol, 0.0, 1.0)], 25, articulation=articulation)
    expected = articulation.visemes["_" if symbol == "h" else symbol].target
    if symbol in visemes.CLOSURE or symbol == "h":
        return
    np.testing.assert_allclose(track[12], expected, atol=0.02)


@both_articulations
@pytest.mark.parametrize("symbol", ["b", "m", "p"])
@pytest.mark.parametrize("shift", [0.0, 0.01, 0.02, 0.03])
def test_bilabials_shut_the_mouth_between_vowels(symbol, shift, articulation):
    # typical times: 120 ms vowels, 70 ms voiced closures, 40 ms after the burst of a p
    marks = np.cumsum([0.4 + shift, 0.12, 0.04 if symbol == "p" else 0.07, 0.12]).tolist()
    inner = [(n, a, b) for n, a, b in zip(("ɑ", symbol, "ɑ"), marks[:-1], marks[1:])]
    track = mouth_track([("_", 0.0, marks[0]), *inner, ("_", marks[-1], 1.2)], 30, articulation=articulation)
    assert track[:, PRESS].max() > 0.85 and track[track[:, PRESS].argmax(), OPEN] < (
        0.10 if articulation is DRAWN else 0.15
    )
    assert track[:, OPEN].max() > 0.6


def test_voiceless_stops_close_before_their_burst_and_voiced_ones_at_their_event():
    for symbol, early in (("p", 0.060), ("t", 0.050), ("k", 0.045), ("b", 0.0), ("m", 0.0)):
        moved = {name: start for name, start, _ in gestures(spoken("ɑ", symbol, "ɑ"))}
        assert moved[symbol] == pytest.approx(0.52 - early)
    names = [name for name, _, _ in gestures(spoken("ɑ", "p", "ɑ"))]
    assert names == ["_", "ɑ", "p", "h", "ɑ", "_"]


def test_a_closure_takes_at_most_half_of_the_sound_before():
    track = gestures([("ɑ", 0.0, 0.04), ("p", 0.04, 0.1)])
    assert track[0] == ("ɑ", 0.0, 0.02) and track[1] == ("p", 0.02, 0.04)


def test_gestures_cover_time_without_gaps():
    track = gestures(spoken("tʃ", "aɪ", "p", "dʒ", "t", "k", "aɪə", "m", each=0.05))
    assert [end for _, _, end in track[:-1]] == [start for _, start, _ in track[1:]]
    assert track[0][1] == 0 and track[-1][2] == pytest.approx(1.2)


@both_articulations
def test_open_follows_the_vowel_and_width_its_rounding(articulation):
    fps = 250.0
    peak = {v: mouth_track(spoken("h", v, each=0.2), 300, fps, articulation) for v in ("ɑ", "ɛ", "i", "u")}
    heights = [peak[v][:, OPEN].max() for v in ("ɑ", "ɛ", "i")]
    assert (
        heights == sorted(heights, reverse=True)
        and heights[0] > 0.85
        and heights[2] < (0.4 if articulation is DRAWN else 0.5)
    )
    assert peak["i"][:, WIDE].max() > 0.7 and peak["u"][:, WIDE].min() < -0.85


@both_articulations
def test_rounding_begins_before_the_rounded_vowel(articulation):
    track = mouth_track(spoken("s", "u", each=0.15), 275, 250.0, articulation)
    alone = mouth_track(spoken("s", "i", each=0.15), 275, 250.0, articulation)
    assert at(track, 0.53, 250)[WIDE] < at(alone, 0.53, 250)[WIDE] - 0.2


@both_articulations
def test_teeth_and_tongue(articulation):
    track = mouth_track(spoken("ɑ", "s", "ɑ", "θ", "ɑ", "f", "ɑ"), 400, 250.0, articulation)
    hiss, bite = (0.85, 0.75) if articulation is DRAWN else (0.75, 0.6)
    assert (
        at(track, 0.58, 250)[TEETH] > hiss and at(track, 0.82, 250)[TONGUE] > 0.8 and at(track, 1.06, 250)[TEETH] > bite
    )


def test_measured_mouths_open_before_the_sound_and_stay_open_in_short_pauses():
    said = [("_", 0.0, 0.4), ("ɑ", 0.4, 0.55), ("_", 0.55, 0.67), ("ɑ", 0.67, 0.8), ("_", 0.8, 2.0)]
    drawn, measured = (mouth_track(said, 500, 250.0, articulation)[:, OPEN] for articulation in (DRAWN, MEASURED))
    assert at(drawn, 0.34, 250) < 0.1 < 0.4 < at(measured, 0.34, 250)
    assert at(drawn, 0.61, 250) < 0.3 < 0.6 < at(measured, 0.61, 250)
    assert drawn[-1] < 0.01 and measured[-1] < 0.01, "at rest both are shut"


@both_articulations
def test_silence_shuts_softly(articulation):
    track = mouth_track(spoken("ɑ", each=0.3), 275, 250.0, articulation)[:, OPEN]
    after = track[175:]
    assert (
        after[-1] < 0.02
        and 0.1 < after[10] < (0.8 if articulation is DRAWN else 0.95)
        and (np.diff(after) <= 1e-6).all()
    )


@both_articulations
def test_frames_are_taken_at_their_middle(articulation):
    fine, coarse = (
        mouth_track(spoken("ɑ", "m", "i", "s"), n, fps, articulation) for n, fps in ((2560, 2000.0), (32, 25.0))
    )
    moments = np.round((np.arange(32) + 0.5) / 25 * 2000 - 0.5).astype(int)
    np.testing.assert_allclose(coarse, fine[moments], atol=0.02)


@both_articulations
def test_ranges_hold(articulation):
    rng = np.random.default_rng(0)
    names = [SYMBOLS[i] for i in rng.integers(len(SYMBOLS), size=200)]
    track = mouth_track(spoken(*names, each=0.06), 300, articulation=articulation)
    low, high = np.array([RANGES[name] for name in MOUTH], np.float32).T
    assert track.dtype == np.float32 and (track >= low).all() and (track <= high).all()


def test_unknown_sound_is_an_error():
    with pytest.raises(DiffusedHeadsError, match="phoneme 'ʘ'"):
        mouth_track([("ʘ", 0.0, 0.1)], 5)


def test_marks_and_compounds():
    assert (
        symbols("ˈoʊ") == ("o", "ʊ")
        and symbols("tʃ") == ("t", "ʃ")
        and symbols("ɑːɹ") == ("ɑ", "ɹ")
        and symbols("n̩") == ("n",)
    )
    assert symbols("") == ("_",)


def test_phoneme_track_names_what_the_mouth_does():
    track = phoneme_track(spoken("ɑ", "p", "i"), 30)
    assert track.dtype == np.int16
    assert [SYMBOLS[i] for i in track[[2, 10, 12, 14, 16, 25]]] == ["_", "ɑ", "p", "h", "i", "_"]
