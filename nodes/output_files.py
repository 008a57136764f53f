"""Names of files in the host's output folder: tokens, what no file system refuses, and the next free number."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..diffused_heads_core.errors import DiffusedHeadsError

DEFAULT_NAME = "diffused_heads"
_DATE_TOKEN = re.compile(r"%date:([^%]+)%")
_DATE_PART = re.compile(r"dd?|MM?|hh?|mm?|ss?|yyy?y?")
_DRIVE = re.compile(r"[A-Za-z]:/")
_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f\x7f]')  # on Windows
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # on Windows


@dataclass(frozen=True)
class Target:
    """Where a file goes: ``path`` on the disk, and the subfolder and folder by which the page asks for it."""

    path: Path
    subfolder: str
    folder: Any


def checked_prefix(prefix: str, root: str) -> str:
    """A prefix below the folder ``root`` with dates filled in and without what Windows forbids in a name.

    ``%date:yyyy-MM-dd hh.mm.ss%`` is filled in as the page does for the host's own nodes. Raises DiffusedHeadsError if
    it leads out of the folder.
    """
    if "\0" in prefix:
        raise DiffusedHeadsError(f"filename_prefix={prefix!r:.80}: cannot write there (it holds a null character)")
    now = datetime.now()
    text = _DATE_TOKEN.sub(lambda token: format_date(token[1], now), prefix.strip()).replace("\\", "/")
    root = os.path.abspath(root)
    whole = os.path.abspath(os.path.join(root, text))
    elsewhere = _DRIVE.match(text) is not None and os.name != "nt"
    if elsewhere or not Path(whole).is_relative_to(root):
        raise DiffusedHeadsError(
            f"filename_prefix={prefix!r:.80}: outside the output folder, expected a name inside it"
        )
    parts = Path(whole).relative_to(root).parts or (DEFAULT_NAME,)
    return "/".join(map(_allowed, parts))


def format_date(form: str, date: datetime) -> str:
    """A date in the page's notation: d, M, h, m, s, doubled with a leading zero, yy and yyyy."""
    numbers = {"d": date.day, "M": date.month, "h": date.hour, "m": date.minute, "s": date.second}
    years = {"yy": f"{date.year % 100:02}", "yyyy": str(date.year)}

    def part(found: re.Match[str]) -> str:
        text = found[0]
        return str(numbers[text[0]]).zfill(len(text)) if text[0] in numbers else years.get(text, text)

    return _DATE_PART.sub(part, form)


def _allowed(part: str) -> str:
    """The name of a file or folder as Windows allows it."""
    name = _FORBIDDEN.sub("_", part).rstrip(" .") or "_"
    return f"_{name}" if _RESERVED.fullmatch(name) else name


def next_target(
    prefix: str, size: tuple[int, int], suffix: str, save_output: bool, beside: tuple[str, ...] = ()
) -> Target:
    """The next free name for this prefix in the host's output or temporary folder.

    size: (height, width) for the tokens %height% and %width%. beside: suffixes of files that will have the same name.
    Raises DiffusedHeadsError if nothing can be written there.
    """
    root = folder_paths.get_output_directory() if save_output else folder_paths.get_temp_directory()
    height, width = size
    allowed = checked_prefix(prefix, root)
    try:
        folder, name, number, subfolder, _ = folder_paths.get_save_image_path(allowed, root, width, height)
        name = name.replace("%batch_num%", "0")
        while any(Path(folder, f"{name}_{number:05}_{end}").exists() for end in (suffix, *beside)):
            number += 1
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DiffusedHeadsError(f"filename_prefix={prefix!r:.80}: cannot write there ({reason})") from error
    path = Path(folder, f"{name}_{number:05}_{suffix}")
    return Target(path, subfolder, io.FolderType.output if save_output else io.FolderType.temp)
