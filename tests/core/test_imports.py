"""Who may import whom, read from the sources: it must hold installed as a package and as a folder of any name."""
from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("diffused_heads_core", "nodes", "training")
HOSTS = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "folder_paths", "nodes", "server", "execution"}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(level, dotted name) of every import in a file: level 0 is absolute; ``from . import a`` gives (1, 'a')."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.level, ".".join(filter(None, (node.module, alias.name)))) for alias in node.names)


def absolute(path: Path, level: int, name: str) -> str:
    """A relative import as a dotted path from the root; one that climbs above the root is refused."""
    folder = path.parent.relative_to(ROOT).parts
    assert level <= len(folder) + 1, f"{path}: {'.' * level}{name} leaves the package"
    return ".".join((*folder[: len(folder) - level + 1], name))


@pytest.mark.parametrize("path", sources(*PRODUCT), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_product_imports_itself_relatively(path: Path) -> None:
    own = {"diffused_heads", "tests", "workflows", *PRODUCT}
    assert not [name for level, name in imports(path) if level == 0 and name.split(".")[0] in own]
    assert all(absolute(path, level, name).split(".")[0] in PRODUCT for level, name in imports(path) if level)


@pytest.mark.parametrize("path", sources("diffused_heads_core"), ids=lambda p: p.name)
def test_the_core_knows_no_host_no_nodes_and_no_training(path: Path) -> None:
    for level, name in imports(path):
        target = absolute(path, level, name) if level else name
        assert target.split(".")[0] not in ({"nodes", "training"} if level else HOSTS | {"training"}), target


def test_importing_the_core_brings_in_none_of_them() -> None:
    for path in sources("diffused_heads_core"):
        importlib.import_module(f"diffused_heads.diffused_heads_core.{path.stem}".removesuffix(".__init__"))
    assert not HOSTS & set(sys.modules) and "training" not in sys.modules


def test_no_source_edits_the_search_path() -> None:
    assert not [path for path in sources(*PRODUCT) if "sys.path" in path.read_text(encoding="utf-8")]


def test_only_the_package_itself_is_installed() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    packages = ast.literal_eval(text[(start := text.index("packages = [") + len("packages = ")) : text.index("]", start) + 1])
    assert packages and all(name.split(".")[0] == "diffused_heads" for name in packages)
    there = {"diffused_heads", *(f"diffused_heads.{'.'.join(path.parent.relative_to(ROOT).parts)}" for path in sources(*PRODUCT))}
    assert there <= set(packages), f"not installed: {sorted(there - set(packages))}"
    assert 'diffused_heads = "."' in text
