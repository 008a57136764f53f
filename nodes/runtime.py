"""What the host manages: devices and memory, precision, progress with a preview, interruption."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import comfy_execution.utils
import folder_paths
import numpy as np
import server
import torch
from PIL import Image
from torch import Tensor

from ..diffused_heads_core.conditioning import to_uint8
from ..diffused_heads_core.face.expressions import ExpressionNetworks
from ..diffused_heads_core.face.finder import FaceFinder
from ..diffused_heads_core.face.networks import load_face_models, load_lip_models, load_motion_models
from ..diffused_heads_core.talking_head import TalkingHead
from .model_files import FOLDER
from .page_messages import SamplingStatus

PRECISIONS = {"auto": None, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
AUTOCAST_DEVICES = ("cuda", "mps", "xpu")
PREVIEW_INTERVAL = 0.1  # seconds between two preview pictures of finished frames
UNFINISHED_INTERVAL = 1.0  # seconds without a preview after which an unfinished frame is shown
PREVIEW_ROW = 4  # identities side by side in a preview
PREVIEW_SIDE = 384  # pixels: the page shows a preview no larger than it is
ACTIVATIONS = 24  # feature maps of full size alive at once, a rough upper bound


def face_finder() -> FaceFinder:
    """Face analysis with the networks of models/diffused_heads/face, which are downloaded on first use.

    Loading takes some 20 ms, so nothing is kept between runs that the host could not free.
    """
    folder = _face_folder()
    return FaceFinder(load_face_models(host_folder=folder, progress=_download_shown(folder, "search for a face")))


def lip_finder() -> FaceFinder:
    """As ``face_finder``, with the truest landmarks of lips, for dubbing."""
    folder = _face_folder()
    return FaceFinder(load_lip_models(host_folder=folder, progress=_download_shown(folder, "search for a face")))


def motion_networks() -> ExpressionNetworks:
    """The networks that measure motion, which are kept and downloaded as those of ``face_finder``."""
    folder = _face_folder()
    progress = _download_shown(folder, "measurement of a motion")
    return ExpressionNetworks(load_motion_models(host_folder=folder, progress=progress))


def _face_folder() -> Path:
    return Path(folder_paths.models_dir, FOLDER, "face")


def _download_shown(folder: Path, purpose: str) -> Callable[[str, int, int], None]:
    """Shows the download of a network into a folder on the node that is executed."""
    bars: dict[str, Any] = {}

    def progress(name: str, done: int, total: int) -> None:
        if name not in bars:
            bars[name] = comfy.utils.ProgressBar(total)
            show_text(f"downloading {name} ({total / 1e6:.1f} MB) into {folder}, for the first {purpose}")
        bars[name].update_absolute(done, total)

    return progress


def show_text(text: str) -> None:
    """Show a text under the node that is executed, if there are a page and an execution."""
    node = comfy_execution.utils.get_executing_context()
    if node is not None:
        server.PromptServer.instance.send_progress_text(text, node.node_id)


@contextmanager
def warnings_on_node() -> Iterator[None]:
    """Within the block, show what the pack warns of on the node that is executed too, besides the host's log.

    The host's page shows the text under the node. Without a page, or outside an execution, nothing is shown.
    """
    handler = _Lines()
    package = logging.getLogger(__name__.removesuffix(".nodes.runtime"))
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        if handler.lines:
            show_text("\n".join(handler.lines))


class _Lines(logging.Handler):
    """Collects the warnings of the thread that made it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a warning."""
        if record.thread == self._thread:
            self.lines.append(record.getMessage())


class DiffusedHeadsModel(torch.nn.Module):
    """All weights of a talking head in one module, which the host's patcher moves and measures."""

    def __init__(self, head: TalkingHead):
        super().__init__()
        self.unet = head.unet
        scripted = head.config.audio.kind == "torchscript"  # runs on the CPU: the host must not move its weights
        self.audio_encoder = None if scripted else head.audio_encoder
        self.lip_shape = head.lip_shape


def manage(head: TalkingHead) -> Any:
    """The host's patcher for a talking head that is on the CPU."""
    weights = DiffusedHeadsModel(head).requires_grad_(False)
    return comfy.model_patcher.CoreModelPatcher(
        weights,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


def bring_to_device(head: TalkingHead, patcher: Any, batch: int = 1) -> None:
    """Have the host load all weights, and free the memory that sampling ``batch`` identities takes."""
    unet = head.config.unet
    height, width = unet.frame_shape
    pixels = height * width // unet.unshuffle**2
    memory = 4 * ACTIVATIONS * batch * pixels * unet.model_channels * max(unet.channel_mult)
    comfy.model_management.load_models_gpu([patcher], memory_required=memory, force_full_load=True)


@contextmanager
def speech_model_released(head: TalkingHead) -> Iterator[None]:
    """After the block, free the frozen speech model that some models encode sound with: the host could not free it."""
    try:
        yield
    finally:
        head.release_speech_model()


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
    """Where the host wants pictures to be between nodes."""
    return comfy.model_management.intermediate_device()


def check_interruption() -> None:
    """Raise the host's exception if the user has cancelled."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def progress_bar(total: int = 1) -> Callable[..., None]:
    """A function that moves the host's bar: call it with how much is done and, if it changes, with the total.

    It first raises the host's exception if the user has cancelled.
    """
    bar = comfy.utils.ProgressBar(total)

    def show(done: int, total: int = total) -> None:
        check_interruption()
        bar.update_absolute(done, total)

    return show


def show_picture(picture: np.ndarray) -> None:
    """Show a picture, uint8 (H, W, 3), as the preview of the node that is executed."""
    comfy.utils.ProgressBar(1).update_absolute(1, 1, ("JPEG", Image.fromarray(picture), None))


class FrameProgress:
    """Called with each finished frame, uint8 (H, W, 3): interrupts if the user cancels, moves the bar, shows it."""

    def __init__(self, frames: int):
        self._bar, self._done, self._shown = comfy.utils.ProgressBar(frames), 0, -PREVIEW_INTERVAL
        self._total = frames

    def __call__(self, frame: np.ndarray) -> None:
        check_interruption()
        self._done += 1
        preview, now = None, time.monotonic()
        if now - self._shown >= PREVIEW_INTERVAL:
            self._shown, preview = now, ("JPEG", Image.fromarray(frame), PREVIEW_SIDE)
        self._bar.update_absolute(self._done, self._total, preview)


class Progress:
    """Called at every denoising step: interrupts if the user cancels, moves the host's bar, shows the newest frame."""

    def __init__(self, frames: int, steps: int):
        self.steps, self.total = steps, frames * steps
        self.bar, self.status = comfy.utils.ProgressBar(self.total), SamplingStatus(frames)
        self.shown = -UNFINISHED_INTERVAL

    def __call__(self, frame: int, step: int, x0: Tensor) -> None:
        """frame and step count from 0; x0: (B, 3, S, S) in [-1, 1], the prediction of the clean frame so far."""
        check_interruption()
        now = time.monotonic()
        due = now - self.shown >= (PREVIEW_INTERVAL if step + 1 == self.steps else UNFINISHED_INTERVAL)
        self.shown = now if due else self.shown
        preview = ("JPEG", preview_picture(x0), None) if due else None
        self.bar.update_absolute(frame * self.steps + step + 1, self.total, preview)
        self.status.show(frame + (step + 1) / self.steps)


def preview_picture(x0: Tensor) -> Any:
    """A PIL picture of the first PREVIEW_ROW identities of x0 (B, 3, S, S), side by side, PREVIEW_SIDE pixels each."""
    row = Image.fromarray(np.concatenate(list(to_uint8(x0[:PREVIEW_ROW])), 1))
    return row.resize((row.width * PREVIEW_SIDE // row.height, PREVIEW_SIDE), Image.Resampling.BICUBIC)
