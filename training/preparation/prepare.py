"""Raw videos to datasets: ``diffused-heads prepare RAW_DIR OUT``.

    OUT/train, OUT/validation    datasets as ``shards`` reads them
    OUT/report.html, .json       what became of every video
    OUT/work                     what each video gave, so that the same command goes on where it stopped

Every video becomes a unit of its own; when all are there they are put together. Neither the number of workers nor
interruptions nor how the videos were spread over machines changes a byte of the datasets.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...diffused_heads_core.data.shards import finish_dataset
from ...diffused_heads_core.errors import DiffusedHeadsError
from ...diffused_heads_core.face.finder import FaceFinder
from ...diffused_heads_core.face.networks import load_face_models
from ...diffused_heads_core.files import atomic_path
from .annotations import MEASURED, UNITS
from .engine import ENGINES, WorkerDied, run as run_tasks
from .identities import Kept, split, tell_apart
from .packing import clear, clip_file, is_written, shard_tasks, write_shard
from .report import Outcome, explain, write_report
from .results import Source, UnitWriter, fingerprint, read_record, sweep, unit_path
from .settings import IDENTITY_RULES, Settings
from .tracks import Finder
from .video import empty_record, prepare_source

SUFFIXES = (
    ".mp4", ".mkv", ".mov", ".webm", ".avi", ".mpg", ".mpeg", ".m4v", ".ts", ".mts", ".m2ts", ".wmv", ".flv",
    ".3gp", ".ogv", ".vob", ".mxf", ".asf", ".m2v",
)  # fmt: skip
PARTS = ("train", "validation")


@dataclass(frozen=True)
class Networks:
    """Gives this thread's face finder; sent to a worker it travels as the folder of its networks."""

    folder: Path

    def __call__(self) -> Finder:
        if getattr(_own, "folder", None) != self.folder:
            _own.finder, _own.folder = FaceFinder(load_face_models(self.folder, download=False)), self.folder
        return _own.finder


_own = threading.local()


@dataclass(frozen=True)
class SourceTask:
    """One video to be prepared."""

    source: Source
    settings: Settings
    work: Path
    make_finder: Callable[[], Finder]


def _prepare(task: SourceTask) -> None:
    prepare_source(task.source, task.settings, task.work, task.make_finder)


def find_sources(raw: Path) -> list[Source]:
    """The videos in a folder and the folders in it, by name. Raises DiffusedHeadsError where there is no folder, or no
    video in it.
    """
    if not raw.is_dir():
        raise DiffusedHeadsError(
            f"{raw}: expected a folder of videos, {'found a file' if raw.exists() else 'there is no such folder'}"
        )
    found = [Path(folder) / name for folder, _, names in os.walk(raw) for name in names if not name.startswith(".")]
    videos = sorted((path.relative_to(raw).as_posix(), path) for path in found if path.suffix.lower() in SUFFIXES)
    if not videos:
        raise DiffusedHeadsError(f"{raw}: expected videos ({', '.join(SUFFIXES)}), found {len(found)} other files")
    return [Source(path, name) for name, path in videos]


def parse_shard(text: str | None) -> tuple[int, int]:
    """ "3/8" as (3, 8): this run's share of the videos; None is all. Raises DiffusedHeadsError for anything else."""
    try:
        share, count = (int(part) for part in (text or "1/1").split("/"))
    except ValueError:
        share, count = 0, 0
    if not 1 <= share <= count:
        raise DiffusedHeadsError(f"shard={text!r}, expected K/N with K from 1 to N")
    return share, count


def prepare(
    raw: Path,
    out: Path,
    settings: Settings = Settings(),
    workers: int | None = None,
    shard: str | None = None,
    engine: str = "processes",
    progress: bool | Callable[[int, int], None] = True,
    make_finder: Callable[[], Finder] | None = None,
) -> dict[str, Any] | None:
    """Prepare the videos in ``raw`` into ``out`` and return the report's summary.

    Videos that are done are kept, so the same call again goes on. With ``shard`` "K/N" only every N-th video is done
    here; the call that finds all of them done puts them together, the others return None. workers: processes, by
    default all processors. engine: one of ``engine.ENGINES``. progress: whether to draw a bar, or what to call, at the
    beginning and after each video, with videos done and in all; its exceptions end the run, and the same call goes on.
    Damaged videos are reported. Raises DiffusedHeadsError for bad values, a folder without videos, an ``out`` that was
    made with other settings, and missing face networks; OSError where ``out`` cannot be written.
    """
    share, count = parse_shard(shard)
    sources, work = find_sources(Path(raw)), Path(out) / "work"
    work.mkdir(parents=True, exist_ok=True)
    _same_settings(Path(out), settings)
    mine = sources[share - 1 :: count]
    todo = [source for source in mine if _done(work, source, settings) is None]
    if todo:
        make_finder = make_finder or Networks(load_face_models().folder)
        tasks = [SourceTask(source, settings, work, make_finder) for source in todo]
        finished = len(mine) - len(todo)
        told = progress if callable(progress) else lambda done, videos: None
        told(finished, len(mine))
        with (
            tqdm(total=len(mine), initial=finished, unit="video", disable=progress is not True) as bar,
            closing(run_tasks(_prepare, tasks, workers, engine)) as results,
        ):
            for number, (task, result) in enumerate(results, 1 + finished):
                if isinstance(result, WorkerDied):
                    _write_problem(task)
                bar.update()
                told(number, len(mine))
    if not all(unit_path(work, source).exists() for source in sources):
        return None
    return _put_together(Path(out), work, sources, settings, workers, engine)


def _same_settings(out: Path, settings: Settings) -> None:
    path, wanted = out / "prepare.json", settings.of_clips()
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else wanted
    differing = sorted(name for name in wanted if found.get(name) != wanted[name])
    if differing:
        raise DiffusedHeadsError(
            f"{out}: expected an empty folder or the same settings, found a preparation with other {', '.join(differing)}"
        )
    with atomic_path(path) as part:
        part.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")


def _done(work: Path, source: Source, settings: Settings) -> dict[str, Any] | None:
    """The record of a source that was prepared like this and is still the same file."""
    record = read_record(unit_path(work, source))
    same = record is not None and record["settings"] == settings.of_clips() and record["name"] == source.name
    return record if same and record["fingerprint"] == fingerprint(source.path) else None


def _write_problem(task: SourceTask) -> None:
    problem = "reading it ended the process twice: the file is damaged, or takes more memory than there is"
    with UnitWriter(unit_path(task.work, task.source)) as unit:
        unit.finish({**empty_record(task.source, task.settings, problem), "fingerprint": fingerprint(task.source.path)})


def _put_together(
    out: Path, work: Path, sources: Sequence[Source], settings: Settings, workers: int | None, engine: str
) -> dict[str, Any] | None:
    """Write datasets and report from the units of all sources; None where one is not done after all."""
    records = [_done(work, source, settings) for source in sources]
    if any(record is None for record in records):
        return None
    origin = {record["name"]: (source, record) for source, record in zip(sources, records)}
    entries = [(record["name"], clip) for record in records for clip in record["clips"]]
    kept = [Kept.of(name, clip) for name, clip in entries if clip["score"] >= settings.quality]
    people = tell_apart(kept, settings.identity_from, [source.name for source in sources])
    held = split(kept, people, settings.validation)
    remarks = _remarks(kept, held, settings)
    for part in PARTS:
        chosen = [each for each in kept if (each.entry["key"] in held) == (part == "validation")]
        files = [clip_file(work, *origin[each.source], each, people, settings) for each in chosen]
        _write_part(out / part, work, files, settings, people.rule, workers, engine)
    sweep(work)
    poor = {clip["key"] for _, clip in entries} - {each.entry["key"] for each in kept}
    return write_report(out, work, Outcome(sources, records, people, held, poor, remarks), settings)


def _remarks(kept: Sequence[Kept], held: set[str], settings: Settings) -> list[str]:
    if not kept:
        return ["no clip came out: see below why"]
    if settings.validation > 0 and not held:
        return ["all clips show one group of people, so there is none for validation (see --identity-from)"]
    return []


def _write_part(
    folder: Path, work: Path, files: Sequence[Any], settings: Settings, rule: str, workers: int | None, engine: str
) -> None:
    """One of the datasets; nothing remains where it has no clips."""
    tasks = shard_tasks(folder, work, files, settings)
    todo = [task for task in tasks if not is_written(task)]
    if todo or not tasks:
        (folder / "dataset.json").unlink(missing_ok=True)
    if not tasks:
        clear(folder, 0)
        return
    folder.mkdir(exist_ok=True)
    for _, result in run_tasks(write_shard, todo, workers, engine):
        if isinstance(result, WorkerDied):
            raise DiffusedHeadsError(f"{folder}: writing a shard ended the process twice")
    clear(folder, len(tasks))
    info = {
        "source": "prepared videos",
        "licence": settings.licence,
        "part": folder.name,
        "identity_from": rule,
        "measured": list(MEASURED),
        "people": len({file.meta["identity"] for file in files}),
    }
    finish_dataset(folder, len(tasks), UNITS, info)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``prepare`` to a parser."""
    usual = Settings()
    parser.add_argument("raw", type=Path, metavar="RAW_DIR", help="folder of videos, searched with its subfolders")
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="folder for the datasets, the report and what is needed to go on"
    )
    parser.add_argument(
        "--size", type=int, default=usual.size, metavar="PX", help="pixels of a crop's side (default: %(default)s)"
    )
    parser.add_argument(
        "--fps", type=float, default=usual.fps, metavar="N", help="frames a second (default: %(default)g)"
    )
    parser.add_argument(
        "--margin",
        type=float,
        default=usual.margin,
        metavar="X",
        help="more room around the head, -0.3 to 2 (default: %(default)g)",
    )
    parser.add_argument(
        "--seconds", type=float, default=usual.seconds, metavar="S", help="longest clip (default: %(default)g)"
    )
    parser.add_argument(
        "--shortest", type=float, default=usual.shortest, metavar="S", help="shortest clip (default: %(default)g)"
    )
    parser.add_argument(
        "--quality",
        type=float,
        default=usual.quality,
        metavar="X",
        help="least score of a clip, 0 to 1 (default: %(default)g)",
    )
    parser.add_argument(
        "--identity-from",
        default=usual.identity_from,
        choices=IDENTITY_RULES,
        metavar="RULE",
        help="who is one person for the split: videos of one first folder, of one beginning of the name (prefix, up to the first "
        "of _ - . blank), or each file by itself; auto (default): folder where there are several, otherwise file",
    )
    parser.add_argument(
        "--validation",
        type=float,
        default=usual.validation,
        metavar="X",
        help="share for validation (default: %(default)g)",
    )
    parser.add_argument(
        "--licence",
        default=usual.licence,
        metavar="NAME",
        help="licence of the videos, noted in every clip (default: %(default)s)",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes, or tasks at once with Ray (default: one a processor)"
    )
    parser.add_argument(
        "--shard",
        metavar="K/N",
        help="do the K-th of N shares of the videos, as in a job array; whichever job finds all done "
        "puts them together",
    )
    parser.add_argument(
        "--engine",
        default="processes",
        choices=ENGINES,
        help="processes or threads on this machine, or a Ray cluster (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> None:
    """Perform the command line."""
    chosen = {name: getattr(options, name) for name in Settings.__dataclass_fields__}
    told = prepare(options.raw, options.out, Settings(**chosen), options.workers, options.shard, options.engine)
    if told is None:
        print(
            f"{options.out}: this share is done, others are not yet; the last one to finish puts them together, or `prepare` without --shard"
        )
        return
    for source in told["sources"]:
        if not source["clips"]:
            print(f"{source['name']}: {explain(source)}")
    print(
        f"{options.out}: {told['clips']} clips ({told['seconds']:.0f} s) of {told['people']} people from {told['videos_with_clips']} of "
        f"{told['videos']} videos; {told['train_clips']} for training, {told['validation_clips']} for validation. See {options.out / 'report.html'}"
    )
