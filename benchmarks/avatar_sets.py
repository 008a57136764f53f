"""The fixed sets of the avatar benchmark: held-out avatars with exact truth, measured as by `diffused-heads evaluate`.

    python benchmarks/quality.py --sets 8x5s --samplers ddim dpm++2m ancestral --steps 2 4 8 --write
    python benchmarks/quality.py --sets 4x30s 2x300s --write

Each avatar is rendered at rest as the identity frame; its voice drives the mouth, the model's own seeded track the
head. Rows are kept in benchmarks/avatar_sets.json by model until the model of that name changes, and RESULTS.md shows
them all. The figures of finished clips are kept beside the reports, so that the same command continues with the next
clip after a stop.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import sections
from held_out import at_rest, held_out, on_head, speak
from mouth_meter import measure as read_mouth
from quality_report import rank
from set_parts import load_part, save_part
from tqdm import tqdm

from diffused_heads.diffused_heads_core.data.shards import Dataset
from diffused_heads.diffused_heads_core.evaluation.measure import GroupFigures, Settings, measure
from diffused_heads.diffused_heads_core.evaluation.metrics.faces import correlation
from diffused_heads.diffused_heads_core.evaluation.metrics.names import shown
from diffused_heads.diffused_heads_core.evaluation.readers import Reading
from diffused_heads.diffused_heads_core.evaluation.report import save_result, write_page
from diffused_heads.diffused_heads_core.evaluation.sources import ClipStream, DatasetSource, Group, soundtrack
from diffused_heads.diffused_heads_core.evaluation.totals import Totals
from diffused_heads.diffused_heads_core.face.eyes import lid_signs
from diffused_heads.diffused_heads_core.files import atomic_path
from diffused_heads.diffused_heads_core.motion import MotionTrack
from diffused_heads.diffused_heads_core.pose import HeadGeometry
from diffused_heads.diffused_heads_core.talking_head import TalkingHead

ROWS = Path(__file__).with_name("avatar_sets.json")
EYE_HALF = 0.055  # from an eye's centre to its corners, fraction of the frame
SHOWN = (
    *("mouth_r", "mouth_lag", "ofm", "f_mse", "blinks_per_second", "blink_duration", "cpbd", "sharpness_ratio"),
    *("face_similarity", "background_change", "frechet", "degradation"),
)
ENDS = ("r_first", "r_last", "sharp_first", "sharp_last")


@dataclass(frozen=True)
class Set:
    """Clips of one length; the seed determines identities, voices, texts and motion."""

    clips: int
    seconds: float
    seed: int

    @property
    def window(self) -> float:
        """Seconds at either end of a clip that are compared."""
        return min(max(1.0, self.seconds / 10), 10.0)


SETS = {"8x5s": Set(8, 5.0, 0), "4x30s": Set(4, 30.0, 1), "2x300s": Set(2, 300.0, 2)}


class AvatarReader:
    """Reads the mouth by the mouth meter and the lids at the eyes' places by the pose (T, 5), without landmarks."""

    def __init__(self, poses: np.ndarray):
        self._poses, self._frame = poses, 0

    def read(self, frame: np.ndarray) -> Reading:
        """Mouth opening in eye distances, and signs of closed lids."""
        eyes = eye_corners(self._poses[min(self._frame, len(self._poses) - 1)], frame.shape[0])
        self._frame += 1
        return Reading(mouth=float(read_mouth(frame[None])[0]), lids=lid_signs(frame, eyes))


def eye_corners(pose: np.ndarray, size: int) -> np.ndarray:
    """Corners (2, 2, 2) in px of the left and the right eye of a head at ``pose`` (5,)."""
    geometry = HeadGeometry()
    eyes = (np.array(eye) + [(-EYE_HALF, 0), (EYE_HALF, 0)] for eye in (geometry.left_eye, geometry.right_eye))
    return np.stack([on_head(corners, pose, geometry) * size for corners in eyes])


@dataclass(frozen=True, eq=False)
class Made:
    """A clip that the model makes of a clip of a set.

    spent: gets the processor time of each frame, which does not depend on what else the machine does.
    """

    model: TalkingHead
    data: Dataset
    index: int
    identity: np.ndarray
    track: MotionTrack | None
    options: dict[str, Any]
    spent: list[float]

    @property
    def name(self) -> str:
        """The clip's key."""
        return self.data.keys[self.index]

    def open(self) -> ClipStream:
        """Frames, sampled as they are asked for, and the sound."""
        audio, length = soundtrack(self.data, self.index), self.data.frames(self.index)
        frames = speak(self.model, self.identity, audio, length, self.options, self.track)
        return ClipStream(self._timed(frames), self.data.fps, audio)

    def _timed(self, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        while True:
            began = time.process_time()
            frame = next(frames, None)
            self.spent.append(time.process_time() - began)
            if frame is None:
                return
            yield frame


def open_set(chosen: Set, size: int) -> tuple[Dataset, list[np.ndarray]]:
    """A set, made on the first call, and its identity frames (S, S, 3)."""
    asked = chosen.clips, chosen.seconds, chosen.seed, size
    return held_out(*asked), at_rest(*asked)


@dataclass(frozen=True, eq=False)
class Run:
    """A model on a set with one sampler and number of steps.

    digest: the model's SHA-256. out: folder for the report, and for the figures of finished clips; None writes nothing.
    """

    model: TalkingHead
    name: str
    options: dict[str, Any]
    digest: str = ""
    out: Path | None = None
    seed: int = 0

    @property
    def set(self) -> Set:
        """The clips."""
        return SETS[self.name]

    @property
    def label(self) -> str:
        """Set, sampler and steps, for names of files."""
        used = self.model.options(**self.options)
        return f"{self.name}-{used.sampler}-{used.steps}"

    def part(self, index: int) -> Path | None:
        """The file that keeps a clip's figures until the whole set is done."""
        return self.out and self.out / "parts" / f"{self.label}-seed{self.seed}-{self.digest[:16]}-{index}.npz"


def run_set(run: Run) -> dict[str, Any]:
    """Make and measure a set, or what is missing of it; returns a row of figures."""
    data, rest = open_set(run.set, run.model.config.frame_size)
    totals, ends, tracks, spent = Totals(Settings(window=run.set.window)), [], [], 0.0
    frames = sum(map(data.frames, range(run.set.clips)))
    with tqdm(total=frames, desc=run.label, unit="frame", mininterval=0.5 if sys.stderr.isatty() else 20) as bar:
        for index in range(run.set.clips):
            found, seconds = kept_or_made(run, data, rest[index], index, bar)
            totals.add(found)
            spent += seconds
            ends.append(both_ends(found, run.set.window))
            tracks.append((found.generated[0].mouth, found.mouth))
    used = run.model.options(**run.options)
    about = {
        "title": f"Avatar benchmark, {run.name}",
        "set": f"{run.set.clips} held-out avatars of {run.set.seconds:g} s, seed {run.set.seed}",
        "sampling": f"{used.sampler}, {used.steps} steps, seed {run.seed}",
    }
    result = totals.result(about)
    write_report(run, result)
    figures = {key: result["metrics"].get(key, {}) for key in SHOWN}
    return {
        "set": run.name,
        "sampler": used.sampler,
        "steps": used.steps,
        "cpu": spent / frames,
        "shuffled": shuffled(tracks),
        **{k: v.get("value") for k, v in figures.items()},
        **{k: float(np.nanmean([e[k] for e in ends])) for k in ENDS},
        "truth": {k: v.get("reference") for k, v in figures.items()},
    }


def kept_or_made(run: Run, data: Dataset, identity: np.ndarray, index: int, bar: Any) -> tuple[GroupFigures, float]:
    """Figures of a clip and processor seconds of its frames: kept by an earlier run, or measured now and kept."""
    part = run.part(index)
    if part is not None and part.is_file():
        bar.update(data.frames(index))
        return load_part(part)
    track, true, spent = run.model.head_track(data.frames(index), run.seed + index), data.annotations(index)["pose"], []
    made = Made(run.model, data, index, identity, track, {**run.options, "seed": run.seed + index}, spent)
    poses = iter([np.zeros((1, 5)) if track is None else track.pose, true])
    settings = Settings(window=run.set.window, readers=lambda: AvatarReader(next(poses)))
    group = Group(made.name, (made,), DatasetSource(data.path, index, made.name))
    found = measure(group, settings, lambda done: bar.update(1))
    if part is not None:
        save_part(part, found, sum(spent))
    return found, sum(spent)


def write_report(run: Run, result: dict[str, Any]) -> None:
    """Write the report of a whole set, and delete the figures that were kept of its clips."""
    if run.out is None:
        return
    run.out.mkdir(parents=True, exist_ok=True)
    save_result(run.out / f"{run.label}.json", result)
    write_page(run.out / f"{run.label}.html", result)
    for index in range(run.set.clips):
        run.part(index).unlink(missing_ok=True)


def both_ends(found: GroupFigures, window: float) -> dict[str, float]:
    """Mouth r and sharpness ratio in the first and in the last ``window`` seconds of a clip."""
    side, rows = found.generated[0], round(window * found.fps)
    true = found.reference.series["sharpness"]
    parts = {"first": slice(None, rows), "last": slice(-rows, None)}
    return {
        **{f"r_{n}": correlation(side.mouth[p], found.mouth[p]) for n, p in parts.items()},
        **{f"sharp_{n}": float(side.series["sharpness"][p].mean() / true[p].mean()) for n, p in parts.items()},
    }


def shuffled(tracks: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Mean r of the mouths with the other clips' truth."""
    pairs = [(a[0], b[1], min(len(a[0]), len(b[1]))) for a, b in permutations(tracks, 2)]
    return float(np.mean([correlation(mouth[:n], truth[:n]) for mouth, truth, n in pairs])) if pairs else float("nan")


def run(model: TalkingHead, options: argparse.Namespace, stamp: dict[str, str]) -> None:
    """Measure the sets, samplers and steps of the command line, print the table, and with ``--write`` keep it.

    stamp: the model's name and sha256, and the machine.
    """
    rows: dict[tuple[int, str, int], dict[str, Any]] = {}
    for name in options.sets:
        for sampler in options.samplers or ([options.sampler] if options.sampler else [model.config.sampler]):
            for steps in options.steps or [model.config.steps]:
                asked = {"sampler": sampler, "steps": steps}
                row = run_set(Run(model, name, asked, stamp["sha256"], options.out / "sets" / stamp["model"]))
                rows[row_key(row)] = json.loads(json.dumps(row, default=float))
                text = (
                    f"r {row['mouth_r']:.3f}, sharpness {row['sharpness_ratio']:.2f}, {row['cpu']:.3f} CPU s per frame"
                )
                print(f"{name} {sampler} {steps}: {text}", flush=True)
                if options.write:
                    keep(stamp, rows)
    print(document([{**stamp, "rows": list(rows.values())}]))


def merged(
    kept: list[dict[str, Any]], stamp: dict[str, str], rows: dict[tuple[int, str, int], dict[str, Any]]
) -> list[dict[str, Any]]:
    """The kept models, in order, with new rows of one model.

    They are added to the rows of the same weights, and replace the rows of other weights of that name.
    """
    same = [model for model in kept if all(model[key] == stamp[key] for key in ("model", "sha256"))]
    there = {**{row_key(row): row for model in same for row in model["rows"]}, **rows}
    one = {**stamp, "rows": [there[key] for key in sorted(there)]}
    return sorted([*(m for m in kept if m["model"] != stamp["model"]), one], key=lambda m: rank(m["model"]))


def row_key(row: dict[str, Any]) -> tuple[int, str, int]:
    """What orders the rows."""
    return list(SETS).index(row["set"]), row["sampler"], row["steps"]


def keep(stamp: dict[str, str], rows: dict[tuple[int, str, int], dict[str, Any]]) -> None:
    """Add the rows to those that are kept, and write their part of RESULTS.md."""
    found = merged(json.loads(ROWS.read_text(encoding="utf-8"))["models"] if ROWS.is_file() else [], stamp, rows)
    with atomic_path(ROWS) as part:
        part.write_text(json.dumps({"models": found}, indent=1) + "\n", encoding="utf-8", newline="\n")
    sections.write("sets", document(found))


LEGEND = """Figures as in [docs/METRICS.md](../docs/METRICS.md), with the mouth read by the benchmark's mouth meter and
the lids at the eyes' places by the pose. `shuffled`: r with the other clips' truth. `first` and `last`: mouth r and
sharpness ratio in the first and last tenth of the clips (1 s of 5 s, 3 s of 30 s, 10 s of 300 s). `true`: the same
figures of the true frames. `CPU s`: processor seconds per frame. `face similarity`: a cosine of HOG and colour features
of the face, not a measure of identity. Errors against the true frames are left out: the head moves by the model's own
track."""
SPEECH = {
    "mouth_r": "mouth r",
    "mouth_lag": "lag",
    "shuffled": "shuffled",
    "r_first": "r first",
    "r_last": "r last",
    "ofm": "OFM",
    "f_mse": "F-MSE",
    "blinks_per_second": "blinks/s",
    "blink_duration": "blink s",
}
PICTURE = {
    "sharpness_ratio": "sharp",
    "sharp_first": "sharp first",
    "sharp_last": "sharp last",
    "cpbd": "CPBD",
    "face_similarity": "face similarity",
    "background_change": "background",
    "frechet": "FD",
    "degradation": "DR",
}
OF_TRUTH = {"mouth_lag": 0, "r_first": 1, "r_last": 1, "sharp_first": 1, "sharp_last": 1}


def document(models: list[dict[str, Any]]) -> str:
    """The sets' part of RESULTS.md: per set, the truth's row and the models' below it."""
    lines = [
        "## Fixed sets, by length, sampler and steps",
        "",
        "Written by `python benchmarks/quality.py --model NAME --sets ... --write`.",
        "",
        *(f"- `{m['model']}`: SHA-256 {m['sha256'][:12]}; {m['machine']}" for m in models),
        "",
        LEGEND,
        "",
    ]
    for name, chosen in SETS.items():
        rows = [(model["model"], row) for model in models for row in model["rows"] if row["set"] == name]
        if rows:
            lines += [f"### {name}: {chosen.clips} clips of {chosen.seconds:g} s", "", *set_tables(rows)]
    return "\n".join(lines)


def set_tables(rows: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Two tables of a set: speech and motion, then the picture."""
    true, lines = {**rows[0][1]["truth"], **OF_TRUTH}, []
    for columns, cost in ((SPEECH, True), (PICTURE, False)):
        cells = [["true", "", "", *([""] if cost else []), *(shown(true.get(c)) for c in columns)]]
        for model, row in rows:
            named_by = [f"`{model}`", row["sampler"], str(row["steps"]), *([shown(row["cpu"])] if cost else [])]
            cells.append([*named_by, *(shown(row[c]) for c in columns)])
        head = ["frames", "sampler", "steps", *(["CPU s"] if cost else []), *columns.values()]
        lines += [sections.table(head, cells), ""]
    return lines
