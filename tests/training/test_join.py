"""Several datasets as one: the same clips, in order, and clear words where they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.data.join import join
from diffused_heads.diffused_heads_core.data.shards import Clip, Dataset, ShardWriter, finish_dataset
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError


def dataset(folder: Path, keys: list[str], size: int = 32, shards: int = 1, **info: str) -> Path:
    folder.mkdir()
    for shard in range(shards):
        with ShardWriter(folder, shard, 25.0, size) as writer:
            for key in keys[shard::shards]:
                clip = Clip(
                    np.full((3, size, size, 3), ord(key[-1]), np.uint8),
                    np.zeros(1920, np.float32),
                    16000,
                    {"pose": np.zeros((3, 5), np.float32)},
                )
                writer.add(key, clip)
    finish_dataset(folder, shards, {"pose": "radians"}, info)
    return folder


def test_all_clips_in_order(tmp_path: Path) -> None:
    a = dataset(tmp_path / "a", ["k1", "k2", "k3"], shards=2, licence="Apache-2.0", source="drawn")
    b = dataset(tmp_path / "b", ["p1"], licence="Apache-2.0", source="rendered")
    joined = join(tmp_path / "both", [a, b])
    assert joined.keys == ("k1", "k3", "k2", "p1")
    joined.verify()
    assert (
        joined.header["info"] == {"source": "drawn; rendered", "licence": "Apache-2.0"}
        and joined.header["annotations"]["pose"]["unit"] == "radians"
    )
    for index, key in enumerate(joined.keys):
        assert abs(int(joined.clip(index).frames.mean()) - ord(key[-1])) <= 2
    again = join(tmp_path / "both", [a, b])
    assert again.header["fingerprint"] == joined.header["fingerprint"] and Dataset(a).keys == ("k1", "k3", "k2")
    assert not [path for path in (tmp_path / "both").iterdir() if path.suffix not in (".tar", ".json")]


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    a, b = dataset(tmp_path / "a", ["k1"]), dataset(tmp_path / "b", ["k2"], size=64)
    with pytest.raises(DiffusedHeadsError, match="expected size 32 .*found 64"):
        join(tmp_path / "out", [a, b])
    with pytest.raises(DiffusedHeadsError, match="same key, such as k1"):
        join(tmp_path / "out", [a, a])
    with pytest.raises(DiffusedHeadsError, match="found none"):
        join(tmp_path / "out", [])
    assert not (tmp_path / "out").exists()
