"""Head-motion tracks: ranges, rates, and a longer clip that begins like a shorter one."""

from __future__ import annotations

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.motion import MotionOptions, MotionTrack, sample_track
from diffused_heads.diffused_heads_core.motion.random_motion import POSE_DEVIATION
from diffused_heads.diffused_heads_core.motion.track import COLUMNS, LIMITS

FPS = 25


def long_tracks(options: MotionOptions = MotionOptions(), seconds: int = 600, seeds: int = 3) -> list[MotionTrack]:
    return [sample_track(seconds * FPS, FPS, seed, options) for seed in range(seeds)]


def blink_count(track: MotionTrack) -> int:
    closed = track.face[:, 0] > 0.5
    return int((closed[1:] & ~closed[:-1]).sum())


@pytest.mark.parametrize("frames", [0, 1, 7, 100, 999])
def test_a_longer_clip_begins_like_a_shorter_one(frames: int) -> None:
    short, long = sample_track(frames, FPS, 4), sample_track(1000, FPS, 4)
    assert short.pose.shape == (frames, 5) and short.face.shape == (frames, 6)
    assert np.array_equal(short.pose, long.pose[:frames]) and np.array_equal(short.face, long.face[:frames])


def test_seeds_differ_and_repeat() -> None:
    first, again, other = (sample_track(250, FPS, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.pose, again.pose) and np.array_equal(first.face, again.face)
    assert np.abs(first.pose - other.pose).max() > 0.02 and np.abs(first.face - other.face).max() > 0.1


def test_values_stay_in_range_and_have_their_deviation() -> None:
    for track in long_tracks():
        assert track.pose.dtype == track.face.dtype == np.float32
        assert (
            np.abs(track.pose).max(0) == pytest.approx(0, abs=3)
            and (np.abs(track.pose) < 3 * np.array(POSE_DEVIATION)).all()
        )
        np.testing.assert_allclose(track.pose.std(0), POSE_DEVIATION, rtol=0.25)
        assert track.face[:, :2].min() >= 0 and track.face[:, :2].max() <= 1
        assert np.abs(track.face[:, 2:]).max() < 1.5 and np.abs(track.face[:, 4:]).max() <= np.float32(0.6)
        assert np.array_equal(track.face[:, 0], track.face[:, 1])


@pytest.mark.parametrize("rate", [0.15, 0.28, 0.6])
def test_blinks_come_at_their_rate(rate: float) -> None:
    counts = [blink_count(track) for track in long_tracks(MotionOptions(blinks=rate), seeds=4)]
    assert np.mean(counts) / 600 == pytest.approx(rate, rel=0.15)


def test_blinks_are_short_and_close_faster_than_they_open() -> None:
    lids = sample_track(600 * 200, 200, 0).face[:, 0]
    closed, rate = lids > 0.5, blink_count(sample_track(600 * 200, 200, 0)) / 600
    assert 0.05 < closed.mean() / rate < 0.3  # seconds a blink
    speed = np.diff(lids)
    assert (speed > 0).sum() < (speed < 0).sum()


def test_motion_is_slow_and_starts_at_the_identitys_pose() -> None:
    for seed in range(5):
        track = sample_track(250, FPS, seed)
        assert np.abs(track.pose[0]).max() < 0.005
        assert np.abs(np.diff(track.pose[:, 0])).max() < 0.04  # radians a frame


def test_nothing_moves_at_zero() -> None:
    track = sample_track(250, FPS, 0, MotionOptions(0, 0, 0, 0))
    assert not track.pose.any() and not track.face.any()


def test_twice_the_liveliness_is_twice_the_motion() -> None:
    plain, strong = sample_track(250, FPS, 0), sample_track(250, FPS, 0, MotionOptions(head=2, gaze=2))
    np.testing.assert_allclose(strong.pose, 2 * plain.pose, rtol=1e-6)
    np.testing.assert_allclose(strong.face[:, 2:4], 2 * plain.face[:, 2:4], rtol=1e-6)


def test_a_state_is_one_frame_for_every_row() -> None:
    track = sample_track(50, FPS, 3)
    state = track.states(30, "cpu").repeated(20, 3)
    assert state.pose.shape == (3, 5) and np.array_equal(state.face[2].numpy(), track.face[20])


def test_options_check_themselves() -> None:
    with pytest.raises(DiffusedHeadsError) as caught:
        MotionOptions(head=-1, blinks=3)
    assert "head=-1" in str(caught.value) and "blinks=3" in str(caught.value)


def test_columns_of_a_track_go_there_and_back() -> None:
    values = np.random.default_rng(0).normal(size=(7, len(COLUMNS))).astype(np.float32)
    track = MotionTrack.of_values(values)
    assert np.array_equal(track.values, values) and len(track) == 7
    assert np.array_equal(track.pose, values[:, :5]) and np.array_equal(track.size, values[:, 5])
    assert np.array_equal(track.face, values[:, 6:12]) and np.array_equal(track.expression, values[:, 12:])
    assert np.array_equal(track.part(slice(2, 4)).values, values[2:4])
    assert not MotionTrack.still(3).values.any()
    limited = track.limited().values
    for number, name in enumerate(COLUMNS):
        low, high = LIMITS[name]
        assert limited[:, number].min() >= low and limited[:, number].max() <= np.float32(high)


@pytest.mark.parametrize("size", [np.zeros(3), np.full(4, np.nan), np.zeros((4, 1))])
def test_a_track_of_other_shapes_or_values_is_refused(size: np.ndarray) -> None:
    with pytest.raises(DiffusedHeadsError, match=r"motion track, size: expected finite numbers \(4,\)"):
        MotionTrack(np.zeros((4, 5)), np.zeros((4, 6)), size)
