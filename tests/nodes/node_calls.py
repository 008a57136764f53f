"""Every node in one call with good inputs, some of which a test replaces."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from diffused_heads.diffused_heads_core.config import ModelConfig, UNetConfig
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.placing import Placing
from diffused_heads.diffused_heads_core.talking_head import TalkingHead
from diffused_heads.nodes.sockets import Identity, Model, Sampling

MODULES = {
    "LoadModel": "load_model",
    "LoadIdentity": "identity",
    "EncodeAudio": "audio",
    "DiffusedHeadsSampler": "sampler",
    "PasteBack": "paste_back",
    "VideoCombine": "video_combine",
    "ExamplePortraitAndVoice": "examples",
}


class Calls:
    """The pack's nodes in a stand-in host, around a tiny model of 32 px."""

    def __init__(self, host: SimpleNamespace, head: TalkingHead):
        self.host, self.model = host, Model("tiny", head, "patcher")
        self.picture = torch.rand(1, 80, 60, 3, generator=torch.Generator().manual_seed(1))
        time = torch.arange(3840) / 16000
        self.speech = {
            "waveform": (0.4 * torch.sin(1100 * time) * (0.6 + 0.4 * torch.sin(25 * time)))[None, None],
            "sample_rate": 16000,
        }
        self.identity = self.identity_of(self.picture)
        self.embedding = host.node("audio", "encode")(head, "tiny", self.speech)
        host.output.mkdir(exist_ok=True)
        self.good = {
            "LoadModel": {"model_name": "tiny.safetensors"},
            "LoadIdentity": {"image": self.picture, "model": self.model, "face": "whole"},
            "EncodeAudio": {"model": self.model, "audio": self.speech, "start": 0.0, "duration": 0.0},
            "DiffusedHeadsSampler": {
                "model": self.model,
                "identity": self.identity,
                "audio_embedding": self.embedding,
                "seed": 0,
                "options": Sampling({"steps": 1}),
            },
            "PasteBack": {"images": [torch.rand(2, 32, 32, 3)], "identity": [self.identity], "fps": [25.0]},
            "VideoCombine": {"images": torch.rand(2, 64, 64, 3), "fps": 25.0, "filename_prefix": "a"},
            "ExamplePortraitAndVoice": {"portrait": "ada", "voice": "welcome"},
        }

    def identity_of(self, picture: torch.Tensor, size: int = 32, **place: Any) -> Identity:
        """What Load Identity gives for the middle square, or a box, of pictures."""
        config = ModelConfig(unet=UNetConfig(image_size=size))
        placing = Placing(**{"rule": "whole", **place})
        return self.host.node("identity", "take_identity")(picture, config, placing, lambda: None)[0]

    def node(self, name: str) -> Any:
        """A node's class, prepared as the host does."""
        node = self.host.node(MODULES[name], name)
        return type("Prepared", (node,), {"hidden": SimpleNamespace(prompt={"1": {}}, extra_pnginfo=None)})

    def run(self, name: str, **changes: Any) -> tuple[Any, ...]:
        """The node's outputs for good inputs but for these changes."""
        return self.node(name).execute(**{**self.good[name], **changes}).args

    def left(self) -> list[Path]:
        """Everything in the output folder."""
        return sorted(path for path in self.host.output.rglob("*") if path.is_file() or path.name.startswith("."))

    def refused(self, name: str, **changes: Any) -> str:
        """The line of a run that must fail, which leaves no file."""
        try:
            self.run(name, **changes)
        except DiffusedHeadsError as error:
            assert "\n" not in str(error) and not self.left(), error
            return str(error)
        raise AssertionError(f"{name} took {changes}")
