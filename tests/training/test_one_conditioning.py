"""Training and sampling give the network the same inputs: compared frame by frame on one clip, ends included."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from diffused_heads.diffused_heads_core.conditioning import to_model
from diffused_heads.diffused_heads_core.config import FeatureGroup, ModelConfig, SpatialInput
from diffused_heads.diffused_heads_core.data.shards import Clip, Dataset, ShardWriter, finish_dataset
from diffused_heads.diffused_heads_core.generator import SamplingOptions, sample_frames
from diffused_heads.diffused_heads_core.media.audio import from_waveform
from diffused_heads.diffused_heads_core.motion import MotionTrack
from diffused_heads.diffused_heads_core.pretrained_audio import new_encoder
from diffused_heads.diffused_heads_core.talking_head import TalkingHead
from diffused_heads.diffused_heads_core.unet import UNet
from diffused_heads.training.cache import open_store
from diffused_heads.training.dataset import FrameSamples
from diffused_heads.training.frame_augmentation import Batch
from diffused_heads.training.losses import Denoiser

sys.path.insert(0, str(Path(__file__).parent))
from conftest import FPS, RATE, SIZE, made_up_clip
from small_run import open_run, small_config

FRAMES = 24


def model() -> ModelConfig:
    """A small model whose frames are warped to a head track, as the bundled ones' are."""
    small = small_config().model
    names = (("motion", 6), ("identity", 3), ("still", 3), ("face", 6))
    spatial = tuple(SpatialInput(name, channels) for name, channels in names)
    unet = replace(small.unet, spatial=spatial, features=(FeatureGroup("audio", small.audio.embedding, 2),))
    return replace(small, unet=unet, head_motion=True, motion_region="mouth")


@pytest.fixture(scope="module")
def clip() -> Clip:
    """Sound that is cut in mid-speech at both ends; the first frame's pose is neutral, as a portrait's is assumed."""
    made = made_up_clip(3, FRAMES)
    sound = 0.3 * np.random.default_rng(0).normal(size=len(made.audio)).astype(np.float32).clip(-1, 1)
    made.annotations["pose"][0] = 0
    made.annotations["expression"][:, -6:] = np.random.default_rng(1).uniform(0, 0.8, (FRAMES, 6))
    return replace(made, audio=sound)


@pytest.fixture(scope="module")
def folder(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("one-clip")
    with ShardWriter(place, 0, FPS, SIZE) as writer:
        writer.add("clip", clip)
    finish_dataset(place, 1, info={})
    return place


class Recorder(nn.Module):
    """Stands for the network: notes its inputs, and predicts the true frames one after the other."""

    def __init__(self, config: ModelConfig, truth: Tensor):
        super().__init__()
        self.config, self.truth = config.unet, truth
        self.spatial: list[dict[str, Tensor]] = []
        self.audio: list[Tensor] = []

    def forward(
        self, x_t: Tensor, t: Tensor, spatial: dict[str, Tensor], features: dict[str, Tensor]
    ) -> tuple[Tensor, None]:
        self.spatial.append(spatial)
        self.audio.append(features["audio"])
        n = len(self.audio) - 1
        return self.truth[n : n + len(x_t)], None


class FirstChoice:
    """A generator that always chooses 0: the sound as it is, not an augmented variant."""

    def integers(self, high: int) -> int:
        return 0


def in_sampling(config: ModelConfig, encoder: nn.Module, clip: Clip, truth: Tensor) -> Recorder:
    seen = Recorder(config, truth)
    head = TalkingHead(config, UNet(config.unet), encoder)
    audio = head.encode_audio(from_waveform(clip.audio[None], clip.sample_rate))
    track = MotionTrack(clip.annotations["pose"], clip.annotations["expression"][:, -6:])
    options = SamplingOptions("ddim", 1, temperature=0.0, motion_anchor=0.0)
    made = torch.cat(list(sample_frames(seen, config, truth[:1], audio, options, track)))
    assert torch.equal(made, truth)  # so that the motion frames are the true ones
    return seen


def in_training(config: ModelConfig, encoder: nn.Module, folder: Path, truth: Tensor) -> Recorder:
    samples = FrameSamples(open_store(folder, config.audio, 0), config)
    rows = [samples.sample(0, frame, FirstChoice(), identity=0) for frame in range(FRAMES)]
    batch, seen = Batch.of(default_collate(rows)), Recorder(config, truth)
    index, keep = torch.zeros(FRAMES, dtype=torch.long), torch.ones(FRAMES)
    with torch.no_grad():
        Denoiser(seen, encoder)(truth, index, batch.spatial(config), batch.sound, batch.windows[:, 1], keep)
    return seen


def test_the_network_sees_the_same_in_training_and_in_sampling(clip: Clip, folder: Path) -> None:
    config = replace(model(), unet=replace(model().unet, prediction="x0", learned_variance=False))
    torch.manual_seed(0)
    encoder, truth = new_encoder(config.audio).eval(), to_model(Dataset(folder).clip(0).frames, SIZE)
    sampled, trained = in_sampling(config, encoder, clip, truth), in_training(config, encoder, folder, truth)
    for name in sampled.spatial[0]:
        want = torch.cat([spatial[name] for spatial in sampled.spatial])
        torch.testing.assert_close(trained.spatial[0][name], want, atol=1e-5, rtol=0)
    audio = torch.cat(sampled.audio)
    # Log-mel columns are kept as float16 in training. With silence beyond the clip's ends the first and last frames'
    # embeddings would differ by as much as they vary.
    assert (trained.audio[0] - audio).abs().max() < 0.01 * audio.std()


def test_the_embeddings_of_cut_sound_are_those_of_the_repeated_edge(clip: Clip, folder: Path) -> None:
    """Beyond the clip's end nothing is known: other sound there must not matter, and silence is not assumed."""
    config = model()
    torch.manual_seed(0)
    encoder = new_encoder(config.audio).eval()
    head = TalkingHead(config, UNet(config.unet), encoder)
    cut = head.encode_audio(from_waveform(clip.audio[None], clip.sample_rate))
    silent = np.concatenate([clip.audio, np.zeros(RATE, np.float32)])
    padded = head.encode_audio(from_waveform(silent[None], clip.sample_rate))[: len(cut)]
    assert (cut - padded)[:-4].abs().max() < 1e-5  # the encoder's reach
    assert (cut - padded)[-1].norm() > 0.1 * cut[-1].norm()


class Network(nn.Module):
    """Stands for the Denoiser in a training run: notes precision and inputs."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner, self.autocast, self.spatial = inner, [], []

    def forward(self, *inputs: Tensor | dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        self.autocast.append(torch.is_autocast_enabled("cpu"))
        self.spatial.append({name: tensor.clone() for name, tensor in inputs[2].items()})
        return self.inner(*inputs)


def test_bfloat16_is_for_the_network_alone(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Poses, warps and maps are float32 in training as in sampling, to the last bit."""
    monkeypatch.setattr("diffused_heads.training.parallel.supports_bfloat16", lambda device: True)
    seen = {}
    for precision in ("bf16", "no"):
        config = small_config(model=model(), precision=precision, mirror=False, colour=0.0, reframe=0.0)
        trainer = open_run(folder, tmp_path / precision, config)
        trainer.model = seen[precision] = Network(trainer.model)
        part = trainer.prepared(default_collate([trainer.samples[i] for i in range(4)]))
        trainer.losses(part)
    assert seen["bf16"].autocast == [True] and seen["no"].autocast == [False]
    for name, tensor in seen["bf16"].spatial[0].items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, seen["no"].spatial[0][name])
