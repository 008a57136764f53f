"""The frame loop: the reference clip, motion queue, audio window, and randomness that depends on nothing but seed and
frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from diffused_heads.diffused_heads_core import generator
from diffused_heads.diffused_heads_core.conditioning import spatial_inputs, to_gray, window_frames
from diffused_heads.diffused_heads_core.config import AudioConfig, FeatureGroup, ModelConfig, SpatialInput, UNetConfig
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.generator import (
    COLOUR_MEMORY,
    ColourLock,
    SamplingOptions,
    SeededNoise,
    sample_frames,
)
from diffused_heads.diffused_heads_core.motion import MotionTrack
from diffused_heads.diffused_heads_core.samplers import SAMPLERS
from diffused_heads.diffused_heads_core.schedule import NoiseSchedule
from diffused_heads.diffused_heads_core.unet import UNet

DATA = Path(__file__).resolve().parents[1] / "data"
SPATIAL = (SpatialInput("motion", 6), SpatialInput("identity", 3))
REFERENCE = ModelConfig(
    audio=AudioConfig(embedding=32),
    unet=UNetConfig(
        image_size=32, model_channels=32, res_blocks=1, head_channels=16, features=(FeatureGroup("audio", 32),)
    ),
)
RECORDED = ModelConfig(
    audio=AudioConfig(embedding=1),
    unet=UNetConfig(
        image_size=16,
        model_channels=32,
        channel_mult=(1,),
        head_channels=32,
        prediction="x0",
        learned_variance=False,
        spatial=SPATIAL,
        features=(FeatureGroup("audio", 1),),
    ),
)


def reference_unet() -> UNet:
    unet, tensors = UNet(REFERENCE.unet).eval(), load_file(DATA / "unet_middle_attention_rgb.safetensors")
    unet.load_state_dict({n.removeprefix("weight."): t.float() for n, t in tensors.items() if n.startswith("weight.")})
    return unet


class Recorder:
    """Stands for a network: remembers its inputs and predicts frames of brightness 0.1, 0.2, ... one by one."""

    def __init__(self, config: ModelConfig = RECORDED):
        self.config, self.calls = config.unet, []

    def __call__(
        self, x_t: Tensor, t: Tensor, spatial: dict[str, Tensor], features: dict[str, Tensor]
    ) -> tuple[Tensor, None]:
        self.calls.append((t.tolist(), spatial, features["audio"]))
        return torch.full_like(x_t, 0.1 * len(self.calls)), None


class Tape:
    """The reference's noise."""

    def __init__(self, x_t: Tensor, noise: Tensor):
        self.x_t, self.noise = x_t, noise

    def draw(self, frame: int, streams: Sequence[int]) -> Tensor:
        return torch.stack([self.noise[frame, s - 1] if s else self.x_t[frame] for s in streams])[:, None]


def clip(unet: UNet, config: ModelConfig, identity: Tensor, audio: Tensor, **more) -> Tensor:
    """All frames of a clip: (N, B, 3, S, S)."""
    return torch.stack(list(sample_frames(unet, config, identity, audio, **more)))


def reference_clip() -> tuple[Tensor, Tensor]:
    """The frames that are generated, and those of the reference: (4, 3, 32, 32) each."""
    vector = load_file(DATA / "sampler_ancestral_10_steps.safetensors")
    found = clip(
        reference_unet(),
        REFERENCE,
        vector["identity"],
        vector["audio"],
        options=SamplingOptions("ancestral", 10),
        noise=Tape(vector["x_T"], vector["noise"]),
    )
    return found[:, 0], vector["frames"]


def test_the_reference_clip() -> None:
    found, want = reference_clip()
    assert (found - want).abs().max() < 1e-3


def test_the_reference_clip_with_its_own_betas(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference's tables are float32, its first beta 5e-4 off: with those betas nothing but rounding is left."""
    vector = load_file(DATA / "sampler_ancestral_10_steps.safetensors")
    schedule = NoiseSchedule(vector["betas"].double().numpy(), vector["timesteps"].numpy())
    monkeypatch.setattr(generator, "noise_schedule", lambda name, timesteps: schedule)
    found, want = reference_clip()
    assert (found - want).abs().max() < 1e-4


def test_audio_windows_repeat_the_clips_ends() -> None:
    want = [[0, 0, 0, 1, 2], [0, 0, 1, 2, 3], [0, 1, 2, 3, 3], [1, 2, 3, 3, 3]]
    assert [window_frames(n, 2, 4) for n in range(4)] == want
    assert window_frames(3, 1, 4) == [2, 3, 3] and window_frames(2, 0, 4) == [2]


def test_gray_is_luma() -> None:
    torch.testing.assert_close(
        to_gray(torch.tensor([1.0, 0.5, -1.0])[None, :, None, None])[0, 0, 0, 0],
        torch.tensor(0.299 + 0.587 / 2 - 0.114),
    )


def test_motion_frames_start_as_identity_and_queue_oldest_first() -> None:
    unet, identity = Recorder(), torch.full((1, 3, 16, 16), -0.5)
    frames = clip(unet, RECORDED, identity, torch.arange(5.0)[:, None], options=SamplingOptions("ddim", 1))
    torch.testing.assert_close(frames.mean((1, 2, 3, 4)), torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]))
    seen = [
        (s["motion"][0, 0, 0, 0].item(), s["motion"][0, 3, 0, 0].item(), s["identity"][0, 0, 0, 0].item())
        for _, s, _ in unet.calls
    ]
    assert np.allclose(
        seen, [(-0.5, -0.5, -0.5), (-0.5, 0.1, -0.5), (0.1, 0.2, -0.5), (0.2, 0.3, -0.5), (0.3, 0.4, -0.5)]
    )
    windows = [[max(0, min(4, n + k)) for k in range(-2, 3)] for n in range(5)]
    assert [a[0, :, 0].tolist() for _, _, a in unet.calls] == windows


def test_gray_motion_frames_and_none_at_all() -> None:
    identity = torch.rand(1, 3, 16, 16) * 2 - 1
    gray = dataclasses.replace(
        RECORDED,
        motion_gray=True,
        unet=dataclasses.replace(RECORDED.unet, spatial=(SpatialInput("motion", 2), SpatialInput("identity", 3))),
    )
    assert torch.equal(
        spatial_inputs(gray, identity, [identity, -identity])["motion"],
        torch.cat([to_gray(identity), to_gray(-identity)], 1),
    )
    none = dataclasses.replace(
        RECORDED, motion_frames=0, unet=dataclasses.replace(RECORDED.unet, spatial=(SpatialInput("identity", 3),))
    )
    unet = Recorder(none)
    clip(unet, none, identity, torch.zeros(2, 1), options=SamplingOptions("ddim", 1))
    assert set(unet.calls[1][1]) == {"identity"}


def test_the_network_is_told_original_timesteps() -> None:
    unet = Recorder()
    clip(unet, RECORDED, torch.zeros(2, 3, 16, 16), torch.zeros(1, 1), options=SamplingOptions("ancestral", 4))
    assert [t for t, _, _ in unet.calls] == [[999] * 2, [666] * 2, [333] * 2, [0] * 2]


def test_frames_are_clamped() -> None:
    unet = Recorder()
    frames = clip(unet, RECORDED, torch.zeros(1, 3, 16, 16), torch.zeros(15, 1), options=SamplingOptions("ddim", 1))
    assert frames.max() == 1 and unet.calls[14][1]["motion"].max() == 1


@pytest.mark.parametrize("guidance, forwards", [(1.0, 1), (2.0, 2)])
def test_guidance_1_costs_no_second_forward(guidance: float, forwards: int) -> None:
    unet = Recorder()
    found = clip(
        unet,
        RECORDED,
        torch.zeros(1, 3, 16, 16),
        torch.ones(1, 1),
        options=SamplingOptions("ddim", 1, guidance=guidance),
    )
    assert len(unet.calls) == forwards
    if guidance == 2:  # 0.2 without audio, which is asked second, and 0.1 with it
        assert not unet.calls[1][2].any() and unet.calls[0][2].all()
        torch.testing.assert_close(found, torch.zeros_like(found), atol=1e-6, rtol=0)


def test_on_step_follows_every_step_and_may_stop() -> None:
    seen = []
    clip(
        Recorder(),
        RECORDED,
        torch.zeros(1, 3, 16, 16),
        torch.zeros(2, 1),
        options=SamplingOptions("ddim", 3),
        on_step=lambda frame, step, x0: seen.append((frame, step, round(float(x0.mean()), 4))),
    )
    assert seen == [(0, 0, 0.1), (0, 1, 0.2), (0, 2, 0.3), (1, 0, 0.4), (1, 1, 0.5), (1, 2, 0.6)]

    def stop(frame: int, step: int, x0: Tensor) -> None:
        if (frame, step) == (1, 1):
            raise KeyboardInterrupt

    frames, unet = [], Recorder()
    with pytest.raises(KeyboardInterrupt):
        for frame in sample_frames(
            unet, RECORDED, torch.zeros(1, 3, 16, 16), torch.zeros(3, 1), SamplingOptions("ddim", 3), on_step=stop
        ):
            frames.append(frame)
    assert len(frames) == 1 and len(unet.calls) == 5


def test_frames_come_one_by_one() -> None:
    unet = Recorder()
    frames = sample_frames(unet, RECORDED, torch.zeros(1, 3, 16, 16), torch.zeros(100, 1), SamplingOptions("ddim", 2))
    next(frames)
    assert len(unet.calls) == 2


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize(
    "prediction, close", [("x0", 5e-4), ("eps", 0.05)]
)  # rounding, fed back; eps divides it by 5e-5 at t = 999
def test_a_clip_is_the_same_alone_in_a_batch_and_as_a_prefix(sampler: str, prediction: str, close: float) -> None:
    """Sound beyond frame 2 + 2 neighbours must not reach the first three frames."""
    source = torch.Generator().manual_seed(0)
    identity, audio = torch.rand(3, 3, 32, 32, generator=source) * 2 - 1, torch.randn(3, 6, 32, generator=source)
    unet, options = reference_unet(), SamplingOptions(sampler, 3, seed=5)
    unet.config = dataclasses.replace(unet.config, prediction=prediction, learned_variance=prediction == "eps")
    batch = clip(unet, REFERENCE, identity, audio, options=options)
    alone = clip(unet, REFERENCE, identity[:1], audio[0, :5], options=options)
    assert (batch[:3, :1] - alone[:3]).abs().max() < close
    assert prediction == "eps" or (batch[:1, :1] - alone[:1]).abs().max() < 5e-5
    assert (batch[3:5, :1] - alone[3:]).abs().max() > 0.1
    other = clip(unet, REFERENCE, identity[:1], audio[0, :5], options=dataclasses.replace(options, seed=6))
    assert (other - alone).abs().max() > 0.1
    assert torch.equal(clip(unet, REFERENCE, identity[:1], audio[0, :5], options=options), alone)


def test_noise_depends_on_seed_frame_and_stream_alone() -> None:
    alone, batch = SeededNoise([7], 16), SeededNoise([3, 7, 7], 16)
    start, steps = batch.draw(4, [0])[0], alone.draw(4, [0, 1, 2])[:, 0]
    assert torch.equal(steps[0], start[1]) and torch.equal(start[1], start[2])
    assert torch.equal(alone.draw(4, [2])[0, 0], steps[2])
    draws = torch.stack([n.flatten() for n in (start[0], steps[0], alone.draw(5, [0])[0, 0], steps[1], steps[2])])
    assert (torch.corrcoef(draws) - torch.eye(5)).abs().max() < 0.15
    many = torch.cat([alone.draw(n, [1])[0] for n in range(40)])
    assert abs(float(many.mean())) < 0.02 and abs(float(many.std()) - 1) < 0.02
    assert SeededNoise([2**64 - 1], 4).draw(0, [0]).shape == (1, 1, 3, 4, 4)


@pytest.mark.parametrize(
    ("prediction", "track", "driven"),
    [("eps", True, False), ("v", True, False), ("x0", True, True), ("x0", False, False)],
)
def test_an_x0_model_with_a_head_track_is_fully_driven(prediction: str, track: bool, driven: bool) -> None:
    spatial = (*RECORDED.unet.spatial, *([SpatialInput("face", 6)] if track else []))
    unet = dataclasses.replace(RECORDED.unet, prediction=prediction, learned_variance=False, spatial=spatial)
    assert dataclasses.replace(RECORDED, unet=unet, head_motion=track).fully_driven == driven


class CountedNoise(SeededNoise):
    """Notes which streams are asked for in each draw."""

    def __init__(self) -> None:
        super().__init__([0], 16)
        self.asked: list[list[int]] = []

    def draw(self, frame: int, streams: Sequence[int]) -> Tensor:
        self.asked.append(list(streams))
        return super().draw(frame, streams)


@pytest.mark.parametrize("eta", [0.0, 0.5])
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_noise_is_drawn_once_per_frame_and_only_what_the_sampler_asks_for(sampler: str, eta: float) -> None:
    """Stream 0 is x_T; a sampler that draws at its steps 2 .. 0 does so but for the last."""
    noise, options = CountedNoise(), SamplingOptions(sampler, 3, eta=eta)
    clip(Recorder(), RECORDED, torch.zeros(1, 3, 16, 16), torch.zeros(2, 1), options=options, noise=noise)
    random = sampler == "ancestral" or (sampler == "ddim" and eta > 0)
    assert noise.asked == [[0, 2, 3] if random else [0]] * 2
    silent, still = CountedNoise(), dataclasses.replace(options, temperature=0.0)
    clip(Recorder(), RECORDED, torch.zeros(1, 3, 16, 16), torch.zeros(2, 1), options=still, noise=silent)
    assert silent.asked == ([[2, 3]] * 2 if random else [])


def test_a_missing_or_short_head_track_is_an_error() -> None:
    spatial = (*RECORDED.unet.spatial, SpatialInput("face", 6))
    config = dataclasses.replace(RECORDED, head_motion=True, unet=dataclasses.replace(RECORDED.unet, spatial=spatial))
    inputs = Recorder(config), config, torch.zeros(1, 3, 16, 16), torch.zeros(5, 1), SamplingOptions("ddim", 1)
    with pytest.raises(DiffusedHeadsError, match="head track.*found none"):
        next(sample_frames(*inputs))
    short = MotionTrack(np.zeros((4, 5), np.float32), np.zeros((4, 6), np.float32))
    with pytest.raises(DiffusedHeadsError, match="at least 5 frames.*found 4"):
        next(sample_frames(*inputs, track=short))
    longer = MotionTrack(np.zeros((9, 5), np.float32), np.zeros((9, 6), np.float32))
    assert len(list(sample_frames(*inputs, track=longer))) == 5


def test_without_starting_noise_the_seed_makes_no_difference() -> None:
    class Echo(torch.nn.Module):
        """Predicts x0 as half of x_t, so that what a frame starts from is seen in it."""

        def forward(
            self, x_t: torch.Tensor, t: torch.Tensor, spatial: dict, features: dict
        ) -> tuple[torch.Tensor, None]:
            return 0.5 * x_t, None

    config = dataclasses.replace(
        RECORDED, unet=dataclasses.replace(RECORDED.unet, prediction="x0", learned_variance=False)
    )
    unet = Echo()
    unet.config = config.unet
    identity, audio = torch.zeros(1, 3, 8, 8), torch.zeros(2, config.audio.embedding)

    def made(**changes: object) -> torch.Tensor:
        return torch.cat(
            list(sample_frames(unet, config, identity, audio, SamplingOptions(sampler="ddim", steps=2, **changes)))
        )

    assert torch.equal(made(seed=1, temperature=0.0), made(seed=2, temperature=0.0))
    assert not torch.equal(made(seed=1), made(seed=2)) and torch.equal(made(), made(temperature=1.0))
    with pytest.raises(DiffusedHeadsError, match="temperature=1.5"):
        SamplingOptions(temperature=1.5)


def test_head_motion_warps_what_the_network_sees() -> None:
    """A still head gets the pictures as they are; a shifted target gets them shifted, the motion frames by what is left
    to go.
    """
    config = dataclasses.replace(
        RECORDED,
        head_motion=True,
        unet=dataclasses.replace(RECORDED.unet, image_size=32, spatial=(*SPATIAL, SpatialInput("face", 6))),
    )
    axis = (torch.arange(32.0) - 15.5) / 32
    identity = (-(axis[:, None] ** 2 + axis**2) / 0.02).exp().expand(1, 3, 32, 32)
    shift = np.zeros((3, 5), np.float32)
    shift[1:, 3] = 4 / 32
    unet = Recorder(config)
    clip(
        unet,
        config,
        identity,
        torch.zeros(3, 1),
        options=SamplingOptions("ddim", 1),
        track=MotionTrack(shift, np.zeros((3, 6), np.float32)),
    )
    seen = [spatial for _, spatial, _ in unet.calls]
    torch.testing.assert_close(seen[0]["identity"], identity, atol=1e-4, rtol=0)

    def middle(picture: Tensor) -> float:
        return float((picture[0, 0] * axis).sum() / picture[0, 0].sum() * 32)

    assert middle(seen[1]["identity"]) == pytest.approx(4, abs=0.1) and middle(seen[2]["identity"]) == pytest.approx(
        4, abs=0.1
    )
    assert middle(seen[1]["motion"]) == pytest.approx(4, abs=0.1)  # the oldest there is the identity


@pytest.mark.parametrize(
    "change, word",
    [
        ({"sampler": "euler"}, "euler"),
        ({"steps": 0}, "steps=0"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**64}, "seed="),
        ({"guidance": 11.0}, "guidance=11"),
        ({"eta": 1.5}, "eta=1.5"),
    ],
)
def test_options_check_themselves(change: dict, word: str) -> None:
    with pytest.raises(DiffusedHeadsError) as caught:
        SamplingOptions(**change)
    assert word in str(caught.value)


class Drifter:
    """Stands for a network: each frame is the newest motion frame, ``bias`` brighter and ``gain`` times as far from its
    mean.
    """

    def __init__(self, bias: float = 0.0, gain: float = 1.0):
        self.config, self.bias, self.gain = RECORDED.unet, bias, gain

    def __call__(
        self, x_t: Tensor, t: Tensor, spatial: dict[str, Tensor], features: dict[str, Tensor]
    ) -> tuple[Tensor, None]:
        last = spatial["motion"][:, 3:]
        mean = last.mean((2, 3), keepdim=True)
        return (last - mean) * self.gain + mean + self.bias, None


def rollout(network: Drifter, frames: int, identity: Tensor, **options: float) -> Tensor:
    return clip(network, RECORDED, identity, torch.zeros(frames, 1), options=SamplingOptions("ddim", 1, **options))


def test_an_anchor_makes_a_growing_error_converge() -> None:
    """e_n = (1 - a) e_(n-1) + b from e_0 = 0: b (1 - (1 - a)^n) / a."""
    identity, bias, anchor = torch.full((1, 3, 16, 16), -0.5), 0.01, 0.2
    drifting, held = (
        rollout(Drifter(bias), 60, identity, motion_anchor=a).mean((1, 2, 3, 4)) + 0.5 for a in (0.0, anchor)
    )
    n = torch.arange(1, 61)
    torch.testing.assert_close(drifting, bias * n, atol=1e-5, rtol=0)
    torch.testing.assert_close(held, bias * (1 - (1 - anchor) ** n) / anchor, atol=1e-5, rtol=0)


def test_a_model_whose_motion_is_given_is_anchored_unless_asked_otherwise() -> None:
    unet = dataclasses.replace(
        RECORDED.unet,
        prediction="x0",
        learned_variance=False,
        spatial=(*RECORDED.unet.spatial, SpatialInput("face", 6)),
    )
    config = dataclasses.replace(RECORDED, unet=unet, head_motion=True)
    network, identity = Drifter(0.01), torch.full((1, 3, 16, 16), -0.5)
    network.config = unet
    track = MotionTrack(np.zeros((40, 5), np.float32), np.zeros((40, 6), np.float32))

    def last(**options: float) -> float:
        made = clip(
            network, config, identity, torch.zeros(40, 1), options=SamplingOptions("ddim", 1, **options), track=track
        )
        return float(made[-1].mean()) + 0.5

    assert last() == last(motion_anchor=0.1) == pytest.approx(0.01 * (1 - 0.9**40) / 0.1, abs=1e-3)
    assert last(motion_anchor=0.0) == pytest.approx(0.4, abs=1e-3)


def test_the_colour_lock_stops_brightness_and_contrast_that_drift() -> None:
    identity = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5
    free, held = (rollout(Drifter(0.005, 1.01), 150, identity, colour_lock=s)[-1] for s in (0.0, 1.0))
    mean, spread = identity.mean((2, 3)), identity.std((2, 3))
    assert (free.mean((2, 3)) - mean).min() > 0.3
    assert (held.mean((2, 3)) - mean).abs().max() < 0.02
    assert (held.std((2, 3)) / spread - 1).abs().max() < 0.02


def test_the_colour_lock_leaves_one_frames_own_change_alone() -> None:
    """A frame 0.2 darker than the average moves it by 0.2 / (COLOUR_MEMORY * fps); it is corrected by as much."""
    identity = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.5
    lock = ColourLock(identity, 1.0, 25)
    torch.testing.assert_close(lock(identity), identity, atol=1e-6, rtol=0)
    torch.testing.assert_close(lock(identity - 0.2), identity - 0.2 + 0.2 / (COLOUR_MEMORY * 25), atol=1e-5, rtol=0)


def test_half_a_lock_corrects_half_and_a_plain_picture_is_not_stretched() -> None:
    identity = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)) - 0.5
    frame = identity * 0.9 + 0.1
    whole, half = (ColourLock(identity, s, 25)(frame) for s in (1.0, 0.5))
    torch.testing.assert_close(half, (frame + whole) / 2)
    plain = torch.full((1, 3, 16, 16), 0.25)
    noisy = plain + 1e-3 * torch.randn(plain.shape, generator=torch.Generator().manual_seed(2))
    assert (ColourLock(plain, 1.0, 25)(noisy) - plain).abs().max() < 5e-3


def test_off_is_exactly_off_and_values_are_checked() -> None:
    identity = torch.rand(1, 3, 16, 16) - 0.5
    assert torch.equal(
        rollout(Drifter(0.01), 5, identity), rollout(Drifter(0.01), 5, identity, colour_lock=0.0, motion_anchor=0.0)
    )
    with pytest.raises(DiffusedHeadsError, match="colour_lock=1.5.*motion_anchor=-1"):
        SamplingOptions(colour_lock=1.5, motion_anchor=-1)
