"""Clips: the same as the core's, batched, seeded, in the host's layout; progress, preview and interruption."""

from __future__ import annotations

import sys
from fractions import Fraction
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.placing import Placing
from diffused_heads.diffused_heads_core.motion import MotionOptions
from diffused_heads.diffused_heads_core.pose import HeadGeometry
from diffused_heads.diffused_heads_core.talking_head import TalkingHead
from diffused_heads.nodes.sockets import AudioEmbedding, Identity, Sampling


@pytest.fixture
def sampler(host: SimpleNamespace) -> ModuleType:
    """The node's module."""
    host.node("sampler", "DiffusedHeadsSampler")
    return sys.modules["diffused_heads.nodes.sampler"]


@pytest.fixture
def identity(host: SimpleNamespace, head: TalkingHead, portraits: torch.Tensor) -> Identity:
    take_identity = host.node("identity", "take_identity")
    return take_identity(portraits, head.config, Placing("whole"), lambda: pytest.fail("a face was looked for"))[0]


@pytest.fixture
def embedding(host: SimpleNamespace, head: TalkingHead, speech: dict[str, Any]) -> AudioEmbedding:
    return host.node("audio", "encode")(head, "tiny", host.node("audio", "trim")(speech, 0.0, 0.2))


def test_clips_come_at_the_asked_rate(
    sampler: ModuleType, head: TalkingHead, identity: Identity, embedding: AudioEmbedding
) -> None:
    """0.2 s of speech at 30000/1001 frames/s are six frames, the core's at that rate."""
    options, fps = head.options(seed=7), Fraction(30000, 1001)
    clips = sampler.sample_clips(head, identity, embedding, options, MotionOptions(), fps=fps)
    wanted = list(head.generate(identity.pictures, embedding.frames, options, fps=fps, frames=6))
    assert torch.equal(torch.stack(clips, 1), sampler.uint8_to_image(np.stack(wanted)))


def test_clips_are_those_of_the_core(
    sampler: ModuleType, head: TalkingHead, identity: Identity, embedding: AudioEmbedding
) -> None:
    options, motion = head.options(seed=7), MotionOptions(head=0.5)
    clips = sampler.sample_clips(head, identity, embedding, options, motion)
    assert [tuple(c.shape) for c in clips] == [(5, 32, 32, 3)] * 2 and clips[0].dtype == torch.float32
    assert float(torch.stack(clips).min()) >= 0 and float(torch.stack(clips).max()) <= 1
    for picture, clip in zip(identity.pictures, clips):
        alone = (
            np.stack(list(head.generate(picture, embedding.frames, options, motion=motion))).astype(np.float32) / 255
        )
        assert np.abs(alone - clip.numpy()).max() < 1.5 / 255
    again = sampler.sample_clips(head, identity, embedding, options, motion)
    assert all(torch.equal(a, b) for a, b in zip(clips, again))
    other = sampler.sample_clips(head, identity, embedding, head.options(seed=8), motion)
    assert not torch.equal(clips[0], other[0]) and not torch.equal(clips[0], clips[1])


def test_inference_mode_changes_nothing(
    sampler: ModuleType, head: TalkingHead, identity: Identity, embedding: AudioEmbedding
) -> None:
    options = head.options(seed=7)
    with torch.inference_mode():
        inside = sampler.sample_clips(head, identity, embedding, options, MotionOptions())
    assert torch.equal(inside[0], sampler.sample_clips(head, identity, embedding, options, MotionOptions())[0])


def test_half_precision_stays_near(
    sampler: ModuleType, head: TalkingHead, identity: Identity, embedding: AudioEmbedding
) -> None:
    options = head.options(seed=7)
    exact = sampler.sample_clips(head, identity, embedding, options, MotionOptions())
    near = sampler.sample_clips(head.to(dtype=torch.bfloat16), identity, embedding, options, MotionOptions())
    assert 0 < float((exact[0] - near[0]).abs().mean()) < 0.02


def test_what_was_made_for_another_model_is_refused(
    sampler: ModuleType, head: TalkingHead, identity: Identity, embedding: AudioEmbedding
) -> None:
    sampler.check_match(head, "tiny", identity, embedding)
    with pytest.raises(DiffusedHeadsError, match="made by tiny, the sampler's model is other"):
        sampler.check_match(head, "other", identity, embedding)
    with pytest.raises(DiffusedHeadsError, match="64 px, tiny has 32 px"):
        larger = Identity(
            np.zeros((1, 64, 64, 3), np.uint8), torch.zeros(1, 64, 64, 3), (), torch.zeros(1, 64, 64), HeadGeometry()
        )
        sampler.check_match(head, "tiny", larger, embedding)


def execute(
    host: SimpleNamespace, head: TalkingHead, identity: Identity, embedding: AudioEmbedding, **more: Any
) -> tuple:
    model = SimpleNamespace(head=head, name="tiny", patcher="patcher")
    return host.node("sampler", "DiffusedHeadsSampler").execute(model, identity, embedding, 7, **more).args


def test_the_node_reports_every_step_and_shows_frames(
    host: SimpleNamespace, head: TalkingHead, identity: Identity, embedding: AudioEmbedding
) -> None:
    pil = pytest.importorskip("PIL.Image")
    images, fps = execute(host, head, identity, embedding)
    assert [tuple(i.shape) for i in images] == [(5, 32, 32, 3)] * 2 and fps == 25.0
    assert [(value, total) for value, total, _ in host.progress] == [(n, 10) for n in range(1, 11)]
    kind, picture, _ = next(preview for _, _, preview in host.progress if preview)
    assert kind == "JPEG" and isinstance(picture, pil.Image) and picture.size == (768, 384)
    assert host.loaded == [["patcher"]]


def test_the_last_step_of_a_frame_shows_that_frame(
    host: SimpleNamespace, head: TalkingHead, identity: Identity, embedding: AudioEmbedding
) -> None:
    pil = pytest.importorskip("PIL.Image")
    images, _ = execute(host, head, identity, embedding, options=Sampling({"steps": 1}))
    frames = (np.concatenate([i[0].numpy() for i in images], 1) * 255).round().astype(np.uint8)
    enlarged = pil.fromarray(frames).resize((768, 384), pil.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(host.progress[0][2][1]), np.asarray(enlarged))


@pytest.mark.parametrize("after", [0, 3])
def test_interruption_comes_within_a_step(
    host: SimpleNamespace, head: TalkingHead, identity: Identity, embedding: AudioEmbedding, after: int
) -> None:
    pytest.importorskip("PIL.Image")
    host.stop_at = after
    with pytest.raises(host.Stop):
        execute(host, head, identity, embedding)
    assert len(host.progress) == after
    host.stop_at, host.progress = None, []
    assert len(execute(host, head, identity, embedding)[0]) == 2


def options_of(host: SimpleNamespace, **changes: Any) -> Sampling:
    """What Sampling Options gives for its defaults but for these changes."""
    node = host.node("sampling_options", "SamplingOptionsNode")
    defaults = {socket.id: socket.default for socket in node.define_schema().inputs}
    return node.execute(**{**defaults, **changes}).args[0]


def test_sampling_options_reach_the_frames(
    host: SimpleNamespace, head: TalkingHead, identity: Identity, embedding: AudioEmbedding
) -> None:
    """The defaults change nothing; custom denoising, frame rate, guidance and motion are the core's."""
    plain, _ = execute(host, head, identity, embedding)
    same, fps = execute(host, head, identity, embedding, options=options_of(host))
    assert all(torch.equal(a, b) for a, b in zip(plain, same)) and fps == 25
    asked = {"denoising": "custom", "sampler": "ancestral", "steps": 3, "temperature": 1.0, "motion_anchor": 0.0}
    options = options_of(host, **asked, fps=29.97, guidance=2.0, head_motion=0.5)
    images, fps = execute(host, head, identity, embedding, options=options)
    wanted = head.generate(
        identity.pictures,
        embedding.frames,
        head.options(sampler="ancestral", steps=3, temperature=1.0, motion_anchor=0.0, guidance=2.0, seed=7),
        motion=MotionOptions(head=0.5),
        fps=Fraction(30000, 1001),
        frames=6,
    )
    assert fps == 30000 / 1001
    assert np.array_equal((torch.stack(images, 1) * 255).round().byte().numpy(), np.stack(list(wanted)))


def test_values_that_are_not_used_are_named_on_the_node(host: SimpleNamespace) -> None:
    assert "steps" not in options_of(host, steps=9, motion_anchor=0.3).changes
    assert host.shown.pop("7") == "not used while denoising is automatic: steps, motion anchor"
    options_of(host, denoising="custom", steps=9)
    options_of(host)
    assert not host.shown
