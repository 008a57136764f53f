"""What the host manages: devices and memory, precision, progress with a preview, interruption.

ComfyUI's modules are looked up when a function is called: importing this file needs no host.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..diffused_heads_core.face.finder import FaceFinder
from ..diffused_heads_core.face.networks import load_face_models
from ..diffused_heads_core.conditioning import to_uint8
from ..diffused_heads_core.talking_head import TalkingHead
from .model_files import FOLDER

PRECISIONS = {"auto": None, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
AUTOCAST_DEVICES = ("cuda", "mps", "xpu")
PREVIEW_INTERVAL = 0.1  # seconds between two preview pictures
UNFINISHED_INTERVAL = 1.0  # seconds without any, after which an unfinished frame is shown
PREVIEW_ROW = 4  # identities side by side in a preview
ACTIVATIONS = 24  # feature maps of full size alive at once, a rough upper bound


@cache
def face_finder() -> FaceFinder:
    """Face analysis with the networks of models/diffused_heads/face, which are downloaded on first use."""
    import comfy.utils
    import folder_paths

    bars: dict[str, Any] = {}

    def progress(name: str, done: int, total: int) -> None:
        bars.setdefault(name, comfy.utils.ProgressBar(total)).update_absolute(done, total)

    folder = Path(folder_paths.models_dir, FOLDER, "face")
    return FaceFinder(load_face_models(host_folder=folder, progress=progress))


class DiffusedHeadsModel(torch.nn.Module):
    """All weights of a talking head under one roof, which is what the host's patcher moves and measures."""

    def __init__(self, head: TalkingHead):
        super().__init__()
        self.unet = head.unet
        scripted = head.config.audio.kind == "torchscript"  # runs on the CPU: its weights are not the host's to replace
        self.audio_encoder = None if scripted else head.audio_encoder


def manage(head: TalkingHead) -> Any:
    """The host's patcher for a talking head that lies on the CPU."""
    import comfy.model_management as management
    import comfy.model_patcher

    weights = DiffusedHeadsModel(head).requires_grad_(False)
    return comfy.model_patcher.CoreModelPatcher(
        weights, load_device=management.get_torch_device(), offload_device=management.unet_offload_device()
    )


def bring_to_device(head: TalkingHead, patcher: Any, batch: int = 1) -> None:
    """Have the host load all weights, and free what ``batch`` rows need for sampling."""
    import comfy.model_management as management

    unet = head.config.unet
    pixels = (unet.image_size // unet.unshuffle) ** 2
    memory = 4 * ACTIVATIONS * batch * pixels * unet.model_channels * max(unet.channel_mult)
    management.load_models_gpu([patcher], memory_required=memory, force_full_load=True)


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What a network computes in on ``device``: float32 on a CPU; by itself, half precision where the host expects it
    to be fast.

    float16 comes before bfloat16: its finer steps matter where frames are fed back.
    """
    import comfy.model_management as management

    if device.type not in AUTOCAST_DEVICES:
        return torch.float32
    wanted = PRECISIONS[precision]
    if wanted is not None:
        return wanted
    if management.should_use_fp16(device):
        return torch.float16
    return torch.bfloat16 if management.should_use_bf16(device) else torch.float32


def intermediate_device() -> torch.device:
    """Where the host wants pictures to lie between nodes."""
    import comfy.model_management as management

    return management.intermediate_device()


def frame_bar(total: int) -> Callable[[int], None]:
    """What is called with the number of frames done: raises the host's interruption, then moves its bar."""
    import comfy.model_management
    import comfy.utils

    bar = comfy.utils.ProgressBar(total)

    def on_frame(done: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return on_frame


class Progress:
    """Called at every denoising step: raises the host's interruption, moves its bar, shows the newest frame now and
    then.
    """

    def __init__(self, frames: int, steps: int):
        import comfy.model_management as management
        import comfy.utils

        self.steps, self.total = steps, frames * steps
        self.bar, self.check = comfy.utils.ProgressBar(self.total), management.throw_exception_if_processing_interrupted
        self.shown = -UNFINISHED_INTERVAL

    def __call__(self, frame: int, step: int, x0: Tensor) -> None:
        """frame and step count from 0; x0: (B, 3, S, S) in [-1, 1], the frame as far as it is known."""
        self.check()
        now = time.monotonic()
        due = now - self.shown >= (PREVIEW_INTERVAL if step + 1 == self.steps else UNFINISHED_INTERVAL)
        self.shown = now if due else self.shown
        preview = ("JPEG", preview_picture(x0), None) if due else None
        self.bar.update_absolute(frame * self.steps + step + 1, self.total, preview)


def preview_picture(x0: Tensor) -> Any:
    """A PIL picture of the first rows of x0 (B, 3, S, S), side by side."""
    from PIL import Image

    return Image.fromarray(np.concatenate(list(to_uint8(x0[:PREVIEW_ROW])), 1))
