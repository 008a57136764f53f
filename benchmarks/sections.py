"""RESULTS.md in parts, each of which is rewritten by one benchmark; and Markdown tables."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from diffused_heads.diffused_heads_core.files import atomic_path

RESULTS = Path(__file__).with_name("RESULTS.md")
ORDER = (
    "quick",
    "sets",
    "reenactment",
    "ablations",
    "evaluation",
    "rates",
    "motion",
    "conversation",
    "dubbing",
    "engines",
    "gpu",
)


def read(path: Path = RESULTS) -> dict[str, str]:
    """The parts of a file by name; a file without marks is the part "quick"."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = {name: body.strip() for name, body in re.findall(r"<!-- begin (\w+) -->\n(.*?)<!-- end \1 -->", text, re.S)}
    return found or ({"quick": text.strip()} if text.strip() else {})


def write(name: str, body: str, path: Path = RESULTS) -> None:
    """Replace one part."""
    parts = {**read(path), name: body.strip()}
    ordered = [*(n for n in ORDER if n in parts), *(n for n in parts if n not in ORDER)]
    with atomic_path(path) as part:
        part.write_text(
            "\n".join(f"<!-- begin {n} -->\n{parts[n]}\n<!-- end {n} -->\n" for n in ordered),
            encoding="utf-8",
            newline="\n",
        )


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table with aligned columns."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    cells.insert(1, ["-" * w for w in widths])
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(row, widths)) + " |" for row in cells)
