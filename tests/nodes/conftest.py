"""A tiny talking head, speech, and stand-ins for the modules of ComfyUI that the node classes import."""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core import checkpoints
from diffused_heads.diffused_heads_core.audio_encoder import AudioEncoder
from diffused_heads.diffused_heads_core.config import AudioConfig, FeatureGroup, ModelConfig, SpatialInput, UNetConfig
from diffused_heads.diffused_heads_core.talking_head import TalkingHead, load_model
from diffused_heads.diffused_heads_core.unet import UNet

PACKAGE = "diffused_heads.nodes"
RATE = 22050


class Stop(BaseException):
    """What the host raises to interrupt."""


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


def _io() -> SimpleNamespace:
    """Stands for comfy_api.latest.io: sockets that remember what they were made with."""

    def socket(kind: str) -> SimpleNamespace:
        def make(id: str | None = None, **settings: Any) -> SimpleNamespace:
            return SimpleNamespace(id=id, kind=kind, **settings)

        return SimpleNamespace(Input=make, Output=make)

    kinds = {
        name: socket(name.upper())
        for name in ("Image", "Mask", "Audio", "Int", "Float", "Boolean", "Combo", "String", "Video")
    }
    return SimpleNamespace(
        **kinds,
        Custom=socket,
        ComfyNode=object,
        Schema=lambda **s: SimpleNamespace(**s),
        Hidden=SimpleNamespace(prompt="prompt", extra_pnginfo="extra_pnginfo"),
        FolderType=SimpleNamespace(output="output", temp="temp"),
        NodeOutput=lambda *args, **more: SimpleNamespace(args=args, **more),
    )


def _save_path(prefix: str, output: str, width: int = 0, height: int = 0) -> tuple[str, str, int, str, str]:
    """Like the host's: refuses what lies outside the output folder, and makes folders."""
    subfolder, name = os.path.split(os.path.normpath(prefix))
    folder = os.path.join(output, subfolder)
    if os.path.commonpath((output, os.path.abspath(folder))) != output:
        raise Exception("Saving image outside the output folder is not allowed.")
    os.makedirs(folder, exist_ok=True)
    return folder, name, 1, subfolder, prefix


def _modules(host: SimpleNamespace) -> dict[str, dict[str, Any]]:
    class Patcher:
        def __init__(self, model: torch.nn.Module, load_device: torch.device, offload_device: torch.device):
            self.model, self.load_device, self.offload_device = model, load_device, offload_device

    class Bar:
        def __init__(self, total: int):
            self.total = total

        def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
            host.progress.append((value, total, preview))

    def check() -> None:
        if host.stop_at is not None and len(host.progress) >= host.stop_at:
            raise Stop

    def names(folder: str) -> list[str]:
        assert folder == "diffused_heads" and folder in host.folders
        return sorted(p.name for p in Path(host.folders[folder]).iterdir())

    cpu = torch.device("cpu")
    return {
        "comfy": {},
        "comfy_api": {},
        "comfy.cli_args": {"args": SimpleNamespace(disable_metadata=False)},
        "comfy.model_management": {
            "get_free_memory": lambda device: host.free_memory,
            "get_torch_device": lambda: cpu,
            "unet_offload_device": lambda: cpu,
            "intermediate_device": lambda: cpu,
            "load_models_gpu": lambda models, **more: host.loaded.append(models),
            "should_use_fp16": lambda device: host.fp16,
            "should_use_bf16": lambda device: host.bf16,
            "throw_exception_if_processing_interrupted": check,
        },
        "comfy.model_patcher": {"CoreModelPatcher": Patcher},
        "comfy.utils": {"ProgressBar": Bar},
        "comfy_api.latest": {
            "io": _io(),
            "ComfyExtension": object,
            "Types": SimpleNamespace(VideoComponents=SimpleNamespace),
            "InputImpl": SimpleNamespace(VideoFromFile=lambda path: path, VideoFromComponents=lambda parts: parts),
            "ui": SimpleNamespace(
                SavedResult=lambda *saved: saved, PreviewVideo=list, SavedImages=lambda saved, **more: saved
            ),
        },
        "folder_paths": {
            "get_output_directory": lambda: str(host.output),
            "get_temp_directory": lambda: str(host.output),
            "get_save_image_path": _save_path,
            "models_dir": str(host.models),
            "add_model_folder_path": host.folders.__setitem__,
            "get_filename_list": names,
            "get_full_path_or_raise": lambda folder, name: str(Path(host.folders[folder]) / name),
        },
    }


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A host that notes what is asked of it. ``host.node(module, name)`` gives a node class; ``stop_at``: interrupt
    after n steps.
    """
    host = SimpleNamespace(
        progress=[],
        loaded=[],
        folders={},
        stop_at=None,
        fp16=True,
        bf16=True,
        models=tmp_path / "models",
        output=tmp_path / "output",
        free_memory=2**40,
        Stop=Stop,
    )
    before = set(sys.modules)
    for name, content in _modules(host).items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
        if "." in name:
            monkeypatch.setattr(sys.modules[name.split(".")[0]], name.split(".")[1], module, raising=False)
    host.node = lambda module, name: getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)
    yield host
    for name in [n for n in sys.modules if n not in before and n.startswith(PACKAGE)]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Path]:
    return save_tiny
