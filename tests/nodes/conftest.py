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

sys.path.insert(0, str(Path(__file__).parents[1] / "core"))
sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode does not
from hard_inputs import save_tiny
from host_stub import PACKAGE, installed, new_host

from diffused_heads.diffused_heads_core.talking_head import TalkingHead, load_model

RATE = 22050


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
