"""Diffused Heads: a portrait and a voice in, a talking head out. Also the entry point that ComfyUI looks for."""
from __future__ import annotations

import logging
from typing import Any

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """The pack's nodes for ComfyUI, whose modules are imported here and not before."""
    try:
        from .nodes.extension import DiffusedHeadsExtension
    except Exception:
        logging.getLogger(__name__).exception("the nodes of Diffused Heads cannot be loaded")
        raise
    return DiffusedHeadsExtension()
