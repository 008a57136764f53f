"""The benchmark of real people: its figures, two-sample test, words and report on known answers."""

from __future__ import annotations

import json
import math
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.media.audio import from_waveform
from diffused_heads.training.synthesis import speech
from diffused_heads.training.synthesis.voices import Voice

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import mouth_sheets
import phones
import photographs
import reenactment_clips
import reenactment_figures
import reenactment_report
import two_sample
from reenactment_clips import Clip, Seen

FRAMES = 60


def talking(seed: int = 0, late: int = 0, gain: float = 1.0) -> Seen:
    """Landmarks of a face whose lower lip, chin and mouth corners move at random, and eyes that stay open."""
    marks = np.zeros((FRAMES, 68, 2))
    marks[:, 36:42], marks[:, 42:48] = (132, 100), (196, 100)
    marks[:, 30:36] = 164, 130
    marks[:, :17, 0] = np.linspace(110, 218, 17)
    marks[:, :17, 1] = 210 - np.abs(np.linspace(-80, 80, 17))
    moves = np.random.default_rng(seed).normal(size=(3, FRAMES + 10))
    opening, width, jaw = np.roll(0.5 + gain * 0.2 * moves, late, 1)[:, 5 : 5 + FRAMES]
    angle = math.pi + np.arange(12) * math.pi / 6
    marks[:, 48:60] = np.stack([164 + 26 * np.cos(angle), 160 + 14 * np.sin(angle)], 1)
    marks[:, 48, 0] -= 5 * width
    marks[:, 60:68] = np.stack([164 + 18 * np.cos(angle[:8]), np.full(8, 160)], 1)
    marks[:, 61:64, 1] -= 2
    marks[:, 65:68, 1] += 10 * np.maximum(opening, 0)[:, None]
    marks[:, 8, 1] += 5 * jaw
    return Seen(np.concatenate([marks, np.zeros((FRAMES, 68, 1))], 2), np.full(FRAMES, 1.0))


def pictures(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (FRAMES, 300, 330, 3), dtype=np.uint8)


def pair(person: str, true: Seen, found: Seen, frames: np.ndarray, made: np.ndarray) -> reenactment_figures.Pair:
    one = reenactment_figures.pair_of(person, person, Fraction(25), frames, made, true, found)
    one.row.update(reenactment_figures.movement(true, found, 300, one.fps))
    return one


def test_the_true_clip_itself_has_the_best_figures() -> None:
    true, frames = talking(), pictures()
    one = pair("a", true, true, frames, frames)
    for name in ("r", "width r", "jaw r", "gain", "found"):
        assert one.row[name] == pytest.approx(1)
    assert (one.row["lag"], one.row["lmd"]) == (0, 0)
    assert reenactment_figures.looks(one) == pytest.approx(
        {"mouth sharp": 1, "flicker": 1, "lip dE": 0, "inside dE": 0}
    )
    assert reenactment_figures.closing(true, true, [(3, 5)])["closed"] == 1


def test_lag_and_gain_of_a_late_timid_mouth() -> None:
    found = reenactment_figures.movement(talking(), talking(late=2, gain=0.5), 300, Fraction(25))
    assert found["lag"] == 2
    assert found["r"] > 0.98 and found["width r"] > 0.98 and found["jaw r"] > 0.98
    assert abs(found["r at lag 0"]) < 0.4
    assert found["gain"] == pytest.approx(0.5, abs=0.06)


def test_looks_of_a_blurred_and_redder_mouth() -> None:
    true, frames = talking(), pictures() // 2 + 50
    worse = np.stack([cv2.blur(frame, (3, 3)) for frame in frames])
    worse[..., 0] += 30
    found = reenactment_figures.looks(pair("a", true, true, frames, worse))
    assert found["mouth sharp"] < 0.3
    # noise behind a Gaussian of variance 1, and behind one and a box of variance 2/3 together
    assert found["flicker"] == pytest.approx(math.sqrt(1 / (1 + 2 / 3)), abs=0.08)
    assert found["lip dE"] > 10 and found["inside dE"] > 10


def test_other_clips_neither_agree_nor_look_alike() -> None:
    pairs = [pair(str(n), talking(n), talking(n), pictures(n), pictures(n)) for n in range(3)]
    reenactment_figures.compare_clips(pairs)
    for each in pairs:
        assert abs(each.row["shuffled"]) < 0.3 and abs(each.row["true shuffled"]) < 0.3
        assert each.row["identity"] > each.row["other identity"]


def test_a_mouth_that_never_closes() -> None:
    true, found = talking(), talking()
    found.marks[:, 65:68, 1] += 10
    assert reenactment_figures.closing(true, found, [])["closed"] == 0
    assert math.isnan(reenactment_figures.closing(true, found, [])["pbm"])
    assert "pbm" not in reenactment_figures.closing(true, found, None)


def textures(seed: int, count: int = 60, blur: int = 1) -> np.ndarray:
    """Random pictures of person ``seed`` % 10: noise, which may be blurred, on that person's colour."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 40, (count, 32, 48, 3)) + np.random.default_rng(seed % 10).uniform(100, 150, 3)
    return np.stack([cv2.blur(each, (blur, blur)) for each in np.clip(noise, 0, 255)]).astype(np.uint8)


def test_a_network_tells_blurred_pictures_of_people_it_has_not_seen() -> None:
    true = {str(n): textures(n) for n in range(3)}
    blurred = {str(n): textures(10 + n, blur=3) for n in range(3)}
    found = two_sample.accuracies(true, blurred, steps=80)
    assert set(found) == {"0", "1", "2"} and min(found.values()) > 0.9


def test_a_network_cannot_tell_pictures_of_one_kind() -> None:
    true, made = ({str(n): textures(10 * k + n) for n in range(3)} for k in range(2))
    found = two_sample.accuracies(true, made, steps=40)
    assert np.mean(list(found.values())) == pytest.approx(0.5, abs=0.1)


def test_the_higher_half_counts_as_generated() -> None:
    low, high = np.arange(4.0), np.arange(10.0, 14.0)
    assert two_sample.halved_accuracy(low, high) == 1
    assert two_sample.halved_accuracy(low[:2], high) == 1
    assert two_sample.halved_accuracy(high, low) == 0
    assert two_sample.halved_accuracy(np.zeros(5), np.zeros(9)) == 0.5


def test_each_person_is_judged_once_by_others() -> None:
    people = [str(n) for n in range(12)]
    parts = list(two_sample.folds(people))
    assert len(parts) == 5 and sorted(p for _, judged in parts for p in judged) == sorted(people)
    assert all(
        set(learned) | set(judged) == set(people) and not set(learned) & set(judged) for learned, judged in parts
    )
    assert two_sample.accuracies({"a": textures(0)}, {"a": textures(1)}) == {}


def test_mouths_are_judged_at_half_the_size_of_the_crops() -> None:
    one = pair("a", talking(), talking(), pictures(), pictures())
    one.true_faces.crops[:, ::2, ::2] = 100
    one.true_faces.crops[:, 1::2] = 200
    one.true_faces.crops[:, ::2, 1::2] = 0
    found = reenactment_figures.mouths_of(one.true_faces)
    assert found.shape == (FRAMES, 32, 48, 3) and (found == 125).all()


def test_words_of_grid_clips_and_of_text_files(tmp_path: Path) -> None:
    assert phones.words_of(Path("bbaf2n.mpg")) == "bin blue at f two now"
    assert phones.words_of(Path("swiz3n.mpg")) == "set white in z three now"
    assert phones.words_of(Path("lrwzzp.mpg")) == "lay red with z zero please"
    assert phones.words_of(Path("lrwwzp.mpg")) is None  # the corpus has no letter w
    assert phones.words_of(Path("video.mp4")) is None
    (tmp_path / "video.txt").write_text("Maybe, BABY!", encoding="utf-8")
    assert phones.words_of(tmp_path / "video.mp4") == "maybe baby"


@pytest.mark.skipif(not (phones.can_align() and speech.available()), reason="needs PocketSphinx and espeak-ng")
def test_phones_are_where_the_speech_engine_put_them() -> None:
    said = speech.speak("bin blue by m seven please", Voice("en-us", "m3"))
    sound = from_waveform(said.samples[None], speech.SAMPLE_RATE)
    spoken = [(start + end) / 2 for phone, start, end in said.phonemes if phone[:1] in ("b", "p", "m")]
    found = [sum(times) / 2 for times in phones.bilabials(sound, "bin blue by m seven please")]
    assert found == pytest.approx(spoken, abs=0.08)
    assert phones.bilabials(sound, "bin xqzzt") == []


def test_clips_by_person(tmp_path: Path) -> None:
    for name in ("ann/b.mp4", "ann/a.mpg", "ann/deep/c.mov", "bob/x.mp4", "alone.webm", "bob/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [(person, path.name) for person, path in reenactment_clips.find_clips(tmp_path, 2)]
    assert found == [("alone", "alone.webm"), ("ann", "a.mpg"), ("ann", "b.mp4"), ("bob", "x.mp4")]
    with pytest.raises(DiffusedHeadsError, match="expected clips"):
        reenactment_clips.find_clips(tmp_path / "deep")


def test_true_clips_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(reenactment_clips, "see", lambda frames, finder: read.append(len(frames)) or talking())
    path = tmp_path / "a.mp4"
    path.write_bytes(b"clip")
    sound = from_waveform(np.zeros((1, 16000), np.float32), 16000)
    clip = Clip(path, "a", np.zeros((FRAMES, 16, 16, 3), np.uint8), Fraction(25), sound)
    found = [reenactment_clips.see_once(clip, None, tmp_path / "kept") for _ in range(2)]  # type: ignore[arg-type]
    assert read == [FRAMES] and np.array_equal(found[0].marks, found[1].marks)
    path.write_bytes(b"another clip")
    reenactment_clips.see_once(clip, None, tmp_path / "kept")  # type: ignore[arg-type]
    assert len(read) == 2


def test_mouth_sheets_are_at_three_times_the_pictures() -> None:
    marks, frames = talking().marks, pictures()
    assert mouth_sheets.shown(60) == [0, 8, 17, 25, 34, 42, 51, 59]
    size = round(3 * 1.4 * 64)
    sheet = mouth_sheets.mouth_rows([(frames, marks), (frames, marks)])
    assert sheet.shape == pytest.approx((2 * size, 8 * size, 3), abs=16)
    assert mouth_sheets.stacked([sheet, sheet[:, :50]]).shape == (4 * size, sheet.shape[1], 3)


def test_figures_of_a_photograph_that_repeats_itself() -> None:
    marks = np.repeat(talking().marks[:1], 7, 0)
    found = photographs.figures(np.repeat(pictures()[:1], 7, 0), marks)
    best = {"moves": 0, "mouth sharp": 1, "flicker": 0, "lip dE": 0, "identity": 1, "found": 1}
    assert {name: found[name] for name in best} == pytest.approx(best, abs=1e-3)


def test_report_is_over_people() -> None:
    rows = [{"person": p, "clip": f"{p}{n}", "r": r} for p, n, r in (("a", 1, 0.5), ("a", 2, 0.7), ("b", 1, 0.9))]
    found = reenactment_report.summary(rows)
    assert found["mean"]["r"]["mean"] == pytest.approx(0.75)
    assert 0.5 <= found["mean"]["r"]["low"] < 0.75 < found["mean"]["r"]["high"] <= 0.9
    assert [person["r"] for person in found["people"]] == pytest.approx([0.6, 0.9])
    settings = {"model": "human", "sha256": "0" * 64, "seconds": 3.0, "seed": 0, "data": "x", "clips": rows}
    text = reenactment_report.document({**settings, **found})
    assert "3 clips of 2 people" in text and "| `r`" in text and "| a      | 0.60" in text
    assert json.dumps(reenactment_report.for_json({"x": [float("nan"), 1.0]})) == '{"x": [null, 1.0]}'


def test_every_figure_is_explained() -> None:
    legend = " ".join(reenactment_report.LEGEND.split())
    assert not [name for name in reenactment_report.FORMS if name != "r at lag 0" and f"`{name}`" not in legend]
