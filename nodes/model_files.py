"""The models to choose from, and the message for a name that cannot be loaded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from ..diffused_heads_core import checkpoints
from ..diffused_heads_core.talking_head import TalkingHead, load_model

FOLDER = "diffused_heads"
SUFFIX = ".safetensors"
RELEASED = (".pt", ".pth", ".ckpt")
ENCODER = ".audio_encoder.pt"  # beside a converted checkpoint


def choices(files: Iterable[str]) -> list[str]:
    """Names to choose from: bundled models, checkpoints, then files as the authors released them."""
    files = list(files)
    converted = [name for name in files if name.lower().endswith(SUFFIX)]
    released = [name for name in files if name.lower().endswith(RELEASED) and not name.lower().endswith(ENCODER)]
    return [*checkpoints.bundled_models(), *sorted(converted), *sorted(released)]


def refusal(name: str, files: Iterable[str]) -> str | None:
    """Why the model ``name`` cannot be loaded, in one line for the user, or None if it can be tried."""
    known = [choice for choice in choices(files) if not choice.lower().endswith(RELEASED)]
    if name.lower().endswith(RELEASED):
        stem = Path(name.replace("\\", "/")).stem
        return (
            f"{name} is a checkpoint as its authors released it: turn it into a model of this pack with "
            f"`diffused-heads convert {Path(name).name} {stem}{SUFFIX} --audio-encoder AUDIO_ENCODER` "
            f"in models/{FOLDER}"
        )
    if name in known:
        return None
    there = f"expected one of {', '.join(known)}; " if known else ""
    return f"there is no model {name!r}: {there}put its {SUFFIX} file into ComfyUI's models/{FOLDER} folder"


def load(path: str | Path, trust_torchscript: bool = False) -> TalkingHead:
    """Load a checkpoint onto the CPU; its weights can be trained even though the host is in inference mode."""
    with torch.inference_mode(False), torch.no_grad():
        return load_model(path, "cpu", trust_torchscript)


def fingerprint(path: str | Path) -> str:
    """A text that changes whenever the file does."""
    found = Path(path).stat()
    return f"{found.st_mtime_ns}-{found.st_size}"
