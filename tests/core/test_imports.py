"""Who may import whom, read from the sources: it must hold installed as a package and as a folder of any name."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffused_heads.diffused_heads_core.assets import ASSETS

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "diffused_heads_core"
PRODUCT = ("diffused_heads_core", "nodes", "training")
HOSTS = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "folder_paths", "nodes", "server", "execution"}
ABOVE = {"training", "nodes", "benchmarks", "tests"}  # of the core

# The core from the ground up: a file imports from its own room and from the rooms below.
METHOD = (
    *(
        "config",
        "schedule",
        "diffusion",
        "samplers",
        "layers",
        "unet",
        "engines",
        "audio_encoder",
        "pose",
        "conditioning",
    ),
    *("motion", "speech_stream", "generator", "checkpoints", "pretrained_audio", "talking_head", "mouth"),
)
FLOORS = (
    ("errors", "files", "processes", "assets"),
    ("media",),
    METHOD,
    ("face", "data", "released"),
    ("evaluation", "pipeline"),
    ("conversation", "dubbing", "streaming"),
    ("live",),
    ("cli", "__main__"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
LARGEST_TOP_FLOOR = 20  # modules beside each other in the core's own folder


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path, text: str | None = None) -> Iterator[str]:
    """Every module that a file imports, as a dotted path: "numpy.linalg", or "./diffused_heads_core.pose" of ours.

    Relative imports count from the file, and so do those by string (``import_module``, ``__import__``).
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8") if text is None else text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = ".".join(filter(None, (node.module, alias.name)))
                yield absolute(path, "." * node.level + name)
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            yield absolute(path, literal(node.args[0]))


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def literal(node: ast.expr) -> str:
    """The text of a string or f-string, what is filled in as "*"."""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "*" for part in node.values)
    return node.value if isinstance(node, ast.Constant) else "*"


def absolute(path: Path, name: str) -> str:
    """A relative import as a path from the root; one that climbs above the root is refused."""
    level = len(name) - len(name.lstrip("."))
    if not level:
        return name
    folder = path.parent.relative_to(ROOT).parts
    assert level <= len(folder) + 1, f"{named(path)}: {name} leaves the package"
    return "./" + ".".join((*folder[: len(folder) - level + 1], name.lstrip(".")))


@pytest.mark.parametrize("path", sources(*PRODUCT), ids=named)
def test_the_product_imports_itself_relatively(path: Path) -> None:
    own = {"diffused_heads", "tests", "workflows", *PRODUCT}
    found = list(imports(path))
    assert not [name for name in found if not name.startswith("./") and name.split(".")[0] in own]
    assert all(name[2:].split(".")[0] in PRODUCT for name in found if name.startswith("./"))


@pytest.mark.parametrize("path", sources("diffused_heads_core"), ids=named)
def test_the_core_reaches_neither_host_nor_nodes_nor_training(path: Path) -> None:
    for name in imports(path):
        assert name.split(".")[0] not in HOSTS, name
        assert name.startswith("./diffused_heads_core") or not name.startswith("./"), name


@pytest.mark.parametrize("path", sources("diffused_heads_core"), ids=named)
def test_no_string_of_the_core_names_a_module_above_it(path: Path) -> None:
    """Whatever way a module is named: a dotted or relative path in any string but a docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            assert not re.fullmatch(rf"(diffused_heads)?\.*({'|'.join(ABOVE)})(\.\w+)*\.?", node.value), node.value


@pytest.mark.parametrize("path", sources("diffused_heads_core"), ids=named)
def test_no_arrow_points_upwards(path: Path) -> None:
    here = path.relative_to(CORE).parts[0].removesuffix(".py")
    if here == "__init__":
        return
    for name in imports(path):
        room = name.removeprefix("./diffused_heads_core.").split(".")[0]
        if name.startswith("./") and room in FLOOR:
            assert FLOOR[room] <= FLOOR[here], f"{here} imports {room}, which lies above it"


def test_no_circle() -> None:
    files = {
        named(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in sources(*PRODUCT)
    }
    arrows = {}
    for module, path in files.items():
        targets = {name[2:] for name in imports(path) if name.startswith("./")}
        arrows[module] = {t if t in files else t.rpartition(".")[0] for t in targets} & set(files) - {module}
    while leaves := [module for module, targets in arrows.items() if not targets & set(arrows)]:
        for module in leaves:
            del arrows[module]
    assert not arrows, f"these import each other: {sorted(arrows)}"


PROBE = """
from importlib import import_module
from ... import nodes
import_module("..training.shards", __package__)
__import__(f"...training.{name}")
"""


def test_the_checks_above_see_imports_by_string_and_by_relative_path() -> None:
    found = set(imports(CORE / "face" / "probe.py", PROBE))
    assert found == {"importlib.import_module", "./nodes", "./diffused_heads_core.training.shards", "./training.*"}


def test_the_core_s_own_folder_stays_small() -> None:
    assert len(list(CORE.glob("*.py"))) <= LARGEST_TOP_FLOOR
    assert {path.stem for path in CORE.glob("*.py")} - {"__init__"} <= set(FLOOR), "a file without a floor"


SOURCES_ALONE = """
import sys  # an editable install would serve what this copy lacks
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "")]
"""


def python(code: str, folder: Path) -> str:
    """What a new process prints that sees the package in ``folder`` and no other."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SOURCES_ALONE + code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


IMPORT_ALL = """
import importlib, pkgutil, sys
import diffused_heads.diffused_heads_core as core
for module in pkgutil.walk_packages(core.__path__, core.__name__ + "."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:  # what the extra "live" brings need not be there
            if error.name not in ("aiohttp", "aioice", "aiortc", "ifaddr"):
                raise
found = {name.split(".")[1] for name in sys.modules if name.startswith("diffused_heads.")}
print(sorted(found | {name.split(".")[0] for name in sys.modules}))
"""


def test_importing_all_of_the_core_brings_in_nothing_above_it(tmp_path: Path) -> None:
    link(tmp_path)
    there = set(ast.literal_eval(python(IMPORT_ALL, tmp_path)))
    assert "diffused_heads_core" in there and not there & (HOSTS | ABOVE)


def link(folder: Path, *, without: tuple[str, ...] = ()) -> Path:
    """A copy of the package's sources in ``folder``, the bundled files included, without some of its rooms."""
    package = folder / "diffused_heads"
    package.mkdir()
    shutil.copy(ROOT / "__init__.py", package)
    for room in PRODUCT:
        if room not in without:
            shutil.copytree(ROOT / room, package / room, ignore=shutil.ignore_patterns("__pycache__"))
    return package


COMMANDS = """
import sys, diffused_heads
def run(*words):
    status = diffused_heads.main([str(word) for word in words])
    assert status == 0, words
run("generate", "--identity", "a.png", "--audio", "a.wav", "--output", "a.mp4", "--duration", "0.4", "--device", "cpu")
run("evaluate", "a.mp4", "--no-faces", "--output", "a.json")
run("info")
try:
    diffused_heads.main(["train", "corpus", "run"])
except SystemExit as stop:
    print("no such command:", stop.code)
"""


def test_the_core_s_commands_work_where_training_and_nodes_are_deleted(tmp_path: Path) -> None:
    link(tmp_path, without=("training", "nodes"))
    shutil.copy(next(ASSETS.glob("portrait-*.png")), tmp_path / "a.png")
    shutil.copy(next(ASSETS.glob("speech-*.wav")), tmp_path / "a.wav")
    assert "no such command: 2" in python(COMMANDS, tmp_path)
    assert (tmp_path / "a.mp4").is_file() and (tmp_path / "a.json").is_file()


def test_no_source_edits_the_search_path() -> None:
    assert not [path for path in sources(*PRODUCT) if "sys.path" in path.read_text(encoding="utf-8")]


def test_only_the_package_itself_is_installed() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    packages = ast.literal_eval(
        text[(start := text.index("packages = [") + len("packages = ")) : text.index("]", start) + 1]
    )
    assert packages and all(name.split(".")[0] == "diffused_heads" for name in packages)
    there = {
        "diffused_heads",
        *(f"diffused_heads.{'.'.join(path.parent.relative_to(ROOT).parts)}" for path in sources(*PRODUCT)),
    }
    assert there == set(packages), (
        f"not installed: {sorted(there - set(packages))}, not there: {sorted(set(packages) - there)}"
    )
    assert 'diffused_heads = "."' in text
