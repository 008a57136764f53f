"""ComfyUI's page in Chromium: drop a workflow, run it, see it work, cancel, run again, drop the video."""

from __future__ import annotations

import json
import time
from itertools import product
from typing import Any

import pytest
from browser import PLAYER, drop, drop_workflow, press_run, shoot, wait_idle
from host_client import MAIN, PATIENCE, WORKFLOWS, Host

NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
SCREENS = (1600, 1000), (1366, 768)
OPEN_TEMPLATE = "workflow => window.app.loadGraphData(workflow, true, true, 'x', {openSource: 'template'})"
WARNINGS = """() => [...document.querySelectorAll('body *')].filter(e =>
  !e.children.length && e.offsetParent && /is missing|missing (media|model|node)/i.test(e.textContent)
).map(e => e.textContent)"""
CARDS = """() => [...document.querySelectorAll('[data-testid^="template-workflow-"]')]
  .map(e => e.dataset.testid.replace('template-workflow-', ''))"""
SAMPLER = "DH_Sampler"
NODES = "() => window.app.graph.nodes.map(n => n.type).sort()"
PREVIEW = "type => window.app.graph.nodes.some(n => n.type === type && n.imgs && n.imgs.length)"
LABELS = """() => {
  const found = {};
  for (const type of Object.keys(LiteGraph.registered_node_types).filter(type => type.startsWith('DH_')))
    found[type] = Object.fromEntries((LiteGraph.createNode(type).widgets || []).map(w => [w.name, w.label || w.name]));
  return found;
}"""


def types(workflow: dict[str, Any]) -> list[str]:
    return sorted(node["type"] for node in workflow["nodes"])


@pytest.mark.parametrize("name", NAMES)
def test_a_dropped_workflow_opens_whole(page: Any, host: Host, name: str) -> None:
    workflow = drop_workflow(page, host, name)
    assert page.evaluate(NODES) == types(workflow)
    sent = page.evaluate("async () => (await window.app.graphToPrompt()).output")
    for id, node in host.prompt(name).items():
        inputs = {key.removeprefix("format."): value for key, value in sent[id]["inputs"].items()}  # of Save Video
        assert inputs == node["inputs"], node["class_type"]


@pytest.mark.parametrize("name", NAMES)
def test_a_template_opens_legibly_and_without_a_warning(page: Any, name: str) -> None:
    """On a large screen and on a laptop, in both canvases, with an empty input folder."""
    workflow = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    for (width, height), nodes_2 in product(SCREENS, (False, True)):
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate("on => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", nodes_2)
        page.evaluate(OPEN_TEMPLATE, workflow)
        page.wait_for_timeout(2500)
        wrong = page.evaluate("() => window.app.graph.nodes.filter(n => n.has_errors).map(n => n.type)")
        needs_a_file = [node for node in workflow["nodes"] if node["type"] == "UpscaleModelLoader"]
        assert wrong == [node["type"] for node in needs_a_file]
        assert bool(page.evaluate(WARNINGS)) == bool(needs_a_file)
        assert page.evaluate("() => window.app.canvas.ds.scale") > 4 / 7  # the classic canvas hides text below that
        shoot(page, f"open-{name}-{width}-{'nodes-2' if nodes_2 else 'classic'}")
    page.evaluate("() => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")


@pytest.mark.parametrize("words", ["talking head", "lip sync", "avatar"])
def test_the_template_search_finds_the_main_workflow_first(page: Any, words: str) -> None:
    page.evaluate("() => window.app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    page.locator("input[placeholder*=earch]:visible").last.fill(words)
    page.wait_for_timeout(1500)
    found = [name for name in page.evaluate(CARDS) if name in NAMES]
    assert found[0] == MAIN


def test_run_shows_progress_then_the_player_and_the_video_restores_the_workflow(page: Any, host: Host) -> None:
    workflow = drop_workflow(page, host, duration=1.0)
    press_run(page, host)
    page.wait_for_function(PREVIEW, arg=SAMPLER, timeout=PATIENCE * 1000)
    shoot(page, "progress")
    wait_idle(host)
    page.wait_for_function(PLAYER)
    shoot(page, "player")
    video = max((host.base / "output").rglob("*.mp4"), key=lambda path: path.stat().st_mtime)
    page.evaluate("() => window.app.graph.clear()")
    assert page.evaluate(NODES) == []
    drop(page, video.name, "video/mp4", video.read_bytes())
    page.wait_for_function("n => window.app.graph.nodes.length === n", arg=len(workflow["nodes"]))
    assert page.evaluate(NODES) == types(workflow)
    assert (
        page.evaluate(
            "async () => Object.values((await window.app.graphToPrompt()).output)"
            ".find(n => n.class_type === 'DH_EncodeAudio').inputs.duration"
        )
        == 1.0
    )


def test_cancel_in_the_page_and_run_again(page: Any, host: Host) -> None:
    drop_workflow(page, host, duration=10)
    page.evaluate(
        "() => { const sampler = window.app.graph.nodes.find(n => n.type === 'DH_Sampler');"
        " sampler.widgets.find(w => w.name === 'seed').value = 77 }"
    )
    press_run(page, host)
    page.wait_for_function(PREVIEW, arg=SAMPLER, timeout=PATIENCE * 1000)
    page.evaluate("() => window.app.extensionManager.command.execute('Comfy.Interrupt')")
    begun = time.monotonic()
    wait_idle(host)
    assert time.monotonic() - begun < 5
    drop_workflow(page, host)
    press_run(page, host)
    wait_idle(host)
    page.wait_for_function(PLAYER)


def test_the_schema_s_labels_are_shown(page: Any, host: Host) -> None:
    """There is no locale file: labels of widgets are those of the schema, in a new graph and in a dropped one."""
    shown = page.evaluate(LABELS)
    for id, info in host.get("/object_info").items():
        for name, (_, *settings) in {**info["input"].get("required", {}), **info["input"].get("optional", {})}.items():
            if id.startswith("DH_") and name in shown[id]:
                assert shown[id][name] == (settings[0].get("display_name") or name), (id, name)
    drop_workflow(page, host)
    labels = page.evaluate(
        "() => window.app.graph.nodes.find(n => n.type === 'DH_PasteBack').widgets.map(w => w.label)"
    )
    assert "frames per second" in labels


def test_help_of_a_node_is_shown(page: Any, host: Host) -> None:
    text = page.evaluate("async () => (await fetch('/extensions/diffused-heads/docs/DH_Sampler.md')).text()")
    assert text.startswith("# Diffused Heads Sampler")
