"""The clips of a dataset that the mouth is learned from: frames, meshes, audio embeddings, and whose they are."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from ...diffused_heads_core.config import ModelConfig
from ...diffused_heads_core.data.shards import Dataset
from ...diffused_heads_core.errors import DiffusedHeadsError
from ...diffused_heads_core.files import atomic_path
from ...diffused_heads_core.media.audio import from_waveform, to_mono_16k
from ..dataset import Store
from ..job import Notify
from ..samples import open_store_or_shards
from .movements import opening

Encode = Callable[[np.ndarray, int], Tensor]  # (mono (n,) at 16 kHz, frames) -> embeddings (frames, C)
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Corpus:
    """A dataset for the mouth. embeddings: (N, C) float16, the rows of all clips one after the other, those of clip n
    from ``starts[n]`` on. people: the numbers of each person's usable clips.
    """

    store: Store
    starts: np.ndarray
    embeddings: np.ndarray
    people: tuple[tuple[int, ...], ...]

    @cached_property
    def openings(self) -> list[np.ndarray]:
        """The mouth's opening in the frames of each clip, (T,) eye distances."""
        return [opening(self.meshes(clip)) for clip in range(len(self.store.lengths))]

    def audio(self, clip: int) -> np.ndarray:
        """Embeddings of a clip, (T, C) float32."""
        first = int(self.starts[clip])
        return self.embeddings[first : first + int(self.store.lengths[clip])].astype(np.float32)

    def meshes(self, clip: int) -> np.ndarray:
        """Meshes of a clip in pixels of its crop, (T, 468, 3) float32."""
        return self.store.track("mesh", clip, range(int(self.store.lengths[clip])))


def check_dataset(dataset: Dataset, model: ModelConfig) -> None:
    """Raise DiffusedHeadsError if a dataset has no face mesh, another frame rate, or frames of less detail."""
    wrong = []
    if "mesh" not in dataset.header["annotations"]:
        wrong.append("expected the annotation mesh, found none (prepare the videos again, or `synthesize` with --mesh)")
    if dataset.fps != model.fps:
        wrong.append(f"expected {model.fps} frames per second, found {dataset.fps:g}")
    if dataset.size < model.frame_size:
        wrong.append(f"expected frames of {model.frame_size} px or more (--size), found {dataset.size}")
    if wrong:
        raise DiffusedHeadsError(f"{dataset.path}: " + "; ".join(wrong))


def open_corpus(
    dataset: Dataset,
    model: ModelConfig,
    encode: Encode,
    encoder_digest: str,
    run: Path,
    cache_gb: float | None,
    workers: int,
    notify: Notify,
) -> Corpus:
    """A dataset's frames, decoded as for other trainings, and its embeddings, which are kept in the run's folder.

    Raises DiffusedHeadsError if the dataset does not fit, or no clip has a mesh in all frames.
    """
    check_dataset(dataset, model)
    store = open_store_or_shards(dataset, model.audio, cache_gb, workers, notify)
    key = hashlib.sha256(f"{dataset.header['fingerprint']} {encoder_digest}".encode()).hexdigest()[:16]
    path = run / f"embeddings-{key}.npz"
    if not path.is_file():
        _store_embeddings(path, dataset, encode, notify)
    with np.load(path, allow_pickle=False) as file:
        embeddings, complete = file["embeddings"], file["complete"]
    people: dict[str, list[int]] = {}
    for clip in np.flatnonzero(complete).tolist():
        people.setdefault(str(dataset.meta(clip).get("identity", dataset.key(clip))), []).append(clip)
    if not people:
        raise DiffusedHeadsError(f"{dataset.path}: expected clips with a face in every frame, found none")
    used, lengths = sum(map(len, people.values())), np.asarray(store.lengths)
    log.info("%s: %d of %d clips, %d people", dataset.path, used, len(dataset), len(people))
    return Corpus(store, np.cumsum(lengths) - lengths, embeddings, tuple(tuple(clips) for clips in people.values()))


def _store_embeddings(path: Path, dataset: Dataset, encode: Encode, notify: Notify) -> None:
    rows, complete = [], np.zeros(len(dataset), bool)
    for clip in range(len(dataset)):
        samples, rate = dataset.audio(clip)
        mono = to_mono_16k(from_waveform(samples[None], rate, dataset.key(clip)))
        rows.append(encode(mono, dataset.frames(clip)).cpu().numpy().astype(np.float16))
        complete[clip] = np.isfinite(dataset.annotations(clip)["mesh"]).all()
        notify("audio embeddings", clip + 1, len(dataset))
    buffer = io.BytesIO()
    np.savez(buffer, embeddings=np.concatenate(rows), complete=complete)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        part.write_bytes(buffer.getvalue())
