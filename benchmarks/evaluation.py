"""Time and memory of `diffused-heads evaluate`: clips of 3 s at 128 px against references, with the face networks.

    python benchmarks/evaluation.py                    # 20 and 100 clips by 2 processes
    python benchmarks/evaluation.py --write            # also its part of RESULTS.md
    python benchmarks/evaluation.py --clips 5 --workers 1

The references are videos of held-out avatars, repeated under other names until there are enough; the generated clips
are the same, softer and in other colours. Each number of clips is measured in a new process. Processor time, summed
over all processes, does not depend on what else the machine is doing, unlike time by the clock. Needs a system with
``resource`` (Linux, macOS) and the face networks (downloaded on first use).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import sections
from held_out import ROOT, held_out

from diffused_heads.diffused_heads_core.evaluation.metrics.names import shown
from diffused_heads.diffused_heads_core.media.audio import from_waveform
from diffused_heads.diffused_heads_core.media.video import write_video

DIFFERENT, SECONDS, SIZE, SEED = 10, 3.0, 128, 3
LIMIT = 180.0  # s by the clock for 100 clips, on two idle cores
FREE = 0.8  # share of the processors asked for from which time by the clock counts
ALLOWED = 1.15  # peak memory of many clips over that of few
# Not this file itself: the workers that the process starts would import all of it again.
INSIDE = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
    "from evaluation import inside; inside(sys.argv[1:])"
)
NAMES = ("clips", "frames", "clock_s", "cpu_s", "cores", "cpu_ms_a_frame", "peak_mib", "peak_worker_mib")


def make_clips(folder: Path, count: int) -> tuple[Path, Path]:
    """Folders of ``count`` generated clips and as many references, paired by name; made where they are missing."""
    made, true = folder / f"{count}" / "generated", folder / f"{count}" / "reference"
    pairs = [originals(folder / "originals", i) for i in range(min(count, DIFFERENT))]
    for side, target in enumerate((made, true)):
        target.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            path = target / f"clip-{index:03d}.mp4"
            if not path.is_file():
                shutil.copyfile(pairs[index % DIFFERENT][side], path)
    return made, true


def originals(folder: Path, index: int) -> tuple[Path, Path]:
    """Videos of an avatar, softer and as it is."""
    paths = folder / f"{index}-generated.mp4", folder / f"{index}-reference.mp4"
    if not all(path.is_file() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        data = held_out(DIFFERENT, SECONDS, SEED, SIZE)
        clip = data.clip(index)
        sound = from_waveform(clip.audio[None], clip.sample_rate, str(index))
        soft = [np.uint8(0.95 * cv2.GaussianBlur(frame, (0, 0), 0.7)) for frame in clip.frames]
        for path, frames in zip(paths, (soft, clip.frames)):
            write_video(path, iter(frames), data.fps, sound)
    return paths


def measured(folder: Path, count: int, workers: int, faces: bool) -> dict[str, float]:
    """Evaluate ``count`` clips in a new process; time and memory that it took."""
    made, true = make_clips(folder, count)
    asked = [made, "--reference", true, "--output", folder / f"{count}" / "report.html", "--workers", workers]
    asked += [] if faces else ["--no-faces"]
    began = time.perf_counter()
    command = [sys.executable, "-c", INSIDE, *map(str, asked)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    clock = time.perf_counter() - began
    used: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {
        "clips": count,
        "frames": used["frames"],
        "clock_s": clock,
        "cpu_s": used["cpu"],
        "cores": used["cpu"] / clock,
        "cpu_ms_a_frame": 1000 * used["cpu"] / (2 * used["frames"]),
        "peak_mib": used["own"],
        "peak_worker_mib": used["worker"],
    }


def inside(arguments: list[str]) -> None:
    """Run ``evaluate`` and print what this process and its workers took, as JSON."""
    import resource

    from diffused_heads import main as run

    code = run(["evaluate", *arguments])
    if code:
        sys.exit(code)
    report = Path(arguments[arguments.index("--output") + 1]).with_suffix(".json")
    own, workers = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    unit = 2**20 if sys.platform == "darwin" else 2**10
    used = {
        "frames": json.loads(report.read_text(encoding="utf-8"))["frames"],
        "own": own.ru_maxrss / unit,
        "worker": workers.ru_maxrss / unit,
        "cpu": sum(u.ru_utime + u.ru_stime for u in (own, workers)),
    }
    print(json.dumps(used))


def bars(rows: list[dict[str, float]], workers: int) -> list[dict[str, Any]]:
    """The bars, for the largest number of clips scaled to 100: name, found, expected, passed.

    Time by the clock is no bar if other processes used the processors.
    """
    few, many = rows[0], rows[-1]
    clock, cpu = (many[name] * 100 / many["clips"] for name in ("clock_s", "cpu_s"))
    found = [(f"100 clips, processor time over {workers} processes", cpu / workers, ".0f", " s", LIMIT)]
    if many["cores"] > FREE * workers:
        found.append(("100 clips, time by the clock", clock, ".0f", " s", LIMIT))
    if few is not many:
        growth = max(many[name] / few[name] for name in ("peak_mib", "peak_worker_mib") if few[name])
        found.append((f"peak memory of {many['clips']} clips over that of {few['clips']}", growth, ".2f", "", ALLOWED))
    return [
        {
            "bar": name,
            "found": f"{value:{form}}{unit}",
            "expected": f"< {limit:g}{unit}",
            "passed": "PASS" if value < limit else "FAIL",
        }
        for name, value, form, unit, limit in found
    ]


def document(rows: list[dict[str, float]], workers: int, faces: bool) -> str:
    """The part of RESULTS.md."""
    table, cells = bars(rows, workers), []
    for row in rows:
        cells.append([f"{row['clips']:.0f}", f"{row['frames']:.0f}", *(shown(row[name]) for name in NAMES[2:])])
    words = [
        f"`diffused-heads evaluate` on clips of {SECONDS:g} s at {SIZE} px, each against a reference, "
        f"{'with' if faces else 'without'} the face",
        f"networks, to an HTML page; {workers} processes, {platform.machine()}, {os.cpu_count()} processors. "
        "`cores`: those that it had.",
        "`cpu_ms_a_frame`: of either side. `peak_mib`: of the command's own process; `peak_worker_mib`: of the largest "
        "of those that",
        "measure.",
    ]
    if rows[-1]["cores"] <= FREE * workers:
        left = f"{rows[-1]['cores']:.2f} processors were left for it"
        words.append(f"The machine was busy: {left}, so time by the clock is no bar here.")
    return "\n".join(
        [
            "## Time and memory of an evaluation",
            "",
            "Written by `python benchmarks/evaluation.py --write`.",
            "",
            *words,
            "",
            sections.table(NAMES, cells),
            "",
            sections.table(table[0], [list(map(str, row.values())) for row in table]),
            "",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """0 when every bar is passed, 1 when one is not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--clips", type=int, nargs="+", default=[20, 100], help="numbers of clips, ascending (default: 20 100)"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that measure (default: %(default)s)")
    parser.add_argument("--no-faces", dest="faces", action="store_false", help="without the face networks")
    folder = ROOT / "output" / "evaluation"
    parser.add_argument("--folder", type=Path, default=folder, help="for clips and reports (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="also write benchmarks/RESULTS.md")
    options = parser.parse_args(argv)
    rows = [measured(options.folder, count, options.workers, options.faces) for count in sorted(options.clips)]
    text = document(rows, options.workers, options.faces)
    print(text)
    if options.write:
        sections.write("evaluation", text)
    return 0 if all(row["passed"] == "PASS" for row in bars(rows, options.workers)) else 1


if __name__ == "__main__":
    sys.exit(main())
