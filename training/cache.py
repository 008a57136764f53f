"""A dataset decoded once: frames in one memory-mapped file, log-mel columns and annotations beside it.

Decoding a clip's video for four of its frames would cost more than training on them, so a run reads from here.
The cache lies in the dataset's folder under ``cache/`` and is made anew when the dataset's fingerprint changes.
"""
from __future__ import annotations

import json
import logging
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..diffused_heads_core.audio import from_waveform, to_mono_16k
from ..diffused_heads_core.audio_encoder import COLUMNS_A_FRAME, log_mel
from ..diffused_heads_core.config import AudioConfig
from ..diffused_heads_core.files import atomic_path
from ..diffused_heads_core.loudness import normalise_level
from .augment import augment_speech
from .shards import Dataset

VERSION = 1
VARIANTS = 3
WANTED = ("pose", "expression", "lip_box")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrameStore:
    """A decoded dataset; sent to another process it travels as its folder alone. frames: (N, S, S, 3) uint8; mels: (VARIANTS, mels, 4 N) float16, the first of them clean;
    starts, lengths: (clips,) int64 rows of ``frames``; annotations: name -> (N, …)."""

    frames: np.ndarray
    mels: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    annotations: dict[str, np.ndarray]
    cache: Path | None = None

    def __reduce__(self) -> tuple[Callable[[Path], FrameStore], tuple[Path]]:
        return read_store, (self.cache,)

    def clip_of(self) -> np.ndarray:
        """(N,) index of the clip of each frame."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)


def open_store(folder: Path, audio: AudioConfig, workers: int = 1) -> FrameStore:
    """Open a dataset's cache for an audio front end, building it first where it is missing or stale."""
    dataset = Dataset(folder)
    stamp = {"version": VERSION, "fingerprint": dataset.header["fingerprint"], "mels": audio.mels, "variants": VARIANTS}
    cache = Path(folder) / "cache"
    mark = cache / "cache.json"
    if not mark.is_file() or json.loads(mark.read_text()) != stamp:
        _build(Path(folder), cache, audio, workers)
        with atomic_path(mark) as part:
            part.write_text(json.dumps(stamp))
    return read_store(cache)


def read_store(cache: Path) -> FrameStore:
    """Open a finished cache folder."""
    arrays = {p.stem: np.load(p, mmap_mode="r" if p.stem in ("frames", "mels") else None) for p in sorted(cache.glob("*.npy"))}
    return FrameStore(arrays.pop("frames"), arrays.pop("mels"), arrays.pop("starts"), arrays.pop("lengths"), arrays, cache)


def _build(folder: Path, cache: Path, audio: AudioConfig, workers: int) -> None:
    dataset = Dataset(folder)
    cache.mkdir(exist_ok=True)
    (cache / "cache.json").unlink(missing_ok=True)
    lengths = np.array([dataset.frames(i) for i in range(len(dataset))], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    total, size = int(lengths.sum()), dataset.size
    np.lib.format.open_memmap(cache / "frames.npy", "w+", np.uint8, (total, size, size, 3)).flush()
    np.lib.format.open_memmap(cache / "mels.npy", "w+", np.float16, (VARIANTS, audio.mels, total * COLUMNS_A_FRAME)).flush()
    np.save(cache / "starts.npy", starts)
    np.save(cache / "lengths.npy", lengths)
    rows: dict[str, list[np.ndarray]] = {}
    for i in range(len(dataset)):
        for name, values in dataset.annotations(i).items():
            if name in WANTED:
                rows.setdefault(name, []).append(np.asarray(values, np.float32))
    for name, values in rows.items():
        np.save(cache / f"{name}.npy", np.concatenate(values))
    job = partial(_decode, folder, audio.mels, starts)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(tqdm(pool.map(job, range(len(dataset)), chunksize=16), total=len(dataset), desc="decoding", unit="clip"))


def _decode(folder: Path, mels: int, starts: np.ndarray, index: int) -> None:
    dataset, cache = Dataset(folder), folder / "cache"
    clip = dataset.clip(index)
    start, count = int(starts[index]), len(clip.frames)
    np.load(cache / "frames.npy", mmap_mode="r+")[start : start + count] = clip.frames
    store = np.load(cache / "mels.npy", mmap_mode="r+")
    mono = to_mono_16k(from_waveform(clip.audio[None], clip.sample_rate, dataset.keys[index]))
    for variant in range(VARIANTS):
        sound = mono if variant == 0 else augment_speech(mono, np.random.default_rng([index, variant]))
        columns = log_mel(normalise_level(sound), count, round(dataset.fps), mels).numpy()
        store[variant, :, start * COLUMNS_A_FRAME : (start + count) * COLUMNS_A_FRAME] = columns
