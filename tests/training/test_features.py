"""Features of a frozen speech model: computed once per dataset, trained on, recorded, and needed for sampling."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.checkpoints import load
from diffused_heads.diffused_heads_core.config import AudioConfig
from diffused_heads.diffused_heads_core.data.shards import ShardWriter, finish_dataset
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.media.audio import from_waveform
from diffused_heads.diffused_heads_core.pretrained_audio import SpeechFeatures
from diffused_heads.diffused_heads_core.talking_head import load_model
from diffused_heads.training.dataset import FrameSamples
from diffused_heads.training.features import FeatureRows, is_stored, store_features
from diffused_heads.training.presets import with_audio
from diffused_heads.training.streaming import ShardStore

sys.path.insert(0, str(Path(__file__).parent))
from conftest import FPS, SIZE, made_up_clip
from small_run import open_run, small_config

AUDIO = AudioConfig(kind="features", embedding=8, source="host-13x6", layer=9, width=6)


def embed_speech(mono: np.ndarray, frames: int) -> torch.Tensor:
    """Six numbers per frame that identify the frame and the clip's sound."""
    return torch.arange(frames)[:, None] + torch.tensor([0.0, 100, 200, 300, 400, float(np.abs(mono).mean())])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for shard, seeds in enumerate(([0, 1], [2])):
        with ShardWriter(folder, shard, FPS, SIZE) as writer:
            for seed in seeds:
                writer.add(f"clip-{seed}", made_up_clip(seed, 8 + seed))
    finish_dataset(folder, 2)
    return folder


def test_rows_belong_to_their_clips(data: Path) -> None:
    calls: list[int] = []
    store_features(data, AUDIO, lambda mono, frames: (calls.append(frames), embed_speech(mono, frames))[1])
    rows = FeatureRows(data, AUDIO)
    for clip, frames in enumerate((8, 9, 10)):
        assert (
            np.array_equal(rows.rows(clip, range(frames))[:, 0], np.arange(frames))
            and rows.rows(clip, [3])[0, 1] == 103
        )
    assert calls == [8, 9, 10] and is_stored(data, AUDIO) and not is_stored(data, replace(AUDIO, layer=8))
    store_features(data, AUDIO, lambda mono, frames: pytest.fail("computed twice"))


def test_an_interrupted_computation_keeps_its_shards(data: Path) -> None:
    def stop(done: int, clips: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store_features(data, AUDIO, embed_speech, stop)
    assert not is_stored(data, AUDIO)
    calls: list[int] = []
    store_features(data, AUDIO, lambda mono, frames: (calls.append(frames), embed_speech(mono, frames))[1])
    assert calls == [10] and is_stored(data, AUDIO)


def test_features_of_another_shape_are_refused(data: Path) -> None:
    with pytest.raises(
        DiffusedHeadsError,
        match=r"clip clip-0: expected features \(8, 6\) of features of host-13x6, layer 9, 6 wide, found \(8, 5\)",
    ):
        store_features(data, AUDIO, lambda mono, frames: embed_speech(mono, frames)[:, :5])


def test_a_sample_sees_the_rows_around_its_frames_repeated_at_the_ends(data: Path) -> None:
    store_features(data, AUDIO, embed_speech)
    model = replace(small_config().model, audio=AUDIO)
    samples = FrameSamples(ShardStore(data, 16), model, features=FeatureRows(data, AUDIO))
    sample = samples.sample(1, 1, np.random.default_rng(0))
    rows = sample["sound"][0][sample["windows"]]
    assert rows.tolist() == [[0, 0, 0, 1, 2], [0, 0, 1, 2, 3]]  # frames 0 and 1 with two neighbours on either side


def test_a_model_of_features_is_trained_and_needs_them_for_sampling(data: Path, tmp_path: Path) -> None:
    config = small_config(steps=4)
    config = with_audio(replace(config, freeze=("audio",)), AUDIO)
    assert config.freeze == ()
    with pytest.raises(DiffusedHeadsError, match="expected features of host-13x6, layer 9, 6 wide beside it"):
        open_run(data, tmp_path / "run", config)
    open_run(data, tmp_path / "run", config, embed_speech=embed_speech).fit()
    assert load(tmp_path / "run" / "model.safetensors").config.audio == AUDIO
    head = load_model(tmp_path / "run" / "model.safetensors", "cpu")
    with pytest.raises(DiffusedHeadsError, match="this model was trained on features of host-13x6"):
        head.encode_audio(from_waveform(np.ones((1, 16000), np.float32), 16000))
    values = torch.randn(50, 6)
    found = head.encode_features(SpeechFeatures(values, "host-13x6", 9), 25)
    assert found.shape == (25, 8) and len(list(head.generate(np.zeros((32, 32, 3), np.uint8), found[:2]))) == 2
    for wrong, message in (
        (SpeechFeatures(values, "host-25x6", 9), "found host-25x6, layer 9, 6 wide"),
        (SpeechFeatures(values, "host-13x6", 8), "layer 8"),
        (SpeechFeatures(values[:, :5], "host-13x6", 9), "5 wide"),
    ):
        with pytest.raises(DiffusedHeadsError, match=message):
            head.encode_features(wrong, 25)
    with pytest.raises(DiffusedHeadsError, match="expected 8 channels"):
        next(head.generate(np.zeros((32, 32, 3), np.uint8), torch.zeros(2, 256)))
