"""Motions at other rates and lengths, and their editing, against what can be worked out by hand."""

from __future__ import annotations

import logging
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.motion import MotionClip, editing as edit, sample_track
from diffused_heads.diffused_heads_core.motion.columns import GROUPS, column_numbers
from diffused_heads.diffused_heads_core.motion.follow import fitted, followed
from diffused_heads.diffused_heads_core.motion.plot import blink_count, plot, summary
from diffused_heads.diffused_heads_core.motion.track import COLUMNS, MotionTrack

YAW, SMILE, LIDS = COLUMNS.index("yaw"), COLUMNS.index("smile"), COLUMNS.index("blink_left")


def ramp(frames: int = 10, fps: float = 25) -> MotionClip:
    """Every column counts the frames, in hundredths."""
    return MotionClip.of_values(np.repeat(np.arange(frames)[:, None] / 100, len(COLUMNS), 1), fps)


def yaw(clip: MotionClip) -> np.ndarray:
    return clip.track.values[:, YAW]


def test_a_line_stays_the_same_line_at_another_rate() -> None:
    clip = ramp(50).at_rate(Fraction(30000, 1001))
    assert len(clip) == 60 and clip.seconds == pytest.approx(2, abs=0.01)
    expected = ((np.arange(60) + 0.5) * 25 * 1001 / 30000 - 0.5).clip(0, 49) / 100
    np.testing.assert_allclose(yaw(clip), expected, atol=1e-6)
    assert len(ramp(50).at_rate(12.5)) == 25 and len(ramp(50).at_rate(25)) == 50


@pytest.mark.parametrize(
    "end, rows",
    [
        ("ping-pong", [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]),
        ("loop", [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]),
        ("hold", [0, 1, 2, 3, 3, 3, 3, 3, 3, 3]),
    ],
)
def test_a_longer_motion_goes_on(end: str, rows: list[int]) -> None:
    np.testing.assert_allclose(yaw(ramp(4).lasting(10, end)), np.array(rows) / 100, atol=1e-7)
    np.testing.assert_allclose(yaw(ramp(4).lasting(2, end)), [0, 0.01], atol=1e-7)
    assert len(ramp(1).lasting(3, end)) == 3


def test_rest_goes_back_to_the_portraits_pose_without_a_jump() -> None:
    tail = yaw(ramp(4).lasting(30, "rest"))[3:]
    assert tail[0] == pytest.approx(0.03) and (np.diff(tail) <= 0).all() and np.abs(np.diff(tail)).max() < 0.005
    assert not tail[16:].any()


def test_scale_and_offset_change_their_columns_alone() -> None:
    clip = ramp()
    scaled = edit.scale(clip, 3, "yaw,expression").track.values
    changed = [YAW, *column_numbers("expression")]
    np.testing.assert_allclose(scaled[:, changed], 3 * clip.track.values[:, changed], rtol=1e-6)
    others = np.setdiff1d(np.arange(len(COLUMNS)), changed)
    assert np.array_equal(scaled[:, others], clip.track.values[:, others])
    np.testing.assert_allclose(yaw(edit.offset(clip, 90, "turn")), yaw(clip) + np.pi / 2, rtol=1e-6)
    np.testing.assert_allclose(edit.offset(clip, 0.5, "smile").track.values[:, SMILE], yaw(clip) + 0.5, rtol=1e-6)


def test_smoothing_keeps_lines_and_means_and_flattens_noise() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (400, len(COLUMNS)))
    clip = edit.smooth(MotionClip.of_values(noise, 25), 0.2)
    assert yaw(clip).std() == pytest.approx(0.1 / np.sqrt(2 * np.sqrt(np.pi) * 5), rel=0.35)  # of white noise
    line = yaw(edit.smooth(ramp(100), 0.1, "yaw"))
    np.testing.assert_allclose(line[10:-10], yaw(ramp(100))[10:-10], atol=1e-6)


def test_hold_cut_and_mix() -> None:
    assert set(yaw(edit.hold(ramp(), 0.1)).tolist()) == {np.float32(0.02)}
    np.testing.assert_allclose(yaw(edit.cut(ramp(), 0.08, 0.12)), [0.02, 0.03, 0.04], atol=1e-7)
    still = MotionClip(MotionTrack.still(3), Fraction(50))
    np.testing.assert_allclose(yaw(edit.mix(ramp(), still, 0.25)), 0.75 * yaw(ramp()), rtol=1e-6)
    np.testing.assert_allclose(yaw(edit.add(ramp(), ramp())), 2 * yaw(ramp()), rtol=1e-6)


def test_keyframes_pass_through_their_keys_and_leave_other_columns() -> None:
    keys = edit.parse_keyframes("time, yaw, smile\n0, 0, 0.2\n1, 20,\n2, -20, 1\n")
    clip = edit.with_keyframes(ramp(25), keys)
    assert len(clip) == 50  # to the last key
    degrees = np.degrees(yaw(clip))
    assert degrees[0] == pytest.approx(0, abs=0.1) and degrees[24] == pytest.approx(20, abs=0.1)
    assert degrees[49] == pytest.approx(-20, abs=0.1) and np.abs(degrees).max() <= 20 + 1e-4
    assert degrees[37] == pytest.approx(0, abs=1)  # halfway
    np.testing.assert_allclose(clip.track.values[:25, COLUMNS.index("roll")], yaw(ramp(25)), atol=1e-7)
    straight = edit.with_keyframes(ramp(25), keys, "linear", added=True)
    np.testing.assert_allclose(np.degrees(yaw(straight)[12]), 10 + np.degrees(0.12), atol=1e-3)
    assert len(edit.of_keyframes(keys, 30)) == 60


@pytest.mark.parametrize(
    "text, words",
    [
        ("yaw\n1\n", "time, yaw, smile"),
        ("time,nod\n0,1\n", "'nod': expected one of time, yaw"),
        ("time,yaw\n1,0\n1,3\n", "line 3: expected a time after"),
        ("time,yaw\n0,90\n", "line 2: yaw=90: expected -45.84 to 45.84"),
        ("time,yaw\n0,x\n", "line 2, yaw"),
    ],
)
def test_wrong_keyframes_name_the_line(text: str, words: str) -> None:
    with pytest.raises(DiffusedHeadsError, match=words.replace("(", "\\(")):
        edit.parse_keyframes(text)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: edit.scale(ramp(), 2, "nod"), "'nod': expected one of yaw"),
        (lambda: edit.scale(ramp(), float("nan")), "finite"),
        (lambda: edit.smooth(ramp(), -1), "0 to 60"),
        (lambda: edit.mix(ramp(), ramp(), 1.5), "0 to 1"),
        (lambda: edit.cut(ramp(), 9), "within its 0.40 s"),
        (lambda: edit.constant({"smile": 2}), "smile=2: expected -1 to 1"),
        (lambda: edit.lengthened(ramp(), seconds=0), "length=0"),
        (lambda: ramp().lasting(5, "stop"), "ping-pong, loop, hold, rest"),
        (lambda: MotionClip(MotionTrack.still(0), Fraction(25)), "one frame or more"),
    ],
)
def test_wrong_amounts_are_refused(call: object, words: str) -> None:
    with pytest.raises(DiffusedHeadsError, match=words):
        call()  # type: ignore[operator]


def test_groups_name_columns_and_a_constant_has_theirs() -> None:
    assert all(set(names) <= set(COLUMNS) for names in GROUPS.values())
    values = edit.constant({"brows": 0.3, "yaw": -10}).track.values[0]
    assert values[YAW] == pytest.approx(-np.pi / 18) and np.count_nonzero(values) == 3


def test_a_model_follows_the_motion_within_its_limits(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clip = edit.constant({"smile": 0.5}, 10)
    track = fitted(edit.offset(clip, 60, "yaw"), 30, Fraction(50))
    assert len(track) == 30
    seen = followed(track, SimpleNamespace(head_motion=True, mouth=None), "human")
    assert seen is not None and seen.pose[:, 0] == pytest.approx(0.8)
    assert "range in yaw" in caplog.text and "no effect with the model human" in caplog.text
    assert followed(track, SimpleNamespace(head_motion=False), "paper") is None and "makes up its own" in caplog.text
    caplog.clear()
    assert len(fitted(ramp(10), 30, Fraction(25))) == 30 and "back and forth" in caplog.text


def test_the_plot_shows_every_panel_and_the_summary_counts_blinks() -> None:
    clip = MotionClip(sample_track(500, 25, 1), Fraction(25))
    lids = clip.track.values[:, LIDS]
    assert blink_count(clip) == int(((lids[1:] > 0.5) & (lids[:-1] <= 0.5)).sum()) > 2
    picture = plot(clip, 640)
    assert picture.shape[1] == 640 and picture.dtype == np.uint8 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    assert not np.array_equal(picture, plot(edit.scale(clip, 2), 640))
    lines = summary(clip)
    assert "20.00 s" in lines[0] and any(line.startswith("yaw") and "degrees" in line for line in lines)
    assert plot(MotionClip(MotionTrack.still(1), Fraction(25))).any()
