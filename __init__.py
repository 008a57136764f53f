"""Diffused Heads: a portrait and a voice in, a talking head out.

The front door of the library (``load_model``, ``animate``, ``dub``), of the command line (``main``), and of ComfyUI
(``comfy_entrypoint``). Nothing is imported before it is used.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .diffused_heads_core.conversation.animation import animate_several
    from .diffused_heads_core.dubbing.dubbing import dub
    from .diffused_heads_core.pipeline import animate
    from .diffused_heads_core.talking_head import load_model

__all__ = ["animate", "animate_several", "comfy_entrypoint", "dub", "load_model", "main"]
WEB_DIRECTORY = "./web"
_PLACES = {
    "animate": "pipeline",
    "animate_several": "conversation.animation",
    "dub": "dubbing.dubbing",
    "load_model": "talking_head",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".diffused_heads_core.{_PLACES[name]}", __name__), name)


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``diffused-heads``: the core's sub-commands, and the trainer's where it is installed."""
    from .diffused_heads_core.cli.main import main as run

    try:
        from .training.commands import COMMANDS
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(f"{__name__}.training"):
            raise
        return run(argv)
    return run(argv, COMMANDS)


async def comfy_entrypoint() -> Any:
    """The pack's nodes for ComfyUI, whose modules are imported here and not before."""
    try:
        from .nodes.extension import DiffusedHeadsExtension
    except Exception:
        logging.getLogger(__name__).exception("the nodes of Diffused Heads cannot be loaded")
        raise
    return DiffusedHeadsExtension()
