"""The samples of a run: its datasets checked, decoded or read from their shards, with stored speech features."""

from __future__ import annotations

import logging
from pathlib import Path

from ..diffused_heads_core.config import MEL_KINDS, AudioConfig
from ..diffused_heads_core.data.shards import Dataset
from ..diffused_heads_core.errors import DiffusedHeadsError
from .cache import cache_size, fits, open_store
from .config import TrainConfig
from .dataset import FrameSamples, Store, check_tracks
from .features import EmbedSpeech, FeatureRows, is_stored, store_features
from .job import Notify
from .streaming import ShardStore

log = logging.getLogger(__name__)


def check_dataset(dataset: Dataset, config: TrainConfig) -> None:
    """Raise DiffusedHeadsError if annotations, picture size or frame rate do not fit the model."""
    model = config.model
    check_tracks(config, frozenset(dataset.header["annotations"]), dataset.path)
    expected = (("size", dataset.size, model.unet.image_size), ("fps", dataset.fps, model.fps))
    wrong = [f"{name} is {found}, the model wants {wanted}" for name, found, wanted in expected if found != wanted]
    if wrong:
        raise DiffusedHeadsError(f"{dataset.path}: " + "; ".join(wrong))


def open_samples(dataset: Dataset, config: TrainConfig, cache_gb: float | None, notify: Notify) -> FrameSamples:
    """A dataset's samples; see ``open_store_or_shards``."""
    audio = config.model.audio
    store = open_store_or_shards(dataset, audio, cache_gb, config.workers, notify)
    return FrameSamples(store, config.model, config.seed, open_features(dataset.path, audio), config.stability)


def open_store_or_shards(
    dataset: Dataset, audio: AudioConfig, cache_gb: float | None, workers: int, notify: Notify
) -> Store:
    """A dataset's frames, from its decoded cache if that fits on the disk (see ``Job.cache_gb``), else its shards."""
    if fits(dataset.path, dataset, None if cache_gb is None else cache_gb * 1e9):
        return open_store(dataset.path, audio, workers, lambda done, clips: notify("decoding", done, clips))
    size = cache_size(dataset) / 1e9
    log.info("%s: %.0f GB decoded do not fit, frames are decoded while training", dataset.path, size)
    return ShardStore(dataset.path, audio.mels)


def prepare_features(folders: set[Path], audio: AudioConfig, embed_speech: EmbedSpeech | None, notify: Notify) -> None:
    """Compute and store the speech features that datasets lack, if the audio front end needs any."""
    if audio.kind in MEL_KINDS or embed_speech is None:
        return
    for folder in folders:
        if not is_stored(folder, audio):
            store_features(folder, audio, embed_speech, lambda done, clips: notify("speech features", done, clips))


def open_features(folder: Path, audio: AudioConfig) -> FeatureRows | None:
    """A dataset's stored speech features; None for an audio front end that computes its own from the sound.

    Raises DiffusedHeadsError if they are missing.
    """
    return None if audio.kind in MEL_KINDS else FeatureRows(folder, audio)
