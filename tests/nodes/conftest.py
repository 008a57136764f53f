"""A tiny talking head, speech and pictures, and a stand-in for the host."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode does not
from host_stub import PACKAGE, installed, new_host

from diffused_heads.diffused_heads_core import checkpoints
from diffused_heads.diffused_heads_core.audio_encoder import AudioEncoder
from diffused_heads.diffused_heads_core.config import AudioConfig, FeatureGroup, ModelConfig, SpatialInput, UNetConfig
from diffused_heads.diffused_heads_core.talking_head import TalkingHead, load_model
from diffused_heads.diffused_heads_core.unet import UNet

RATE = 22050


def save_tiny(path: Path, size: int = 32) -> Path:
    """A checkpoint of a network with random weights, moved by a head track, two steps of ddim by itself."""
    torch.manual_seed(0)
    audio = AudioConfig(mels=16, channels=8, embedding=8)
    spatial = (SpatialInput("motion", 6), SpatialInput("identity", 3), SpatialInput("face", 6))
    config = ModelConfig(
        audio=audio,
        sampler="ddim",
        steps=2,
        head_motion=True,
        unet=UNetConfig(
            image_size=size,
            model_channels=16,
            channel_mult=(1, 2),
            res_blocks=1,
            head_channels=16,
            norm_groups=8,
            dropout=0.0,
            prediction="x0",
            learned_variance=False,
            spatial=spatial,
            features=(FeatureGroup("audio", 8),),
        ),
    )
    parts = {"unet.": UNet(config.unet), "audio_encoder.": AudioEncoder(audio)}
    tensors = {
        prefix + name: torch.randn_like(t) * 0.1
        for prefix, part in parts.items()
        for name, t in part.state_dict().items()
    }
    checkpoints.save(path, checkpoints.Checkpoint(config, tensors, "Apache-2.0"))
    return path


@pytest.fixture
def head(tmp_path: Path) -> TalkingHead:
    return load_model(save_tiny(tmp_path / "tiny.safetensors"), "cpu")


@pytest.fixture
def speech() -> dict[str, Any]:
    """An AUDIO: 0.5 s of bursts, in stereo, the right channel half as loud."""
    time = torch.arange(RATE // 2) / RATE
    sound = 0.4 * torch.sin(2 * np.pi * 180 * time) * (0.6 + 0.4 * torch.sin(2 * np.pi * 4 * time))
    return {"waveform": torch.stack([sound, sound / 2])[None], "sample_rate": RATE}


@pytest.fixture
def portraits() -> torch.Tensor:
    """An IMAGE of two different pictures, 60 wide and 80 high."""
    return torch.rand(2, 80, 60, 3, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A stand-in host, see ``host_stub``; ``host.node(module, name)`` gives what a module of the nodes defines."""
    host = new_host(tmp_path)
    host.node = lambda module, name: getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)
    with installed(host):
        yield host


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Path]:
    return save_tiny
