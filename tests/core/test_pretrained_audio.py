"""Features of foreign speech models: their way to video frames against closed forms, and where they come from."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from diffused_heads.diffused_heads_core.config import AudioConfig
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.pretrained_audio import (
    FOLDER,
    SPEECH_MODELS,
    FeatureEncoder,
    SpeechFeatures,
    columns_per_frame,
    feature_config,
    find_weights,
    frame_means,
    load_speech_model,
    new_encoder,
)


@pytest.mark.parametrize("fps", [24, 25, 29.97, 30, 50, 60])
def test_constants_and_ramps_keep_their_values(fps: float) -> None:
    rows = torch.stack(
        [torch.full((100,), 3.0), (torch.arange(100) + 0.5) / 50], 1
    )  # 2 s; the second is the time itself
    frames = int(1.9 * fps)
    found = frame_means(rows, 50.0, frames, fps)
    times = (torch.arange(frames) + 0.5) / fps
    inside = (times - 0.5 / fps > 0.02) & (times + 0.5 / fps < 1.98)
    assert torch.allclose(found[:, 0], torch.tensor(3.0)) and torch.allclose(found[inside, 1], times[inside], atol=1e-6)


def test_what_is_faster_than_the_frames_is_averaged_away() -> None:
    rows = torch.tensor([1.0, -1.0]).repeat(50)[:, None]
    assert frame_means(rows, 50.0, 50, 25.0)[1:-1].abs().max() < 1e-6  # picking every second row would give 1


def test_a_frame_is_the_integral_of_the_line_between_rows() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=40)
    fine = np.interp((np.arange(40 * 2000) + 0.5) / (50 * 2000), (np.arange(40) + 0.5) / 50, rows)
    for fps in (25, 40):
        frames = 40 * fps // 50
        want = fine.reshape(frames, -1).mean(1)
        assert np.allclose(
            frame_means(torch.from_numpy(rows)[:, None], 50.0, frames, fps)[:, 0].numpy(), want, atol=1e-5
        )


def test_padding_is_left_out_and_missing_sound_is_told() -> None:
    padded = SpeechFeatures(torch.arange(1500.0)[:, None], "host-33x1280", 20)
    assert padded.at_frames(50, 25).shape == (50, 1) and float(padded.at_frames(50, 25)[10]) == pytest.approx(20.5)
    with pytest.raises(DiffusedHeadsError, match=r"30.00 s, expected 42.00 s .*cut at 30 s"):
        padded.at_frames(1050, 25)
    short = SpeechFeatures(torch.zeros(99, 4), "hubert-base", 9)  # 2 s of sound give 99 rows
    assert short.at_frames(50, 25).shape == (50, 4)


@pytest.mark.parametrize("kind", ["mel-conv", "mel-streaming", "features", "torchscript"])
def test_every_encoder_gives_an_embedding_a_frame(kind: str) -> None:
    config = AudioConfig(
        kind=kind, embedding=8, channels=8, **({"source": "x", "width": 6} if kind == "features" else {})
    )
    columns = torch.randn(2, config.input_width, 5 * columns_per_frame(config))
    assert new_encoder(config)(columns).shape == (2, 5, 8)


def test_an_embedding_of_features_depends_on_its_own_frame_alone() -> None:
    encoder = FeatureEncoder(AudioConfig(kind="features", embedding=8, source="x", width=6))
    features = torch.randn(1, 6, 9)
    assert torch.allclose(encoder(features[:, :, 3:5]), encoder(features)[:, 3:5], atol=1e-6)


def test_configurations_of_features_check_themselves() -> None:
    assert feature_config("hubert-base", None, 64) == AudioConfig(
        kind="features", embedding=64, source="hubert-base", layer=9, width=768
    )
    for make, told in (
        (lambda: feature_config("hubert", 1, 8), "expected one of hubert-base"),
        (lambda: feature_config("hubert-base", 13, 8), "1..12"),
        (lambda: AudioConfig(kind="features"), "need a source and a width"),
        (lambda: AudioConfig(source="x"), "for kind 'features' alone"),
        (lambda: AudioConfig(kind="ears"), "expected one of"),
    ):
        with pytest.raises(DiffusedHeadsError, match=told):
            make()


class Speech(nn.Module):
    """Stands for a speech model: rows of 20 ms, layer n adds n to the mean of the sound there."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def extract_features(self, wave: Tensor, num_layers: int) -> tuple[list[Tensor], None]:
        rows = wave.unfold(1, 400, 320).mean(-1)[..., None].repeat(1, 1, 4) * self.scale
        return [rows + n + 1 for n in range(num_layers)], None


@pytest.fixture
def torchaudio(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of that name with stand-ins for every model."""
    package, models = types.ModuleType("torchaudio"), types.ModuleType("torchaudio.models")
    for factory, *_ in SPEECH_MODELS.values():
        setattr(models, factory, Speech)
    package.models = models
    monkeypatch.setitem(sys.modules, "torchaudio", package)
    monkeypatch.setitem(sys.modules, "torchaudio.models", models)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_speech_model_is_loaded_from_local_weights_and_hears_long_sound_in_pieces(
    suffix: str, torchaudio: None, tmp_path: Path
) -> None:
    config, path, tensors = (
        feature_config("hubert-base", 9, 8),
        tmp_path / f"hubert-base.{suffix}",
        {"scale": torch.tensor(1.0), "aux.bias": torch.zeros(1)},
    )
    save_file(tensors, path) if suffix == "safetensors" else torch.save(tensors, path)
    model = load_speech_model(config, path)
    sound = np.random.default_rng(0).normal(size=47 * 16000 + 100).astype(np.float32)
    found, whole = model.features(sound), Speech().extract_features(torch.from_numpy(sound)[None], 9)[0][-1][0]
    assert torch.allclose(found.values - 9, (whole - 9) / 2, atol=1e-5) and (found.source, found.layer) == (
        "hubert-base",
        9,
    )
    assert len(model.features(sound[:10]).values) == 2


def test_what_is_no_speech_model_is_told(torchaudio: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, path = feature_config("wav2vec2-base", 9, 8), tmp_path / "wav2vec2-base.pt"
    with pytest.raises(DiffusedHeadsError, match="no such file"):
        load_speech_model(config, path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DiffusedHeadsError, match="expected a state dict of tensors alone"):
        load_speech_model(config, path)
    torch.save({"other": torch.zeros(1)}, path)
    with pytest.raises(DiffusedHeadsError, match="expected weights of wav2vec2-base"):
        load_speech_model(config, path)
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    with pytest.raises(DiffusedHeadsError, match="wav2vec2-base needs torchaudio, built for this PyTorch"):
        load_speech_model(config, path)


def test_weights_are_found_beside_the_checkpoint_or_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    (tmp_path / "hubert-base.pt").touch()
    assert (
        find_weights("hubert-base") is None
        and find_weights("hubert-base", tmp_path / "model.safetensors") == tmp_path / "hubert-base.pt"
    )
    monkeypatch.setenv(FOLDER, str(tmp_path))
    assert find_weights("hubert-base") == tmp_path / "hubert-base.pt" and find_weights("hubert-large") is None
