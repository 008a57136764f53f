"""Several videos in one command: pairs of portraits and recordings, or the rows of a table.

Everything is checked before the first frame. A video says in its metadata what it was made from (``REQUEST``), by which
the same command knows what is finished. The model is loaded once, portraits and recordings pair by pair.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DiffusedHeadsError
from ..files import readable_file
from . import dubbing
from .pairs import Pair, crossed, rows
from .parser import Parser
from .request import SAMPLING, check_output, request, signer, warn_of_motion

if TYPE_CHECKING:
    from ..config import ModelConfig
    from ..face.placing import Placing
    from ..talking_head import TalkingHead

REQUEST = "request"  # metadata: the digest of everything that a video was made from
BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} frames, {rate_noinv_fmt}, {remaining} left{postfix}"


def add_options(parser: Parser) -> None:
    """Add the options of several videos."""
    add = parser.add_argument_group("several videos").add_argument
    text = "write the videos here, named PORTRAIT-RECORDING.mp4; the folder is made if it is missing"
    add("--output-folder", type=Path, metavar="FOLDER", help=text)
    add("--all-pairs", action="store_true", help="every portrait with every recording, instead of one with one")
    text = (
        "a CSV file with the columns identity and audio, and optionally output and any option (start, seed, ...); "
        "relative names are of the table's folder"
    )
    add("--table", type=Path, metavar="CSV", help=text)
    add("--overwrite", action="store_true", help="make finished videos again")


def is_single(options: argparse.Namespace) -> bool:
    """Whether the options of ``generate`` ask for one video with a name.

    Ends the program with a usage error if options do not belong together, or one is missing.
    """
    named = {"--identity": options.identity, "--audio": options.audio, "--output": options.output}
    if options.table is not None:
        beside = [name for name, value in {**named, "--all-pairs": options.all_pairs}.items() if value]
        if beside:
            options.usage_error(f"--table: expected no {' and no '.join(beside)} beside it")
        return False
    if options.output_folder is not None:
        if options.output is not None:
            options.usage_error("--output and --output-folder: expected one of the two")
        del named["--output"]
    missing = [name for name, value in named.items() if not value]
    if missing:
        options.usage_error(f"the following arguments are required: {', '.join(missing)}")
    if options.output_folder is None and (len(options.identity) > 1 or len(options.audio) > 1):
        options.usage_error("--output: expected one portrait and one recording; --output-folder is for several")
    return options.output_folder is None


def run(options: argparse.Namespace) -> int:
    """Make all videos that are not finished; returns 0, or 1 if any failed, each of which has a line on stderr.

    Raises DiffusedHeadsError for a command line or table that is wrong, before any work.
    """
    pairs = list(rows(options) if options.table else crossed(options))
    made_folder = _make_folder(options.output_folder)
    try:
        models = _Models()
        tasks, failed = _checked(pairs, models)
        counts = {"made": 0, "failed": failed, "there already": len(pairs) - len(tasks) - failed}
        _make(tasks, models, counts)
    finally:
        if made_folder and not any(options.output_folder.iterdir()):
            options.output_folder.rmdir()
    print(f"{len(pairs)} videos: " + ", ".join(f"{count} {what}" for what, count in counts.items() if count))
    return 1 if counts["failed"] else 0


def _make_folder(folder: Path | None) -> bool:
    if folder is None or folder.is_dir():
        return False
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise DiffusedHeadsError(f"{folder}: cannot make this folder, {error.strerror or error}") from error
    return True


class _Models:
    """The model that was used last; it is loaded once for all rows that use it one after the other."""

    def __init__(self) -> None:
        self._key: tuple[str, str, bool, str] | None = None
        self._model: TalkingHead | None = None

    def of(self, options: argparse.Namespace) -> TalkingHead:
        """The model that the options name."""
        from ..talking_head import load_model

        key = str(options.model), options.device, options.trust_torchscript, options.engine
        if self._model is None or key != self._key:
            self._model = None  # before the next one takes memory
            self._model, self._key = load_model(*key), key
            warn_of_motion(options, self._model)
        return self._model


@dataclass(frozen=True)
class _Task:
    """A video to be made: its pair, the arguments of ``animate``, the number of frames, and the request's digest."""

    pair: Pair
    arguments: dict[str, Any]
    frames: int
    digest: str


def _checked(pairs: list[Pair], models: _Models) -> tuple[list[_Task], int]:
    """Videos to be made, and how many failed the checks, each with its line on stderr.

    Raises DiffusedHeadsError for an output that is named twice.
    """
    outputs = [str(pair.output.absolute()).casefold() for pair in pairs]
    twice = sorted({str(pair.output) for pair, name in zip(pairs, outputs) if outputs.count(name) > 1})
    if twice:
        raise DiffusedHeadsError(f"{', '.join(twice)}: named as output more than once")
    inputs = {path for pair in pairs for path in (pair.identity, pair.audio)}
    look, listen, digest = lru_cache(None)(_look), lru_cache(None)(_listen), lru_cache(None)(_digest)
    tasks, failed = [], 0
    for pair in pairs:
        try:
            check_output(pair.output, pair.options.alpha, *inputs)
            signer(pair.options, pair.output)
            asked = request(pair.options)
            made_from = _request_digest(pair, asked, digest)
            if not pair.options.overwrite and _stored_digest(pair.output) == made_from:
                continue
            model = models.of(pair.options)
            model.options(**{name: asked[name] for name in SAMPLING if name in asked})
            look(pair.identity, asked["placing"], asked["max_side"], model.config)
            part = asked["start"], asked["duration"], asked["audio_track"]
            tasks.append(_Task(pair, asked, listen(pair.audio, *part, asked["fps"] or model.config.fps), made_from))
        except (DiffusedHeadsError, OSError) as error:
            failed += 1
            print(pair.line(error), file=sys.stderr)
    return tasks, failed


def _look(identity: Path, placing: Placing, max_side: int | None, config: ModelConfig) -> None:
    """Raise DiffusedHeadsError if the portrait cannot be read or has no such head."""
    from ..face.portrait import place_portrait
    from ..media.pictures import load_picture, shrink

    dubbing.refuse(identity)
    picture = load_picture(identity)
    place_portrait(shrink(picture, max_side) if max_side else picture, config, placing, name=str(identity))


def _listen(audio: Path, start: float, duration: float | None, track: int | None, fps: float | Fraction) -> int:
    """Number of frames of the recording; raises DiffusedHeadsError if it cannot be read or spoken."""
    from ..media.audio import check_speech
    from ..media.long_audio import open_audio
    from ..media.video import frame_count

    speech = open_audio(audio, start, duration, track)
    check_speech(speech)
    return frame_count(speech, fps)


def _request_digest(pair: Pair, asked: dict[str, Any], digest: Callable[[Path], str]) -> str:
    """SHA-256 of all that decides the video: contents of the files, and options; not the device, nor names."""
    from ..checkpoints import find_model

    files = [digest(path) for path in (pair.identity, pair.audio, find_model(pair.options.model))]
    return hashlib.sha256(repr((files, sorted(asked.items()))).encode()).hexdigest()


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with readable_file(path, "a file").open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def _stored_digest(output: Path) -> str | None:
    """The digest in the metadata of a finished video; None if there is no video, or none of a batch."""
    import av

    from ..media.streams import open_media

    if not output.is_file():
        return None
    try:
        with open_media(output) as container:
            return next((text for name, text in container.metadata.items() if name.lower() == REQUEST), None)
    except (av.error.FFmpegError, ValueError, OSError):
        return None


def _make(tasks: list[_Task], models: _Models, counts: dict[str, int]) -> None:
    """Make the videos under one progress bar; ``counts`` grows by those that were made and that failed."""
    from tqdm import tqdm

    from ..pipeline import animate

    if not tasks:
        return
    often = 0.1 if sys.stderr.isatty() else 5
    settings: dict[str, Any] = {"unit": " frames", "bar_format": BAR, "file": sys.stderr, "maxinterval": math.inf}
    with tqdm(total=sum(task.frames for task in tasks), mininterval=often, **settings) as bar:

        def on_frame(done: int) -> None:
            bar.update()

        for number, task in enumerate(tasks, 1):
            pair, began = task.pair, bar.n
            bar.set_postfix_str(f"{number}/{len(tasks)} {pair.output.name}", refresh=False)
            try:
                animation = animate(pair.identity, pair.audio, models.of(pair.options), **task.arguments)
                signed_by, tags = signer(pair.options, pair.output), {REQUEST: task.digest}
                frames = animation.write(pair.output, on_frame, signed_by, tags)
                counts["made"] += 1
                tqdm.write(f"{pair.output}: {frames} frames", file=sys.stdout)
            except Exception as error:
                if pair.options.debug:
                    raise
                counts["failed"] += 1
                bar.total -= task.frames - (bar.n - began)
                tqdm.write(pair.line(error), file=sys.stderr)
