"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import DiffusedHeadsError


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty temporary file beside ``target`` to write to; it becomes ``target`` when the block ends well.

    The temporary name keeps the suffix, for writers that choose a format by it. On any exception, an
    interrupt included, it is removed and an older ``target`` stays as it was. Missing folders are not made.
    Raises DiffusedHeadsError at once where ``target`` cannot be written.
    """
    try:
        final = Path(os.path.realpath(target))  # through a link: replace what it points to, not the link
        _refuse_unwritable(Path(target), final)
    except (OSError, ValueError) as error:  # a name that is too long, or holds a NUL
        if isinstance(error, DiffusedHeadsError):
            raise
        raise _unwritable(target, getattr(error, "strerror", None) or str(error)) from error
    temporary = final.with_name(f".{secrets.token_hex(6)}.tmp{final.suffix}")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # the user's umask holds
    except OSError as error:
        raise _unwritable(target, error.strerror or str(error)) from error
    try:
        yield temporary
        _replace(temporary, final, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _refuse_unwritable(named: Path, final: Path) -> None:
    if final.is_dir():
        raise _unwritable(named, "expected a file name, found a folder")
    if not final.parent.is_dir():
        found = "is not a folder" if final.parent.exists() else "does not exist"
        raise _unwritable(named, f"its folder {final.parent if named.is_symlink() else named.parent} {found}")
    if final.exists() and not final.is_file():
        raise _unwritable(named, "it is not a regular file")
    if final.exists() and not os.access(final, os.W_OK):
        raise _unwritable(named, "the existing file is read-only")


def _replace(temporary: Path, final: Path, named: str | os.PathLike[str]) -> None:
    try:
        os.replace(temporary, final)
    except OSError as error:  # Windows: the old file is open in a player
        raise _unwritable(named, error.strerror or str(error)) from error


def _unwritable(path: str | os.PathLike[str], reason: str) -> DiffusedHeadsError:
    return DiffusedHeadsError(f"{os.fspath(path)}: cannot write here, {reason}")


def readable_file(path: str | os.PathLike[str], kind: str) -> Path:
    """``path`` as an existing, non-empty, readable file; ``kind`` names what it should hold in the error."""
    file = Path(path)
    try:
        if file.is_dir():
            raise DiffusedHeadsError(f"{file}: expected {kind}, found a folder")
        if file.exists() and not file.is_file():  # a pipe would be waited for without end
            raise DiffusedHeadsError(f"{file}: expected {kind}, found a pipe or device")
        with file.open("rb") as stream:
            if not stream.read(1):
                raise DiffusedHeadsError(f"{file}: expected {kind}, the file is empty (0 bytes)")
    except FileNotFoundError as error:
        raise DiffusedHeadsError(f"{file}: expected {kind}, there is no such file") from error
    except (OSError, ValueError) as error:
        if isinstance(error, DiffusedHeadsError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise DiffusedHeadsError(f"{file}: expected {kind}, cannot read it ({reason})") from error
    return file
