"""Sound in blocks gives what the whole recording gives, no later than the stated look-ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.assets import PORTRAITS, RECORDINGS, bundled_file
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.media.audio import SAMPLE_RATE, Audio, load_audio, to_mono_16k
from diffused_heads.diffused_heads_core.media.mixdown import Leveller, Mixer, mix_channels, normalise_level
from diffused_heads.diffused_heads_core.media.noise import NoiseReducer, reduce_noise
from diffused_heads.diffused_heads_core.media.voice import AHEAD, CHUNK, Detector, Gate, find_voice
from diffused_heads.diffused_heads_core.motion import MotionOptions
from diffused_heads.diffused_heads_core.mouth import scene
from diffused_heads.diffused_heads_core.mouth.lip_shape import LipShape
from diffused_heads.diffused_heads_core.pipeline import animate, embed_speech
from diffused_heads.diffused_heads_core.speech_stream import SpeechStream
from diffused_heads.diffused_heads_core.streaming.head import TalkingStream, stream
from diffused_heads.diffused_heads_core.talking_head import TalkingHead, load_model

PORTRAIT, SPEECH = bundled_file(PORTRAITS), load_audio(bundled_file(RECORDINGS))


@pytest.fixture(scope="module")
def head() -> TalkingHead:
    return load_model(engine="pytorch")


def blocks(samples: np.ndarray, longest: int = 3000, seed: int = 0) -> Iterator[np.ndarray]:
    """Blocks of random lengths, none too, along the last axis."""
    rng, at = np.random.default_rng(seed), 0
    while at < samples.shape[-1]:
        size = int(rng.integers(0, longest))
        yield samples[..., at : at + size]
        at += size


def in_blocks(stage: Mixer | Leveller | NoiseReducer, samples: np.ndarray, longest: int = 3000) -> np.ndarray:
    return np.concatenate([*(stage.push(block) for block in blocks(samples, longest)), stage.finish()])


@pytest.mark.parametrize("length", [100, 513, 40_007])
@pytest.mark.parametrize("make, whole", [(Leveller, normalise_level), (NoiseReducer, reduce_noise)])
def test_levelling_and_weakening_noise_in_blocks_are_those_of_the_whole(
    length: int, make: type[Leveller] | type[NoiseReducer], whole: Callable[[np.ndarray], np.ndarray]
) -> None:
    mono = to_mono_16k(SPEECH)[:length]
    found = in_blocks(make(), mono, 400 if length < 1000 else 3000)
    np.testing.assert_allclose(found, whole(mono), atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_mixing_in_blocks_is_that_of_the_whole(rate: int) -> None:
    speech = SPEECH.samples[0, :30_011]
    both = np.stack([speech, 0.02 - 0.5 * speech]).astype(np.float32)
    found = in_blocks(Mixer(2, rate), both)
    np.testing.assert_allclose(found, np.concatenate(list(mix_channels(both, rate))), atol=1e-6)


def test_the_gate_in_blocks_is_that_of_the_whole_as_far_as_it_is_certain() -> None:
    mono = to_mono_16k(SPEECH)
    levelled = normalise_level(np.concatenate([mono[:50_000], np.zeros(30_000, np.float32), mono[50_000:90_007]]))
    voice, detector = find_voice(levelled), Detector.new()
    if voice is None or detector is None:
        pytest.skip("no voice detector")
    gate, given, at = Gate(detector), [], 0
    for block in blocks(levelled):
        gate.push(block)
        at += len(block)
        done = sum(map(len, given))
        end = int(min(gate.certain, at))
        given.append(gate.gain(done, max(done, end)))
        assert at - end <= (AHEAD + 2) * CHUNK or at < 2 * AHEAD * CHUNK
        gate.forget(end)
    gate.finish()
    given.append(gate.gain(sum(map(len, given)), len(levelled)))
    np.testing.assert_array_equal(np.concatenate(given), voice.gain())
    assert gate.voiced / gate.chunks == pytest.approx(voice.share)


@pytest.mark.parametrize("name", ["portrait", "human"])
@pytest.mark.parametrize("gated", [False, True])
def test_embeddings_of_blocks_are_those_of_the_whole(name: str, gated: bool) -> None:
    """With a voice gate after it has decided, without one as soon as they can be made."""
    model, speech = load_model(name, engine="pytorch"), SPEECH.samples[:, :80_011]
    audio = Audio(np.concatenate([speech, 0.01 - speech / 2]).astype(np.float32), SPEECH.sample_rate)
    sound, rows, count = SpeechStream(model, audio.sample_rate, 2, gated, exact=True), [], 0
    for block in blocks(audio.samples, 20_000):
        sound.push(block)
        rows.append(sound.embeddings(count, sound.rows) if sound.rows > count else torch.empty(0, rows_of(model)))
        count = sound.rows
        sound.forget(count)
    sound.finish()
    assert sound.rows == sound.frames and sound.frames > count
    found = torch.cat([*rows, sound.embeddings(count, sound.rows)])
    torch.testing.assert_close(found, embed_speech(model, audio, gated), atol=2e-5, rtol=1e-4)


def rows_of(model: TalkingHead) -> int:
    return model.config.audio.embedding


def test_frames_of_blocks_are_those_of_the_whole_within_the_stated_look_ahead(head: TalkingHead) -> None:
    audio = Audio(SPEECH.samples[:, : int(0.72 * SPEECH.sample_rate)], SPEECH.sample_rate)
    chance = MotionOptions(source="random")  # what is spoken live is not known in advance
    whole = list(animate(PORTRAIT, audio, head, voice_gate=False, seed=3, motion=chance).frames())
    talking = open_stream(head, voice_gate=False, seed=3)
    assert talking.look_ahead <= 0.25
    frames: list[np.ndarray] = []
    size = audio.sample_rate // 100
    for at in range(0, audio.samples.shape[1], size):
        frames += talking.push(audio.samples[0, at : at + size])
        known = min(at + size, audio.samples.shape[1]) / audio.sample_rate
        assert len(frames) >= int((known - talking.look_ahead) * talking.fps + 1e-6)
    frames += talking.finish()
    assert len(frames) == len(whole) == 18
    for found, expected in zip(frames, whole):
        np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)


def open_stream(model: TalkingHead, **settings: object) -> TalkingStream:
    return stream(PORTRAIT, SPEECH.sample_rate, model=model, **settings)  # type: ignore[arg-type]


def test_no_sound_after_the_look_ahead_matters(head: TalkingHead) -> None:
    """A frame is the same, whatever follows."""
    end, found = int(0.6 * SPEECH.sample_rate), []
    for following in (0.0, 1.0):
        talking = open_stream(head, voice_gate=False, whole_picture=False)
        talking.take(SPEECH.samples[0, :end])
        last = talking.ready - 1
        if following:
            talking.take(following * SPEECH.samples[0, end : 2 * end])
        found.append(talking.frame(last))
    np.testing.assert_array_equal(*found)


def test_integer_samples_count_as_floats_and_frames_may_be_left_out(head: TalkingHead) -> None:
    found = []
    for scale, kind in ((1, np.float32), (2**15, np.int16)):
        talking = open_stream(head, whole_picture=False)
        talking.take((SPEECH.samples[0, :16_000] * scale).astype(kind))
        assert talking.ready > 8
        found.append(talking.frame(8).astype(int))
        with pytest.raises(DiffusedHeadsError, match="not ready"):
            talking.frame(5)
        with pytest.raises(DiffusedHeadsError, match="not ready"):
            talking.frame(talking.ready)
    np.testing.assert_allclose(found[0], found[1], atol=2)


def test_an_idle_head_moves_and_keeps_its_mouth_shut(head: TalkingHead) -> None:
    """Silence goes on for longer than the motion that is made at once; what is kept of it does not grow."""
    talking, second = open_stream(head, whole_picture=False), np.zeros(SPEECH.sample_rate, np.float32)
    kept, frames = [], []
    for _ in range(62):
        talking.take(second)
        frames.append(talking.frame(talking.ready - 1))
        kept.append(len(talking.sound._sound))
    assert not talking.speaking and max(kept) < 2.5 * SAMPLE_RATE
    changes = [np.abs(b.astype(int) - a).mean() for a, b in pairwise(frames)]
    assert min(changes) > 0.05


def test_what_cannot_be_streamed_is_refused(head: TalkingHead) -> None:
    with pytest.raises(DiffusedHeadsError, match="paints the mouth alone"):
        open_stream(load_model("human", engine="pytorch"))
    with pytest.raises(DiffusedHeadsError, match="temperature"):
        open_stream(head, temperature=0.5)
    with pytest.raises(DiffusedHeadsError, match="sample rate"):
        stream(PORTRAIT, 0, model=head)
    talking = open_stream(head)
    with pytest.raises(DiffusedHeadsError, match=r"expected samples float32 \(1, k\)"):
        talking.take(np.zeros((2, 100), np.float32))
    with pytest.raises(DiffusedHeadsError, match="finite"):
        talking.take(np.full(100, np.nan))
    assert list(talking.finish()) == []
    with pytest.raises(DiffusedHeadsError, match="ended"):
        talking.take(np.zeros(100))


def test_the_lips_of_a_long_clip_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are computed some rows at a time."""
    lips = LipShape(8, 3, 2).requires_grad_(False)
    audio = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    for rows in (7, 49, 2048):
        monkeypatch.setattr(scene, "ROWS", rows)
        torch.testing.assert_close(scene.mouths_of(np.zeros((1, 468, 3)), lips, audio).shapes, lips(audio[None])[0])
