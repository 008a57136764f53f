"""Speed of the renderer of people: frames only, set-up of a person, and all of `synthesize`.

    python benchmarks/people.py face.npz                        # 128 and 256 px, two processes
    python benchmarks/people.py face.npz --sizes 256 --workers 4

Frames/s by the clock, and by processor time, which is what as many free processors as workers would reach. Each worker
renders clips of different people, after one that compiles the shaders, and then makes a dataset of as many clips.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from diffused_heads.training.synthesis import corpus
from diffused_heads.training.synthesis.people.blend_shapes import micro_track
from diffused_heads.training.synthesis.people.face_model import load_face_model
from diffused_heads.training.synthesis.people.person import sample_person
from diffused_heads.training.synthesis.people.render import Portrait

SEED = 7


def one_thread() -> None:
    """Software OpenGL and OpenCV take one thread per worker."""
    os.environ["LP_NUM_THREADS"] = "1"
    cv2.setNumThreads(1)


def render_clip(job: corpus.Job, index: int) -> np.ndarray:
    """Seconds (2, 2) of set-up and of frames of one clip, each by the clock and by processor time."""
    speech, _ = corpus.utterance(job, index)
    expression, pose = corpus.performance(job, index, speech)
    model, person = load_face_model(Path(job.face_model)), sample_person(job.stream(index, "identity"))
    extra = micro_track(job.stream(index, "micro"), model.names, job.frames, corpus.FPS)
    moments = [(time.perf_counter(), time.process_time())]
    with Portrait(person, model, job.size) as shown:
        moments.append((time.perf_counter(), time.process_time()))
        for _ in shown.clip(expression, pose, extra):
            pass
        moments.append((time.perf_counter(), time.process_time()))
    return np.diff(moments, axis=0)


def whole(job: corpus.Job, clips: int) -> np.ndarray:
    """Seconds (2,) of making a dataset: speech, motion, rendering, encoding, writing."""
    with tempfile.TemporaryDirectory() as folder:
        moment = np.array([time.perf_counter(), time.process_time()])
        corpus.synthesize(
            Path(folder), clips, job.seed, job.size, job.seconds, 1, progress=False, face_model=Path(job.face_model)
        )
        return np.array([time.perf_counter(), time.process_time()]) - moment


def worker(job: corpus.Job, clips: int) -> tuple[np.ndarray, np.ndarray]:
    """Times of clips (clips, 2, 2), after one to warm up, and of a dataset of as many (2,)."""
    return np.array([render_clip(job, index) for index in range(clips, -1, -1)])[1:], whole(job, clips)


def measure(job: corpus.Job, clips: int, workers: int) -> None:
    """Print the rows of one size."""
    with ProcessPoolExecutor(workers, get_context("spawn"), one_thread) as pool:
        futures = [pool.submit(worker, replace(job, seed=job.seed + n), clips) for n in range(workers)]
        found = [future.result() for future in futures]
    setup, frames = np.concatenate([times for times, _ in found]).mean(0)
    print(f"{job.size:5d} px  {'set-up of a person':20s} {setup[0]:12.2f} s {setup[1]:19.2f} s")
    row(job.size, "frames only", job.frames, frames, workers)
    row(job.size, "set-up and frames", job.frames, setup + frames, workers)
    row(job.size, "synthesize", clips * job.frames, np.mean([times for _, times in found], 0), workers)


def row(size: int, what: str, frames: int, seconds: np.ndarray, workers: int) -> None:
    """Print frames/s of all workers from frames and seconds (2,) of one, by the clock and by processor time."""
    clock, used = workers * frames / seconds
    print(f"{size:5d} px  {what:20s} {clock:5.0f} frames/s {used:12.0f} frames/s", flush=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("face_model", type=Path, help="the packed face model")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--clips", type=int, default=3, help="per worker")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print(f"{'':29s}{'by the clock':>14s} {f'{options.workers} free processors':>21s}")
    for size in options.sizes:
        measure(corpus.Job(SEED, size, options.seconds, False, str(options.face_model)), options.clips, options.workers)


if __name__ == "__main__":
    main()
