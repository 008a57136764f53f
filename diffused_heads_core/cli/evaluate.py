"""``diffused-heads evaluate``: measure clips or a model, print a table, write a report.

Only the standard library is imported with this module; what measures is imported when the command runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import DiffusedHeadsError

OUTPUTS = (".html", ".json")
DEFAULT_CLIPS = 8
DESCRIPTION = """Measure talking heads: clips against references, clips by themselves, or a model against a dataset.

GENERATED and REF are videos, folders of videos or datasets. Clips are paired by name (takes of one clip that end in
-seed1, -seed2 belong to the reference without that ending); where no name is on both sides they are compared as populations.
The report is an HTML page that holds everything it shows, with its figures beside it as JSON."""
EXAMPLES = (
    "diffused-heads evaluate talk.mp4 --reference truth.mp4 --output report.html",
    "diffused-heads evaluate made/ --reference true/ --output report.html",
    "diffused-heads evaluate --model avatar --data corpora/held-out --clips 8 --seconds 5 --output report.html",
    "diffused-heads evaluate --from report.json --output report.html",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``evaluate``."""
    parser.add_argument(
        "generated", nargs="?", type=Path, metavar="GENERATED", help="a video, a folder of videos or a dataset"
    )
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="REF",
        help="what GENERATED is compared with: a video, a folder of videos or a dataset",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="the report to write: .html (and .json beside it) or .json alone"
    )
    parser.add_argument(
        "--from", dest="result", type=Path, metavar="JSON", help="measure nothing; show an earlier result again"
    )
    _add_model(parser.add_argument_group("a model against a dataset"))
    how = parser.add_argument_group("how it is measured")
    how.add_argument("--seconds", type=float, metavar="S", help="only the first S seconds of each clip")
    how.add_argument(
        "--size", type=int, metavar="PX", help="scale both sides to this shorter side first (default: as they are)"
    )
    how.add_argument(
        "--window",
        type=float,
        default=1.0,
        metavar="S",
        help="seconds at a clip's ends that the degradation rate compares (default: %(default)g)",
    )
    how.add_argument(
        "--workers", type=int, metavar="N", help="processes that measure (default: one a processor, at most 8)"
    )
    how.add_argument(
        "--no-faces",
        action="store_true",
        help="do without the face networks: less is measured where no landmarks are known",
    )
    how.add_argument(
        "--face-models", type=Path, metavar="FOLDER", help="where the face networks are (default: found or downloaded)"
    )
    own = parser.add_argument_group("networks of yours, as TorchScript")
    own.add_argument("--inception", type=Path, metavar="FILE", help="Inception features, for FID and KID")
    own.add_argument("--i3d", type=Path, metavar="FILE", help="I3D features, for FVD")
    own.add_argument("--syncnet", type=Path, metavar="FILE", help="SyncNet, for AV offset and confidence")
    own.add_argument(
        "--trust-torchscript",
        action="store_true",
        help="run TorchScript files (these, and a converted model's audio encoder): programs that can do anything, "
        "only from people you trust",
    )


def _add_model(group: Any) -> None:
    group.add_argument("--model", metavar="NAME_OR_PATH", help="a bundled model or a .safetensors checkpoint")
    group.add_argument(
        "--data",
        type=Path,
        metavar="DATASET",
        help="dataset whose sound and faces the model is given and compared with",
    )
    group.add_argument("--clips", type=int, metavar="N", help=f"clips of the dataset (default: {DEFAULT_CLIPS})")
    group.add_argument("--seed", type=int, default=0, metavar="K", help="of the generation (default: %(default)s)")
    group.add_argument(
        "--seeds",
        type=int,
        default=1,
        metavar="N",
        help="takes of each clip with different seeds, for diversity (default: %(default)s)",
    )
    group.add_argument("--steps", type=int, metavar="N", help="denoising steps (default: the model's own)")
    group.add_argument("--sampler", metavar="NAME", help="ancestral, ddim or dpm++2m (default: the model's own)")
    group.add_argument(
        "--true-motion",
        action="store_true",
        help="move head, eyes and brows as in the truth, where the dataset tells it",
    )
    group.add_argument("--keep-clips", type=Path, metavar="FOLDER", help="also keep the generated videos here")
    group.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps (default: %(default)s)")


def evaluate(options: argparse.Namespace) -> None:
    """Run ``evaluate``; raises DiffusedHeadsError for the first thing that is wrong, before anything is measured."""
    _check(options)
    from ..evaluation import report

    result = report.load_result(options.result) if options.result else _measured(options)
    print(report.table(result))
    if options.output is not None:
        print(_written(options, result))


def _check(options: argparse.Namespace) -> None:
    ways = [
        name
        for name, value in (("GENERATED", options.generated), ("--model", options.model), ("--from", options.result))
        if value is not None
    ]
    if len(ways) != 1:
        raise DiffusedHeadsError(f"expected one of GENERATED, --model and --from, found {' and '.join(ways) or 'none'}")
    if options.model is not None and options.data is None:
        raise DiffusedHeadsError("--model: expected a dataset to compare it with (--data DATASET), found none")
    stray = [
        f"--{name}"
        for name in ("data", "clips", "keep_clips")
        if getattr(options, name) is not None and options.model is None
    ]
    stray += ["--reference"] if options.reference is not None and options.generated is None else []
    if stray:
        raise DiffusedHeadsError(f"{', '.join(stray).replace('_', '-')}: not used with {ways[0]}")
    low = {"clips": 1, "workers": 1, "seeds": 1, "seed": 0}
    given = ((name, getattr(options, name), least) for name, least in low.items())
    wrong = [
        f"--{name} {value}: expected {least} or more"
        for name, value, least in given
        if value is not None and value < least
    ]
    if wrong:
        raise DiffusedHeadsError("; ".join(wrong))
    if options.output is not None:
        _check_output(options)


def _check_output(options: argparse.Namespace) -> None:
    if options.output.suffix.lower() not in OUTPUTS:
        raise DiffusedHeadsError(
            f"{options.output}: expected a name ending in {' or '.join(OUTPUTS)}, found {options.output.suffix or 'no suffix'}"
        )
    for path in _outputs(options):
        _check_writable(path)
    if options.output.suffix.lower() == ".html":
        from ..evaluation.figures import require_matplotlib

        require_matplotlib()


class _Abandon(Exception):
    pass


def _check_writable(path: Path) -> None:
    from ..files import atomic_path

    with suppress(_Abandon), atomic_path(path):
        raise _Abandon


def _outputs(options: argparse.Namespace) -> list[Path]:
    """Files to write: a page, unless JSON alone is wanted, and the JSON, unless it is what is shown again."""
    json = options.output.with_suffix(".json")
    pages = [options.output] if options.output.suffix.lower() == ".html" else []
    again = options.result is not None and (pages or (json.exists() and json.samefile(options.result)))
    return pages + ([] if again else [json])


def _written(options: argparse.Namespace, result: dict[str, Any]) -> str:
    from ..evaluation.report import write_page
    from ..evaluation.report import save_result

    for path in _outputs(options):
        write_page(path, result) if path.suffix.lower() == ".html" else save_result(path, result)
    return f"report: {options.output}"


def _settings(options: argparse.Namespace) -> Any:
    from ..evaluation.measure import Settings
    from ..evaluation.metrics.networks import NetworkFiles
    from ..evaluation.readers import face_readers

    networks = NetworkFiles(options.inception, options.i3d, options.syncnet, options.trust_torchscript)
    readers, reason = (
        (None, "the face networks were not wanted (--no-faces)")
        if options.no_faces
        else face_readers(options.face_models)
    )
    return Settings(options.size, options.seconds, options.window, readers, reason, networks)


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    """The result of measuring what the command line names."""
    from ..evaluation.totals import Totals

    settings = _settings(options)
    return (
        _of_model(options, settings, Totals(settings))
        if options.model is not None
        else _of_files(options, settings, Totals(settings))
    )


def _of_files(options: argparse.Namespace, settings: Any, totals: Any) -> dict[str, Any]:
    from ..evaluation.measure import measured
    from ..evaluation.sources import Group, plan, sources

    found = plan(sources(options.generated), sources(options.reference) if options.reference else [])
    alone = [Group(source.name, (source,)) for source in found.others]
    total = len(found.groups) + len(alone)
    workers = min(total, options.workers or min(os.cpu_count() or 1, 8))
    with _Bars(total, workers) as bars:
        for index, group in enumerate(bars.over(measured([*found.groups, *alone], settings, workers, bars.frame))):
            totals.add(group) if index < len(found.groups) else totals.add_reference(group)
    about = {
        "generated": options.generated.name,
        **({"reference": options.reference.name} if options.reference else {}),
    }
    return totals.result(about, found.notes)


def _of_model(options: argparse.Namespace, settings: Any, totals: Any) -> dict[str, Any]:
    from ..evaluation.measure import measured
    from ..evaluation.models import ModelRun, groups
    from ..evaluation.sources import open_dataset
    from ..talking_head import load_model

    asked = {name: getattr(options, name) for name in ("steps", "sampler") if getattr(options, name) is not None}
    clips = options.clips or DEFAULT_CLIPS
    data = open_dataset(options.data)
    model = load_model(options.model, options.device, options.trust_torchscript)
    used = model.options(**asked, seed=options.seed)
    run = ModelRun(
        options.data,
        clips,
        options.seconds,
        options.seed,
        options.seeds,
        options.true_motion,
        asked,
        options.keep_clips,
    )
    with _Bars(min(clips, len(data)), 1) as bars:
        for group in bars.over(measured(groups(model, run), settings, 1, bars.frame)):
            totals.add(group)
    motion = (
        "the truth's"
        if options.true_motion
        else "the model's own track"
        if model.config.head_motion
        else "made up by the model"
    )
    return totals.result(
        {
            "model": Path(options.model).name,
            "data": options.data.name,
            "sampling": f"{used.sampler}, {used.steps} steps, seed {options.seed}",
            "head motion": motion,
            "licence of the model": model.licence,
        }
    )


class _Bars:
    """Progress by clips and, where one process measures, by frames within the clip."""

    def __init__(self, clips: int, workers: int):
        from tqdm import tqdm

        often = 0.1 if sys.stderr.isatty() else 5
        self._clips = tqdm(total=clips, unit="clip", file=sys.stderr, mininterval=often)
        self._frames = tqdm(
            unit=" frames",
            file=sys.stderr,
            mininterval=often,
            leave=False,
            disable=workers > 1 or not sys.stderr.isatty(),
        )

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
