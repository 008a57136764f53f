"""Files and folders that are written whole or not at all, and checks of names before any work."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import DiffusedHeadsError

_TEMPORARY = ".diffused-heads-"  # begins the name of what is unfinished
_OURS = re.compile(re.escape(_TEMPORARY) + r"[0-9a-f]{12}\.tmp(\.\w+)?")
_ABANDONED = 86400.0  # seconds without a change
_QUOTED = re.compile(r"\s*([\"'])(.+)\1\s*")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")  # as a Path, "https://" has one slash; one letter is a drive
_unfinished: set[Path] = set()
_swept: set[Path] = set()


def as_path(named: str | os.PathLike[str]) -> Path:
    """The path that a user means: ``~`` and ``~user`` expanded, quotes around it removed, "file://..." as its path.

    What exists is taken as it stands. Raises DiffusedHeadsError for an address of another kind ("https://...").
    """
    text = os.fspath(named)
    try:
        if os.path.lexists(text):
            return Path(text)
    except ValueError:  # a NUL in it; who opens it says so
        return Path(text)
    quoted = _QUOTED.fullmatch(text)
    text = os.path.expanduser(quoted[2] if quoted else text)
    address = _ADDRESS.match(text)
    if address is None:
        return Path(text)
    scheme, rest = address[1].lower(), text[address.end() :]
    if scheme != "file":
        found = f"{scheme}://{rest}"
        raise DiffusedHeadsError(f"{found}: expected a file on this machine, found an address; download it first")
    from urllib.request import url2pathname

    return Path(url2pathname("/" + rest.removeprefix("localhost/").lstrip("/")))


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty temporary file beside ``target`` to write to; it becomes ``target`` when the block ends well.

    The temporary name keeps the suffix, for writers that choose a format by it. On any exception, an interrupt
    included, it is removed and an older ``target`` stays as it was. Missing folders are not made. Raises
    DiffusedHeadsError at once if ``target`` cannot be written.
    """
    final, temporary = _temporary_file(target)
    with removed_unless_finished(temporary):
        yield temporary
        try:
            os.replace(temporary, final)
        except OSError as error:  # Windows: the old file is open in a player
            raise _unwritable(target, error.strerror or str(error)) from error


@contextmanager
def atomic_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a new folder beside ``target`` to fill; it becomes ``target`` when the block ends well.

    On any exception it is removed. Raises DiffusedHeadsError at once if ``target`` exists or cannot be made.
    """
    final = as_path(target)
    try:
        if final.exists():
            raise _unwritable(target, "it exists")
        if not final.parent.is_dir():
            raise _unwritable(target, f"its folder {final.parent} does not exist")
        final.mkdir()  # whatever forbids this name shows now
        final.rmdir()
        temporary = _temporary_name(final, "")
        temporary.mkdir()
    except DiffusedHeadsError:
        raise
    except (OSError, ValueError) as error:
        raise _unwritable(target, getattr(error, "strerror", None) or str(error)) from error
    with removed_unless_finished(temporary):
        yield temporary
        try:
            temporary.rename(final)
        except OSError as error:
            raise _unwritable(target, error.strerror or str(error)) from error


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise DiffusedHeadsError if atomic_path could not write ``path``; call it before long work. Leaves no file."""
    _, temporary = _temporary_file(path)
    _remove(temporary)


@contextmanager
def removed_unless_finished(path: Path) -> Iterator[None]:
    """Remove the file or folder ``path`` if it is there when the block ends, or when a signal ends the process."""
    _unfinished.add(path)
    try:
        yield
    finally:
        _remove(path)


def remove_unfinished() -> None:
    """Remove every file and folder that this process has not finished: for the end of a program, and only then."""
    for path in list(_unfinished):
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
    _unfinished.discard(path)


def _temporary_name(final: Path, suffix: str) -> Path:
    """A new name beside ``final``, which is removed at the end of the process; old ones are swept away first."""
    _sweep(final.parent)
    temporary = final.with_name(f"{_TEMPORARY}{secrets.token_hex(6)}.tmp{suffix}")
    _unfinished.add(temporary)
    return temporary


def _sweep(folder: Path) -> None:
    """Remove what killed runs of this program left in a folder, more than a day ago; once per folder and process."""
    if folder in _swept:
        return
    _swept.add(folder)
    with suppress(OSError):
        for path in folder.iterdir():
            if _OURS.fullmatch(path.name) and time.time() - path.lstat().st_mtime > _ABANDONED:
                _remove(path)


def _temporary_file(target: str | os.PathLike[str]) -> tuple[Path, Path]:
    """The file that ``target`` means, through links, and a new empty file beside it."""
    target = as_path(target)
    try:
        final = Path(os.path.realpath(target))  # through a link: replace what it points to, not the link
        _check_target(target, final)
        temporary = _temporary_name(final, final.suffix)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # the user's umask holds
    except DiffusedHeadsError:
        raise
    except (OSError, ValueError) as error:  # a name that is too long, or holds a NUL
        raise _unwritable(target, getattr(error, "strerror", None) or str(error)) from error
    return final, temporary


def _check_target(named: Path, final: Path) -> None:
    if final.is_dir():
        raise _unwritable(named, "expected a file name, found a folder")
    if not final.parent.is_dir():
        found = "is not a folder" if final.parent.exists() else "does not exist"
        raise _unwritable(named, f"its folder {final.parent if named.is_symlink() else named.parent} {found}")
    if final.exists() and not final.is_file():
        raise _unwritable(named, "it is not a regular file")
    if final.exists() and not os.access(final, os.W_OK):
        raise _unwritable(named, "the existing file is read-only")


def _unwritable(path: str | os.PathLike[str], reason: str) -> DiffusedHeadsError:
    return DiffusedHeadsError(f"{os.fspath(path)}: cannot write here, {reason}")


def readable_file(path: str | os.PathLike[str], kind: str) -> Path:
    """Return the file that ``path`` means (``as_path``) if it can be read and is not empty.

    ``kind`` names what it should hold. Raises DiffusedHeadsError that names the file, ``kind`` and what was found.
    """
    file = as_path(path)
    try:
        if file.is_dir():
            raise DiffusedHeadsError(f"{file}: expected {kind}, found a folder")
        if file.exists() and not file.is_file():  # reading from a pipe would wait for ever
            raise DiffusedHeadsError(f"{file}: expected {kind}, found a pipe or device")
        with file.open("rb") as stream:
            if not stream.read(1):
                raise DiffusedHeadsError(f"{file}: expected {kind}, the file is empty (0 bytes)")
    except DiffusedHeadsError:
        raise
    except FileNotFoundError as error:
        raise DiffusedHeadsError(f"{file}: expected {kind}, there is no such file") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DiffusedHeadsError(f"{file}: expected {kind}, cannot read it ({reason})") from error
    return file


def file_kind(path: Path) -> str:
    """What a file looks like, from its first bytes: "a zip archive", "a pickle file", "another kind of file", ..."""
    with path.open("rb") as stream:
        head = stream.read(512)
    if not head:
        return "an empty file"
    if head[:4] == b"PK\x03\x04":
        return "a zip archive"
    if head[:1] == b"\x80":
        return "a pickle file (PyTorch's format before version 1.6)"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:
        return "a safetensors file"
    if not any(byte < 9 or 13 < byte < 32 for byte in head):
        return "a text file"
    return "another kind of file"
