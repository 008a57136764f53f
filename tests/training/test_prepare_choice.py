"""Which clips are good enough, which person they show, and which are for validation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.training.preparation import quality
from diffused_heads.training.preparation.identities import ALIKE, AcceptedClip, group_of, identify, rule_for, split
from diffused_heads.training.preparation.settings import IDENTITY_RULES, Settings

RATE = 16000
GOOD = quality.Measures(
    enlarged=1.0, sharpness=0.3, yaw=0.0, outside=0.0, fresh=1.0, error=0.003, mouth=0.05, sync=0.5, lag=0, level=-12.0
)


def syllables(seconds: float, gain: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Sound whose loudness follows a mouth that opens irregularly, and that mouth at 25 frames/s."""
    frames = round(seconds * 25)
    mouth = 0.15 + 0.15 * np.sin(np.cumsum(np.random.default_rng(0).uniform(0.2, 1.3, frames)))
    envelope = np.interp(np.arange(frames * 640) / 640, np.arange(frames) + 0.5, mouth)
    return (gain * envelope * np.sin(np.arange(frames * 640) * 0.2)).astype(np.float32), mouth


def test_loudness_is_in_decibels_under_each_frame() -> None:
    sound = np.concatenate([np.zeros(640), np.full(640, 0.1), np.full(640, 1.0)]).astype(np.float32)
    np.testing.assert_allclose(quality.loudness(sound, 3, 25), [-100, -20, 0], atol=1e-4)
    assert quality.loudest(np.zeros(3200, np.float32)) == -100


@pytest.mark.parametrize(("gain", "fault"), [(0.3, None), (0.05, None), (0.0, "silent"), (3e-4, "silent")])
def test_faults_of_the_sound(gain: float, fault: str | None) -> None:
    sound, mouth = syllables(2, gain)
    assert quality.sound_fault(sound, quality.loudness(sound, len(mouth), 25)) == fault


def test_a_click_in_silence_is_no_speech() -> None:
    sound = np.zeros(3 * RATE, np.float32)
    sound[RATE : RATE + 400] = 0.5
    assert quality.sound_fault(sound, quality.loudness(sound, 75, 25)) == "silent"


def test_who_speaks() -> None:
    _, mouth = syllables(4)
    still, calm = np.full(100, 0.05), 0.05 + 0.2 * (mouth - mouth.mean())
    assert quality.speaker_fault(mouth, []) is None and quality.speaker_fault(mouth, [still, calm]) is None
    assert quality.speaker_fault(still, []) == "still" and quality.speaker_fault(calm, [mouth]) == "listener"
    assert quality.speaker_fault(mouth, [np.roll(mouth, 9)]) == "several"


@pytest.mark.parametrize(
    "worse",
    [
        {"enlarged": 1.6},
        {"sharpness": 0.02},
        {"yaw": -0.5},
        {"outside": 0.3},
        {"fresh": 0.5},
        {"error": 0.025},
        {"mouth": 0.012},
        {"sync": 0.0},
    ],
)
def test_every_measure_counts_in_the_score(worse: dict[str, float]) -> None:
    assert quality.score(GOOD) == 1.0 and 0 < quality.score(replace(GOOD, **worse)) < 0.95


def test_every_reason_is_explained() -> None:
    assert all(text and text[0].islower() for text in quality.REASONS.values())


def test_settings_report_everything_that_is_wrong() -> None:
    with pytest.raises(DiffusedHeadsError, match="size=17, expected an even number.*"):
        Settings(size=17)
    with pytest.raises(DiffusedHeadsError) as caught:
        Settings(size=4, fps=2, validation=0.9, identity_from="name")
    assert all(name in str(caught.value) for name in ("size=4", "fps=2", "validation=0.9", "identity_from='name'"))
    assert Settings(fps=30, seconds=2).longest_frames == 60 and Settings(shortest=0.5).fewest_frames == 12
    assert (
        set(Settings(validation=0.2).of_clips()) == set(Settings().of_clips())
        and Settings(size=64).of_clips() != Settings().of_clips()
    )


@pytest.mark.parametrize(
    ("rule", "name", "group"),
    [
        ("folder", "id1/a/x.mp4", "id1"),
        ("folder", "x.tar.mp4", "x.tar"),
        ("file", "id1/a/x.mp4", "id1/a/x"),
        ("prefix", "sub/1001_DFA_ANG.flv", "1001"),
        ("prefix", "anna 2.mp4", "anna"),
        ("prefix", "-odd.mp4", "-odd"),
    ],
)
def test_groups(rule: str, name: str, group: str) -> None:
    assert rule in IDENTITY_RULES and group_of(name, rule) == group


def test_auto_is_folder_where_there_are_several() -> None:
    assert rule_for(["a/x.mp4", "b/y.mp4"], "auto") == "folder" and rule_for(["a/x.mp4", "a/y.mp4"], "auto") == "file"
    assert rule_for(["x.mp4"], "auto") == "file" and rule_for(["a/x.mp4", "b/y.mp4"], "prefix") == "prefix"


def face(seed: int, noise: float = 0.0, at: int = 0) -> list[int]:
    rng = np.random.default_rng(seed)
    patch = rng.normal(size=256)
    patch += noise * np.random.default_rng([seed, at]).normal(size=256)
    return np.rint(1000 * patch / np.linalg.norm(patch)).astype(int).tolist()


def clip(source: str, key: str, patch: list[int], track: int = 0, first: int = 0, frames: int = 100) -> AcceptedClip:
    return AcceptedClip.of(source, {"key": key, "track": track, "first": first, "frames": frames, "look": patch})


def test_people_in_one_video_are_told_apart() -> None:
    clips = [
        clip("a.mp4", "k0", face(1)),
        clip("a.mp4", "k1", face(2), track=1),
        clip("a.mp4", "k2", face(1, 0.3, 2), track=2, first=100),
        clip("b.mp4", "k3", face(3)),
    ]
    people = identify(clips, "file", ["a.mp4", "b.mp4"])
    assert people.identity == {"k0": "a#1", "k1": "a#2", "k2": "a#1", "k3": "b"}
    assert len({people.family[k] for k in ("k0", "k1", "k2")}) == 1 and people.family["k3"] == "b"


def test_two_faces_at_once_are_two_people_however_alike() -> None:
    clips = [clip("a.mp4", "k0", face(1)), clip("a.mp4", "k1", face(1), track=1)]
    assert identify(clips, "file", ["a.mp4"]).identity == {"k0": "a#1", "k1": "a#2"}


@pytest.mark.parametrize(("rule", "found"), [("auto", "a#2"), ("folder", "a"), ("prefix", "a")])
def test_a_group_that_the_user_names_is_one_person_in_any_light(rule: str, found: str) -> None:
    clips = [clip("a/a-1.mp4", "k0", face(1)), clip("a/a-2.mp4", "k1", face(2)), clip("b/b-1.mp4", "k2", face(3))]
    people = identify(clips, rule, [each.source for each in clips])
    assert people.identity["k1"] == found and people.identity["k2"] == "b"


def test_two_faces_at_once_are_two_people_in_a_named_group() -> None:
    clips = [clip("a/1.mp4", "k0", face(1)), clip("a/1.mp4", "k1", face(1), track=1), clip("a/2.mp4", "k2", face(1))]
    people = identify(clips, "folder", [each.source for each in clips])
    assert people.identity == {"k0": "a#1", "k1": "a#2", "k2": "a#1"}


def test_the_same_footage_under_two_names_stays_together() -> None:
    clips = [clip("a.mp4", "k0", face(1)), clip("b.mp4", "k1", face(1, 0.05, 1)), clip("c.mp4", "k2", face(1, 2.0, 2))]
    people = identify(clips, "file", ["a.mp4", "b.mp4", "c.mp4"])
    assert people.family == {"k0": "a", "k1": "a", "k2": "c"} and people.alike == [("a", "b")] and 0.9 < ALIKE < 1


def many(count: int, frames: int = 100) -> list[AcceptedClip]:
    return [clip(f"p{n}/{m}.mp4", f"p{n}-{m}", face(n, 0.2, m), frames=frames) for n in range(count) for m in range(3)]


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3, 0.5])
def test_validation_takes_whole_families_and_about_its_share(share: float) -> None:
    clips = many(40)
    people = identify(clips, "auto", [each.source for each in clips])
    validation = split(clips, people, share)
    families = {people.family[key] for key in validation}
    assert all((people.family[each.entry["key"]] in families) == (each.entry["key"] in validation) for each in clips)
    assert abs(len(validation) / len(clips) - share) < 0.03
    assert split(list(reversed(clips)), people, share) == validation


def test_validation_of_few_people() -> None:
    pair = many(2)
    people = identify(pair, "folder", [each.source for each in pair])
    assert len(split(pair, people, 0.05)) == 3 and split(pair, people, 0) == set()
    alone = many(1)
    assert split(alone, identify(alone, "folder", [each.source for each in alone]), 0.2) == set()


def test_more_people_change_few_sides() -> None:
    few, more = many(40), many(44)
    names = [each.source for each in more]
    one, other = (split(clips, identify(clips, "folder", names), 0.2) for clips in (few, more))
    assert len(one - other) <= 6
