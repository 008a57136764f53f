"""The table of parameters that the stand-in host of the tests of the nodes goes by, beside the real ComfyUI."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest
from host_stub import SIGNATURES, split

SCRIPT = """
import importlib, inspect, json, os, sys
sys.path.insert(0, "")
import comfy.options
comfy.options.enable_args_parsing()
import utils.extra_config  # as main.py does: in old versions a later import finds comfy/utils.py under this name
import comfy.model_patcher, comfy.utils, folder_paths
from comfy_api.latest import InputImpl, Types, io, ui
latest = {"io": io, "ui": ui, "Types": Types, "InputImpl": InputImpl}
found = {}
for name in json.loads(os.environ["SIGNATURES"]):
    first, *rest = name.split(".")
    thing = latest[first] if first in latest else importlib.import_module(first)
    for part in rest:
        thing = io.Custom("TYPE") if part == "Custom" else getattr(thing, part)
    parameters = inspect.signature(thing).parameters.values()
    found[name] = [(p.name, p.kind.name, p.default is p.empty) for p in parameters if p.name != "self"]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def real() -> dict[str, list[tuple[str, str, bool]]]:
    """Entry of SIGNATURES -> (name, kind, required) of each parameter of the host, in order."""
    command = [os.environ["COMFYUI_PYTHON"], "-c", SCRIPT, "--cpu"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "SIGNATURES": json.dumps(list(SIGNATURES))}
    run = subprocess.run(command, cwd=os.environ["COMFYUI_PATH"], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_host_takes_what_the_table_says(real: dict[str, Any], name: str) -> None:
    parameters = real[name]
    positional, keywords = split(name)
    names = [text.strip("?*") for text in positional]
    assert [parameter for parameter, _, _ in parameters][: len(names)] == names
    assert set(keywords) <= {parameter for parameter, _, _ in parameters}
    required = {parameter for parameter, kind, needed in parameters if needed and not kind.startswith("VAR_")}
    assert required <= {text for text in positional if not text.endswith("?")}
