"""Speed of `diffused-heads prepare`, and its result after SIGKILL at random moments.

    python benchmarks/prepare.py                      # 512 px talking avatars, as many processes as processors
    python benchmarks/prepare.py --raw videos         # videos of your own
    python benchmarks/prepare.py --kills 20           # kill it 20 times; the datasets must equal those without

The face networks are read from DIFFUSED_HEADS_FACE_MODELS, or downloaded on first use.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from diffused_heads.diffused_heads_core.face.networks import load_face_models
from diffused_heads.diffused_heads_core.media.audio import from_waveform
from diffused_heads.diffused_heads_core.media.video import write_video
from diffused_heads.training.preparation.prepare import prepare
from diffused_heads.training.preparation.settings import Settings
from diffused_heads.training.synthesis import corpus

SEED = 11


def avatars(folder: Path, clips: int, seconds: float, size: int) -> Path:
    """Videos of talking avatars, H.264 at 25 frames/s with AAC sound."""
    job = corpus.Job(SEED, size, seconds, False)
    for number in range(clips):
        clip = corpus.make_clip(job, number)
        write_video(
            folder / f"avatar{number}.mp4", clip.frames, corpus.FPS, from_waveform(clip.audio[None], clip.sample_rate)
        )
    return folder


def processor_seconds() -> float:
    """Processor time of this process and its finished children, in seconds."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def speed(raw: Path, out: Path, workers: int, size: int) -> None:
    """Print times real time, by the clock and by processor time."""
    clock, used = time.perf_counter(), processor_seconds()
    report = prepare(raw, out, Settings(size=size), workers)
    clock, used = time.perf_counter() - clock, processor_seconds() - used
    seconds = sum(source["facts"]["ends"] for source in report["sources"] if source["facts"])
    pictures = sum(source["facts"]["pictures"] for source in report["sources"] if source["facts"])
    print(f"{report['videos']} videos, {seconds:.0f} s, {report['clips']} clips of {size} px, {workers} processes")
    print(
        f"by the clock {seconds / clock:.1f} x real time; processor time {1000 * used / pictures:.1f} ms per picture, "
        f"that is {workers * seconds / used:.1f} x real time on {workers} free processors, start-up included"
    )


def kills(raw: Path, whole: Path, out: Path, count: int, size: int) -> None:
    """Kill the command ``count`` times, let it finish, and compare."""
    moments, killed = random.Random(SEED), 0
    quiet = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}

    def command() -> list[str]:
        program = [sys.executable, "-c", "import diffused_heads; raise SystemExit(diffused_heads.main())"]
        return [*program, "prepare", str(raw), str(out), "--size", str(size)]

    while killed < count:
        process = subprocess.Popen(command(), **quiet)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(1, 20))
        if process.poll() is not None:  # it had finished: start again in another folder
            compare(whole, out)
            out = out.with_name(f"{out.name}-")
        killed += process.poll() is None
        process.kill()
        process.wait()
    subprocess.run(command(), check=True, **quiet)
    compare(whole, out)
    print(f"killed {killed} times: equal to the run without")


def compare(one: Path, other: Path) -> None:
    """Raise AssertionError if the results of two runs differ."""

    def files(out: Path) -> dict[Path, bytes]:
        paths = [path.relative_to(out) for path in out.rglob("*") if path.is_file()]
        return {path: (out / path).read_bytes() for path in paths if "work" not in path.parts}

    assert files(one) == files(other), f"{one} and {other} differ"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, help="folder of videos (default: talking avatars, made for this)")
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--source-size", type=int, default=512)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=0)
    options = parser.parse_args()
    load_face_models()
    np.seterr(all="raise", under="ignore")
    with tempfile.TemporaryDirectory() as folder:
        raw = options.raw
        if raw is None:
            raw = Path(folder) / "raw"
            raw.mkdir()
            avatars(raw, options.clips, options.seconds, options.source_size)
        speed(raw, Path(folder) / "out", options.workers, options.size)
        if options.kills:
            kills(raw, Path(folder) / "out", Path(folder) / "killed", options.kills, options.size)


if __name__ == "__main__":
    main()
