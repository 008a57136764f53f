"""Every workflow fits the nodes as they are, and its twin in API form is what the page would send."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from core_nodes import FOLDER, NOTES, recorded, used
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(FOLDER.glob("*.json"))
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
CONTROLS = {"fixed", "randomize", "increment", "decrement"}
CORE = recorded()
GROWING = re.compile(r"\.image\d+$")  # inputs of Batch Images
PAGE_ONLY = {"upload", "audioUI"}  # widgets
each = pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def real_nodes(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [node for node in workflow["nodes"] if node["type"] not in NOTES]


def values(node: dict[str, Any]) -> dict[str, Any]:
    """The values of a node's widgets by name; the seed's "control after generate" has no name of its own."""
    given, found = list(node["widgets_values"]), {}
    for name in [entry["name"] for entry in node["inputs"] if "widget" in entry]:
        found[name] = given.pop(0)
        if name == "seed" and given and given[0] in CONTROLS:
            given.pop(0)
    assert not given, f"{node['type']}: left over {given}"
    return found


def to_api(workflow: dict[str, Any], schemas: dict[str, SimpleNamespace]) -> dict[str, Any]:
    """What the page sends for the nodes that lead to an output."""

    def is_output(kind: str) -> bool:
        return CORE[kind]["outputs"] is None if kind in CORE else getattr(schemas[kind], "is_output_node", False)

    nodes = {node["id"]: node for node in real_nodes(workflow)}
    links = {link[0]: link for link in workflow["links"]}
    wanted, todo = set(), [id for id, node in nodes.items() if is_output(node["type"])]
    while todo:
        wanted.add(id := todo.pop())
        todo += [links[entry["link"]][1] for entry in nodes[id]["inputs"] if entry["link"] is not None]
    return {
        str(id): {
            "class_type": nodes[id]["type"],
            "inputs": {
                **{name: value for name, value in values(nodes[id]).items() if name not in PAGE_ONLY},
                **{
                    entry["name"]: [str(links[entry["link"]][1]), links[entry["link"]][2]]
                    for entry in nodes[id]["inputs"]
                    if entry["link"] is not None
                },
            },
        }
        for id in wanted
    }


def socket_names(sockets: Iterable[SimpleNamespace]) -> list[str]:
    return [socket.id for socket in sockets]


def test_there_are_workflows_and_each_has_its_twin_and_thumbnail() -> None:
    assert [path.name for path in FILES] and {path.name for path in (FOLDER / "api").glob("*.json")} == {
        p.name for p in FILES
    }
    for path in FILES:
        with Image.open(path.with_suffix(".jpg")) as picture:
            assert picture.format == "WEBP" and picture.n_frames > 25 and min(picture.size) >= 200
        assert path.with_suffix(".jpg").stat().st_size < 200_000
        assert f'"{path.stem}"' in (ROOT / "docs" / "make_pictures.py").read_text(encoding="utf-8")
        assert f"`{path.stem}`" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_record_holds_the_core_nodes_in_use() -> None:
    assert sorted(CORE) == used()


@each
def test_nodes_have_the_sockets_of_their_schema(path: Path, schemas: dict[str, SimpleNamespace]) -> None:
    for node in real_nodes(read(path)):
        inputs = {entry["name"]: entry["type"] for entry in node["inputs"] if entry["name"] not in PAGE_ONLY}
        if node["type"] in CORE:
            inputs = {GROWING.sub(".image*", name): kind for name, kind in inputs.items()}
            expected, outputs = CORE[node["type"]]["inputs"], CORE[node["type"]]["outputs"]
        else:
            schema = schemas[node["type"]]
            expected = {socket.id: socket.kind for socket in schema.inputs}
            outputs = [socket.kind for socket in schema.outputs]
        assert inputs == expected, node["type"]
        assert outputs is None or [out["type"] for out in node["outputs"]] == outputs, node["type"]


@each
def test_widgets_stand_in_the_page_s_order_with_allowed_values(path: Path, schemas: dict[str, SimpleNamespace]) -> None:
    """The page reads values by position: first those of required inputs, then of optional ones."""
    for node in real_nodes(read(path)):
        if node["type"] not in schemas:
            continue
        inputs = sorted(schemas[node["type"]].inputs, key=lambda socket: getattr(socket, "optional", False))
        widgets = [socket for socket in inputs if socket.kind in WIDGETS]
        found = values(node)
        assert list(found) == socket_names(widgets), node["type"]
        for socket in widgets:
            check_value(socket, found[socket.id])


def check_value(socket: SimpleNamespace, value: Any) -> None:
    if socket.kind == "COMBO":
        assert value in socket.options, socket.id
    elif socket.kind in ("INT", "FLOAT"):
        assert socket.min <= value <= socket.max, socket.id
    else:
        assert isinstance(value, bool if socket.kind == "BOOLEAN" else str), socket.id


@each
def test_links_agree_with_both_of_their_ends(path: Path) -> None:
    workflow = read(path)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    assert len(nodes) == len(workflow["nodes"]) and max(nodes) == workflow["last_node_id"]
    for id, source, slot, target, entry, kind in workflow["links"]:
        out, into = nodes[source]["outputs"][slot], nodes[target]["inputs"][entry]
        assert id in out["links"] and into["link"] == id and out["type"] == into["type"] == kind
    ends = [entry["link"] for node in workflow["nodes"] for entry in node["inputs"] if entry.get("link") is not None]
    starts = [id for node in workflow["nodes"] for out in node["outputs"] for id in out["links"] or []]
    assert sorted(ends) == sorted(starts) == sorted(link[0] for link in workflow["links"])


@each
def test_the_twin_in_api_form_is_the_same_graph(path: Path, schemas: dict[str, SimpleNamespace]) -> None:
    twin = {
        id: {"class_type": node["class_type"], "inputs": node["inputs"]}
        for id, node in read(FOLDER / "api" / path.name).items()
    }
    assert twin == to_api(read(path), schemas)


@each
def test_nodes_do_not_overlap_and_flow_to_the_right(path: Path) -> None:
    workflow = read(path)
    boxes = {node["id"]: (*node["pos"], *node["size"]) for node in workflow["nodes"]}
    title = 30
    for id, (x, y, wide, high) in boxes.items():
        for other, (u, v, w, h) in boxes.items():
            assert id == other or x + wide <= u or u + w <= x or y + high <= v - title or v + h <= y - title, (
                id,
                other,
            )
    assert all(boxes[source][0] <= boxes[target][0] for _, source, _, target, *_ in workflow["links"])


@each
def test_text_is_legible_on_a_laptop(path: Path) -> None:
    """A template opens in three quarters of the window. Below 4/7 of the full size, the classic canvas hides text."""
    boxes = [(*node["pos"], *node["size"]) for node in read(path)["nodes"]]
    wide = max(x + w for x, _, w, _ in boxes) - min(x for x, *_ in boxes)
    high = max(y + h for _, y, _, h in boxes) - min(y for _, y, *_ in boxes) + 30
    assert min(0.75 * 1366 / wide, 0.75 * 768 / high) > 4 / 7


@each
def test_nothing_is_missing_in_an_empty_input_folder(path: Path) -> None:
    """Portrait and voice come with the pack; those who load their own choose a file first."""
    nodes = read(path)["nodes"]
    types = {node["type"] for node in nodes}
    assert "DH_ExamplePortraitAndVoice" in types and NOTES & types
    for node in nodes:
        if node["type"] in ("LoadImage", "LoadAudio", "LoadVideo"):
            assert node["widgets_values"][0] == "" and not any(out["links"] for out in node["outputs"])
        if node["type"] == "UpscaleModelLoader":  # the page offers the download
            (model,) = node["properties"]["models"]
            assert model["name"] == node["widgets_values"][0] and model["directory"] == "upscale_models"


def test_the_blueprint_is_a_whole_graph_of_the_nodes_as_they_are(schemas: dict[str, SimpleNamespace]) -> None:
    """Its links agree with both ends, the subgraph's own sockets included, and its nodes with their schemas."""
    blueprint = read(ROOT / "subgraphs" / "talking-portrait.json")
    (graph,), (instance,) = blueprint["definitions"]["subgraphs"], blueprint["nodes"]
    assert instance["type"] == graph["id"] and blueprint["links"] == []
    for kind in ("inputs", "outputs"):
        assert [s["name"] for s in instance[kind]] == [s["name"] for s in graph[kind]]
    nodes = {node["id"]: node for node in graph["nodes"]}
    assert sorted(link["id"] for link in graph["links"]) == list(range(1, len(graph["links"]) + 1))
    for link in graph["links"]:
        outside_in, outside_out = link["origin_id"] == -10, link["target_id"] == -20
        start = graph["inputs"] if outside_in else nodes[link["origin_id"]]["outputs"]
        end = graph["outputs"] if outside_out else nodes[link["target_id"]]["inputs"]
        start, end = start[link["origin_slot"]], end[link["target_slot"]]
        assert link["id"] in (start["linkIds"] if outside_in else start["links"])
        assert end["linkIds"] == [link["id"]] if outside_out else end["link"] == link["id"]
        assert start["type"] == end["type"] == link["type"]
    for node in graph["nodes"]:
        if node["type"] in schemas:
            inputs = {entry["name"]: entry["type"] for entry in node["inputs"]}
            assert inputs == {socket.id: socket.kind for socket in schemas[node["type"]].inputs}
            optional_last = sorted(schemas[node["type"]].inputs, key=lambda s: getattr(s, "optional", False))
            assert list(values(node)) == [socket.id for socket in optional_last if socket.kind in WIDGETS]


def test_every_node_has_a_help_page_that_explains_every_input(schemas: dict[str, SimpleNamespace]) -> None:
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "web" / "docs").glob("*.md")}
    assert set(pages) == set(schemas)
    for id, schema in schemas.items():
        assert pages[id].startswith(f"# {schema.display_name}\n")
        assert not [name for name in socket_names(schema.inputs) if f"**{name}**" not in pages[id]], id
