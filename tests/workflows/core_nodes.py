"""The nodes of ComfyUI itself that the workflows use, as far as they use them, recorded from a running ComfyUI.

    python tests/workflows/core_nodes.py http://127.0.0.1:8188

records them again. A host test compares the record with a running ComfyUI.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "workflows"
RECORD = Path(__file__).with_suffix(".json")
NOTES = {"MarkdownNote", "Note"}  # of the page alone


def used() -> list[str]:
    """Types of the nodes in the workflows that are neither this pack's nor the page's."""
    workflows = [json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.json")]
    types = {node["type"] for workflow in workflows for node in workflow["nodes"]}
    return sorted(name for name in types - NOTES if not name.startswith("DH_"))


def facts(info: dict[str, Any]) -> dict[str, Any]:
    """What a workflow must know of a node, from its entry in /object_info.

    inputs: name -> type; those of a group that grows are one entry, "images.image*", and a list whose choice brings
    more inputs (Save Video's format since 0.33.0) counts as a list. outputs: their types, None for an output node,
    where a workflow ends (ComfyUI 0.12.1 gives Preview Image none, 0.33.0 one).
    """
    inputs = {}
    for name, (kind, *settings) in {**info["input"]["required"], **info["input"].get("optional", {})}.items():
        if kind == "COMFY_AUTOGROW_V3":
            template = settings[0]["template"]
            (inner,) = template["input"]["required"].values()
            inputs[f"{name}.{template['prefix']}*"] = inner[0]
        else:
            inputs[name] = "COMBO" if isinstance(kind, list) or kind == "COMFY_DYNAMICCOMBO_V3" else kind
    return {"inputs": inputs, "outputs": None if info["output_node"] else info["output"]}


def recorded() -> dict[str, dict[str, Any]]:
    """Type -> facts, of the nodes in the record."""
    return json.loads(RECORD.read_text(encoding="utf-8"))["nodes"]


def main(url: str) -> None:
    """Write the record anew from the ComfyUI at ``url``."""

    def get(path: str) -> Any:
        with urllib.request.urlopen(url + path) as answer:
            return json.load(answer)

    version, nodes = get("/system_stats")["system"]["comfyui_version"], get("/object_info")
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(facts(nodes[name]))}" for name in used())
    text = f'{{\n "comfyui": {json.dumps(version)},\n "nodes": {{\n{lines}\n }}\n}}\n'
    RECORD.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
