"""The nodes' schemas without ComfyUI, in the stand-in host of the tests of the nodes."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.append(str(Path(__file__).parent))  # pytest's importlib mode does not
sys.path.append(str(Path(__file__).parents[1] / "nodes"))

from host_stub import PACKAGE, installed, new_host


@pytest.fixture(scope="session")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SimpleNamespace]:
    """Node id -> schema, of every node of the pack."""
    host = new_host(tmp_path_factory.mktemp("host"))
    host.models.mkdir()
    with installed(host):
        importlib.import_module(f"{PACKAGE}.load_model").register_folder()
        nodes = importlib.import_module(f"{PACKAGE}.extension").NODES
        return {schema.node_id: schema for schema in (node.define_schema() for node in nodes)}
