"""Several heads in one picture: each is what it is alone, none damages another, and numbers, sound and words agree."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode does not
from hard_inputs import save_tiny

from diffused_heads import animate, animate_several
from diffused_heads.diffused_heads_core.assets import ASSETS
from diffused_heads.diffused_heads_core.conversation.animation import Conversation
from diffused_heads.diffused_heads_core.conversation.compositing import GroupCompositor, separated_mask
from diffused_heads.diffused_heads_core.conversation.heads import find_heads
from diffused_heads.diffused_heads_core.conversation.sound import channels_of, mixed
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.alignment import align, crop, head_mask, square_placement
from diffused_heads.diffused_heads_core.face.finder import Face, Search, stable_points
from diffused_heads.diffused_heads_core.face.placing import Placing
from diffused_heads.diffused_heads_core.media.audio import Audio, load_audio
from diffused_heads.diffused_heads_core.media.video import read_video
from diffused_heads.diffused_heads_core.pipeline import embed_speech
from diffused_heads.diffused_heads_core.pose import HeadGeometry
from diffused_heads.diffused_heads_core.talking_head import TalkingHead, load_model

RATE, GEOMETRY = 16000, HeadGeometry()
PICTURE = np.random.default_rng(0).integers(0, 256, (60, 150, 3)).astype(np.uint8)
BOXES = [(0.2, 0.5, 0.9), (0.8, 0.5, 0.9)]  # 54 px at both ends of the picture, 36 px between them


def sound(seconds: float, pitch: float, name: str = "sound", rate: int = RATE) -> Audio:
    time = np.arange(round(seconds * rate)) / rate
    wave = 0.4 * np.sin(2 * np.pi * pitch * time) * (0.6 + 0.4 * np.sin(25 * time))
    return Audio(wave.astype(np.float32)[None], rate, name)


LONG, SHORT = sound(0.4, 180, "ada.wav"), sound(0.24, 300, "omar.wav")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TalkingHead:
    return load_model(save_tiny(tmp_path_factory.mktemp("model") / "tiny.safetensors"), "cpu")


def face(x: float, y: float, half: float) -> Face:
    """A face whose eyes are ``half`` left and right of (x, y) and whose nose is ``half`` below."""
    points = np.array([(x - half, y), (x + half, y), (x, y + half), (x, y + 2 * half), (x, y), (x, y)], float)
    return Face((x - 2 * half, y - half, x + 2 * half, y + 3 * half), 0.9, points)


def test_unknown_engines_are_refused(tmp_path: Path) -> None:
    path = save_tiny(tmp_path / "tiny.safetensors")
    with pytest.raises(DiffusedHeadsError, match="engine='abacus': expected one of auto, pytorch, openvino"):
        animate_several(PICTURE, {1: LONG}, path, boxes=BOXES, device="cpu", engine="abacus")


FACES = [face(75, 20, 8), face(120, 22, 6), face(25, 24, 5)]  # largest first, as the finder gives them


class Finder:
    """Stands for face analysis."""

    def search(self, picture: np.ndarray) -> Search:
        return Search(FACES, ("the whole picture",), 0.9)


def talk(model: TalkingHead, recordings, **changes) -> Conversation:
    return animate_several(PICTURE, recordings, model, **{"boxes": BOXES, "voice_gate": False, **changes})


# Each head as if it were alone


@pytest.mark.parametrize("fps", [None, 30])
def test_two_heads_give_the_frames_of_each_alone_side_by_side(model: TalkingHead, fps: int | None) -> None:
    both = list(talk(model, {1: LONG, 2: LONG}, seed=5, fps=fps).frames())
    alone = [
        list(
            animate(
                PICTURE, LONG, model, placing=Placing("box", 0, *box), seed=5 + k, fps=fps, voice_gate=False
            ).frames()
        )
        for k, box in enumerate(BOXES)
    ]
    assert len(both) == len(alone[0]) == (10 if fps is None else 12)
    for together, left, right in zip(both, *alone):
        assert np.array_equal(together[:, :75], left[:, :75]) and np.array_equal(together[:, 75:], right[:, 75:])
    assert not np.array_equal(alone[0][-1], PICTURE) and not np.array_equal(alone[1][-1], PICTURE)


def test_nothing_outside_the_heads_changes(model: TalkingHead) -> None:
    conversation = talk(model, {1: LONG, 2: SHORT}, boxes=[(0.3, 0.5, 1.0), (0.55, 0.5, 1.0)])
    masks = [head_mask(head.placement, 60, 150, GEOMETRY) for head in conversation.heads]
    outside = np.maximum(*masks) == 0
    last = list(conversation.frames())[-1]
    assert outside.mean() > 0.3 and np.array_equal(last[outside], PICTURE[outside])
    assert (last[~outside] != PICTURE[~outside]).any()


def test_a_head_does_not_depend_on_what_others_say(model: TalkingHead) -> None:
    one = list(talk(model, {1: LONG, 2: sound(0.4, 90)}).frames())[-1]
    other = list(talk(model, {1: LONG}).frames())[-1]
    assert np.array_equal(one[:, :75], other[:, :75]) and not np.array_equal(one[:, 75:], other[:, 75:])


# Who says what, and for how long


def test_after_its_recording_a_head_gets_silence(model: TalkingHead) -> None:
    conversation = talk(model, {1: LONG, 2: SHORT})
    said = conversation.moving[2].embeddings
    assert len(conversation) == len(said) == 10 and conversation.audio.samples.shape == (1, 6400)
    silence = talk(model, {1: LONG}).moving[2].embeddings
    np.testing.assert_allclose(said[-1], silence[-1], atol=1e-4)
    assert abs(said[0] - silence[0]).max() > 1e-3
    np.testing.assert_allclose(said[:2], embed_speech(model, SHORT, voice_gate=False)[:2], atol=1e-6)


def test_heads_without_a_recording_listen_calmly_or_stay_still(model: TalkingHead) -> None:
    listening = talk(model, {2: LONG})
    assert set(listening.moving) == {1, 2} and listening.moving[1].motion.head < listening.moving[2].motion.head
    assert listening.roles() == ["head 1 at 0.20 0.50: listens", "head 2 at 0.80 0.50: speaks ada.wav"]
    still = talk(model, {2: LONG}, others="still")
    assert np.array_equal(list(still.frames())[-1][:, :75], PICTURE[:, :75]) and "head 1" in still.roles()[0]
    assert still.roles()[0].endswith(": still")
    assert list(still.moving) == [2] and still.moving[2].options.seed == listening.moving[2].options.seed == 1


def test_channels_are_spoken_from_left_to_right(model: TalkingHead, tmp_path: Path) -> None:
    stereo = Audio(np.concatenate([LONG.samples, sound(0.4, 300).samples]), RATE, "talk.wav")
    conversation = talk(model, stereo)
    for number, channel in enumerate(stereo.samples, 1):
        alone = embed_speech(model, Audio(channel[None], RATE), voice_gate=False)
        np.testing.assert_array_equal(conversation.moving[number].embeddings, alone)
    assert conversation.audio is stereo and conversation.roles()[0].endswith("speaks talk.wav, left channel")
    assert conversation.write(tmp_path / "talk.mp4") == 10
    video = read_video(tmp_path / "talk.mp4")
    assert video.audio.channels == 2 and len(list(video.frames)) == 10


def test_a_silent_channel_listens(model: TalkingHead, caplog: pytest.LogCaptureFixture) -> None:
    half = Audio(np.concatenate([LONG.samples, 0 * LONG.samples]), RATE, "talk.wav")
    with caplog.at_level(logging.WARNING):
        assert talk(model, half).roles()[1].endswith("listens")
    assert "talk.wav, right channel: silent, head 2 listens" in caplog.text


def test_faces_are_counted_from_left_to_right() -> None:
    model = type("Config", (), {"frame_size": 32, "geometry": GEOMETRY})
    heads = find_heads(PICTURE, model, finder=Finder)
    for head, index in zip(heads, (2, 0, 1), strict=True):
        np.testing.assert_allclose(head.placement.matrix, align(stable_points(FACES[index])).matrix)


def test_frames_are_made_one_by_one(model: TalkingHead) -> None:
    steps: list[tuple[int, int]] = []
    frames = talk(model, {1: LONG, 2: SHORT}, steps=2).frames(lambda frame, step, x0: steps.append((frame, step)))
    next(frames)
    next(frames)
    assert steps == [(frame, step) for frame in range(4) for step in range(2)]


# Heads that overlap

NEAR = [square_placement(10, 0, 60), square_placement(40, 5, 50)]


def test_masks_of_near_heads_add_up_to_one_at_most() -> None:
    alone = [head_mask(placement, 60, 150, GEOMETRY) for placement in NEAR]
    masks = [separated_mask(PICTURE, k, NEAR, GEOMETRY) for k in (0, 1)]
    assert np.add(*alone).max() > 1.5 and np.add(*masks).max() <= 1 + 1e-6
    assert all((mask <= whole).all() for mask, whole in zip(masks, alone))
    for mask, placement in zip(masks, NEAR):  # full at the middle of each face
        x, y = placement.to_picture(np.array(GEOMETRY.centre)).astype(int)
        assert mask[y, x] == 1
    assert separated_mask(PICTURE, 0, [NEAR[0], square_placement(90, 0, 50)], GEOMETRY) is None


def test_a_head_is_not_damaged_by_what_the_square_next_to_it_shows() -> None:
    smooth = np.repeat(np.linspace(60, 180, 150)[None, :, None], 60, 0).repeat(3, 2).astype(np.uint8)
    calm, wild = crop(smooth, NEAR[0], 32), np.random.default_rng(1).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    pasted = GroupCompositor(smooth, NEAR, GEOMETRY).paste([calm, wild])
    points = np.stack(np.meshgrid(np.arange(150) + 0.5, np.arange(60) + 0.5), -1)
    radii = [np.linalg.norm((p.to_frame(points) - GEOMETRY.centre) / GEOMETRY.radii, axis=-1) for p in NEAR]
    first = (radii[0] < 1) & (radii[0] < radii[1] - 0.2)
    assert first.sum() > 400 and abs(pasted[first].astype(int) - smooth[first]).max() <= 2
    assert abs(pasted[radii[1] < 0.4].astype(int) - smooth[radii[1] < 0.4]).mean() > 20
    beside_still = GroupCompositor(smooth, NEAR[1:], GEOMETRY, still=NEAR[:1]).paste([wild])
    assert abs(beside_still[first].astype(int) - smooth[first]).max() <= 2
    swapped = GroupCompositor(smooth, NEAR[::-1], GEOMETRY).paste([wild, calm])
    assert abs(swapped.astype(int) - pasted).max() <= 1


# The sound


def test_recordings_are_added_at_the_highest_rate_with_the_most_channels() -> None:
    stereo = Audio(np.array([[0.25] * 400, [0.5] * 400], np.float32), 8000)
    mono = Audio(np.zeros((1, 1600), np.float32), RATE)
    total = mixed([stereo, mono])
    assert total.sample_rate == RATE and total.samples.shape == (2, 1600)
    np.testing.assert_allclose(total.samples[:, 300], [0.25, 0.5], atol=0.01)
    assert not total.samples[:, 1000:].any()
    same_rate = mixed([LONG, SHORT]).samples
    np.testing.assert_allclose(same_rate[0, :3840], LONG.samples[0, :3840] + SHORT.samples[0], atol=1e-3)


def test_a_mix_stays_within_full_scale_and_one_recording_stays_as_it_is() -> None:
    loud = Audio(np.full((1, 1600), 0.8, np.float32) * np.sin(np.arange(1600)).astype(np.float32), RATE)
    assert mixed([loud]) is loud
    doubled = mixed([loud, loud]).samples
    assert abs(doubled).max() == 1
    np.testing.assert_allclose(doubled / abs(doubled).max(), loud.samples / abs(loud.samples).max(), atol=1e-5)


@pytest.mark.parametrize(
    ("samples", "words"),
    [(LONG.samples, "found one"), (np.concatenate([LONG.samples, LONG.samples]), "the same sound")],
)
def test_one_voice_is_not_split(samples: np.ndarray, words: str) -> None:
    with pytest.raises(DiffusedHeadsError, match=words):
        channels_of(Audio(samples, RATE, "talk.wav"))


def test_a_voice_in_both_channels_moves_the_mouth_of_the_louder_one_alone() -> None:
    """Two people take turns; each microphone also gets the other's voice, 15 dB quieter, late, and from the walls."""
    voices = [load_audio(ASSETS / f"speech-{name}.wav", 0.3, 4) for name in ("weather", "welcome")]
    rate, late = voices[0].sample_rate, voices[0].sample_rate // 250
    first = np.arange(4 * rate) < 2 * rate
    turns = [voices[0].samples[0, : 4 * rate] * first, voices[1].samples[0, : 4 * rate] * ~first]
    walls = np.random.default_rng(0).standard_normal(rate // 4) * np.exp(-np.arange(rate // 4) / (0.04 * rate))
    room = np.concatenate([np.zeros(late), [1], 0.5 * walls / np.linalg.norm(walls)])
    heard = [0.18 * np.convolve(turn, room)[: 4 * rate] for turn in turns]
    stereo = np.stack([turns[0] + heard[1], turns[1] + heard[0]]).astype(np.float32)
    for channel, turn, bleed in zip(channels_of(Audio(stereo, rate)), turns, heard[::-1], strict=True):
        powers = [float((samples**2).sum()) for samples in (channel.samples[0] - turn, bleed)]
        assert powers[0] < 0.05 * powers[1]
    together = np.stack([voice.samples[0, : 4 * rate] for voice in voices])
    for channel, samples in zip(channels_of(Audio(together, rate)), together, strict=True):
        assert np.array_equal(channel.samples[0], samples)


# Errors in words


@pytest.mark.parametrize(
    ("recordings", "changes", "words"),
    [
        ({3: LONG}, {}, "head 3 is not in the picture: found 2 heads \\(1 at 0.20 0.50, 2 at 0.80 0.50"),
        ({4: LONG, 5: LONG}, {"boxes": (), "finder": Finder}, "head 4, 5 is not in the picture: found 3 heads"),
        ({0: LONG}, {}, "head 0"),
        ({}, {}, "found none"),
        ({1: None}, {}, "found none"),
        ({1: LONG}, {"others": "sleep"}, "others='sleep'"),
        ({1: sound(0.1, 200, "a.wav")}, {}, "a.wav: 0.100 s"),
        ({1: LONG}, {"detail": 2}, "detail=2"),
        ({1: LONG}, {"boxes": (), "finder": Finder, "margin": 9}, "margin=9"),
    ],
)
def test_what_is_wrong_is_said(model: TalkingHead, recordings: dict, changes: dict, words: str) -> None:
    with pytest.raises(DiffusedHeadsError, match=words):
        talk(model, recordings, **changes)


def test_numbers_are_drawn_into_the_picture(model: TalkingHead) -> None:
    drawn = talk(model, {1: LONG}).numbered_picture()
    assert drawn.shape == PICTURE.shape and (drawn[:, :75] != PICTURE[:, :75]).any()
    assert (drawn[:, 75:] != PICTURE[:, 75:]).any() and not np.shares_memory(drawn, PICTURE)
