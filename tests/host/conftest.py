"""A real ComfyUI for these tests, started once, with a folder of its own for models, inputs and outputs.

COMFYUI_PATH names the folder of ComfyUI's main.py, COMFYUI_PYTHON the Python that it runs with. DIFFUSED_HEADS_MODEL
may name a checkpoint to use; without it the bundled model is taken, and where there is none, a tiny one with random
weights.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode does not

from host_client import Host, tiny_model

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "diffused_heads_core" / "assets" / "human.safetensors"
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in ("COMFYUI_PATH", "COMFYUI_PYTHON") if not os.environ.get(name)]
    if missing:
        skip = pytest.mark.skip(reason=f"needs a ComfyUI: set {' and '.join(missing)}")
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(skip)


def furnish(base: Path, comfy: Path) -> str:
    """Make the folders of a fresh install with this pack linked in; returns the name of the model to use."""
    for folder in ("custom_nodes", "input", "output", "temp", "user", "models/diffused_heads"):
        (base / folder).mkdir(parents=True)
    (base / "custom_nodes" / "diffused-heads").symlink_to(ROOT, target_is_directory=True)
    if (comfy / "input" / "example.png").exists():
        shutil.copy(comfy / "input" / "example.png", base / "input")
    make_upscaler(base / "models" / "upscale_models" / "RealESRGAN_x4plus.safetensors")
    given = os.environ.get("DIFFUSED_HEADS_MODEL")
    if given:
        shutil.copy(given, base / "models" / "diffused_heads" / "test.safetensors")
    elif BUNDLED.exists():
        return BUNDLED.stem
    else:
        tiny_model(base / "models" / "diffused_heads" / "test.safetensors")
    return "test.safetensors"


def make_upscaler(path: Path) -> None:
    """A tiny network with random weights under the name of the upscaler that a workflow asks for: no download in tests."""
    script = (
        "import sys; from safetensors.torch import save_file; from spandrel.architectures.Compact import Compact; "
        "net = Compact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=2, upscale=4, act_type='prelu'); "
        "save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, sys.argv[1])"
    )
    path.parent.mkdir(parents=True)
    subprocess.run([os.environ["COMFYUI_PYTHON"], "-c", script, str(path)], check=True)


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The running server."""
    base, comfy = tmp_path_factory.mktemp("comfyui"), Path(os.environ["COMFYUI_PATH"])
    host = Host(comfy, os.environ["COMFYUI_PYTHON"], base, furnish(base, comfy))
    try:
        host.start()
        yield host
    finally:
        host.stop()


@pytest.fixture(autouse=True)
def marked(request: pytest.FixtureRequest) -> None:
    """A test looks at what its own prompts made the server print."""
    if "host" in request.fixturenames:
        request.getfixturevalue("host").mark()
