"""Video Combine in a real ComfyUI: every format that it lists, names with tokens, and the widgets on the page."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import av
import pytest
from browser import wait_idle
from host_client import Host

MAKE = """prefix => {
  const graph = window.app.graph;
  graph.clear();
  const pictures = LiteGraph.createNode('EmptyImage'), node = LiteGraph.createNode('DH_VideoCombine');
  graph.add(pictures);
  graph.add(node);
  pictures.connect(0, node, 0);
  pictures.widgets.find(w => w.name === 'width').value = 64;
  pictures.widgets.find(w => w.name === 'height').value = 64;
  node.widgets.find(w => w.name === 'filename_prefix').value = prefix;
}"""
NODE = "window.app.graph.nodes.find(n => n.type === 'DH_VideoCombine')"
SHOWN = f"() => {NODE}.widgets.filter(w => !w.hidden).map(w => w.name)"
CHOOSE = f"""([name, value]) => {{
  const node = {NODE}, widget = node.widgets.find(w => w.name === name);
  widget.value = value;
  widget.callback?.(value, window.app.canvas, node);
}}"""
COMMON = ["fps", "format", "filename_prefix", "save_output", "pingpong", "length", "save_metadata"]


def prompt(**changes: Any) -> dict[str, Any]:
    """Five green pictures into Video Combine."""
    pictures = {"width": 64, "height": 64, "batch_size": 5, "color": 65280}
    inputs = {"images": ["1", 0], "fps": 25.0, "format": "mp4-h264", "quality": 80, "filename_prefix": "a"}
    return {
        "1": {"class_type": "EmptyImage", "inputs": pictures},
        "2": {"class_type": "DH_VideoCombine", "inputs": {**inputs, "save_output": True, **changes}},
    }


def formats(host: Host) -> dict[str, list[str]]:
    """The formats that the server lists, with the widgets that matter for each."""
    return host.get("/object_info/DH_VideoCombine")["DH_VideoCombine"]["input"]["required"]["format"][1]["widgets_of"]


def test_every_listed_format_is_written_with_the_workflow_inside(host: Host) -> None:
    for name in formats(host):
        outputs = host.run(prompt(format=name, filename_prefix=f"all/{name}"))["outputs"]["2"]
        shown = outputs.get("files", outputs["images"])
        paths = [host.base / item["type"] / item["subfolder"] / item["filename"] for item in shown]
        assert b"DH_VideoCombine" in paths[0].read_bytes() or paths[0].suffix == ".gif", name
        if paths[0].suffix != ".webp":  # FFmpeg reads no animated WebP
            with av.open(str(paths[0])) as container:
                count = len(list(container.decode(video=0)))
            assert count == (1 if name.startswith("png") else 5), name


def test_dates_are_filled_in_without_a_colon(host: Host) -> None:
    (path,) = host.files(host.run(prompt(filename_prefix="%date:yyyy%/%date:hh:mm%_%width%")))
    assert re.fullmatch(r"20\d\d", path.parent.name) and re.fullmatch(r"\d\d_\d\d_64_00001_\.mp4", path.name)


@pytest.mark.parametrize("prefix", ["../../a", "/tmp/a", "C:\\a"])
def test_a_place_outside_is_refused_before_anything_runs(host: Host, prefix: str) -> None:
    status, answer = host.post("/prompt", {"prompt": prompt(filename_prefix=prefix)})
    assert status == 400 and "outside the output folder" in json.dumps(answer["node_errors"]["2"])
    assert not host.busy()


def test_the_page_fills_in_tokens_and_keeps_them_in_the_workflow(page: Any, host: Host) -> None:
    page.evaluate(MAKE, "t/%date:yyyy%_%EmptyImage.width%_%Empty Image.batch_size%")
    sent = page.evaluate("async () => await window.app.graphToPrompt()")
    (node,) = [node for node in sent["output"].values() if node["class_type"] == "DH_VideoCombine"]
    assert node["inputs"]["filename_prefix"] == f"t/{time.localtime().tm_year}_64_1"
    assert "%EmptyImage.width%" in json.dumps(sent["workflow"])


@pytest.mark.parametrize("vue", [False, True])
def test_the_page_shows_the_widgets_that_matter(page: Any, host: Host, vue: bool) -> None:
    page.evaluate("v => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', v)", vue)
    page.wait_for_timeout(1000)
    page.evaluate(MAKE, "a")
    for name, used in formats(host).items():
        page.evaluate(CHOOSE, ["format", name])
        for control in ("quality", "crf", "bitrate") if "rate_control" in used else ("quality",):
            page.evaluate(CHOOSE, ["rate_control", control])
            rates = ["rate_control", control] if "rate_control" in used else [n for n in used if n == "quality"]
            loops = [n for n in used if n == "loop_count"]
            assert sorted(page.evaluate(SHOWN)) == sorted([*COMMON, *rates, *loops]), (name, control)


def test_the_preview_follows_the_kind_of_file(page: Any, host: Host) -> None:
    page.evaluate("() => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")
    page.evaluate(MAKE, "kinds/a")
    found = f"() => [!!{NODE}.videoContainer?.querySelector('video')?.loop, !!{NODE}.imgs?.length]"
    for name, wanted in (
        ("mp4-h264", [True, False]),
        ("apng", [False, True]),
        ("mov-prores4444", [True, False]),
        ("gif", [False, True]),
    ):
        page.evaluate(CHOOSE, ["format", name])
        page.evaluate("() => window.app.queuePrompt(0)")
        page.wait_for_timeout(1500)
        wait_idle(host)
        page.wait_for_function(
            f"wanted => JSON.stringify(({found})()) === wanted", arg=json.dumps(wanted, separators=(",", ":"))
        )
