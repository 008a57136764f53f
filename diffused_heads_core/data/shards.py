"""The dataset on disk, for avatars and real clips alike.

A dataset is a folder:

* ``dataset.json``: format name and version, fps, size, counts, annotations with dtype, shape and unit, fingerprint;
* ``shard-000000.tar``, ...: uncompressed tar files (readable by WebDataset) with four members per clip,
  ``<key>.mp4`` (H.264, yuv444p, no sound), ``<key>.wav`` (16-bit mono), ``<key>.npz`` (annotations, one row per
  frame) and ``<key>.json`` (metadata);
* ``shard-000000.json``, ...: beside each tar its index: size and SHA-256 of the tar, and for every clip the
  byte offset and length of each member, so that any clip is one seek away.

A shard counts as finished when its index exists: the tar is renamed into place first. The fingerprint is the SHA-256
over the shards' own, in order. Arrays never hold pickles.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DiffusedHeadsError
from ..files import atomic_path, removed_unless_finished
from .codecs import decode_arrays, decode_video, decode_wave, encode_arrays, encode_video, encode_wave

FORMAT = "diffused-heads-shards"
VERSION = 1
MEMBERS = ("mp4", "wav", "npz", "json")
SOUND_TOLERANCE = 0.5  # frames by which sound and picture may differ in length

_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")


@dataclass(frozen=True)
class Clip:
    """A clip in memory.

    frames: (T, S, S, 3) uint8 RGB. audio: (n,) float32 in [-1, 1]. annotations: arrays of T rows. meta: JSON values.
    """

    frames: np.ndarray
    audio: np.ndarray
    sample_rate: int
    annotations: dict[str, np.ndarray] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)


def shard_name(index: int) -> str:
    """File stem of a shard: "shard-000007"."""
    return f"shard-{index:06d}"


def _write(path: Path, data: bytes) -> None:
    with atomic_path(path) as part:
        part.write_bytes(data)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _check(key: str, clip: Clip, fps: float) -> None:
    """Raise DiffusedHeadsError that lists everything that is wrong with a clip to be written."""
    wrong = [] if _KEY.fullmatch(key) else ["the key must be 1-80 letters, digits, '-' or '_'"]
    shape = clip.frames.shape
    if clip.frames.dtype != np.uint8 or len(shape) != 4 or shape[0] < 1 or shape[1] != shape[2] or shape[3] != 3:
        wrong.append(f"frames must be (T, S, S, 3) uint8, found {shape} {clip.frames.dtype}")
    elif abs(len(clip.audio) / clip.sample_rate * fps - shape[0]) > SOUND_TOLERANCE:
        wrong.append(
            f"{shape[0]} frames at {fps} fps and {len(clip.audio)} samples at {clip.sample_rate} Hz differ in length"
        )
    if clip.audio.ndim != 1:
        wrong.append(f"audio must be mono (n,), found {clip.audio.shape}")
    wrong += [
        f"annotation {name} must have {shape[0]} rows of plain numbers, found {array.shape} {array.dtype}"
        for name, array in clip.annotations.items()
        if array.dtype.kind not in "biuf" or array.shape[:1] != shape[:1]
    ]
    if wrong:
        raise DiffusedHeadsError(f"clip {key!r}: " + "; ".join(wrong))


class ShardWriter:
    """Writes one shard: ``with ShardWriter(folder, 3, fps=25, size=128) as shard: shard.add(key, clip)``.

    The shard appears when the block ends without an error. ``parameters`` (JSON values) are kept in the index.
    """

    def __init__(
        self, folder: Path, index: int, fps: float, size: int, parameters: dict[str, Any] | None = None
    ) -> None:
        self._path = Path(folder) / f"{shard_name(index)}.tar"
        self._partial = self._path.with_name(f"{self._path.name}.{os.getpid()}.part")
        self._fps, self._size, self._parameters = fps, size, parameters or {}
        self._clips: list[dict[str, Any]] = []
        self._layout: dict[str, dict[str, Any]] | None = None

    def __enter__(self) -> ShardWriter:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._tar = tarfile.open(self._partial, "w", format=tarfile.USTAR_FORMAT)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        with removed_unless_finished(self._partial):
            self._tar.close()
            if kind is None:
                self._finish()

    def add(self, key: str, clip: Clip) -> None:
        """Append a clip. Raises DiffusedHeadsError if it is malformed, or unlike the shard's other clips."""
        _check(key, clip, self._fps)
        layout = {n: {"dtype": a.dtype.name, "shape": list(a.shape[1:])} for n, a in sorted(clip.annotations.items())}
        self._check_place(key, clip.frames.shape[1], layout)
        video, sound = encode_video(clip.frames, self._fps), encode_wave(clip.audio, clip.sample_rate)
        self.add_packed(key, len(clip.frames), layout, clip.meta, video, sound, encode_arrays(clip.annotations))

    def add_packed(
        self,
        key: str,
        frames: int,
        layout: dict[str, dict[str, Any]],
        meta: dict[str, Any],
        mp4: bytes,
        wav: bytes,
        npz: bytes,
    ) -> None:
        """Append a clip whose members are encoded already, of the shard's size and frame rate.

        layout: ``dtype`` and ``shape`` (without T) of each annotation in ``npz``. Raises DiffusedHeadsError if the clip
        is unlike the shard's other clips.
        """
        self._check_place(key, self._size, layout)
        self._layout = layout
        full = {**meta, "fps": self._fps, "size": self._size, "frames": frames}
        entry: dict[str, Any] = {"key": key, "frames": frames}
        for extension, data in zip(MEMBERS, (mp4, wav, npz, _json(full))):
            entry[extension] = self._append(f"{key}.{extension}", data)
        self._clips.append(entry)

    def _check_place(self, key: str, size: int, layout: dict[str, dict[str, Any]]) -> None:
        wanted = layout if self._layout is None else self._layout
        if size != self._size or layout != wanted:
            raise DiffusedHeadsError(
                f"clip {key!r}: expected size {self._size} and annotations {wanted}, found {size} and {layout}"
            )
        if any(entry["key"] == key for entry in self._clips):
            raise DiffusedHeadsError(f"clip {key!r}: the shard already has a clip of this key")

    def _append(self, name: str, data: bytes) -> list[int]:
        """Add a member with fixed owner and time; its [offset, length] in the tar."""
        info = tarfile.TarInfo(name)
        info.size = len(data)
        offset = self._tar.offset + tarfile.BLOCKSIZE
        self._tar.addfile(info, io.BytesIO(data))
        return [offset, len(data)]

    def _finish(self) -> None:
        digest = hashlib.sha256(self._partial.read_bytes()).hexdigest()
        index = {
            "format": FORMAT,
            "version": VERSION,
            "fps": self._fps,
            "size": self._size,
            "shard": self._path.name,
            "bytes": self._partial.stat().st_size,
            "sha256": digest,
            "annotations": self._layout or {},
            "parameters": self._parameters,
            "clips": self._clips,
        }
        os.replace(self._partial, self._path)
        _write(self._path.with_suffix(".json"), _json(index))


def _load_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DiffusedHeadsError(f"{path}: expected a file of a dataset, found none") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DiffusedHeadsError(f"{path}: expected JSON, found a damaged file ({error})") from None
    found = (value.get("format"), value.get("version")) if isinstance(value, dict) else (type(value).__name__, None)
    if found != (FORMAT, VERSION):
        raise DiffusedHeadsError(f"{path}: expected {FORMAT} version {VERSION}, found {found[0]} version {found[1]}")
    return value


def load_index(folder: Path, index: int) -> dict[str, Any] | None:
    """The index of a shard, or None if it is not finished. Raises DiffusedHeadsError if index or tar is damaged."""
    path = Path(folder) / f"{shard_name(index)}.json"
    if not path.exists():
        return None
    value = _load_json(path)
    tar = path.with_suffix(".tar")
    found = tar.stat().st_size if tar.exists() else None
    if found != value["bytes"]:
        state = "no such file" if found is None else f"{found} bytes"
        raise DiffusedHeadsError(f"{tar}: expected a shard of {value['bytes']} bytes, found {state}")
    return value


def finished_index(folder: Path, index: int) -> dict[str, Any]:
    """The index of a finished shard. Raises DiffusedHeadsError if it is missing, or index or tar is damaged."""
    value = load_index(folder, index)
    if value is None:
        raise DiffusedHeadsError(f"{folder}: expected {shard_name(index)}.json, found none")
    return value


def finish_dataset(
    folder: Path, shards: int, units: dict[str, str] | None = None, info: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Write dataset.json over shards 0 .. shards - 1 and return it.

    units: unit of each annotation. info: further JSON values (licence, source). Raises DiffusedHeadsError if a shard is
    missing, damaged or unlike the others.
    """
    found = [load_index(folder, i) for i in range(shards)]
    missing = [shard_name(i) for i, value in enumerate(found) if value is None]
    indices = [value for value in found if value is not None]
    if missing or not indices:
        raise DiffusedHeadsError(f"{folder}: expected {shards} finished shards, missing {', '.join(missing) or 'all'}")
    layouts = {json.dumps([v["fps"], v["size"], v["annotations"]], sort_keys=True) for v in indices}
    if len(layouts) != 1:
        raise DiffusedHeadsError(
            f"{folder}: expected shards of one fps, size and annotations, found {len(layouts)} kinds"
        )
    units = units or {}
    first = indices[0]
    dataset = {
        "format": FORMAT,
        "version": VERSION,
        "fps": first["fps"],
        "size": first["size"],
        "shards": shards,
        "clips": sum(len(v["clips"]) for v in indices),
        "frames": sum(c["frames"] for v in indices for c in v["clips"]),
        "annotations": {n: {**a, "unit": units.get(n, "")} for n, a in first["annotations"].items()},
        "fingerprint": hashlib.sha256("".join(v["sha256"] for v in indices).encode()).hexdigest(),
        "info": info or {},
    }
    _write(Path(folder) / "dataset.json", _json(dataset))
    return dataset


class Dataset:
    """A finished dataset: ``len``, ``keys``, ``clip(i)``; ``audio``, ``annotations`` and ``meta`` decode no pictures.

    Holds paths and offsets only: cheap to send to another process. All methods, and opening, raise DiffusedHeadsError
    for missing, damaged or cut files.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.header = _load_json(self.path / "dataset.json")
        self.fps: float = self.header["fps"]
        self.size: int = self.header["size"]
        self._entries: list[tuple[str, dict[str, Any]]] = []
        for i in range(self.header["shards"]):
            index = finished_index(self.path, i)
            self._entries += [(index["shard"], entry) for entry in index["clips"]]
        if len(self._entries) != self.header["clips"]:
            raise DiffusedHeadsError(f"{self.path}: expected {self.header['clips']} clips, found {len(self._entries)}")

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all clips, in order."""
        return tuple(entry["key"] for _, entry in self._entries)

    def key(self, index: int) -> str:
        """Key of a clip."""
        return self._entries[index][1]["key"]

    def shard(self, index: int) -> int:
        """Number of the shard that a clip lies in."""
        return int(self._entries[index][0].removeprefix("shard-").removesuffix(".tar"))

    def frames(self, index: int) -> int:
        """Number of frames of a clip, without reading it."""
        return self._entries[index][1]["frames"]

    def _read(self, index: int, extension: str) -> bytes:
        shard, entry = self._entries[index]
        offset, length = entry[extension]
        with open(self.path / shard, "rb") as file:
            file.seek(offset)
            data = file.read(length)
        if len(data) != length:
            raise DiffusedHeadsError(
                f"{self.path / shard}: clip {entry['key']} is cut: {length} bytes expected, {len(data)} found"
            )
        return data

    def decoded(self, index: int, extension: str, decode: Callable[[bytes], Any]) -> Any:
        """What ``decode`` makes of the bytes of one member (mp4, wav, npz, json) of a clip.

        Raises DiffusedHeadsError if the bytes are cut or ``decode`` fails.
        """
        shard, entry = self._entries[index]
        try:
            return decode(self._read(index, extension))
        except (ValueError, OSError, EOFError, tarfile.TarError, KeyError) as error:
            raise DiffusedHeadsError(
                f"{self.path / shard}: member {entry['key']}.{extension} is damaged: {error}"
            ) from None

    def audio(self, index: int) -> tuple[np.ndarray, int]:
        """Sound (n,) float32 in [-1, 1] of a clip and its rate in Hz."""
        return self.decoded(index, "wav", decode_wave)

    def annotations(self, index: int) -> dict[str, np.ndarray]:
        """Per-frame arrays of a clip, T rows each."""
        return self.decoded(index, "npz", decode_arrays)

    def meta(self, index: int) -> dict[str, Any]:
        """Metadata of a clip."""
        return self.decoded(index, "json", json.loads)

    def clip(self, index: int) -> Clip:
        """Everything of one clip. Raises IndexError past the end."""
        frames = self.decoded(index, "mp4", decode_video)
        if len(frames) != self.frames(index):
            raise DiffusedHeadsError(
                f"clip {self.key(index)}: expected {self.frames(index)} frames, found {len(frames)}"
            )
        audio, rate = self.audio(index)
        return Clip(frames, audio, rate, self.annotations(index), self.meta(index))

    def verify(self) -> None:
        """Read every shard and compare its SHA-256 with the index. Raises DiffusedHeadsError if one differs."""
        for i in range(self.header["shards"]):
            index = finished_index(self.path, i)
            shard = self.path / index["shard"]
            digest = hashlib.sha256(shard.read_bytes()).hexdigest()
            if digest != index["sha256"]:
                raise DiffusedHeadsError(f"{shard}: expected SHA-256 {index['sha256']}, found {digest}")
