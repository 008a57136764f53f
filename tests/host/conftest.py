"""A real ComfyUI for these tests, started once, with a folder of its own for models, inputs and outputs.

COMFYUI_PATH names the folder of ComfyUI's main.py, COMFYUI_PYTHON the Python that it runs with. DIFFUSED_HEADS_MODEL
may name a checkpoint to use; without it the bundled model is taken, and where there is none, a tiny one with random
weights.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode does not

sys.path.append(str(Path(__file__).parents[1] / "nodes"))
sys.path.append(str(Path(__file__).parents[1] / "workflows"))

from browser import open_page
from host_client import Host, furnish

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in ("COMFYUI_PATH", "COMFYUI_PYTHON") if not os.environ.get(name)]
    if missing:
        skip = pytest.mark.skip(reason=f"needs a ComfyUI: set {' and '.join(missing)}")
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The running server."""
    base, comfy = tmp_path_factory.mktemp("comfyui"), Path(os.environ["COMFYUI_PATH"])
    host = Host(comfy, os.environ["COMFYUI_PYTHON"], base, furnish(base))
    try:
        host.start()
        yield host
    finally:
        host.stop()


@pytest.fixture(autouse=True)
def marked(request: pytest.FixtureRequest) -> None:
    """Lets a test see only what the server printed since it began."""
    if "host" in request.fixturenames:
        request.getfixturevalue("host").mark()


@pytest.fixture
def page(host: Host, tmp_path: Path) -> Iterator[Any]:
    """A fresh page of the running server."""
    with open_page(host, tmp_path / "browser") as page:
        yield page
