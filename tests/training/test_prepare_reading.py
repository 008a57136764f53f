"""Pictures by their time stamps, sound timed by the pictures, and cuts."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.media import shots
from diffused_heads.training.preparation.decode import LONGEST_HOLD, PictureReader
from diffused_heads.training.preparation.sound import SoundReader

sys.path.insert(0, str(Path(__file__).parent))
from prepare_stage import RATE, record


def numbered(count: int, height: int = 32, width: int = 48) -> list[np.ndarray]:
    """Grey pictures whose brightness tells their number."""
    return [np.full((height, width, 3), 20 + 4 * n, np.uint8) for n in range(count)]


def numbers(path: Path, fps: float) -> dict[int, int]:
    """Which numbered picture was read for each moment."""
    return {m.index: round((float(m.picture.rgb().mean()) - 20) / 4) for m in PictureReader(path, fps).moments()}


@pytest.mark.parametrize("rate", [15, 22.13, 24, 25, 30000 / 1001, 50, 60])
def test_each_moment_shows_the_picture_that_is_on_screen_then(tmp_path: Path, rate: float) -> None:
    stamps = np.arange(45) / rate
    found = numbers(record(tmp_path / "a.mp4", numbered(45), stamps), 25)
    assert list(found) == list(range(len(found))) and len(found) == pytest.approx(45 / rate * 25, abs=1)
    for index, number in found.items():
        assert stamps[number] - 1e-3 <= (index + 0.5) / 25 < stamps[number] + 1 / rate + 1e-3


def test_uneven_time_stamps_are_followed(tmp_path: Path) -> None:
    stamps = np.cumsum(np.random.default_rng(1).uniform(0.01, 0.09, 40))
    stamps -= stamps[0]
    found = numbers(record(tmp_path / "a.mp4", numbered(40), stamps), 25)
    for index, number in list(found.items())[:-2]:
        assert stamps[number] - 1e-3 <= (index + 0.5) / 25 < stamps[number + 1] + 1e-3


def test_the_same_picture_twice_is_not_fresh(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mp4", numbered(20), np.arange(20) / 12.5)
    assert [m.fresh for m in PictureReader(path, 25).moments()] == [True, False] * 20


def test_a_gap_is_left_out_and_not_filled(tmp_path: Path) -> None:
    stamps = np.concatenate([np.arange(10) / 25, 2 + np.arange(10) / 25])
    found = numbers(record(tmp_path / "a.mp4", numbered(20), stamps), 25)
    held = [index for index in found if 10 <= index < 50]
    assert held == list(range(10, 9 + round(LONGEST_HOLD * 25))) and found[50] == 10 and max(found) == 59


def test_facts_describe_the_file(tmp_path: Path) -> None:
    reader = PictureReader(record(tmp_path / "a.mp4", numbered(30), np.arange(30) / 30, np.zeros(RATE, np.float32)), 25)
    list(reader.moments())
    facts = reader.facts
    assert (facts.codec, facts.height, facts.width, facts.decoded, facts.has_sound) == ("h264", 32, 48, 30, True)
    assert facts.rate == pytest.approx(30, abs=0.1) and facts.remarks == []


def test_a_rotated_video_comes_upright(tmp_path: Path) -> None:
    picture = np.full((32, 48, 3), 40, np.uint8)
    picture[:, :24] = 200  # stored: bright on the left
    path = record(tmp_path / "a.mp4", [picture] * 3, np.arange(3) / 25)
    data, one = path.read_bytes(), 0x10000
    still, quarter = (
        struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30),
        struct.pack(">9i", 0, one, 0, -one, 0, 0, 32 * one, 0, 1 << 30),
    )
    at = data.index(still, data.index(b"tkhd"))
    path.write_bytes(data[:at] + quarter + data[at + len(still) :])
    shown = next(iter(PictureReader(path, 25).moments())).picture
    assert shown.size == (48, 32) and shown.rgb().shape == (48, 32, 3)
    assert (
        shown.rgb()[:20].mean() > 150 > 90 > shown.rgb()[28:].mean()
    )  # a quarter turn clockwise brings left to the top


def test_a_smaller_picture_keeps_its_shape(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mp4", numbered(2, 64, 128), np.arange(2) / 25)
    shown = next(iter(PictureReader(path, 25).moments())).picture
    assert shown.rgb(32).shape == (16, 32, 3) and shown.rgb(500).shape == (64, 128, 3)


def test_a_damaged_file_gives_what_is_left_of_it(tmp_path: Path) -> None:
    pictures = [np.random.default_rng(n).integers(0, 255, (48, 64, 3)).astype(np.uint8) for n in range(50)]
    path = record(tmp_path / "a.mkv", pictures, np.arange(50) / 25)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    reader = PictureReader(path, 25)
    found = list(reader.moments())
    assert 10 < len(found) < 50 and (
        reader.facts.damaged or reader.facts.remarks or np.diff([m.index for m in found]).max() > 1
    )


@pytest.mark.parametrize(("content", "message"), [(b"", "empty"), (b"this is no video " * 99, "expected a video file")])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(DiffusedHeadsError, match=f"a.mp4.*{message}"):
        list(PictureReader(tmp_path / "a.mp4", 25).moments())


def tone(seconds: float) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.4 * np.sin(2 * np.pi * (200 + 100 * time) * time)).astype(np.float32)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def test_parts_of_the_sound_fit_their_moment(tmp_path: Path) -> None:
    sound = tone(4)
    path = record(tmp_path / "a.mkv", numbered(50), np.arange(50) / 12.5, sound)
    reader = SoundReader(path, 0.0)
    for start, end in ((0.0, 1.0), (0.52, 1.84), (2.0, 3.96)):
        part = reader.part(start, end)
        want = sound[round(start * RATE) : round(end * RATE)]
        assert len(part) == round((end - start) * RATE)
        assert reader.there(np.array([start, end])).all()
        shifts = {s: correlation(np.roll(part, s)[800:-800], want[800:-800]) for s in range(-400, 401, 16)}
        assert max(shifts, key=shifts.get) in range(-40, 41) and max(shifts.values()) > 0.95


def test_late_sound_is_late_and_missing_sound_is_silent(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mkv", numbered(50), np.arange(50) / 25, tone(0.8), sound_at=0.7)
    reader = SoundReader(path, 0.0)
    part = reader.part(0.0, 2.0)
    assert (
        np.abs(part[: round(0.6 * RATE)]).max() < 1e-3 < 0.1 < np.abs(part[round(0.8 * RATE) : round(1.4 * RATE)]).max()
    )
    assert np.abs(part[round(1.7 * RATE) :]).max() < 1e-3
    assert reader.there(np.array([0.6, 0.7, 1.5, 1.65])).tolist() == [False, True, True, False]
    assert not reader.part(5.0, 6.0).any() and not reader.there(np.array([5.5])).any()


def test_no_sound_track_is_silence(tmp_path: Path) -> None:
    reader = SoundReader(record(tmp_path / "a.mp4", numbered(5), np.arange(5) / 25), 0.0)
    assert reader.part(0, 0.2).shape == (3200,) and not reader.part(0, 0.2).any()
    assert not reader.there(np.array([0.1])).any()


def scene(seed: int, count: int, drift: float = 0.0) -> list[np.ndarray]:
    wide = np.random.default_rng(seed).integers(0, 255, (12, 40, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    return [wide[:, round(drift * n) : round(drift * n) + 160] for n in range(count)]


def cuts(pictures: list[np.ndarray]) -> list[int]:
    return shots.find_cuts(np.stack([shots.thumbnail(p) for p in pictures])).tolist()


def test_cuts_are_found_where_they_are() -> None:
    assert cuts(scene(0, 12) + scene(1, 9) + scene(2, 3) + scene(3, 10)) == [12, 21, 24]
    assert cuts(scene(0, 12, 1.0) + scene(1, 12, 1.0)) == [12]


def test_neither_motion_nor_flashes_are_cuts() -> None:
    flash = scene(0, 20)
    flash[9] = np.full_like(flash[9], 255)
    assert cuts(scene(4, 30, 5.0)) == [] and cuts(flash) == [] and cuts(scene(0, 1)) == []
