"""``diffused-heads evaluate``: measure clips or a model, print a table, write a report."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DiffusedHeadsError
from .parser import Parser, add_command

if TYPE_CHECKING:
    from ..evaluation.measure import Settings

FILE: dict[str, Any] = {"type": Path, "metavar": "FILE"}
OUTPUTS = (".html", ".json")
DEFAULT_CLIPS = 8
DESCRIPTION = """Measure talking heads: clips against references, clips by themselves, or a model against a dataset.

GENERATED and REF are videos, folders of videos or datasets. Clips are paired by name (takes of one clip that end in
-seed1, -seed2 belong to the reference without that ending); if no name is on both sides they are compared as
populations. The report is an HTML page that holds everything it shows, with its figures beside it as JSON."""
EXAMPLES = (
    "diffused-heads evaluate talk.mp4 --reference truth.mp4 --output report.html",
    "diffused-heads evaluate made/ --reference true/ --output report.html",
    "diffused-heads evaluate --model avatar --data corpora/held-out --clips 8 --seconds 5 --output report.html",
    "diffused-heads evaluate --from report.json --output report.html",
)


def add_commands(commands: Any) -> None:
    """Add ``evaluate``."""
    summary = "measure clips or a model, and write a report"
    parser = add_command(commands, "evaluate", evaluate, summary, DESCRIPTION, *EXAMPLES)
    add = parser.add_argument
    add("generated", nargs="?", type=Path, metavar="GENERATED", help="a video, a folder of videos or a dataset")
    add(
        "--reference",
        type=Path,
        metavar="REF",
        help="what GENERATED is compared with: a video, a folder of videos or a dataset",
    )
    add("--output", **FILE, help="the report to write: .html (and .json beside it) or .json alone")
    add("--from", dest="result", type=Path, metavar="JSON", help="measure nothing; show an earlier result again")
    _add_model(parser)
    _add_measuring(parser)
    add = parser.add_argument_group("networks of yours, as TorchScript").add_argument
    add("--inception", **FILE, help="Inception features, for FID and KID")
    add("--i3d", **FILE, help="I3D features, for FVD")
    add("--syncnet", **FILE, help="SyncNet, for AV offset and confidence")
    add(
        "--trust-torchscript",
        action="store_true",
        help="run TorchScript files (these, and a converted model's audio encoder): programs that can do anything, "
        "only from people you trust",
    )


def _add_model(parser: Parser) -> None:
    add = parser.add_argument_group("a model against a dataset").add_argument
    add("--model", metavar="NAME_OR_PATH", help="a bundled model or a .safetensors checkpoint")
    add(
        "--data",
        type=Path,
        metavar="DATASET",
        help="dataset whose sound and faces the model is given and compared with",
    )
    add("--clips", type=int, metavar="N", help=f"clips of the dataset (default: {DEFAULT_CLIPS})")
    add("--seed", type=int, default=0, metavar="K", help="of the generation (default: %(default)s)")
    add(
        "--seeds",
        type=int,
        default=1,
        metavar="N",
        help="takes of each clip with different seeds, for diversity (default: %(default)s)",
    )
    add("--steps", type=int, metavar="N", help="denoising steps (default: the model's own)")
    add("--sampler", metavar="NAME", help="ancestral, ddim or dpm++2m (default: the model's own)")
    add("--true-motion", action="store_true", help="move head, eyes and brows as annotated in the dataset")
    add("--keep-clips", type=Path, metavar="FOLDER", help="also keep the generated videos here")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps (default: %(default)s)")


def _add_measuring(parser: Parser) -> None:
    add = parser.add_argument_group("how it is measured").add_argument
    add("--seconds", type=float, metavar="S", help="only the first S seconds of each clip")
    add("--size", type=int, metavar="PX", help="scale both sides to this shorter side first (default: as they are)")
    add(
        "--window",
        type=float,
        default=1.0,
        metavar="S",
        help="seconds at a clip's ends that the degradation rate compares (default: %(default)g)",
    )
    add("--workers", type=int, metavar="N", help="processes that measure (default: one per processor, at most 8)")
    add(
        "--no-faces",
        action="store_true",
        help="do without the face networks: less is measured if no landmarks are known",
    )
    add("--face-models", type=Path, metavar="FOLDER", help="folder of the face networks (default: found or downloaded)")


def evaluate(options: argparse.Namespace) -> None:
    """Run ``evaluate``; raises DiffusedHeadsError for the first thing that is wrong, before anything is measured."""
    _check(options)
    from ..evaluation.report import load_result, table

    result = load_result(options.result) if options.result else _measure(options)
    print(table(result))
    if options.output is not None:
        _write(options, result)
        print(f"report: {options.output}")


def _check(options: argparse.Namespace) -> None:
    inputs = {"GENERATED": options.generated, "--model": options.model, "--from": options.result}
    ways = [name for name, value in inputs.items() if value is not None]
    if len(ways) != 1:
        raise DiffusedHeadsError(f"expected one of GENERATED, --model and --from, found {' and '.join(ways) or 'none'}")
    if options.model is not None and options.data is None:
        raise DiffusedHeadsError("--model: expected a dataset to compare it with (--data DATASET), found none")
    of_model = {"--data": options.data, "--clips": options.clips, "--keep-clips": options.keep_clips}
    unused = [name for name, value in of_model.items() if value is not None and options.model is None]
    unused += ["--reference"] if options.reference is not None and options.generated is None else []
    if unused:
        raise DiffusedHeadsError(f"{', '.join(unused)}: not used with {ways[0]}")
    least = {"clips": 1, "workers": 1, "seeds": 1, "seed": 0}
    wrong = {name: value for name in least if (value := getattr(options, name)) is not None and value < least[name]}
    if wrong:
        lines = (f"--{name} {value}: expected {least[name]} or more" for name, value in wrong.items())
        raise DiffusedHeadsError("; ".join(lines))
    if options.output is not None:
        _check_output(options)


def _check_output(options: argparse.Namespace) -> None:
    from ..files import check_writable

    if options.output.suffix.lower() not in OUTPUTS:
        found = options.output.suffix or "no suffix"
        raise DiffusedHeadsError(f"{options.output}: expected a name ending in {' or '.join(OUTPUTS)}, found {found}")
    for path in _outputs(options):
        check_writable(path)
    if options.output.suffix.lower() == ".html":
        from ..evaluation.figures import require_matplotlib

        require_matplotlib()


def _outputs(options: argparse.Namespace) -> list[Path]:
    """Files to write: a page, unless JSON alone is wanted, and the JSON, unless that is the result shown again."""
    json = options.output.with_suffix(".json")
    pages = [options.output] if options.output.suffix.lower() == ".html" else []
    again = options.result is not None and (pages or (json.exists() and json.samefile(options.result)))
    return pages + ([] if again else [json])


def _write(options: argparse.Namespace, result: dict[str, Any]) -> None:
    from ..evaluation.report import save_result, write_page

    for path in _outputs(options):
        write_page(path, result) if path.suffix.lower() == ".html" else save_result(path, result)


def _settings(options: argparse.Namespace) -> Settings:
    from ..evaluation.measure import Settings
    from ..evaluation.metrics.networks import NetworkFiles
    from ..evaluation.readers import face_readers

    networks = NetworkFiles(options.inception, options.i3d, options.syncnet, options.trust_torchscript)
    readers, reason = None, "the face networks were not wanted (--no-faces)"
    if not options.no_faces:
        readers, reason = face_readers(options.face_models)
    return Settings(options.size, options.seconds, options.window, readers, reason, networks)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    """The result of measuring what the command line names."""
    settings = _settings(options)
    return _measure_files(options, settings) if options.model is None else _measure_model(options, settings)


def _measure_files(options: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from ..evaluation.measure import measured
    from ..evaluation.sources import Group, plan, sources
    from ..evaluation.totals import Totals

    totals = Totals(settings)
    found = plan(sources(options.generated), sources(options.reference) if options.reference else [])
    unpaired = [Group(source.name, (source,)) for source in found.others]
    total = len(found.groups) + len(unpaired)
    workers = min(total, options.workers or min(os.cpu_count() or 1, 8))
    with _Bars(total, workers) as bars:
        for index, group in enumerate(bars.over(measured([*found.groups, *unpaired], settings, workers, bars.frame))):
            totals.add(group) if index < len(found.groups) else totals.add_reference(group)
    sides = {"generated": options.generated, "reference": options.reference}
    return totals.result({side: path.name for side, path in sides.items() if path is not None}, found.notes)


def _measure_model(options: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from ..evaluation.measure import measured
    from ..evaluation.models import ModelRun, groups
    from ..evaluation.sources import open_dataset
    from ..evaluation.totals import Totals
    from ..talking_head import load_model

    totals = Totals(settings)
    asked = {name: getattr(options, name) for name in ("steps", "sampler") if getattr(options, name) is not None}
    clips = options.clips or DEFAULT_CLIPS
    data = open_dataset(options.data)
    model = load_model(options.model, options.device, options.trust_torchscript)
    used = model.options(**asked, seed=options.seed)
    run = ModelRun(
        data=options.data,
        clips=clips,
        seconds=options.seconds,
        seed=options.seed,
        seeds=options.seeds,
        true_motion=options.true_motion,
        options=asked,
        clips_folder=options.keep_clips,
    )
    with _Bars(min(clips, len(data)), 1) as bars:
        for group in bars.over(measured(groups(model, run), settings, 1, bars.frame)):
            totals.add(group)
    motion = "the model's own track" if model.config.head_motion else "made up by the model"
    return totals.result(
        {
            "model": Path(options.model).name,
            "data": options.data.name,
            "sampling": f"{used.sampler}, {used.steps} steps, seed {options.seed}",
            "head motion": "the truth's" if options.true_motion else motion,
            "licence of the model": model.licence,
        }
    )


class _Bars:
    """Progress by clips and, if one process measures, by frames within the clip."""

    def __init__(self, clips: int, workers: int):
        from tqdm import tqdm

        often = 0.1 if sys.stderr.isatty() else 5
        self._clips = tqdm(total=clips, unit="clip", file=sys.stderr, mininterval=often)
        hidden = workers > 1 or not sys.stderr.isatty()
        self._frames = tqdm(unit=" frames", file=sys.stderr, mininterval=often, leave=False, disable=hidden)

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *error: Any) -> None:
        self._frames.close()
        self._clips.close()

    def frame(self, done: int) -> None:
        """Another frame of the clip was measured."""
        self._frames.update(1)

    def over(self, groups: Iterable[Any]) -> Iterator[Any]:
        """The groups, each counted when it is done."""
        for group in groups:
            self._clips.update(1)
            yield group
