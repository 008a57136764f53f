"""ComfyUI's page in Chromium: drop a workflow, run it, see it work, cancel, run again, drop the video.

DIFFUSED_HEADS_SCREENSHOTS=folder keeps pictures of the page, the README's among them.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from host_client import PATIENCE, WORKFLOWS, Host

playwright = pytest.importorskip("playwright.sync_api")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--mute-audio",
]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SAMPLER, VIDEO = "DH_Sampler", "DH_VideoCombine"
READY = (
    "() => window.app && window.app.graph && window.app.canvas && document.querySelector('[data-testid=queue-button]')"
)
DROP = """([name, type, content]) => {
  const bytes = Uint8Array.from(atob(content), c => c.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, {type}));
  const canvas = document.querySelector('#graph-canvas');
  for (const kind of ['dragenter', 'dragover', 'drop'])
    canvas.dispatchEvent(new DragEvent(kind,
      {bubbles: true, cancelable: true, dataTransfer: data, clientX: 900, clientY: 900}));
}"""
NODES = "() => window.app.graph.nodes.map(n => n.type).sort()"
PREVIEW = "type => window.app.graph.nodes.some(n => n.type === type && n.imgs && n.imgs.length)"
LABELS = """() => {
  const found = {};
  for (const type of Object.keys(LiteGraph.registered_node_types).filter(type => type.startsWith('DH_')))
    found[type] = Object.fromEntries((LiteGraph.createNode(type).widgets || []).map(w => [w.name, w.label || w.name]));
  return found;
}"""
PLAYER = "() => [...document.querySelectorAll('video')].some(v => v.readyState > 0 && v.videoWidth > 0)"


@pytest.fixture
def page(host: Host, tmp_path: Path) -> Iterator[Any]:
    """A fresh page of the running server."""
    browser = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip("needs Chromium: set CHROMIUM to it")
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            str(tmp_path / "browser"), executable_path=browser, args=FLAGS, viewport={"width": 1920, "height": 1080}
        )
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.goto(host.url, wait_until="domcontentloaded")
        page.wait_for_function(READY)
        page.wait_for_timeout(3000)
        page.keyboard.press("Escape")  # the template browser opens on a first visit
        yield page
        context.close()


def drop(page: Any, name: str, type: str, content: bytes) -> None:
    page.evaluate(DROP, [name, type, base64.b64encode(content).decode()])
    page.wait_for_timeout(2500)
    page.keyboard.press("Escape")


def drop_workflow(page: Any, host: Host, name: str = "basic", duration: float = 0.4) -> dict[str, Any]:
    """Drop a workflow with this host's model and a short recording; the workflow."""
    workflow = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    for node in workflow["nodes"]:
        if node["type"] == "DH_LoadModel":
            node["widgets_values"][0] = host.model
        if node["type"] == "DH_EncodeAudio":
            node["widgets_values"][1] = duration
    drop(page, f"{name}.json", "application/json", json.dumps(workflow).encode())
    return workflow


def types(workflow: dict[str, Any]) -> list[str]:
    return sorted(node["type"] for node in workflow["nodes"])


def shoot(page: Any, name: str) -> None:
    folder = os.environ.get("DIFFUSED_HEADS_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.evaluate("() => window.app.extensionManager.command.execute('Comfy.Canvas.FitView')")
        page.wait_for_timeout(1500)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def press_run(page: Any, host: Host) -> None:
    page.locator("[data-testid=queue-button]").first.click()
    until = time.monotonic() + 20
    while not host.busy() and time.monotonic() < until:
        time.sleep(0.05)


def wait_idle(host: Host) -> None:
    until = time.monotonic() + PATIENCE
    while host.busy() and time.monotonic() < until:
        time.sleep(0.1)
    assert not host.busy()


@pytest.mark.parametrize("name", sorted(path.stem for path in WORKFLOWS.glob("*.json")))
def test_a_dropped_workflow_opens_whole(page: Any, host: Host, name: str) -> None:
    workflow = drop_workflow(page, host, name)
    assert page.evaluate(NODES) == types(workflow)
    wrong = page.evaluate(
        "() => window.app.graph.nodes.filter(n => n.has_errors || n.type === undefined).map(n => n.type)"
    )
    assert set(wrong) <= {"UpscaleModelLoader"}  # asks for its download
    sent = page.evaluate("async () => (await window.app.graphToPrompt()).output")
    twin = json.loads((WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))
    for id, node in twin.items():
        changed = {"DH_LoadModel": {"model_name": host.model}, "DH_EncodeAudio": {"duration": 0.4}}.get(
            node["class_type"], {}
        )
        assert sent[id]["inputs"] == {**node["inputs"], **changed}, node["class_type"]
    shoot(page, f"open-{name}")


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
    drop_workflow(page, host, duration=0)
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
    drop_workflow(page, host, "train")
    assert page.evaluate(
        "() => window.app.graph.nodes.find(n => n.type === 'DH_Sampler').widgets.map(w => w.label)"
    ).count("audio guidance")


def test_help_of_a_node_is_shown(page: Any, host: Host) -> None:
    text = page.evaluate("async () => (await fetch('/extensions/diffused-heads/docs/DH_Sampler.md')).text()")
    assert text.startswith("# Diffused Heads Sampler")
