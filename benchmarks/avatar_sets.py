"""The fixed sets of the avatar benchmark: held-out identities and voices with exact truth, measured as `diffused-heads evaluate` does.

    python benchmarks/quality.py --sets 8x5s --samplers ddim dpm++2m ancestral --steps 2 4 8 --write
    python benchmarks/quality.py --sets 4x30s 2x300s --write

Each avatar is rendered at rest as the identity frame; its voice drives the mouth, the model's own seeded track the head.
Rows are kept in benchmarks/avatar_sets.json until the model changes, and RESULTS.md shows them all.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import sections
from diffused_heads.diffused_heads_core import checkpoints
from diffused_heads.diffused_heads_core import pose as head
from diffused_heads.diffused_heads_core.audio import from_waveform
from diffused_heads.diffused_heads_core.evaluation import GroupFigures, Settings, measure
from diffused_heads.diffused_heads_core.evaluation_faces import Reading
from diffused_heads.diffused_heads_core.evaluation_sources import DatasetSource, Group, Opened
from diffused_heads.diffused_heads_core.evaluation_totals import Totals
from diffused_heads.diffused_heads_core.files import atomic_path
from diffused_heads.diffused_heads_core.metrics_faces import correlation
from diffused_heads.diffused_heads_core.metrics_motion import luminance
from diffused_heads.diffused_heads_core.metrics_pictures import eye_contrast
from diffused_heads.diffused_heads_core.motion import MotionTrack
from diffused_heads.diffused_heads_core.report import save_result, shown
from diffused_heads.diffused_heads_core.report_page import write_page
from diffused_heads.diffused_heads_core.talking_head import TalkingHead
from diffused_heads.training.shards import Dataset
from diffused_heads.training.synthesis.avatar import sample_avatar
from diffused_heads.training.synthesis.corpus import Job, synthesize
from diffused_heads.training.synthesis.expression import neutral
from diffused_heads.training.synthesis.render import render
from mouth_meter import measure as read_mouth
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
ROWS = Path(__file__).with_name("avatar_sets.json")
EYE_HALF = 0.055  # from an eye's centre to its corners, fraction of the frame
SHOWN = ("mouth_r", "mouth_lag", "ofm", "f_mse", "blinks_per_second", "blink_duration", "cpbd", "sharpness_ratio", "identity", "background_change",
         "frechet", "degradation")
ENDS = ("r_first", "r_last", "sharp_first", "sharp_last")


@dataclass(frozen=True)
class Set:
    """Clips of one length; the seed decides identities, voices, texts and motion."""

    clips: int
    seconds: float
    seed: int

    @property
    def window(self) -> float:
        """Seconds at either end that are compared."""
        return min(max(1.0, self.seconds / 10), 10.0)


SETS = {"8x5s": Set(8, 5.0, 0), "4x30s": Set(4, 30.0, 1), "2x300s": Set(2, 300.0, 2)}


class AvatarReader:
    """Reads a mouth by the mouth meter and lids where the pose puts the eyes: landmarks of drawings need no network."""

    def __init__(self, poses: np.ndarray):
        self._poses, self._frame = poses, 0

    def read(self, frame: np.ndarray) -> Reading:
        """Mouth opening in eye distances and contrast across the eyes."""
        eyes = eye_corners(self._poses[min(self._frame, len(self._poses) - 1)], frame.shape[0])
        self._frame += 1
        return Reading(None, float(read_mouth(frame[None])[0]), eye_contrast(luminance(frame), eyes))


def eye_corners(pose: np.ndarray, size: int) -> list[np.ndarray]:
    """Six points (6, 2) in px of each eye of a head at ``pose`` (5,), of which only the corners (first and fourth) count."""
    geometry, found = head.HeadGeometry(), []
    for eye in (geometry.left_eye, geometry.right_eye):
        flat = np.array([(eye[0] - EYE_HALF, eye[1]), (eye[0] + EYE_HALF, eye[1])]) - geometry.centre
        depth = geometry.depth * np.sqrt(1 - ((flat / geometry.radii) ** 2).sum(-1, keepdims=True))
        corners = head.project(np.hstack([flat, depth]), pose, geometry) * size
        found.append(corners[[0, 0, 0, 1, 1, 1]])
    return found


@dataclass(frozen=True, eq=False)
class Made:
    """A clip that the model makes of a case of a set; notes the processor time of its frames, which a busy machine does not change."""

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

    def open(self) -> Opened:
        """Frames, sampled as they are asked for."""
        sound, rate = self.data.audio(self.index)
        audio = from_waveform(sound[None], rate, self.name)
        embeddings = self.model.encode_audio(audio)[: self.data.frames(self.index)]
        return Opened(self._timed(embeddings), self.data.fps, audio)

    def _timed(self, embeddings: Any) -> Iterator[np.ndarray]:
        frames = self.model.generate(self.identity, embeddings, self.model.options(**self.options), self.track)
        while True:
            began = time.process_time()
            frame = next(frames, None)
            self.spent.append(time.process_time() - began)
            if frame is None:
                return
            yield frame


def open_set(chosen: Set, size: int) -> tuple[Dataset, list[np.ndarray]]:
    """A set, synthesized on the first call, and its avatars at rest (S, S, 3)."""
    folder = ROOT / "corpora" / f"held-out-seed{chosen.seed}-{chosen.clips}x{chosen.seconds:g}s-{size}px"
    data = synthesize(folder, chosen.clips, chosen.seed, size, chosen.seconds, workers=1, held_out=True, progress=False)
    job = Job(chosen.seed, size, chosen.seconds, True)
    return data, [render(sample_avatar(job.stream(i, "identity")), neutral(), np.zeros(5), size)[0] for i in range(chosen.clips)]


def run_set(model: TalkingHead, name: str, options: dict[str, Any], out: Path | None = None, seed: int = 0) -> dict[str, Any]:
    """Make and measure a set; a row of figures. ``out``: folder for the report."""
    chosen, spent = SETS[name], []
    data, rest = open_set(chosen, model.config.unet.image_size)
    settings = Settings(window=chosen.window)
    totals, ends, tracks = Totals(settings), [], []
    for index in tqdm(range(chosen.clips), desc=name, unit="clip", leave=False):
        length = data.frames(index)
        track, true = model.track(length, seed + index), data.annotations(index)["pose"]
        made = Made(model, data, index, rest[index], track, {**options, "seed": seed + index}, spent)
        poses = iter([np.zeros((1, 5)) if track is None else track.pose, true])
        group = Group(made.name, (made,), DatasetSource(data.path, index, made.name))
        found = measure(group, replace(settings, readers=lambda poses=poses: AvatarReader(next(poses))))
        totals.add(found)
        ends.append(both_ends(found, chosen.window))
        tracks.append((found.generated[0].mouth, found.mouth))
    used = model.options(**options)
    result = totals.result({"title": f"Avatar benchmark, {name}", "set": f"{chosen.clips} held-out avatars of {chosen.seconds:g} s, seed {chosen.seed}",
                            "sampling": f"{used.sampler}, {used.steps} steps, seed {seed}"})
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        save_result(out / f"{name}-{used.sampler}-{used.steps}.json", result)
        write_page(out / f"{name}-{used.sampler}-{used.steps}.html", result)
    figures = {key: result["metrics"].get(key, {}) for key in SHOWN}
    return {"set": name, "sampler": used.sampler, "steps": used.steps, "cpu": sum(spent) / sum(data.frames(i) for i in range(chosen.clips)),
            "shuffled": shuffled(tracks), **{k: v.get("value") for k, v in figures.items()},
            **{k: float(np.nanmean([e[k] for e in ends])) for k in ENDS}, "truth": {k: v.get("reference") for k, v in figures.items()}}


def both_ends(found: GroupFigures, window: float) -> dict[str, float]:
    """Mouth r and sharpness ratio in the first and in the last ``window`` seconds of a clip."""
    side, rows = found.generated[0], round(window * found.fps)
    true = found.reference.series["sharpness"]
    parts = {"first": slice(None, rows), "last": slice(-rows, None)}
    return {**{f"r_{n}": correlation(side.mouth[p], found.mouth[p]) for n, p in parts.items()},
            **{f"sharp_{n}": float(side.series["sharpness"][p].mean() / true[p].mean()) for n, p in parts.items()}}


def shuffled(tracks: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Mean r of the mouths with the other clips' truth."""
    others = [correlation(a[0][:n], b[1][:n]) for i, a in enumerate(tracks) for j, b in enumerate(tracks) if i != j for n in [min(len(a[0]), len(b[1]))]]
    return float(np.mean(others)) if others else float("nan")


def run(model: TalkingHead, options: argparse.Namespace, where: str) -> None:
    """Measure the sets, samplers and steps of the command line, print the table, and with ``--write`` keep it."""
    path = checkpoints.find_model(options.model)
    stamp = {"model": Path(options.model).name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "machine": where}
    rows: dict[tuple[int, str, int], dict[str, Any]] = {}
    for name in options.sets:
        for sampler in options.samplers or ([options.sampler] if options.sampler else [model.config.sampler]):
            for steps in options.steps or [model.config.steps]:
                row = run_set(model, name, {"sampler": sampler, "steps": steps}, options.out / "sets")
                rows[row_key(row)] = json.loads(json.dumps(row, default=float))
                print(f"{name} {sampler} {steps}: r {row['mouth_r']:.3f}, sharpness {row['sharpness_ratio']:.2f}, {row['cpu']:.3f} CPU s a frame", flush=True)
                if options.write:
                    keep(stamp, rows)
    print(document(merged(stamp, rows)))


def merged(stamp: dict[str, str], rows: dict[tuple[int, str, int], dict[str, Any]]) -> dict[str, Any]:
    """These rows and those kept of the same model, in order."""
    kept = json.loads(ROWS.read_text(encoding="utf-8")) if ROWS.is_file() else {}
    there = {row_key(row): row for row in kept.get("rows", [])} if kept.get("sha256") == stamp["sha256"] else {}
    return {**stamp, "rows": [row for _, row in sorted({**there, **rows}.items())]}


def row_key(row: dict[str, Any]) -> tuple[int, str, int]:
    """Order of the rows."""
    return list(SETS).index(row["set"]), row["sampler"], row["steps"]


def keep(stamp: dict[str, str], rows: dict[tuple[int, str, int], dict[str, Any]]) -> None:
    """Write the rows beside those that are there, and their part of RESULTS.md."""
    found = merged(stamp, rows)
    with atomic_path(ROWS) as part:
        part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8", newline="\n")
    sections.write("sets", document(found))


LEGEND = """Figures as in [docs/METRICS.md](../docs/METRICS.md): mouth read by the benchmark's mouth meter, lids by contrast where the pose puts the eyes.
`shuffled`: r with the other clips' truth. `r` and `sharp` `first` and `last`: mouth r and sharpness ratio in the first and last tenth of
the clips (1 s of 5 s, 3 s of 30 s, 10 s of 300 s). `true`: the same figures of the true
frames. `CPU s`: processor seconds a frame. Errors against the true frame are left out here: the head moves
by the model's own track."""
HEAD = ("set", "sampler", "steps", "CPU s", "mouth r", "lag", "shuffled", "OFM", "F-MSE", "blinks/s", "blink s", "CPBD", "sharp", "identity",
        "background", "FD", "DR", "r first", "r last", "sharp first", "sharp last")
COLUMNS = ("mouth_r", "mouth_lag", "shuffled", *SHOWN[2:], *ENDS)


def document(found: dict[str, Any]) -> str:
    """The sets' part of RESULTS.md."""
    lines = ["## Fixed sets, by length, sampler and steps", "", "Written by `python benchmarks/quality.py --sets ... --write`; drawn avatars, not people.",
             f"Model `{found['model']}` (SHA-256 {found['sha256'][:12]}). {found['machine']}.", "", LEGEND, ""]
    rows: list[list[str]] = []
    for index, row in enumerate(found["rows"]):
        if index == 0 or found["rows"][index - 1]["set"] != row["set"]:
            true = {**row["truth"], "r_first": 1, "r_last": 1, "sharp_first": 1, "sharp_last": 1}
            rows.append([row["set"], "true", "", "", *(shown(true.get(c)) for c in COLUMNS)])
        rows.append([row["set"], row["sampler"], str(row["steps"]), shown(row["cpu"]), *(shown(row[c]) for c in COLUMNS)])
    return "\n".join([*lines, sections.table(HEAD, rows), ""])
