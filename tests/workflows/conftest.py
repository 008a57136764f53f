"""The nodes' schemas without ComfyUI: its modules are stood in for by ones that remember what they were given."""

from __future__ import annotations

import importlib
import sys
import types
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import pytest

SOCKETS = ("Image", "Mask", "Audio", "Int", "Float", "Boolean", "Combo", "String", "Video")
MODULES = (
    "comfy",
    "comfy.cli_args",
    "comfy.model_management",
    "comfy.model_patcher",
    "comfy.utils",
    "comfy_api",
    "folder_paths",
)


def _socket(kind: str) -> SimpleNamespace:
    def make(id: str | None = None, **settings: Any) -> SimpleNamespace:
        return SimpleNamespace(id=id, kind=kind, settings=settings)

    return SimpleNamespace(Input=make, Output=make)


def _latest() -> types.ModuleType:
    module = types.ModuleType("comfy_api.latest")
    io = MagicMock(
        ComfyNode=object,
        Custom=_socket,
        Schema=lambda **given: SimpleNamespace(**given),
        **{name: _socket(name.upper()) for name in SOCKETS},
    )
    vars(module).update(io=io, ui=MagicMock(), InputImpl=MagicMock(), Types=MagicMock(), ComfyExtension=object)
    return module


def _read_schemas() -> dict[str, SimpleNamespace]:
    stand_ins: dict[str, Any] = {name: MagicMock(__spec__=None) for name in MODULES} | {"comfy_api.latest": _latest()}
    stand_ins["folder_paths"].get_filename_list.return_value = ["avatar.safetensors"]
    with patch.dict(sys.modules, stand_ins):  # takes out again what was imported in between
        nodes = importlib.import_module("diffused_heads.nodes.extension").NODES
        return {schema.node_id: schema for schema in (node.define_schema() for node in nodes)}


@pytest.fixture(scope="session")
def schemas() -> dict[str, SimpleNamespace]:
    """Node id -> schema, of every node of the pack."""
    return _read_schemas()
