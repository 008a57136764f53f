import json
import pickle
import tarfile

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.data import codecs as media, shards
from diffused_heads.diffused_heads_core.data.shards import Clip, Dataset, ShardWriter, finish_dataset
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.media.mixdown import resample

SIZE, FRAMES, RATE = 32, 10, 16000


def make(seed, frames=FRAMES):
    """A smooth moving picture with a tone."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    t = np.arange(frames)[:, None, None] / frames
    pictures = np.stack([x + 0 * t, y + 0 * t, 0.5 + 0.5 * np.sin(6 * (x + y + t) + seed)], -1)
    audio = 0.5 * np.sin(np.arange(frames * RATE // 25) / 20).astype(np.float32)
    rows = {"pose": np.full((frames, 5), seed, np.float32), "phoneme": np.arange(frames, dtype=np.int16)}
    return Clip((255 * pictures).astype(np.uint8), audio, RATE, rows, {"identity": f"id-{seed}", "licence": "CC0"})


def write(folder, shape=(3, 2)):
    for index, count in enumerate(shape):
        with ShardWriter(folder, index, 25.0, SIZE, {"seed": 1}) as shard:
            for i in range(count):
                shard.add(f"clip-{index}-{i}", make(10 * index + i))
    finish_dataset(folder, len(shape), {"pose": "rad"}, {"licence": "CC0"})
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "data")


def test_round_trip(folder):
    data = Dataset(folder)
    assert len(data) == 5 and data.keys[3] == "clip-1-0" and data.fps == 25 and data.size == SIZE
    for i, seed in enumerate((0, 1, 2, 10, 11)):
        clip, truth = data.clip(i), make(seed)
        assert clip.frames.shape == truth.frames.shape and clip.frames.dtype == np.uint8
        assert np.abs(clip.frames.astype(int) - truth.frames).mean() < 4
        np.testing.assert_allclose(clip.audio, truth.audio, atol=1 / 32767)
        assert clip.sample_rate == RATE and clip.annotations.keys() == truth.annotations.keys()
        for name, array in truth.annotations.items():
            np.testing.assert_array_equal(clip.annotations[name], array)
            assert clip.annotations[name].dtype == array.dtype
        assert clip.meta == {**truth.meta, "fps": 25.0, "size": SIZE, "frames": FRAMES}
    data.verify()


def test_header_counts_and_describes(folder):
    header = json.loads((folder / "dataset.json").read_text())
    assert (header["clips"], header["frames"], header["shards"]) == (5, 50, 2)
    assert header["annotations"]["pose"] == {"dtype": "float32", "shape": [5], "unit": "rad"}


def test_tar_tools_and_the_index_agree(folder):
    index = json.loads((folder / "shard-000000.json").read_text())
    raw = (folder / "shard-000000.tar").read_bytes()
    with tarfile.open(folder / "shard-000000.tar") as tar:
        assert len(tar.getmembers()) == 12 and {m.mtime for m in tar} == {0}
        for entry in index["clips"]:
            for member in shards.MEMBERS:
                offset, length = entry[member]
                assert tar.extractfile(f"{entry['key']}.{member}").read() == raw[offset : offset + length]


def test_the_same_clips_give_the_same_bytes(folder, tmp_path):
    again = write(tmp_path / "again")
    for path in folder.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_no_temporary_files_stay(folder):
    assert sorted(p.name for p in folder.iterdir()) == [
        "dataset.json",
        "shard-000000.json",
        "shard-000000.tar",
        "shard-000001.json",
        "shard-000001.tar",
    ]


def test_an_error_leaves_no_shard(tmp_path):
    with pytest.raises(RuntimeError), ShardWriter(tmp_path, 0, 25.0, SIZE) as shard:
        shard.add("a", make(1))
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with pytest.raises(DiffusedHeadsError, match="missing shard-000000"):
        finish_dataset(tmp_path, 1)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"frames": np.zeros((10, 32, 16, 3), np.uint8)}, r"\(T, S, S, 3\) uint8, found \(10, 32, 16, 3\)"),
        ({"audio": np.zeros(100, np.float32)}, "10 frames at 25.0 fps and 100 samples at 16000 Hz"),
        ({"annotations": {"pose": np.zeros((9, 5))}}, "pose must have 10 rows"),
        ({"annotations": {"pose": np.array([None] * 10)}}, "plain numbers"),
    ],
)
def test_bad_clips_are_refused(tmp_path, change, message):
    clip = Clip(**{**make(1).__dict__, **change})
    with pytest.raises(DiffusedHeadsError, match=message), ShardWriter(tmp_path, 0, 25.0, SIZE) as shard:
        shard.add("a", clip)


def test_bad_keys_sizes_and_repeats_are_refused(tmp_path):
    with ShardWriter(tmp_path, 0, 25.0, SIZE) as shard:
        shard.add("a", make(1))
        for key, clip, message in (
            ("../b", make(1), "key must be"),
            ("a", make(1), "already"),
            ("c", Clip(**{**make(1).__dict__, "annotations": {}}), "expected size"),
        ):
            with pytest.raises(DiffusedHeadsError, match=message):
                shard.add(key, clip)


def damage(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("shard-000001.tar", lambda b: b[:-2000], "expected a shard of"),
        ("shard-000001.json", lambda b: b[:100], "expected JSON"),
        ("dataset.json", lambda b: b"[]", "expected diffused-heads-shards version 1, found list"),
        (
            "dataset.json",
            lambda b: b.replace(b'"version": 1', b'"version": 9'),
            "found diffused-heads-shards version 9",
        ),
        ("dataset.json", lambda b: b.replace(b'"clips": 5', b'"clips": 6'), "expected 6 clips, found 5"),
    ],
)
def test_damage_is_seen_at_opening(folder, name, change, message):
    damage(folder, name, change)
    with pytest.raises(DiffusedHeadsError, match=message):
        Dataset(folder)


@pytest.mark.parametrize("name", ["dataset.json", "shard-000001.json", "shard-000000.tar"])
def test_missing_files_are_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DiffusedHeadsError, match=name):
        Dataset(folder)


@pytest.mark.parametrize("member", ["mp4", "wav", "npz", "json"])
def test_damaged_members_are_named(folder, member):
    offset, length = json.loads((folder / "shard-000000.json").read_text())["clips"][1][member]
    damage(folder, "shard-000000.tar", lambda b: b[:offset] + b"\xff" * length + b[offset + length :])
    data = Dataset(folder)
    data.clip(0)
    with pytest.raises(DiffusedHeadsError, match=f"clip-0-1.{member} is damaged"):
        data.clip(1)
    with pytest.raises(DiffusedHeadsError, match="expected SHA-256"):
        data.verify()


def test_a_dataset_travels_to_other_processes(folder):
    data = pickle.loads(pickle.dumps(Dataset(folder)))
    assert data.meta(4)["identity"] == "id-11" and data.audio(4)[1] == RATE and data.frames(4) == FRAMES
    with pytest.raises(IndexError):
        data.clip(5)


def test_resampling_keeps_a_tone():
    t = np.arange(22050) / 22050
    out = resample(np.sin(2 * np.pi * 440 * t).astype(np.float32)[None], 22050, 16000)[0]
    truth = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert out.shape == (16000,) and out.dtype == np.float32
    np.testing.assert_allclose(out[200:-200], truth[200:-200], atol=0.01)


def test_video_keeps_flat_colours():
    colours = np.random.default_rng(0).integers(0, 256, (12, 3), np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (12, 64, 64, 3))
    decoded = media.decode_video(media.encode_video(frames, 25.0))
    assert np.abs(decoded.astype(int) - frames).max() <= 4
