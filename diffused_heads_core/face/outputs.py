"""One output for a TensorFlow Lite network with several: they are concatenated along their last axis.

OpenCV 5.0 returns the outputs of the file's last operator only, so a network with two outputs would have to run twice.
With one more operator, a concatenation, every OpenCV runs it once. The new tables are put before the file's old bytes:
a flatbuffer's offsets point forward, and those within the old bytes stay as they are.
Format: https://flatbuffers.dev/internals and TensorFlow's lite/schema/schema.fbs.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

# Fields by number. Model: 0 version, 1 operator codes, 2 subgraphs. Subgraph: 0 tensors, 2 outputs, 3 operators.
# Tensor: 0 shape, 3 name. Operator: 0 code, 1 inputs, 2 outputs, 3 kind of options, 4 options. Concatenation: 0 axis.
OUTPUT = "joined"
_CONCATENATION, _CONCATENATION_OPTIONS = 2, 10
_ALIGNMENT = 16  # of a stored tensor within the file


@dataclass(frozen=True)
class _Old:
    """Whatever lies at a position of the old file."""

    at: int


class _Table(dict[int, Any]):
    """Field number -> its value: a number, a string, a list, another table, or something of the old file."""


def join_outputs(model: bytes) -> bytes:
    """A network file with one output named ``OUTPUT``: the outputs of ``model``, in its order, along the last axis.

    ``model`` has one subgraph, whose outputs are of type float32 and agree in all axes but the last. Outputs with more
    or fewer axes than the first are left out.
    """
    reader = _Reader(model)
    root = reader.table(reader.follow(0), numbers={0})
    codes, graphs = reader.pointers(root[1]), reader.pointers(root[2])
    graph = reader.table(graphs[0].at)
    tensors, outputs, operators = reader.pointers(graph[0]), reader.numbers(graph[2]), reader.pointers(graph[3])
    found = [reader.numbers(reader.table(tensors[index].at)[0]) for index in outputs]
    outputs = [index for index, shape in zip(outputs, found) if len(shape) == len(found[0])]
    shapes = [shape for shape in found if len(shape) == len(found[0])]
    shape = [*shapes[0][:-1], sum(each[-1] for each in shapes)]
    joined = len(tensors)
    options = _Table({0: len(shape) - 1})
    operator = _Table({0: len(codes), 1: outputs, 2: [joined], 3: _CONCATENATION_OPTIONS, 4: options})
    graph |= {0: [*tensors, _Table({0: shape, 3: OUTPUT})], 2: [joined], 3: [*operators, operator]}
    root |= {1: [*codes, _Table({0: _CONCATENATION})], 2: [graph]}
    return _write(root, model)


class _Reader:
    """Tables and vectors of a flatbuffer by their absolute positions."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def number(self, at: int, code: str = "<i") -> int:
        """The number at a position; ``code`` as of the struct module."""
        return struct.unpack_from(code, self.data, at)[0]

    def follow(self, at: int) -> int:
        """The position that the offset at a position leads to."""
        return at + self.number(at, "<I")

    def table(self, at: int, numbers: Collection[int] = ()) -> _Table:
        """The table at a position: its 32-bit fields in ``numbers`` by value, all others as pointers."""
        virtual = at - self.number(at)
        places = [self.number(virtual + offset, "<H") for offset in range(4, self.number(virtual, "<H"), 2)]
        table = _Table()
        for field, place in enumerate(places):
            if place:
                table[field] = self.number(at + place) if field in numbers else _Old(self.follow(at + place))
        return table

    def pointers(self, vector: _Old) -> list[_Old]:
        """What the offsets of a vector lead to."""
        return [_Old(self.follow(at)) for at in self._members(vector)]

    def numbers(self, vector: _Old) -> list[int]:
        """The numbers of a vector."""
        return [self.number(at) for at in self._members(vector)]

    def _members(self, vector: _Old) -> list[int]:
        return [vector.at + 4 + 4 * index for index in range(self.number(vector.at))]


def _write(root: _Table, old: bytes) -> bytes:
    """``root`` and all that is new in it as a flatbuffer, followed by the old one that it points into."""
    data = bytearray(struct.pack("<I4s", 0, old[4:8]))
    waiting: list[tuple[int, Any]] = [(0, root)]  # places of offsets that are still to be written, and their targets
    into_old: list[tuple[int, int]] = []
    while waiting:
        slot, value = waiting.pop()
        if isinstance(value, _Old):
            into_old.append((slot, value.at))
        else:
            struct.pack_into("<I", data, slot, _append(data, value, waiting) - slot)
    data += bytes(-len(data) % _ALIGNMENT)
    for slot, at in into_old:
        struct.pack_into("<I", data, slot, len(data) + at - slot)
    return bytes(data) + old


def _append(data: bytearray, value: str | _Table | list, waiting: list[tuple[int, Any]]) -> int:
    """Append one table, vector or string; its offsets are added to ``waiting``. Returns its position."""
    before, head, members = _layout(value)
    data += before
    at = len(data)
    data += head
    for member in members:
        if not isinstance(member, int):
            waiting.append((len(data), member))
        data += struct.pack("<i", member if isinstance(member, int) else 0)
    return at


def _layout(value: str | _Table | list) -> tuple[bytes, bytes, list[Any]]:
    """The bytes before a value's position, those at it, and the members that follow, 32 bits each."""
    if isinstance(value, str):
        text = value.encode()
        return b"", struct.pack("<I", len(text)) + text + bytes(4 - len(text) % 4), []
    if not isinstance(value, _Table):
        return b"", struct.pack("<I", len(value)), value
    order = sorted(value)
    fields = range(order[-1] + 1)
    places = [4 + 4 * order.index(field) if field in value else 0 for field in fields]  # 0 for an absent field
    virtual = struct.pack(f"<{2 + len(places)}H", 4 + 2 * len(places), 4 + 4 * len(order), *places)
    virtual += bytes(-len(virtual) % 4)
    return virtual, struct.pack("<i", len(virtual)), [value[field] for field in order]
