"""The corpus of avatars or people: every clip has one identity and one voice and depends on (seed, index) only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ...diffused_heads_core.data.shards import Clip, Dataset, ShardWriter, finish_dataset, load_index
from ...diffused_heads_core.errors import DiffusedHeadsError
from ...diffused_heads_core.media.mixdown import resample
from ...diffused_heads_core.processes import WorkerPool
from .expression import EXPRESSION, clamp
from .face_meshes import face_meshes
from .motion import loudness, motion
from .speech import Speech, pause, recite, speak, version
from .text import script
from .truth import stacked
from .visemes import DRAWN, MEASURED, SYMBOLS, mouth_track, phoneme_track
from .voices import sample_voice

FPS = 25.0
SAMPLE_RATE = 16000
CLIPS_PER_SHARD = 64
GENERATOR = 1  # version: to be raised if the same (seed, index) gives another clip than before
PEOPLE = 8  # the same for people
UNITS = {
    "pose": "yaw, pitch, roll in radians; tx, ty in fractions of the frame",
    "expression": ", ".join(EXPRESSION),
    "landmarks": "pixels x, y of the 68 iBUG points",
    "lip_box": "pixels x0, y0, x1, y1 of the outer lips",
    "mouth_open": "inner lip gap over eye distance",
    "mouth_width": "mouth width over eye distance",
    "phoneme": "index into the phonemes of the metadata",
    "mesh": "pixels x, y, z of the 468 landmarks, z away from the viewer; nan where no face is found",
}
SOURCES = ("procedural avatars", "synthetic people on the ICT Face Model Light (MIT)")
_STREAMS = ("identity", "voice", "text", "motion", "micro")


@dataclass(frozen=True)
class Job:
    """Everything that a clip depends on, except for its index."""

    seed: int
    size: int
    seconds: float
    held_out: bool
    face_model: str | None = None  # path of the packed face model, for people instead of avatars
    mesh: bool = False  # whether the landmark network looks at the frames

    def __post_init__(self) -> None:
        limits = {"seed": (0, 2**63 - 1), "size": (16, 1024), "seconds": (0.2, 600)}
        wrong = [
            f"{name}={getattr(self, name)}, expected {low}..{high}"
            for name, (low, high) in limits.items()
            if not low <= getattr(self, name) <= high
        ]
        wrong += [f"size={self.size}, expected an even number"] if self.size % 2 else []
        if wrong:
            raise DiffusedHeadsError("synthesis: " + "; ".join(wrong))

    @property
    def frames(self) -> int:
        """Frames of every clip."""
        return round(self.seconds * FPS)

    def key(self, index: int) -> str:
        """Name of a clip and of its identity."""
        kind, part = "person" if self.face_model else "avatar", "held" if self.held_out else "train"
        return f"{kind}-{part}-{self.seed}-{index:07d}"

    def stream(self, index: int, name: str) -> np.random.Generator:
        """Random numbers for one purpose in one clip; training and held-out clips never share them."""
        part = int(self.held_out) + 2 * bool(self.face_model)
        return np.random.default_rng([part, self.seed, index, _STREAMS.index(name)])

    def described(self) -> dict[str, Any]:
        """The job as JSON values; the face model is named by its digest instead of its path."""
        values = {name: value for name, value in asdict(self).items() if name not in ("face_model", "mesh")}
        values |= {"mesh": True} if self.mesh else {}
        if self.face_model:
            from .people.face_model import load_face_model

            values |= {"kind": "people", "people": PEOPLE, "face_model": load_face_model(Path(self.face_model)).digest}
        return values


def utterance(job: Job, index: int) -> tuple[Speech, dict[str, Any]]:
    """The speech of a clip, exactly as long as the clip, and the metadata of voice and text."""
    voice = sample_voice(job.stream(index, "voice"), job.held_out)
    speech, texts = recite(script(job.stream(index, "text")), partial(speak, voice=voice), pause, job.frames / FPS)
    return speech, {"voice": asdict(voice), "text": " ".join(texts)}


def performance(job: Job, index: int, speech: Speech) -> tuple[np.ndarray, np.ndarray]:
    """Expression (T, 12) and pose (T, 5), float32, of an avatar or person with that speech."""
    level = loudness(speech.samples, speech.sample_rate, job.frames, FPS)
    rest = motion(job.stream(index, "motion"), level, FPS)
    mouth = mouth_track(speech.phonemes, job.frames, FPS, MEASURED if job.face_model else DRAWN)
    return clamp(np.concatenate([mouth, rest.face], 1)), rest.pose


def _rendered(
    job: Job, index: int, expression: np.ndarray, pose: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    if job.face_model:
        from .people.render import render_clip

        streams = (job.stream(index, name) for name in ("identity", "micro"))
        return render_clip(Path(job.face_model), *streams, expression, pose, job.size, FPS)
    from .avatars.avatar import sample_avatar
    from .avatars.render import render

    avatar = sample_avatar(job.stream(index, "identity"))
    images, truths = zip(*(render(avatar, e, p, job.size) for e, p in zip(expression, pose)))
    return np.stack(images), stacked(truths)


def make_clip(job: Job, index: int) -> Clip:
    """One clip of the corpus; it depends on the job and the index only."""
    speech, spoken = utterance(job, index)
    expression, pose = performance(job, index, speech)
    frames, truth = _rendered(job, index, expression, pose)
    count = round(job.frames / FPS * SAMPLE_RATE)
    audio = resample(speech.samples[None], speech.sample_rate, SAMPLE_RATE)[0]
    audio = np.pad(audio[:count], (0, max(0, count - len(audio))))
    phoneme = phoneme_track(speech.phonemes, job.frames, FPS)
    annotations = {"pose": pose, "expression": expression, "phoneme": phoneme, **truth}
    if job.mesh:
        annotations["mesh"] = face_meshes(frames)
    meta = {
        "identity": job.key(index),
        "source": SOURCES[1] if job.face_model else "procedural avatar",
        "licence": "Apache-2.0",
        "phonemes": list(SYMBOLS),
        "generator": {**job.described(), "index": index, "version": GENERATOR},
        **spoken,
    }
    return Clip(frames, audio, SAMPLE_RATE, annotations, meta)


def _parameters(job: Job, first: int, stop: int) -> dict[str, Any]:
    return {**job.described(), "generator": GENERATOR, "first": first, "stop": stop, "engine": f"espeak-ng {version()}"}


def _write_shard(out: Path, job: Job, shard: int, first: int, stop: int) -> int:
    """Write clips first .. stop - 1 as one shard, in a worker process; returns their number."""
    import cv2

    cv2.setNumThreads(1)
    with ShardWriter(out, shard, FPS, job.size, _parameters(job, first, stop)) as writer:
        for index in range(first, stop):
            writer.add(job.key(index), make_clip(job, index))
    return stop - first


def _one_thread() -> None:
    """Software OpenGL takes one thread, since every processor has a worker already."""
    os.environ.setdefault("LP_NUM_THREADS", "1")


def _ranges(clips: int) -> list[tuple[int, int]]:
    return [(first, min(first + CLIPS_PER_SHARD, clips)) for first in range(0, clips, CLIPS_PER_SHARD)]


def _unfinished(out: Path, job: Job, ranges: list[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Shards still to be made as (shard, first, stop). Raises DiffusedHeadsError if the folder holds another corpus."""
    for shard, (first, stop) in enumerate(ranges):
        index = load_index(out, shard)
        found = {} if index is None else index["parameters"]
        differing = sorted(k for k, v in _parameters(job, first, stop).items() if found.get(k) != v)
        if index is None or differing == ["stop"]:  # a corpus may be made longer
            yield shard, first, stop
        elif differing:
            raise DiffusedHeadsError(
                f"{out}: expected an empty folder or the same corpus, "
                f"found shard {shard} made with other {', '.join(differing)}"
            )


def synthesize(
    out: Path,
    clips: int,
    seed: int = 0,
    size: int = 128,
    seconds: float = 3.0,
    workers: int | None = None,
    held_out: bool = False,
    progress: bool = True,
    face_model: Path | None = None,
    mesh: bool = False,
) -> Dataset:
    """Make a corpus of ``clips`` clips of ``seconds`` at ``size`` pixels in the folder ``out``, and open it.

    The clips show avatars, or people if the path of a packed ``face_model`` is given. A clip depends on (seed, index)
    only, not on the number of workers (default: all processors). Finished shards are not made again, so the same call
    resumes an interrupted one. ``held_out`` takes the voices and identities that training never sees. ``mesh`` adds
    the face mesh that the landmark network finds in each frame.
    Raises DiffusedHeadsError for bad values, a missing speech engine or a folder with another corpus.
    """
    job = Job(seed, size, seconds, held_out, None if face_model is None else str(face_model), mesh)
    if clips < 1:
        raise DiffusedHeadsError(f"synthesis: clips={clips}, expected at least 1")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    ranges = _ranges(clips)
    todo = list(_unfinished(out, job, ranges))
    with tqdm(total=clips, initial=clips - sum(b - a for _, a, b in todo), unit="clip", disable=not progress) as bar:
        for done in _made(out, job, todo, workers or os.cpu_count() or 1):
            bar.update(done)
    info = {"source": SOURCES[bool(job.face_model)], "licence": "Apache-2.0", "seed": seed, "held_out": held_out}
    finish_dataset(out, len(ranges), UNITS, info)
    return Dataset(out)


def _made(out: Path, job: Job, todo: list[tuple[int, int, int]], workers: int) -> Iterator[int]:
    """Numbers of finished clips, shard by shard; in this process if one worker or shard is enough, else in new ones."""
    if min(workers, len(todo)) <= 1:
        for item in todo:
            yield _write_shard(out, job, *item)
        return
    with WorkerPool(min(workers, len(todo)), _one_thread) as pool:
        for future in as_completed([pool.submit(_write_shard, out, job, *item) for item in todo]):
            yield future.result()
