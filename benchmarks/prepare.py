"""Speed of `diffused-heads prepare`, and its end after SIGKILL at random moments.

    python benchmarks/prepare.py                      # 512 px talking avatars, as many processes as processors
    python benchmarks/prepare.py --raw videos         # videos of your own
    python benchmarks/prepare.py --kills 20           # kill it 20 times; the datasets must equal the undisturbed ones

The face networks must be at hand (DIFFUSED_HEADS_FACE_MODELS, or downloaded on first use).
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
    """Time that this process and its finished children took on processors."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def speed(raw: Path, out: Path, workers: int, size: int) -> None:
    """Print times real time, by the clock and by processor time."""
    clock, used = time.perf_counter(), processor_seconds()
    told = prepare(raw, out, Settings(size=size), workers)
    clock, used = time.perf_counter() - clock, processor_seconds() - used
    seconds = sum(source["facts"]["ends"] for source in told["sources"] if source["facts"])
    pictures = sum(source["facts"]["pictures"] for source in told["sources"] if source["facts"])
    print(f"{told['videos']} videos, {seconds:.0f} s, {told['clips']} clips of {size} px, {workers} processes")
    print(
        f"by the clock {seconds / clock:.1f} x real time; processor time {1000 * used / pictures:.1f} ms a picture, "
        f"that is {workers * seconds / used:.1f} x real time on {workers} free processors, start-up included"
    )


def kills(raw: Path, whole: Path, out: Path, count: int, size: int) -> None:
    """Kill the command ``count`` times, let it finish, and compare."""
    moments, killed = random.Random(SEED), 0
    command = [
        sys.executable,
        "-m",
        "diffused_heads.diffused_heads_core",
        "prepare",
        str(raw),
        str(out),
        "--size",
        str(size),
    ]
    while killed < count:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(1, 20))
        if process.poll() is not None:  # it was done: begin again elsewhere
            compare(whole, out)
            out = out.with_name(f"{out.name}-")
            command[5] = str(out)
        killed += process.poll() is None
        process.kill()
        process.wait()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    compare(whole, out)
    print(f"killed {killed} times: equal to the undisturbed run")


def compare(one: Path, other: Path) -> None:
    """Raise AssertionError where the results of two runs differ."""
    files = [
        {
            p.relative_to(out): p.read_bytes()
            for p in out.rglob("*")
            if p.is_file() and "work" not in p.relative_to(out).parts
        }
        for out in (one, other)
    ]
    assert files[0] == files[1], f"{one} and {other} differ"


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
