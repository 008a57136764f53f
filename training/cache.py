"""A dataset decoded once: frames in one memory-mapped file, log-mel columns and annotations beside it.

Decoding a clip's video for four of its frames would cost more than training on them, so a run reads this cache. It
lies in the dataset's folder under ``cache/`` and is built again when the dataset's fingerprint changes. Building can be
interrupted: clips that were decoded are kept.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..diffused_heads_core.audio_encoder import COLUMNS_PER_FRAME, log_mel
from ..diffused_heads_core.config import AudioConfig
from ..diffused_heads_core.data.shards import Dataset
from ..diffused_heads_core.files import atomic_path
from ..diffused_heads_core.media.audio import from_waveform, to_mono_16k
from ..diffused_heads_core.media.mixdown import normalise_level
from ..diffused_heads_core.processes import WorkerPool
from .speech_augmentation import augment_speech

VERSION = 1
VARIANTS = 3
WANTED = ("pose", "expression", "lip_box", "mesh")
MESH = 2 * 3 * 468  # bytes per frame of a face mesh
MARGIN = 2e9  # bytes that a cache leaves free on the disk
THREADS = 2  # that decode if there are no worker processes
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrameStore:
    """A decoded dataset; it is pickled as the path of its folder.

    frames: (N, S, S, 3) uint8; mels: (VARIANTS, mels, 4 N) float16, the first of them clean; starts, lengths: (clips,)
    int64 rows of ``frames``; annotations: name -> (N, …).
    """

    frames: np.ndarray
    mels: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    annotations: dict[str, np.ndarray]
    cache: Path | None = None

    variants = VARIANTS

    def __reduce__(self) -> tuple[Callable[[Path], FrameStore], tuple[Path]]:
        return read_store, (self.cache,)

    @property
    def tracks(self) -> frozenset[str]:
        """Names of the annotations in the cache."""
        return frozenset(self.annotations)

    def pictures(self, clip: int, frames: Sequence[int]) -> np.ndarray:
        """The given frames of a clip, (n, S, S, 3) uint8."""
        return self.frames[self.starts[clip] + np.asarray(frames)]

    def track(self, name: str, clip: int, frames: Sequence[int]) -> np.ndarray:
        """An annotation at the given frames of a clip, (n, …) float32."""
        return np.asarray(self.annotations[name][self.starts[clip] + np.asarray(frames)], np.float32)

    def mel(self, clip: int, low: int, high: int, variant: int) -> np.ndarray:
        """Log-mel columns of frames low .. high - 1 of a clip, (mels, 4 (high - low)) float16."""
        first, last = (int(self.starts[clip] + frame) * COLUMNS_PER_FRAME for frame in (low, high))
        return self.mels[variant, :, first:last]


def cache_size(dataset: Dataset, mels: int = 64) -> int:
    """Size of a dataset's cache in bytes."""
    tracks = 128 + (MESH if "mesh" in dataset.header["annotations"] else 0)
    return int(dataset.header["frames"] * (3 * dataset.size**2 + 2 * VARIANTS * mels * COLUMNS_PER_FRAME + tracks))


def fits(folder: Path, dataset: Dataset, limit: float | None = None) -> bool:
    """Whether a dataset's cache exists or has room in ``limit`` bytes (default: the free part of the disk)."""
    mark = Path(folder) / "cache" / "cache.json"
    if mark.is_file() and json.loads(mark.read_text()).get("fingerprint") == dataset.header["fingerprint"]:
        return True
    room = shutil.disk_usage(folder).free - MARGIN if limit is None else limit
    return cache_size(dataset) <= room


def open_store(
    folder: Path, audio: AudioConfig, workers: int = 1, notify: Callable[[int, int], None] | None = None
) -> FrameStore:
    """Open a dataset's cache for an audio front end; build it first if it is missing or out of date.

    workers: processes that decode; 0 decodes in threads of this process. notify(done, clips) may raise to interrupt.
    """
    dataset = Dataset(folder)
    stamp = {"version": VERSION, "fingerprint": dataset.header["fingerprint"], "mels": audio.mels, "variants": VARIANTS}
    cache = Path(folder) / "cache"
    mark = cache / "cache.json"
    if not mark.is_file() or json.loads(mark.read_text()) != stamp:
        _build(dataset, cache, stamp, workers, notify or (lambda done, clips: None))
        with atomic_path(mark) as part:
            part.write_text(json.dumps(stamp))
        (cache / "decoded.txt").unlink(missing_ok=True)
    return read_store(cache)


def read_store(cache: Path) -> FrameStore:
    """Open a finished cache folder."""
    arrays = {p.stem: np.load(p, mmap_mode="r") for p in sorted(cache.glob("*.npy"))}
    return FrameStore(
        arrays.pop("frames"), arrays.pop("mels"), arrays.pop("starts"), arrays.pop("lengths"), arrays, cache
    )


def _build(
    dataset: Dataset, cache: Path, stamp: dict[str, object], workers: int, notify: Callable[[int, int], None]
) -> None:
    """Decode what is not decoded yet; ``decoded.txt`` holds the stamp and the number of each finished clip."""
    cache.mkdir(exist_ok=True)
    (cache / "cache.json").unlink(missing_ok=True)
    journal = cache / "decoded.txt"
    lines = journal.read_text().split("\n")[:-1] if journal.is_file() else []  # without a last line that was cut off
    if lines[:1] != [json.dumps(stamp)]:
        _lay_out(dataset, cache, int(stamp["mels"]))
        lines = [json.dumps(stamp)]
    journal.write_text("\n".join(lines) + "\n")
    done = {int(line) for line in lines[1:]}
    todo = [index for index in range(len(dataset)) if index not in done]
    log.info("decoding %d of %d clips into %s", len(todo), len(dataset), cache)
    job = partial(_decode, dataset.path, stamp["fingerprint"], stamp["mels"])
    with _executor(workers) as pool, journal.open("a") as written:
        try:
            for index in tqdm(pool.map(job, todo, chunksize=16), total=len(todo), desc="decoding", unit="clip"):
                written.write(f"{index}\n")
                written.flush()
                done.add(index)
                notify(len(done), len(dataset))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _executor(workers: int) -> Executor:
    return WorkerPool(workers) if workers else ThreadPoolExecutor(THREADS)


def _lay_out(dataset: Dataset, cache: Path, mels: int) -> None:
    """Empty arrays of the right sizes, and the annotations."""
    lengths = np.array([dataset.frames(i) for i in range(len(dataset))], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    total, size = int(lengths.sum()), dataset.size
    for old in cache.glob("*.npy"):
        old.unlink()
    np.lib.format.open_memmap(cache / "frames.npy", "w+", np.uint8, (total, size, size, 3)).flush()
    np.lib.format.open_memmap(cache / "mels.npy", "w+", np.float16, (VARIANTS, mels, total * COLUMNS_PER_FRAME)).flush()
    np.save(cache / "starts.npy", starts)
    np.save(cache / "lengths.npy", lengths)
    rows: dict[str, list[np.ndarray]] = {}
    for i in range(len(dataset)):
        for name, values in dataset.annotations(i).items():
            if name in WANTED:
                rows.setdefault(name, []).append(as_stored(name, values))
    for name, values in rows.items():
        np.save(cache / f"{name}.npy", np.concatenate(values))


def as_stored(name: str, values: np.ndarray) -> np.ndarray:
    """An annotation as the stores keep it: float32, the face mesh float16."""
    return np.asarray(values, np.float16 if name == "mesh" else np.float32)


@lru_cache(maxsize=1)
def _opened(folder: Path, fingerprint: str) -> Dataset:
    return Dataset(folder)


def _decode(folder: Path, fingerprint: str, mels: int, index: int) -> int:
    dataset, cache = _opened(folder, fingerprint), folder / "cache"
    clip = dataset.clip(index)
    start, count = int(np.load(cache / "starts.npy", mmap_mode="r")[index]), len(clip.frames)
    np.load(cache / "frames.npy", mmap_mode="r+")[start : start + count] = clip.frames
    store = np.load(cache / "mels.npy", mmap_mode="r+")
    store[:, :, start * COLUMNS_PER_FRAME : (start + count) * COLUMNS_PER_FRAME] = clip_mels(
        clip.audio, clip.sample_rate, index, dataset, mels
    )
    return index


def clip_mels(audio: np.ndarray, rate: int, index: int, dataset: Dataset, mels: int) -> np.ndarray:
    """Log-mel columns of a clip's sound, clean and augmented, (VARIANTS, mels, 4 T) float16."""
    mono = to_mono_16k(from_waveform(audio[None], rate, dataset.key(index)))
    sounds = [mono, *(augment_speech(mono, np.random.default_rng([index, variant])) for variant in range(1, VARIANTS))]
    return np.stack(
        [log_mel(normalise_level(s), dataset.frames(index), round(dataset.fps), mels).numpy() for s in sounds]
    ).astype(np.float16)
