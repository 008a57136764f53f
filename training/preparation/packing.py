"""Writing the finished results into the shards of the datasets for training and validation."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...diffused_heads_core.data.shards import MEMBERS, ShardWriter, load_index, shard_name
from ...diffused_heads_core.errors import DiffusedHeadsError
from .annotations import MEASURED
from .identities import AcceptedClip, People
from .results import PACKING, Video, read_part, record_path
from .settings import Settings

CLIPS_PER_SHARD, FRAMES_PER_SHARD = 64, 16000


@dataclass(frozen=True)
class ClipFile:
    """A clip to be written into a shard. record: path of its video's record; entry: in that record; meta: metadata."""

    record: Path
    entry: dict[str, Any]
    meta: dict[str, Any]


@dataclass(frozen=True)
class ShardTask:
    """One shard to be written into ``folder``; work: folder for unfinished files."""

    folder: Path
    work: Path
    index: int
    fps: float
    size: int
    clips: tuple[ClipFile, ...]

    @property
    def parameters(self) -> dict[str, Any]:
        """What the shard's index says about its origin; equal for equal shards."""
        content = [[clip.entry["key"], clip.entry["digest"], clip.meta] for clip in self.clips]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return {"origin": "prepared videos", "measured": list(MEASURED), "content": digest}


def shard_tasks(folder: Path, work: Path, clips: Sequence[ClipFile], settings: Settings) -> list[ShardTask]:
    """Clips spread over shards, in an order that mixes the videos and depends only on the clips' keys."""
    groups: list[list[ClipFile]] = []
    frames = 0
    for clip in sorted(clips, key=lambda each: hashlib.sha256(each.entry["key"].encode()).digest()):
        if not groups or len(groups[-1]) >= CLIPS_PER_SHARD or frames + clip.entry["frames"] > FRAMES_PER_SHARD:
            groups.append([])
            frames = 0
        groups[-1].append(clip)
        frames += clip.entry["frames"]
    return [
        ShardTask(folder, work, index, settings.fps, settings.size, tuple(group)) for index, group in enumerate(groups)
    ]


def is_written(task: ShardTask) -> bool:
    """Whether the same shard exists already and is complete."""
    try:
        index = load_index(task.folder, task.index)
    except DiffusedHeadsError:
        return False
    return index is not None and index["parameters"] == task.parameters


def write_shard(task: ShardTask) -> None:
    """Write one shard: first into a temporary folder, so that several machines may do it at the same time."""
    temporary = task.work / f"{PACKING}{task.folder.name}-{task.index}-{secrets.token_hex(6)}"
    try:
        with ShardWriter(temporary, task.index, task.fps, task.size, task.parameters) as shard:
            for clip in task.clips:
                entry = clip.entry
                parts = (read_part(clip.record, entry["parts"][extension]) for extension in MEMBERS[:-1])
                shard.add_packed(entry["key"], entry["frames"], entry["layout"], clip.meta, *parts)
        for suffix in (".tar", ".json"):
            name = f"{shard_name(task.index)}{suffix}"
            os.replace(temporary / name, task.folder / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_other_shards(folder: Path, shards: int) -> None:
    """Remove shards after the first ``shards``, which an earlier run with other videos left."""
    wanted = {f"{shard_name(index)}{suffix}" for index in range(shards) for suffix in (".tar", ".json")}
    for path in folder.glob("shard-*"):
        if path.name not in wanted:
            path.unlink(missing_ok=True)


def clip_file(
    work: Path, video: Video, record: dict[str, Any], clip: AcceptedClip, people: People, settings: Settings
) -> ClipFile:
    """An accepted clip with its metadata in the dataset."""
    entry = clip.entry
    meta = {
        "identity": people.identity[entry["key"]],
        "licence": settings.licence,
        "source": record["name"],
        "start": entry["first"] / settings.fps,
        "quality": entry["score"],
        "measures": entry["measures"],
        "measured": list(MEASURED),
    }
    return ClipFile(record_path(work, video), {**entry, "digest": [record["fingerprint"], record["settings"]]}, meta)
