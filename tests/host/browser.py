"""ComfyUI's page in Chromium, and what the tests of the page do with it.

DIFFUSED_HEADS_SCREENSHOTS=folder keeps pictures of the page, the README's among them.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from host_client import PARTS, PATIENCE, WORKFLOWS, Host

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
PLAYER = "() => [...document.querySelectorAll('video')].some(v => v.readyState > 0 && v.videoWidth > 0)"


@contextmanager
def open_page(host: Host, folder: Path) -> Iterator[Any]:
    """A fresh page of the running server; ``folder`` is for the browser. Skips the test if there is no Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    browser = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip("needs Chromium: set CHROMIUM to it")
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            str(folder), executable_path=browser, args=FLAGS, viewport={"width": 1920, "height": 1080}
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


def drop_workflow(page: Any, host: Host, name: str = PARTS, duration: float = 0.4) -> dict[str, Any]:
    """Drop a workflow with this host's model and a short recording; the workflow."""
    workflow = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    for node in workflow["nodes"]:
        widgets = [entry["name"] for entry in node["inputs"] if "widget" in entry]  # a seed comes after these two
        if node["type"].startswith("DH_") and "model_name" in widgets:
            node["widgets_values"][widgets.index("model_name")] = host.model
        if "duration" in widgets:
            node["widgets_values"][widgets.index("duration")] = duration
    drop(page, f"{name}.json", "application/json", json.dumps(workflow).encode())
    return workflow


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
