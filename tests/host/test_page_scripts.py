"""The pack's scripts in ComfyUI's page, in both of its canvases: colours, time left, curves, head editor, player."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser import PLAYER, drop_workflow, press_run, shoot, wait_idle
from host_client import PATIENCE, Host

TEXT = """words => [...document.querySelectorAll('div')]
  .map(d => d.children.length ? '' : d.textContent).find(text => new RegExp(words).test(text)) || ''"""
SET = "([name, value]) => window.app.extensionManager.setting.set(name, value)"
COLOURS = """type => [
  window.app.canvas.default_connection_color_byType[type],
  window.app.canvas.constructor.link_type_colors[type],
  getComputedStyle(document.body).getPropertyValue(`--color-datatype-${type}`).trim(),
]"""
SAMPLER = "() => window.app.graph.nodes.find(n => n.type === 'DH_Sampler')"
CURVES = """() => {
  const node = window.app.graph.nodes.find(n => n.type === 'DH_Sampler');
  const canvas = node.widgets.find(w => w.name === 'sampling')?.element.querySelector('canvas');
  if (!canvas || !canvas.width) return 0;
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.filter((value, index) => index % 4 === 3 && value > 0).length / (canvas.width * canvas.height);
}"""
PLAYS = "() => [...document.querySelectorAll('video')].some(v => v.loop && v.muted && !v.paused)"
PICTURE_AND_IDENTITY = """() => {
  const graph = window.app.graph;
  graph.clear();
  const [picture, identity] = ['LoadImage', 'DH_LoadIdentity'].map(type => LiteGraph.createNode(type));
  identity.pos = [450, 0];
  graph.add(picture);
  graph.add(identity);
  const widget = picture.widgets[0];
  widget.value = 'wide.png';
  widget.callback?.(widget.value);
  picture.connect(0, identity, 'image');
}"""
IDENTITY = "window.app.graph.nodes.find(n => n.type === 'DH_LoadIdentity')"
PANEL = f"""() => {{
  const panel = {IDENTITY}?.widgets.find(w => w.name === 'head')?.element.querySelector('canvas');
  const box = panel?.getBoundingClientRect();
  return box?.width ? [box.x, box.y, box.width, box.height] : null;
}}"""
SQUARE = f"() => ['x', 'y', 'size'].map(name => {IDENTITY}.widgets.find(w => w.name === name).value)"


@pytest.fixture(params=["classic", "nodes-2"])
def canvas(request: pytest.FixtureRequest, page: Any) -> Iterator[str]:
    """The page with this canvas."""
    page.evaluate(SET, ["Comfy.VueNodes.Enabled", request.param == "nodes-2"])
    page.wait_for_timeout(1000)
    yield request.param
    page.evaluate(SET, ["Comfy.VueNodes.Enabled", False])


def fit(page: Any) -> None:
    page.evaluate("() => window.app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    page.wait_for_timeout(1500)


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=8)
    page.mouse.up()
    page.wait_for_timeout(300)


def test_time_left_then_curves_and_a_player_that_plays(page: Any, host: Host, canvas: str) -> None:
    drop_workflow(page, host, duration=1.0)
    seed = 1000 + ["classic", "nodes-2"].index(canvas)  # not that of another run, whose frames would be kept
    page.evaluate(f"seed => {{ ({SAMPLER})().widgets.find(w => w.name === 'seed').value = seed }}", seed)
    fit(page)
    press_run(page, host)
    page.wait_for_function(f"({TEXT})('^Frame [0-9]+ of 25, [0-9]+ s left$')", timeout=PATIENCE * 1000)
    shoot(page, f"time-left-{canvas}")
    wait_idle(host)
    page.wait_for_function(f"({TEXT})('^25 frames in [0-9]+ s$')")
    page.wait_for_function(f"({CURVES})() > 0.01")
    page.wait_for_function(PLAYER)
    page.wait_for_function(PLAYS)
    shoot(page, f"curves-{canvas}")


def test_a_square_that_is_dragged_is_written_to_the_widgets(page: Any, host: Host, canvas: str) -> None:
    """In a picture of 400 x 200 pixels, drawn as large as the panel allows."""
    from PIL import Image

    Image.new("RGB", (400, 200), (90, 120, 200)).save(host.base / "input" / "wide.png")
    page.evaluate(PICTURE_AND_IDENTITY)
    page.wait_for_function(PANEL)
    fit(page)
    left, top, width, height = page.evaluate(PANEL)
    scale = min(width / 400, height / 200)  # pixels of the screen per pixel of the picture

    def at(x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the picture is on the screen."""
        return left + width / 2 + (x - 200) * scale, top + height / 2 + (y - 100) * scale

    drag(page, at(150, 60), at(230, 140))
    assert page.evaluate(SQUARE) == pytest.approx([190 / 400, 100 / 200, 80 / 200], abs=0.01)
    drag(page, at(190, 100), at(290, 90))
    assert page.evaluate(SQUARE) == pytest.approx([290 / 400, 90 / 200, 80 / 200], abs=0.01)
    drag(page, at(330, 130), at(350, 150))
    assert page.evaluate(SQUARE) == pytest.approx([290 / 400, 90 / 200, 120 / 200], abs=0.01)
    drag(page, at(290, 90), at(399, 199))  # not beyond the picture's edge
    assert page.evaluate(SQUARE) == pytest.approx([340 / 400, 140 / 200, 120 / 200], abs=0.01)
    shoot(page, f"head-editor-{canvas}")
    saved, widgets = page.evaluate(f"() => [{IDENTITY}.serialize().widgets_values, {IDENTITY}.widgets.length]")
    assert len(saved) == widgets - 1  # the panel is not saved
    page.keyboard.press("Control+z")
    page.wait_for_function(f"() => Math.abs(({SQUARE})()[0] - 290 / 400) < 0.01")
    page.wait_for_function(PANEL)
    page.wait_for_timeout(1000)
    left, top, width, height = page.evaluate(PANEL)
    page.mouse.dblclick(*at(290, 90))
    page.wait_for_function(f"() => ({SQUARE})()[2] === 0")


def test_sockets_keep_their_colours_when_the_palette_changes(page: Any) -> None:
    types = ("DH_MODEL", "DH_IDENTITY", "DH_AUDIO_EMBEDDING", "DH_DATASET", "DH_LOSS")
    try:
        for palette in ("light", "dark"):
            page.evaluate(SET, ["Comfy.ColorPalette", palette])
            page.wait_for_timeout(500)
            found = {type: page.evaluate(COLOURS, type) for type in types}
            assert all(len(set(colours)) == 1 and colours[0].startswith("#") for colours in found.values()), found
            assert len({colours[0] for colours in found.values()}) == len(types)
    finally:
        page.evaluate(SET, ["Comfy.ColorPalette", "dark"])


def test_a_message_about_an_unknown_node_is_ignored(page: Any) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    detail = {"node": "7:4711", "frame": 1, "frames": 2, "seconds": None, "finished": False}
    page.evaluate("detail => window.comfyAPI.api.api.dispatchCustomEvent('diffused_heads.progress', detail)", detail)
    page.wait_for_timeout(300)
    assert errors == []
