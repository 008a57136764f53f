"""The list of nodes that ComfyUI is given."""
from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .audio import EncodeAudio
from .examples import ExamplePortraitAndVoice
from .identity import LoadIdentity
from .load_model import LoadModel, register_folder
from .sampler import DiffusedHeadsSampler
from .video_combine import VideoCombine

NODES: list[type[io.ComfyNode]] = [LoadModel, LoadIdentity, EncodeAudio, DiffusedHeadsSampler, VideoCombine, ExamplePortraitAndVoice]


class DiffusedHeadsExtension(ComfyExtension):
    """The pack, as ComfyUI sees it."""

    async def on_load(self) -> None:
        """Make models/diffused_heads known before a node lists what is in it."""
        register_folder()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes."""
        return NODES
