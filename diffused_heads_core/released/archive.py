"""Weights-only reading of PyTorch's zip archives: TorchScript modules and ``torch.save`` files.

No class or function that a file names is imported or called: every name becomes an inert record of its arguments and
state, and tensors are put together here from those records and from the archive's raw storages.
"""

from __future__ import annotations

import math
import pickle
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import DiffusedHeadsError
from ..files import file_kind, readable_file

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
DEPTH = 40  # of nested records that are followed
CLASS = re.compile(r"^class (\w+)\(Module\):$", re.MULTILINE)
CONSTANT = re.compile(r"^  (\w+) : Final\[int\] = (\d+)$", re.MULTILINE)


class Record:
    """What a file says of an object of some class: the class's name, arguments and state. It does nothing."""

    name = ""
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any, **_: Any) -> Record:
        record = super().__new__(cls)
        record.args, record.state = args, None
        return record

    def __init__(self, *_: Any, **__: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __call__(self, *args: Any, **_: Any) -> Record:
        return Record(*args)

    def _ignore(self, *args: Any) -> None:
        pass

    append = extend = add = update = __setitem__ = _ignore


class StoredDict(dict):
    """An ordered dictionary of the file; attributes set on it are dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Reader(pickle.Unpickler):
    """An unpickler that makes an inert Record class of every name but that of an ordered dictionary."""

    def __init__(self, stream: Any):
        super().__init__(stream, encoding="utf-8")
        self._classes: dict[str, type[Record]] = {}

    def find_class(self, module: str, name: str) -> type:
        if (module, name) == ("collections", "OrderedDict"):
            return StoredDict
        full = f"{module}.{name}"
        return self._classes.setdefault(full, type("Record", (Record,), {"name": full}))

    def persistent_load(self, pid: Any) -> Any:
        return pid


@dataclass(frozen=True)
class StoredTensor:
    """A tensor's place in an archive: its storage, element type, and position in the storage (in elements)."""

    key: str
    dtype: torch.dtype
    count: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def as_tensor(value: Any) -> StoredTensor | None:
    """The place of a tensor or parameter record; None for anything else.

    Raises ValueError, TypeError or AttributeError for a damaged record.
    """
    for _ in range(3):
        if not isinstance(value, Record) or not value.args:
            return None
        if value.name in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"):
            value = value.args[0]
        elif value.name in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
            return _stored(*value.args[:4])
    return None


def _stored(pid: Any, offset: Any, shape: Any, stride: Any) -> StoredTensor:
    _, kind, key, _, count = pid
    dtype = STORAGES.get(kind.name.rpartition(".")[2])
    shape, stride = tuple(map(int, shape)), tuple(map(int, stride))
    reach = int(offset) + 1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) if all(shape) else 0
    if dtype is None:
        raise ValueError(f"unknown storage {kind.name}")
    if min((int(offset), *shape, *stride)) < 0 or reach > int(count) or math.prod(shape) > int(count):
        raise ValueError(f"a tensor {shape} reaches beyond its storage of {count}")
    return StoredTensor(str(key), dtype, int(count), int(offset), shape, stride)


class TorchArchive:
    """An open archive. root: its pickled object. scripted: whether it is a TorchScript module or a saved dictionary.

    Raises DiffusedHeadsError that names the path and what was ``expected``, for another file or a damaged one.
    """

    def __init__(self, path: Path, expected: str):
        self.path, self.expected = readable_file(path, expected), expected
        self._storages: dict[str, Tensor] = {}
        try:
            self._zip = zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError) as error:
            kind = file_kind(self.path)
            raise self.wrong("a truncated or damaged zip archive" if kind == "a zip archive" else kind) from error
        try:
            self.root = self._open()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> TorchArchive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def wrong(self, found: str) -> DiffusedHeadsError:
        """The error of an archive that holds ``found`` instead of what was expected."""
        return DiffusedHeadsError(f"{self.path}: expected {self.expected}, found {found}")

    def _open(self) -> Any:
        names = set(self._zip.namelist())
        roots = sorted((n for n in names if n.rpartition("/")[2] == "data.pkl"), key=lambda n: (n.count("/"), n))
        if not roots:
            raise self.wrong("a zip file that PyTorch did not write")
        self._top = roots[0].removesuffix("data.pkl")
        self.scripted = f"{self._top}constants.pkl" in names
        if f"{self._top}byteorder" in names and self._zip.read(f"{self._top}byteorder").strip() == b"big":
            raise self.wrong("an archive of a big-endian machine")
        try:
            with self._zip.open(roots[0]) as stream:
                return _Reader(stream).load()
        except Exception as error:  # a damaged pickle raises anything at all
            raise self.wrong(f"a damaged PyTorch archive ({_brief(error)})") from error

    def read(self, place: StoredTensor) -> Tensor:
        """A tensor of the archive as a contiguous copy, in its own element type.

        Raises DiffusedHeadsError if its storage is missing or damaged.
        """
        if place.key not in self._storages:
            self._storages[place.key] = self._storage(place)
        flat = self._storages[place.key]
        if flat.dtype != place.dtype or len(flat) < place.count:
            raise self.wrong(f"a damaged PyTorch archive (storage {place.key} has two descriptions)")
        return flat.as_strided(place.shape, place.stride, place.offset).clone(memory_format=torch.contiguous_format)

    def _storage(self, place: StoredTensor) -> Tensor:
        name = f"{self._top}data/{place.key}"
        try:
            need, info = place.count * place.dtype.itemsize, self._zip.getinfo(name)
            if info.file_size < need:
                raise ValueError(f"{name} has {info.file_size} bytes of {need}")
            content = bytearray(self._zip.read(name))
        except (KeyError, ValueError, zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
            raise self.wrong(f"a damaged PyTorch archive ({_brief(error)})") from error
        if not place.count:
            return torch.empty(0, dtype=place.dtype)
        return torch.frombuffer(content, dtype=place.dtype, count=place.count)

    @cached_property
    def _constants(self) -> dict[str, dict[str, int]]:
        """Integer constants of a TorchScript archive's classes, read from its source text: class -> name -> value."""
        found: dict[str, dict[str, int]] = {}
        for entry in self._zip.namelist():
            path = entry.removeprefix(f"{self._top}code/")
            if self.scripted and path != entry and path.endswith(".py"):
                parts = CLASS.split(self._zip.read(entry).decode("utf-8", "replace"))
                for name, body in zip(parts[1::2], parts[2::2]):
                    found[f"{path[:-3].replace('/', '.')}.{name}"] = {n: int(v) for n, v in CONSTANT.findall(body)}
        return found

    def module(self) -> tuple[dict[str, StoredTensor], dict[str, int]]:
        """Tensors and integer attributes or constants of a TorchScript module by their dotted names."""
        tensors: dict[str, StoredTensor] = {}
        numbers: dict[str, int] = {}
        for name, value in self._walk(self.root, "", DEPTH):
            place = self._place(value)
            if place is not None:
                tensors[name] = place
            elif type(value) is int:
                numbers[name] = value
        return tensors, numbers

    def state_dict(self) -> dict[str, StoredTensor]:
        """The tensors of a saved dictionary, or of its ``state_dict``; empty if it has none."""
        content = self.root if isinstance(self.root, dict) else {}
        content = content["state_dict"] if isinstance(content.get("state_dict"), dict) else content
        found = {name: self._place(value) for name, value in content.items() if isinstance(name, str)}
        return {name: place for name, place in found.items() if place is not None}

    def settings(self) -> dict[str, int]:
        """Integers in a Lightning checkpoint's ``hyper_parameters``, by dotted name."""
        content = self.root.get("hyper_parameters") if isinstance(self.root, dict) else None
        return {name: value for name, value in self._walk(content, "", DEPTH) if type(value) is int}

    def _place(self, value: Any) -> StoredTensor | None:
        try:
            return as_tensor(value)
        except (ValueError, TypeError, AttributeError) as error:
            raise self.wrong(f"a damaged PyTorch archive ({_brief(error)})") from error

    def _walk(
        self, value: Any, prefix: str, depth: int, above: frozenset[int] = frozenset()
    ) -> Iterator[tuple[str, Any]]:
        """Leaves of nested records and dictionaries with their dotted names; a loop in the file is followed once."""
        inner = value.state if isinstance(value, Record) else value
        if isinstance(value, Record) and isinstance(inner, dict):
            inner = {**self._constants.get(value.name, {}), **inner}
        if not isinstance(inner, dict):
            yield prefix, value
        elif depth and id(value) not in above:
            for name, item in inner.items():
                yield from self._walk(item, f"{prefix}.{name}" if prefix else str(name), depth - 1, above | {id(value)})


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:120]
