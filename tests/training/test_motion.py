import numpy as np
import pytest

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.pose import POSE
from diffused_heads.training.synthesis import expression, motion
from diffused_heads.training.synthesis.expression import EXPRESSION, FACE, RANGES

FPS = 25.0


@pytest.fixture(scope="module")
def clips():
    """200 clips of 3 s with a syllable every 0.5 s."""
    level = np.abs(np.sin(np.pi * np.arange(75) / 12.5))
    return [motion.motion(np.random.default_rng(seed), level, FPS) for seed in range(200)]


def test_shapes_types_ranges(clips):
    low, high = np.array([RANGES[name] for name in FACE], np.float32).T
    for clip in clips:
        assert (
            clip.face.shape == (75, 7)
            and clip.pose.shape == (75, 5)
            and clip.face.dtype == clip.pose.dtype == np.float32
        )
        assert (clip.face >= low).all() and (clip.face <= high).all()


def test_same_seed_same_motion():
    level = np.zeros(50)
    a, b, c = (motion.motion(np.random.default_rng(s), level, FPS) for s in (1, 1, 2))
    assert np.array_equal(a.face, b.face) and np.array_equal(a.pose, b.pose) and not np.array_equal(a.pose, c.pose)


def test_head_statistics_limits_and_speed(clips):
    poses = np.stack([clip.pose for clip in clips])
    speed = np.abs(np.diff(poses, axis=1)).max((0, 1)) * FPS
    for i, name in enumerate(POSE):
        assert poses[..., i].std() == pytest.approx(motion.POSE_STD[name], rel=0.25)
        assert np.abs(poses[..., i]).max() <= motion.POSE_LIMIT[name] and speed[i] <= motion.POSE_SPEED[name] * 1.001


def test_head_has_no_jerks(clips):
    bend = max(np.abs(np.diff(clip.pose[:, :3], n=2, axis=0)).max() for clip in clips)
    assert bend < 0.006  # rad a frame squared


def test_blinks_keep_their_rate_and_shape():
    track = motion.blinks(np.random.default_rng(0), 25 * 4000, FPS)
    starts = np.flatnonzero((track[1:, 0] > 0.05) & (track[:-1, 0] <= 0.05))
    assert len(starts) / 4000 == pytest.approx(motion.BLINK_RATE, rel=0.1)
    assert np.corrcoef(track.T)[0, 1] > 0.98
    lengths = np.flatnonzero((track[1:, 0] <= 0.05) & (track[:-1, 0] > 0.05))[: len(starts)] - starts
    assert 4 <= np.median(lengths) <= 7 and 0.01 < (lengths > 10).mean() < 0.08


def test_blinks_shut_the_eye_and_last_as_written():
    fine = motion.blinks(np.random.default_rng(3), 20000, 1000.0)[:, 0]
    start = np.flatnonzero(fine > 0)[0]
    peak = start + np.flatnonzero(fine[start : start + 200] > 0.999)[0]
    assert fine[peak] > 0.999 and abs((peak - start) / 1000 - motion.BLINK_CLOSING) < 0.006


def test_gaze_rests_and_jumps():
    track = motion.gaze(np.random.default_rng(0), 25 * 1000, FPS)
    still = (np.abs(np.diff(track, axis=0)).max(1) < 1e-9).mean()
    assert still > 0.9 and np.abs(track).max() <= 0.7 and np.median(np.abs(track)) < 0.08


def test_nods_and_brows_follow_loud_syllables():
    level = np.zeros(100)
    level[50] = 1.0
    assert motion.stressed(level, FPS).tolist() == [50]
    pitch, brow = [], []
    for seed in range(600):
        loud, quiet = (motion.motion(np.random.default_rng(seed), v, FPS) for v in (level, np.zeros(100)))
        pitch.append(loud.pose[:, 1] - quiet.pose[:, 1])
        brow.append(loud.face[:, FACE.index("brow_left")] - quiet.face[:, FACE.index("brow_left")])
    # the drift of a seed is not the same in both (a beat consumes randomness), so only the mean shows the accent
    assert np.argmax(np.mean(brow, 0)) in range(48, 53) and np.mean(brow, 0).max() > 0.04
    assert np.mean(pitch, 0)[48:53].mean() > 0.003


def test_loudness_of_known_sounds():
    tone = np.repeat([0.0, 0.5, 1.0], 640)
    np.testing.assert_allclose(motion.loudness(tone, 16000, 3, FPS), [0, 0.5, 1], atol=1e-6)
    assert not motion.loudness(np.zeros(640), 16000, 2, FPS).any()


def test_expression_helpers():
    assert expression.index("blink_left") == 6 and len(EXPRESSION) == 12 and set(RANGES) == set(EXPRESSION)
    assert expression.neutral(3).shape == (3, 12) and expression.clamp(np.full(12, 9.0)).max() == 1
    with pytest.raises(DiffusedHeadsError, match="'jaw'"):
        expression.index("jaw")
