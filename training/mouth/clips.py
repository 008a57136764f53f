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
from ...diffused_heads_core.media.mixdown import normalise_level
from ...diffused_heads_core.media.noise import reduce_noise
from ...diffused_heads_core.media.voice import find_voice
from ..dataset import Store
from ..job import Notify
from ..samples import open_store_or_shards
from .movements import opening

# (mono (n,) at 16 kHz, frames, gain (n,) or None) -> embeddings (frames, C)
Encode = Callable[[np.ndarray, int, np.ndarray | None], Tensor]
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Corpus:
    """A dataset for the mouth. embeddings: (N, C) float16, the rows of all clips one after the other, those of clip n
    from ``starts[n]`` on. gated: the same of sound as sampling hears it, without noise and silent where nobody speaks.
    people: the numbers of each person's usable clips.
    """

    store: Store
    starts: np.ndarray
    embeddings: np.ndarray
    gated: np.ndarray
    people: tuple[tuple[int, ...], ...]

    @cached_property
    def openings(self) -> list[np.ndarray]:
        """The mouth's opening in the frames of each clip, (T,) eye distances."""
        return [opening(self.meshes(clip)) for clip in range(len(self.store.lengths))]

    def audio(self, clip: int) -> np.ndarray:
        """Embeddings of a clip, (T, C) float32."""
        return self.versions(clip)[0]

    def versions(self, clip: int) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings of a clip's sound as it is and as sampling hears it, (T, C) float32 each."""
        rows = slice(int(self.starts[clip]), int(self.starts[clip]) + int(self.store.lengths[clip]))
        return self.embeddings[rows].astype(np.float32), self.gated[rows].astype(np.float32)

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
    key = hashlib.sha256(f"{dataset.header['fingerprint']} {encoder_digest} gated".encode()).hexdigest()[:16]
    path = run / f"embeddings-{key}.npz"
    if not path.is_file():
        _store_embeddings(path, dataset, encode, notify)
    with np.load(path, allow_pickle=False) as file:
        embeddings, gated, complete = file["embeddings"], file["gated"], file["complete"]
    people: dict[str, list[int]] = {}
    for clip in np.flatnonzero(complete).tolist():
        people.setdefault(str(dataset.meta(clip).get("identity", dataset.key(clip))), []).append(clip)
    if not people:
        raise DiffusedHeadsError(f"{dataset.path}: expected clips with a face in every frame, found none")
    used, lengths = sum(map(len, people.values())), np.asarray(store.lengths)
    log.info("%s: %d of %d clips, %d people", dataset.path, used, len(dataset), len(people))
    whose = tuple(tuple(clips) for clips in people.values())
    return Corpus(store, np.cumsum(lengths) - lengths, embeddings, gated, whose)


def as_sampled(mono: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Sound (n,) at 16 kHz and its gain (n,), as ``pipeline.embed_speech`` gives them to the audio encoder."""
    voice = find_voice(normalise_level(mono))
    return (mono, None) if voice is None else (reduce_noise(mono), voice.gain())


def _store_embeddings(path: Path, dataset: Dataset, encode: Encode, notify: Notify) -> None:
    rows, gated, complete = [], [], np.zeros(len(dataset), bool)
    for clip in range(len(dataset)):
        samples, rate = dataset.audio(clip)
        mono = to_mono_16k(from_waveform(samples[None], rate, dataset.key(clip)))
        sounds = (mono, None), as_sampled(mono)
        for kept, (sound, gain) in zip((rows, gated), sounds):
            kept.append(encode(sound, dataset.frames(clip), gain).cpu().numpy().astype(np.float16))
        complete[clip] = np.isfinite(dataset.annotations(clip)["mesh"]).all()
        notify("audio embeddings", clip + 1, len(dataset))
    buffer = io.BytesIO()
    np.savez(buffer, embeddings=np.concatenate(rows), gated=np.concatenate(gated), complete=complete)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        part.write_bytes(buffer.getvalue())
