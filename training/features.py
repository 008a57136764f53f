"""Features of a frozen speech model, computed once for every clip of a dataset and stored in its folder.

``features/<label>/shard-000000.npy`` holds the rows of that shard's clips, float16 (frames, width), one row per video
frame. ``features.json`` names dataset and speech model. A shard that has its file is not computed again, so that the
work can be interrupted and shared among processes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ..diffused_heads_core.config import AudioConfig
from ..diffused_heads_core.data.shards import Dataset, shard_name
from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.files import atomic_path
from ..diffused_heads_core.media.audio import from_waveform, to_mono_16k
from ..diffused_heads_core.media.mixdown import normalise_level

EmbedSpeech = Callable[[np.ndarray, int], Tensor]  # as in `store_features`


def label(audio: AudioConfig) -> str:
    """Name of the folder for features of this kind."""
    return f"{audio.source}-layer{audio.layer}" if audio.kind == "features" else audio.kind


def _stamp(dataset: Dataset, audio: AudioConfig) -> dict[str, object]:
    return {
        "fingerprint": dataset.header["fingerprint"],
        "source": audio.source or audio.kind,
        "layer": audio.layer,
        "width": audio.input_width,
    }


def is_stored(folder: Path, audio: AudioConfig) -> bool:
    """Whether a dataset has complete features of this kind."""
    dataset, place = Dataset(folder), Path(folder) / "features" / label(audio)
    mark = place / "features.json"
    there = mark.is_file() and json.loads(mark.read_text()) == _stamp(dataset, audio)
    return there and all((place / f"{shard_name(i)}.npy").is_file() for i in range(dataset.header["shards"]))


def store_features(
    folder: Path, audio: AudioConfig, embed_speech: EmbedSpeech, notify: Callable[[int, int], None] | None = None
) -> None:
    """Compute and store the features that a dataset lacks.

    embed_speech(mono (n,) float32 at 16 kHz, frames) -> (frames, width), one row per video frame.
    notify(done, clips) may raise to interrupt. Raises DiffusedHeadsError if ``embed_speech`` returns another shape.
    """
    dataset, place = Dataset(folder), Path(folder) / "features" / label(audio)
    place.mkdir(parents=True, exist_ok=True)
    mark, stamp = place / "features.json", _stamp(dataset, audio)
    if not mark.is_file() or json.loads(mark.read_text()) != stamp:
        for old in place.glob("shard-*.npy"):
            old.unlink()
        with atomic_path(mark) as part:
            part.write_text(json.dumps(stamp))
    done = 0
    for number, clips in _clips_of_shards(dataset):
        path = place / f"{shard_name(number)}.npy"
        if not path.is_file():
            empty = np.empty((0, audio.input_width), np.float16)
            rows = np.concatenate([empty, *(_clip_rows(dataset, clip, audio, embed_speech) for clip in clips)])
            buffer = io.BytesIO()
            np.save(buffer, rows)
            with atomic_path(path) as part:
                part.write_bytes(buffer.getvalue())
        done += len(clips)
        if notify is not None:
            notify(done, len(dataset))


def _clips_of_shards(dataset: Dataset) -> list[tuple[int, list[int]]]:
    found: dict[int, list[int]] = {number: [] for number in range(dataset.header["shards"])}
    for clip in range(len(dataset)):
        found[dataset.shard(clip)].append(clip)
    return list(found.items())


def _clip_rows(dataset: Dataset, clip: int, audio: AudioConfig, embed_speech: EmbedSpeech) -> np.ndarray:
    samples, rate = dataset.audio(clip)
    mono = to_mono_16k(from_waveform(samples[None], rate, dataset.key(clip)))
    rows = embed_speech(mono if audio.kind == "torchscript" else normalise_level(mono), dataset.frames(clip))
    want = (dataset.frames(clip), audio.input_width)
    if tuple(rows.shape) != want:
        raise DiffusedHeadsError(
            f"clip {dataset.key(clip)}: expected features {want} of {audio.describe()}, found {tuple(rows.shape)}"
        )
    return rows.detach().cpu().numpy().astype(np.float16)


class FeatureRows:
    """The stored features of a dataset, memory-mapped: ``rows(clip, frames)`` -> (n, width) float32."""

    def __init__(self, folder: Path, audio: AudioConfig):
        if not is_stored(folder, audio):
            raise DiffusedHeadsError(
                f"{folder}: expected {audio.describe()} beside it (features/{label(audio)}), found none or another "
                "dataset's; give the speech model's weights to compute them"
            )
        dataset, place = Dataset(folder), Path(folder) / "features" / label(audio)
        self.folder, self.audio = Path(folder), audio
        self.files = [np.load(place / f"{shard_name(i)}.npy", mmap_mode="r") for i in range(dataset.header["shards"])]
        self.shard = np.array([dataset.shard(i) for i in range(len(dataset))])
        lengths = np.array([dataset.frames(i) for i in range(len(dataset))])
        before, (there, first) = np.cumsum(lengths) - lengths, np.unique(self.shard, return_index=True)
        self.start = before - before[first][np.searchsorted(there, self.shard)]

    def __reduce__(self) -> tuple[type, tuple[Path, AudioConfig]]:
        return FeatureRows, (self.folder, self.audio)

    def rows(self, clip: int, frames: Sequence[int]) -> np.ndarray:
        """The rows of the given frames of a clip."""
        return self.files[self.shard[clip]][self.start[clip] + np.asarray(frames)].astype(np.float32)
