"""Raw videos to datasets: ``diffused-heads prepare RAW_DIR OUT``.

    OUT/train, OUT/validation    datasets as ``data.shards`` reads them
    OUT/report.html, .json       report on all videos
    OUT/work                     results of single videos, with which the same command resumes an interrupted run

Every video is processed by itself; when all are done, their results are assembled into datasets. The datasets do not
depend on the number of workers, on interruptions, or on how the videos were distributed over machines.
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
from ...diffused_heads_core.data.tracks import MOTION, MOTION_UNIT
from ...diffused_heads_core.errors import DiffusedHeadsError
from ...diffused_heads_core.face.expressions import ExpressionNetworks
from ...diffused_heads_core.face.finder import FaceFinder
from ...diffused_heads_core.face.networks import load_face_models, load_motion_models
from ...diffused_heads_core.files import atomic_path
from .annotations import MEASURED, UNITS
from .engine import ENGINES, WorkerDied, run as run_tasks
from .identities import AcceptedClip, identify, split
from .packing import clip_file, is_written, remove_other_shards, shard_tasks, write_shard
from .report import Outcome, explain, write_report
from .results import ResultWriter, Video, fingerprint, read_record, record_path, remove_leftovers
from .settings import IDENTITY_RULES, Settings
from .tracks import Finder
from .video import empty_record, prepare_video

SUFFIXES = (
    ".mp4", ".mkv", ".mov", ".webm", ".avi", ".mpg", ".mpeg", ".m4v", ".ts", ".mts", ".m2ts", ".wmv", ".flv",
    ".3gp", ".ogv", ".vob", ".mxf", ".asf", ".m2v",
)  # fmt: skip
PARTS = ("train", "validation")


@dataclass(frozen=True)
class Networks:
    """Makes one face finder per thread; only the folder of its networks is sent to worker processes."""

    folder: Path

    def __call__(self) -> Finder:
        if getattr(_own, "folder", None) != self.folder:
            _own.finder, _own.folder = FaceFinder(load_face_models(self.folder, download=False)), self.folder
        return _own.finder

    def expressions(self) -> ExpressionNetworks:
        """The networks that measure motion."""
        return ExpressionNetworks(load_motion_models(self.folder, download=False))


_own = threading.local()


@dataclass(frozen=True)
class VideoTask:
    """A video to be prepared."""

    video: Video
    settings: Settings
    work: Path
    make_finder: Callable[[], Finder]


def _prepare(task: VideoTask) -> None:
    prepare_video(task.video, task.settings, task.work, task.make_finder)


def find_videos(raw: Path) -> list[Video]:
    """The videos in a folder and its subfolders, sorted by name.

    Raises DiffusedHeadsError if there is no such folder or no video in it.
    """
    if not raw.is_dir():
        found = "found a file" if raw.exists() else "there is no such folder"
        raise DiffusedHeadsError(f"{raw}: expected a folder of videos, {found}")
    files = [Path(folder) / name for folder, _, names in os.walk(raw) for name in names if not name.startswith(".")]
    videos = sorted((path.relative_to(raw).as_posix(), path) for path in files if path.suffix.lower() in SUFFIXES)
    if not videos:
        raise DiffusedHeadsError(f"{raw}: expected videos ({', '.join(SUFFIXES)}), found {len(files)} other files")
    return [Video(path, name) for name, path in videos]


def parse_shard(text: str | None) -> tuple[int, int]:
    """The share of the videos for a run: (3, 8) for "3/8", (1, 1) for None. Raises DiffusedHeadsError otherwise."""
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
    """Prepare the videos in ``raw`` into ``out`` and return the summary of the report.

    Finished videos are not processed again, so the same call resumes an interrupted one. With ``shard`` "K/N", only
    every N-th video is processed; the call that finds all of them finished assembles the datasets, the others return
    None. workers, engine: as of ``engine.run``. progress: whether to show a bar, or a function that is called at the
    start and after each video with the numbers of finished and of all videos; an exception of it ends the run.
    Damaged videos are reported. Raises DiffusedHeadsError for bad values, a folder without videos, an ``out`` that was
    made with other settings, and missing face networks; OSError if ``out`` cannot be written.
    """
    share, count = parse_shard(shard)
    videos, work = find_videos(Path(raw)), Path(out) / "work"
    work.mkdir(parents=True, exist_ok=True)
    _check_settings(Path(out), settings)
    mine = videos[share - 1 :: count]
    todo = [video for video in mine if _finished(work, video, settings) is None]
    if todo:
        if settings.motion:
            load_motion_models()  # downloaded once, and not by every process
        make_finder = make_finder or Networks(load_face_models().folder)
        tasks = [VideoTask(video, settings, work, make_finder) for video in todo]
        finished = len(mine) - len(todo)
        report_progress = progress if callable(progress) else lambda done, total: None
        report_progress(finished, len(mine))
        with (
            tqdm(total=len(mine), initial=finished, unit="video", disable=progress is not True) as bar,
            closing(run_tasks(_prepare, tasks, workers, engine)) as results,
        ):
            for number, (task, result) in enumerate(results, 1 + finished):
                if isinstance(result, WorkerDied):
                    _write_problem(task)
                bar.update()
                report_progress(number, len(mine))
    if not all(record_path(work, video).exists() for video in videos):
        return None
    return _assemble(Path(out), work, videos, settings, workers, engine)


def _check_settings(out: Path, settings: Settings) -> None:
    path, wanted = out / "prepare.json", settings.of_clips()
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else wanted
    differing = sorted(name for name in wanted if found.get(name) != wanted[name])
    if differing:
        raise DiffusedHeadsError(
            f"{out}: expected an empty folder or the same settings, "
            f"found a preparation with other {', '.join(differing)}"
        )
    with atomic_path(path) as part:
        part.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")


def _finished(work: Path, video: Video, settings: Settings) -> dict[str, Any] | None:
    """The record of a video that was prepared with these settings and has not changed since."""
    record = read_record(record_path(work, video))
    same = record is not None and record["settings"] == settings.of_clips() and record["name"] == video.name
    return record if same and record["fingerprint"] == fingerprint(video.path) else None


def _write_problem(task: VideoTask) -> None:
    problem = "reading it ended the process twice: the file is damaged, or takes more memory than there is"
    with ResultWriter(record_path(task.work, task.video)) as result:
        result.finish(empty_record(task.video, task.settings, problem))


def _assemble(
    out: Path, work: Path, videos: Sequence[Video], settings: Settings, workers: int | None, engine: str
) -> dict[str, Any] | None:
    """Write datasets and report from the results of all videos; returns None if one of them is not finished."""
    records = [_finished(work, video, settings) for video in videos]
    if any(record is None for record in records):
        return None
    origin = {record["name"]: (video, record) for video, record in zip(videos, records)}
    entries = [(record["name"], clip) for record in records for clip in record["clips"]]
    clips = [AcceptedClip.of(name, clip) for name, clip in entries if clip["score"] >= settings.quality]
    people = identify(clips, settings.identity_from, [video.name for video in videos])
    validation = split(clips, people, settings.validation)
    for part in PARTS:
        chosen = [each for each in clips if (each.entry["key"] in validation) == (part == "validation")]
        files = [clip_file(work, *origin[each.source], each, people, settings) for each in chosen]
        _write_part(out / part, work, files, settings, people.rule, workers, engine)
    remove_leftovers(work)
    poor = {clip["key"] for _, clip in entries} - {each.entry["key"] for each in clips}
    remarks = _remarks(clips, validation, settings) + _moved(records)
    return write_report(out, work, Outcome(videos, records, people, validation, poor, remarks), settings)


def _remarks(clips: Sequence[AcceptedClip], validation: set[str], settings: Settings) -> list[str]:
    if not clips:
        return ["no clip came out: see below why"]
    if settings.validation > 0 and not validation:
        return ["all clips show one group of people, so there is none for validation (see --identity-from)"]
    return []


def _moved(records: Sequence[dict[str, Any]]) -> list[str]:
    """One line on the videos whose sound was moved."""
    moved = [abs(record["facts"]["sound_moved"]) for record in records if record["facts"] and record["clips"]]
    moved = [round(1000 * seconds) for seconds in moved if seconds]
    if not moved:
        return []
    videos = "1 video" if len(moved) == 1 else f"{len(moved)} videos"
    span = f"{min(moved)} to {max(moved)}" if min(moved) < max(moved) else f"{moved[0]}"
    return [f"sound and mouth were {span} ms out of step in {videos} and were brought into step"]


def _write_part(
    folder: Path, work: Path, files: Sequence[Any], settings: Settings, rule: str, workers: int | None, engine: str
) -> None:
    """Write one of the datasets; if it has no clips, its folder stays without a dataset."""
    tasks = shard_tasks(folder, work, files, settings)
    todo = [task for task in tasks if not is_written(task)]
    if todo or not tasks:
        (folder / "dataset.json").unlink(missing_ok=True)
    if not tasks:
        remove_other_shards(folder, 0)
        return
    folder.mkdir(exist_ok=True)
    for _, result in run_tasks(write_shard, todo, workers, engine):
        if isinstance(result, WorkerDied):
            raise DiffusedHeadsError(f"{folder}: writing a shard ended the process twice")
    remove_other_shards(folder, len(tasks))
    info = {
        "source": "prepared videos",
        "licence": settings.licence,
        "part": folder.name,
        "identity_from": rule,
        "measured": list(MEASURED),
        "people": len({file.meta["identity"] for file in files}),
    }
    units = {**UNITS, MOTION: MOTION_UNIT} if settings.motion else UNITS
    finish_dataset(folder, len(tasks), units, info)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``prepare`` to a parser."""
    usual, add = Settings(), parser.add_argument
    add("raw", type=Path, metavar="RAW_DIR", help="folder of videos; its subfolders are searched too")
    add("out", type=Path, metavar="OUT", help="folder for datasets, report and intermediate results")
    numbers = {
        "size": ("PX", "pixels per side of a crop"),
        "fps": ("N", "frames per second"),
        "margin": ("X", "more room around the head, -0.3 to 2"),
        "audio_track": ("N", "sound track from 1; 0 for the one that players play"),
        "seconds": ("S", "greatest length of a clip"),
        "shortest": ("S", "least length of a clip"),
        "quality": ("X", "least score of a clip, 0 to 1"),
        "validation": ("X", "share for validation"),
    }
    for name, (metavar, text) in numbers.items():
        default = getattr(usual, name)
        add(
            f"--{name.replace('_', '-')}",
            type=type(default),
            default=default,
            metavar=metavar,
            help=f"{text} (default: %(default)g)",
        )
    add(
        "--identity-from",
        default=usual.identity_from,
        choices=IDENTITY_RULES,
        metavar="RULE",
        help="which videos show the same person, for the split: those in the same first folder (folder), those whose "
        "names begin alike (prefix, up to the first of _ - . blank), or none (file); auto (default): folder if there "
        "are several, otherwise file",
    )
    add(
        "--motion",
        action="store_true",
        help="measure the whole motion of the head too, with gaze and expression: the annotation motion, "
        "20 ms per frame more",
    )
    add("--licence", default=usual.licence, metavar="NAME", help="of the videos, noted in every clip (%(default)s)")
    add("--workers", type=int, metavar="N", help="processes, or tasks at once with Ray (default: one per processor)")
    add(
        "--shard",
        metavar="K/N",
        help="process the K-th of N shares of the videos, as in a job array; the job that finishes last assembles the "
        "datasets",
    )
    add(
        "--engine",
        default="processes",
        choices=ENGINES,
        help="processes or threads on this machine, or a Ray cluster (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> None:
    """Perform the command line."""
    chosen = {name: getattr(options, name) for name in Settings.__dataclass_fields__}
    report = prepare(options.raw, options.out, Settings(**chosen), options.workers, options.shard, options.engine)
    if report is None:
        print(
            f"{options.out}: this share is finished, others are not yet; the run that finishes last assembles the "
            "datasets, or `prepare` without --shard"
        )
        return
    for source in report["sources"]:
        if not source["clips"]:
            print(f"{source['name']}: {explain(source)}")
    for remark in report["remarks"]:
        print(remark)
    print(
        f"{options.out}: {report['clips']} clips ({report['seconds']:.0f} s) of {report['people']} people from "
        f"{report['videos_with_clips']} of {report['videos']} videos; {report['train_clips']} for training, "
        f"{report['validation_clips']} for validation. See {options.out / 'report.html'}"
    )
