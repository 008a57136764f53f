"""Samples read from the shards equal those from the decoded cache, whose building can be interrupted."""

from __future__ import annotations

import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.data.codecs import decode_frames, decode_video, encode_video
from diffused_heads.diffused_heads_core.data.shards import Dataset
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.training.cache import cache_size, fits, open_store
from diffused_heads.training.dataset import FrameSamples
from diffused_heads.training.streaming import ShardStore

sys.path.insert(0, str(Path(__file__).parent))
from small_run import open_run, small_config


def test_any_frames_of_a_video_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    video = encode_video(np.cumsum(rng.integers(0, 9, (70, 16, 16, 3)), 0).astype(np.uint8), 25)
    whole = decode_video(video)
    for wanted in ([0], [69], [3, 4, 5, 60], [50, 2, 2, 51, 69], list(range(70)), [11, 12, 13], [68, 0]):
        assert np.array_equal(decode_frames(video, wanted), whole[wanted]), wanted
    with pytest.raises(DiffusedHeadsError, match=r"expected frames \[70\]"):
        decode_frames(video, [70])
    with pytest.raises(DiffusedHeadsError, match="decoding failed"):
        decode_frames(video[:100], [0])


def test_samples_are_the_same_from_the_cache_and_from_the_shards(corpus: Path) -> None:
    model = small_config().model
    cached, streamed = (
        FrameSamples(open_store(corpus, model.audio), model),
        FrameSamples(ShardStore(corpus, model.audio.mels), model),
    )
    streamed = pickle.loads(pickle.dumps(streamed))
    for position in (0, 7, 30, 47, 48, 100):
        a, b = cached[position], streamed[position]
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_reads_the_shards_if_the_cache_has_no_room(corpus: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(corpus, tmp_path / "data", ignore=shutil.ignore_patterns("cache")))
    dataset = Dataset(data)
    assert fits(data, dataset, cache_size(dataset)) and not fits(data, dataset, cache_size(dataset) - 1)
    trainer = open_run(data, tmp_path / "run", small_config(steps=2), cache_gb=0.0)
    assert trainer.fit() == "done" and isinstance(trainer.samples.store, ShardStore) and not (data / "cache").exists()
    cached = open_run(corpus, tmp_path / "cached", small_config(steps=2))
    cached.fit()
    assert all(torch.equal(p, q) for p, q in zip(trainer.denoiser.parameters(), cached.denoiser.parameters()))


def test_decoding_resumes_after_an_interruption(corpus: Path, tmp_path: Path) -> None:
    class Stop(BaseException):
        pass

    data, audio, seen = (
        Path(shutil.copytree(corpus, tmp_path / "data", ignore=shutil.ignore_patterns("cache"))),
        small_config().model.audio,
        [],
    )

    def stop(done: int, clips: int) -> None:
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        open_store(data, audio, 0, stop)
    with (data / "cache" / "decoded.txt").open("a") as file:
        file.write("3")  # a line that was cut off: clip 3 or 31
    store = open_store(data, audio, 0, lambda done, clips: seen.append((done, clips)))
    assert seen == [(3, 4), (4, 4)]
    want = open_store(corpus, audio)
    assert np.array_equal(store.frames, want.frames) and np.array_equal(store.mels, want.mels)
    assert sorted(store.tracks) == ["expression", "lip_box", "pose"]
