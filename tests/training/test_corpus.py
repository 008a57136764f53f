from importlib.util import find_spec

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.data import shards
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.training.synthesis import corpus, speech
from diffused_heads.training.synthesis.expression import EXPRESSION, RANGES
from diffused_heads.training.synthesis.visemes import DRAWN, MEASURED, SYMBOLS, mouth_track
from diffused_heads.training.synthesis.voices import HELD_OUT_VARIANTS

pytestmark = pytest.mark.skipif(not speech.available(), reason="no espeak-ng library is installed")
repeatable = pytest.mark.skipif(not find_spec("espeakng_loader"), reason="a system library may refuse to unload")
SMALL = {"size": 32, "seconds": 0.6, "progress": False}


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(corpus, "CLIPS_PER_SHARD", 2)


def test_a_clip_holds_all_it_promises(tmp_path):
    data = corpus.synthesize(tmp_path, 1, seed=3, size=64, seconds=2.0, progress=False)
    clip = data.clip(0)
    assert clip.frames.shape == (50, 64, 64, 3) and clip.audio.shape == (32000,) and clip.sample_rate == 16000
    expected = {
        "pose": (5,),
        "expression": (12,),
        "landmarks": (68, 2),
        "lip_box": (4,),
        "mouth_open": (),
        "mouth_width": (),
        "phoneme": (),
    }
    assert {n: a.shape for n, a in clip.annotations.items()} == {n: (50, *s) for n, s in expected.items()}
    low, high = np.array([RANGES[name] for name in EXPRESSION], np.float32).T
    assert (clip.annotations["expression"] >= low).all() and (clip.annotations["expression"] <= high).all()
    assert clip.meta["phonemes"] == list(SYMBOLS) and clip.annotations["phoneme"].max() < len(SYMBOLS)
    assert (
        {*data.header["annotations"], "mesh"} == set(corpus.UNITS)
        and clip.meta["text"]
        and clip.meta["licence"] == "Apache-2.0"
    )
    assert np.abs(clip.audio).max() > 0.02


def test_the_picture_says_what_the_annotations_say(tmp_path):
    job = corpus.Job(seed=5, size=64, seconds=3.0, held_out=False)
    clip = corpus.make_clip(job, 0)
    notes = clip.annotations
    assert np.corrcoef(notes["expression"][:, 0], notes["mouth_open"])[0, 1] > 0.7
    lips = notes["landmarks"][:, 48:60]
    box = np.concatenate([lips.min(1), lips.max(1)], 1)
    assert np.abs(box - notes["lip_box"]).max() < 2.0


def test_the_mouth_is_open_when_vowels_sound():
    job = corpus.Job(seed=0, size=64, seconds=4.0, held_out=False)
    vowels = [SYMBOLS.index(s) for s in "ɛæaɑʌɐɔɒ"]
    shut = [SYMBOLS.index(s) for s in "_pbm"]
    heights = {True: [], False: []}
    for index in range(6):
        said, _ = corpus.utterance(job, index)
        mouth = corpus.mouth_track(said.phonemes, job.frames)
        names = corpus.phoneme_track(said.phonemes, job.frames)
        heights[True] += mouth[np.isin(names, vowels), 0].tolist()
        heights[False] += mouth[np.isin(names, shut), 0].tolist()
    assert np.mean(heights[True]) > 0.4 and np.mean(heights[False]) < 0.1


def test_avatars_speak_as_drawn_and_people_as_measured():
    for face_model, articulation in ((None, DRAWN), ("ict_face.npz", MEASURED)):
        job = corpus.Job(seed=0, size=64, seconds=1.5, held_out=False, face_model=face_model)
        said, _ = corpus.utterance(job, 0)
        expression, _ = corpus.performance(job, 0, said)
        expected = mouth_track(said.phonemes, job.frames, articulation=articulation)
        np.testing.assert_allclose(expression[:, :5], expected, atol=1e-6)


@repeatable
def test_clips_depend_on_seed_and_index_alone(tmp_path, small_shards):
    corpus.synthesize(tmp_path / "a", 3, seed=7, workers=1, **SMALL)
    corpus.make_clip(corpus.Job(1, 32, 0.6, False), 5)
    corpus.synthesize(tmp_path / "b", 3, seed=7, workers=1, **SMALL)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    job = corpus.Job(7, 32, 0.6, False)
    data = shards.Dataset(tmp_path / "a")
    np.testing.assert_array_equal(data.annotations(2)["landmarks"], corpus.make_clip(job, 2).annotations["landmarks"])


@repeatable
def test_two_workers_give_the_bytes_of_one(tmp_path):
    corpus.synthesize(tmp_path / "one", 65, seed=7, size=16, seconds=0.2, workers=1, progress=False)
    corpus.synthesize(tmp_path / "two", 65, seed=7, size=16, seconds=0.2, workers=2, progress=False)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@repeatable
def test_resuming_keeps_finished_shards_and_gives_the_same_bytes(tmp_path, small_shards):
    corpus.synthesize(tmp_path, 4, seed=1, workers=1, **SMALL)
    whole = contents(tmp_path)
    for name in ("shard-000001.json", "dataset.json"):
        (tmp_path / name).unlink()
    kept = (tmp_path / "shard-000000.tar").stat().st_mtime_ns
    corpus.synthesize(tmp_path, 4, seed=1, workers=1, **SMALL)
    assert contents(tmp_path) == whole and (tmp_path / "shard-000000.tar").stat().st_mtime_ns == kept


@repeatable
def test_a_corpus_can_be_made_longer_but_not_mixed(tmp_path, small_shards):
    corpus.synthesize(tmp_path / "a", 1, seed=1, workers=1, **SMALL)
    assert len(corpus.synthesize(tmp_path / "a", 3, seed=1, workers=1, **SMALL)) == 3
    corpus.synthesize(tmp_path / "b", 3, seed=1, workers=1, **SMALL)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    with pytest.raises(DiffusedHeadsError, match="made with other seed"):
        corpus.synthesize(tmp_path / "a", 3, seed=2, workers=1, **SMALL)


def test_held_out_clips_share_nothing_with_training():
    train, held = (corpus.Job(0, 32, 1.0, flag) for flag in (False, True))
    for index in range(40):
        assert corpus.sample_voice(held.stream(index, "voice"), True).variant in HELD_OUT_VARIANTS
        assert corpus.sample_voice(train.stream(index, "voice"), False).variant not in HELD_OUT_VARIANTS
    draws = [job.stream(i, "identity").random() for job in (train, held) for i in range(500)]
    assert len(set(draws)) == 1000 and train.key(1) != held.key(1)


def test_bad_values_are_all_reported(tmp_path):
    with pytest.raises(DiffusedHeadsError, match="size=8.*seconds=0"):
        corpus.synthesize(tmp_path, 1, size=8, seconds=0)
    with pytest.raises(DiffusedHeadsError, match="clips=0"):
        corpus.synthesize(tmp_path, 0)
