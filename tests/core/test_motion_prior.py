"""The motion prior: windows and their seams by oracles in place of the network, blinks by their statistics."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from diffused_heads.diffused_heads_core import checkpoints
from diffused_heads.diffused_heads_core.assets import MOTION_PRIOR
from diffused_heads.diffused_heads_core.config import AudioConfig
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.motion import MotionOptions, prior as prior_module, sample_track
from diffused_heads.diffused_heads_core.motion.blinks import REFRACTORY, BlinkModel, blink_closure, onsets
from diffused_heads.diffused_heads_core.motion.natural import (
    FAR,
    STRAIGHT_PITCH,
    encoder_digest,
    fitting_prior,
    natural_track,
    portrait_pose,
)
from diffused_heads.diffused_heads_core.motion.posture import DEVIATION, MEMORY, posture
from diffused_heads.diffused_heads_core.motion.prior import MotionPrior, bundled_prior, load_prior, save_prior
from diffused_heads.diffused_heads_core.motion.prior_network import Given, PriorConfig
from diffused_heads.diffused_heads_core.motion.track import COLUMNS
from diffused_heads.diffused_heads_core.mouth.face_mesh import face_mesh
from diffused_heads.diffused_heads_core.pose import rotation_matrix
from diffused_heads.diffused_heads_core.pretrained_audio import new_encoder

YAW, SMILE, GAZE, BROW = (COLUMNS.index(name) for name in ("yaw", "smile", "gaze_x", "brow_left"))
CONFIG = PriorConfig(
    ("yaw", "gaze_x", "brow_left", "smile"),
    (0.1, 0.2, 0.3, 0.4),
    ("calm", "lively"),
    embedding=5,
    window=20,
    past=6,
    channels=8,
    dilations=(1, 2),
    steps=3,
)
STILL_LIDS = MotionOptions(blinks=0)


@pytest.fixture(autouse=True)
def one_posture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Postures do not change, but in the tests of them."""
    if "posture" not in request.node.name:
        monkeypatch.setattr(prior_module, "posture", lambda frames, fps, seed: np.zeros((frames, 3)))


class Oracle(torch.nn.Module):
    """In place of the network: x0 is a function of what is given."""

    def __init__(self, x0):  # type: ignore[no-untyped-def]
        super().__init__()
        self.x0 = x0

    def forward(self, x: Tensor, timesteps: Tensor, given: Given) -> Tensor:
        return self.x0(given).expand_as(x)


def small(x0=None) -> MotionPrior:  # type: ignore[no-untyped-def]
    """A small prior; without an oracle its network is random, but for the layers that begin at zero."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        prior = MotionPrior(CONFIG).eval()
        for parameter in prior.network.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
    if x0 is not None:
        prior.network = Oracle(x0)  # type: ignore[assignment]
    return prior


def speech(frames: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (frames, CONFIG.embedding)).astype(np.float32))


@pytest.mark.parametrize("frames", [1, 14, 15, 100])
def test_every_frame_of_every_window_is_in_the_track_once(frames: int) -> None:
    audio = speech(frames)
    track = small(lambda given: given.audio[..., 0][:, None, None]).sample_motion(audio, options=STILL_LIDS)
    wanted = audio[:, :1].numpy() * np.array(CONFIG.deviations)
    assert np.allclose(track.values[:, [YAW, GAZE, BROW, SMILE]], wanted, atol=1e-5)
    assert not track.values[:, [1, 2, 3, 4, 5]].any() and not track.face[:, :2].any()


def test_a_window_goes_on_from_the_one_before() -> None:
    seen: list[Tensor] = []

    def x0(given: Given) -> Tensor:
        seen.append(given.past * given.known)
        return given.audio[..., 0][:, None, None]

    audio = speech(40)
    track = small(x0).sample_motion(audio, options=STILL_LIDS)
    starts = seen[:: CONFIG.steps]
    assert len(starts) == 3 and not starts[0].any()
    step = CONFIG.window - CONFIG.past
    assert torch.allclose(starts[1][0, 0, 0, : CONFIG.past], audio[step - CONFIG.past : step, 0], atol=1e-5)
    assert len(track) == 40


def test_what_is_known_of_a_window_is_kept_through_all_steps() -> None:
    prior = small()
    pieces = list(prior.chunks(speech(28), 3, STILL_LIDS))
    assert [len(piece) for piece in pieces] == [14, 14]
    longer = np.concatenate(list(prior.chunks(torch.cat([speech(28)[:28], speech(30)]), 3, STILL_LIDS)))
    assert np.allclose(longer[:14], pieces[0], atol=1e-5)  # a longer clip begins alike


def test_a_seed_gives_one_track_and_another_seed_another() -> None:
    prior, audio = small(), speech(50)
    first, again, other = (prior.sample_motion(audio, seed=seed).values for seed in (1, 1, 2))
    assert np.array_equal(first, again) and np.abs(first - other).max() > 0.01


def test_temperature_0_leaves_nothing_to_chance() -> None:
    prior, audio, cold = small(), speech(50), MotionOptions(temperature=0, blinks=0)
    first, other = (prior.sample_motion(audio, seed=seed, options=cold).values for seed in (1, 2))
    assert np.array_equal(first, other) and first.any()


@pytest.mark.parametrize("guidance", [0.0, 1.0, 3.0])
def test_guidance_goes_beyond_the_plain_model(guidance: float) -> None:
    prior = small(
        lambda given: given.heard[:, None, None] * 0.5 + (given.label > 0).float()[:, None, None, None] * 0.25
    )
    options = MotionOptions(guidance=guidance, label="lively", blinks=0)
    track = prior.sample_motion(speech(20), options=options)
    assert np.allclose(track.pose[:, 0], guidance * 0.75 * 0.1, atol=1e-5)


def test_options_scale_their_columns() -> None:
    options = MotionOptions(head=2, gaze=0.5, brows=0, blinks=0)
    track = small(lambda given: torch.ones(1)).sample_motion(speech(20), options=options)
    assert np.allclose(track.values[5, [YAW, GAZE, BROW, SMILE]], (0.2, 0.1, 0, 0), atol=1e-6)


def test_the_portraits_pose_and_the_label_reach_the_network() -> None:
    found: list[Given] = []

    def x0(given: Given) -> Tensor:
        found.append(given)
        return torch.zeros(1)

    small(x0).sample_motion(speech(5), options=MotionOptions(label="calm"), own_pose=np.array([0.01, -0.02, 0.03]))
    assert torch.allclose(found[0].own, torch.tensor([[0.01, -0.02, 0.03, 1.0]])) and found[0].label.tolist() == [1]


def test_other_rates_show_the_same_motion_at_their_own_times() -> None:
    audio = torch.arange(50.0)[:, None].repeat(1, CONFIG.embedding) / 100
    prior = small(lambda given: given.audio[..., 0][:, None, None])
    track = prior.sample_motion(audio, Fraction(50), frames=100, options=STILL_LIDS)
    time = (np.arange(100) + 0.5) / 50
    assert np.allclose(track.pose[1:-1, 0], 0.1 * (time * 25 - 0.5)[1:-1] / 100, atol=1e-5)


def test_wrong_embeddings_and_labels_are_told_together() -> None:
    with pytest.raises(DiffusedHeadsError, match=r"expected \(N, 5\).*label='angry': expected 'calm' or 'lively'"):
        small().sample_motion(torch.zeros(4, 7), options=MotionOptions(label="angry"))
    assert len(small().sample_motion(torch.zeros(0, 5))) == 0


def test_a_wrong_configuration_is_told_at_once() -> None:
    with pytest.raises(DiffusedHeadsError, match=r"columns \['nose'\].*2 deviations for 1 columns.*past=64"):
        PriorConfig(("nose",), (1.0, 1.0), past=64)
    with pytest.raises(DiffusedHeadsError, match=r"source='tv'.*expected one of speech, random"):
        MotionOptions(source="tv")


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.8])
def test_blinks_come_as_often_as_asked_and_never_too_close(rate: float) -> None:
    likelihood = np.where(np.arange(25 * 60) % 100 < 50, 1.6, 0.4)
    found = [onsets(likelihood, 25, rate, np.random.default_rng(seed)) for seed in range(200)]
    per_second = sum(map(len, found)) / (200 * 60)
    assert per_second == pytest.approx(rate, rel=0.06)
    assert min(float(np.diff(times).min()) for times in found if len(times) > 1) >= REFRACTORY
    inside = np.mean([(times * 25 % 100 < 50).mean() for times in found if len(times)])
    assert 0.7 < inside < 0.85  # four times as likely there


def test_no_blinks_at_rate_0() -> None:
    assert not len(onsets(np.ones(1000), 25, 0.0, np.random.default_rng(0)))


@pytest.mark.parametrize("seconds", [0.12, 0.16, 0.28])
def test_a_blink_lasts_as_long_as_its_duration(seconds: float) -> None:
    closure = blink_closure(np.array([1.0]), np.full(17, seconds), 3000, 1000, np.random.default_rng(0))
    assert closure.max() == 1 and (closure > 0.5).sum() / 1000 == pytest.approx(seconds, abs=0.002)
    assert np.flatnonzero(closure > 0)[0] == pytest.approx(1000, abs=5)


def test_blinks_follow_the_level_of_speech() -> None:
    model = BlinkModel(4)
    model.urge.copy_(torch.tensor([2.0, -2.0, 0.0]))  # after speech, not in it
    level = np.repeat([0.0, 1.0, 0.0], 50)
    likelihood = model.likelihood(level, 25)
    assert likelihood.mean() == pytest.approx(1) and likelihood.argmax() in range(100, 112)


def test_postures_come_to_their_measured_deviation_and_begin_alike() -> None:
    many = np.stack([posture(int(4 * MEMORY), 1, seed) for seed in range(400)])
    assert np.allclose(many[:, -20:].std((0, 1)), DEVIATION, rtol=0.15) and np.abs(many[:, 0]).max() < 0.01
    assert np.array_equal(posture(50, 25, 3), posture(200, 25, 3)[:50])
    assert np.abs(np.diff(posture(3000, 25, 3), axis=0)).max() < 0.003  # smooth


def test_a_still_head_has_no_posture_either() -> None:
    prior = small(lambda given: torch.zeros(1))
    still, moving = (prior.sample_motion(speech(60), options=MotionOptions(head=h, blinks=0)) for h in (0, 1))
    assert not still.values.any() and moving.pose[:, :3].any()


def test_a_prior_is_stored_whole(tmp_path: Path) -> None:
    prior = small()
    prior.licence, prior.summary = "CC BY 4.0", {"data": "made up"}
    save_prior(tmp_path / "prior.safetensors", prior, "float32")
    again = load_prior(tmp_path / "prior.safetensors")
    assert again.config == prior.config and again.licence == "CC BY 4.0" and again.summary == {"data": "made up"}
    first, second = (each.sample_motion(speech(30), seed=4).values for each in (prior, again))
    assert np.array_equal(first, second)


def test_other_files_are_no_priors(tmp_path: Path) -> None:
    with pytest.raises(DiffusedHeadsError, match="expected a motion prior, there is no such file"):
        load_prior(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("hello there, this is no model at all")
    with pytest.raises(DiffusedHeadsError, match="cannot read it"):
        load_prior(tmp_path / "text.safetensors")
    with pytest.raises(DiffusedHeadsError, match="found another file"):
        load_prior(checkpoints.find_model("portrait"))


@pytest.mark.parametrize("angles", [(0.05, 0.0, 0.0), (-0.03, 0.04, 0.02), (0.0, -0.05, -0.05)])
def test_a_portraits_pose_is_read_from_its_mesh(angles: tuple[float, float, float]) -> None:
    mirror = np.diag([1.0, 1.0, -1.0])
    turn = mirror @ rotation_matrix(*np.array(angles)) @ mirror
    mesh = face_mesh().mean @ turn.T * 70 + (120, 110, 0)
    found = portrait_pose(mesh)
    assert found is not None
    assert np.allclose(found, np.array(angles) - (0, STRAIGHT_PITCH, 0), atol=0.061) and found[0] == pytest.approx(
        angles[0]
    )
    far = mirror @ rotation_matrix(*np.array([FAR + 0.02, 0, 0])) @ mirror
    assert portrait_pose(face_mesh().mean @ far.T) is None


def test_the_bundled_prior_is_for_the_bundled_model_and_no_model_itself() -> None:
    assert MOTION_PRIOR.stat().st_size < 4_000_000
    assert MOTION_PRIOR.stem not in checkpoints.bundled_models()
    prior, portrait = bundled_prior(), checkpoints.load(checkpoints.find_model("portrait"))
    assert "CC BY 4.0" in prior.licence and "GRID" in prior.summary["data"]
    encoder = new_encoder(portrait.config.audio)
    checkpoints.load_tensors(encoder, portrait.tensors, "audio_encoder.", Path("portrait"))
    assert encoder_digest(encoder) == prior.summary["audio_encoder"] and fitting_prior(encoder) is prior
    audio = torch.randn(60, prior.config.embedding, generator=torch.Generator().manual_seed(0))
    track = natural_track(60, 25, 5, embeddings=audio, encoder=encoder)
    assert not np.array_equal(track.values, sample_track(60, 25, 5).values) and np.abs(track.pose).max() < 0.3
    random = natural_track(60, 25, 5, MotionOptions(source="random"), audio, encoder)
    assert np.array_equal(random.values, sample_track(60, 25, 5).values)


def test_motion_is_random_for_embeddings_that_the_prior_does_not_know() -> None:
    audio = AudioConfig(kind="mel-streaming", embedding=128)
    track = natural_track(40, 30, 2, embeddings=torch.zeros(40, 128), encoder=new_encoder(audio))
    assert np.array_equal(track.values, sample_track(40, 30, 2).values)
