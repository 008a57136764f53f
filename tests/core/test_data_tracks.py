"""Motion tracks of datasets' clips: stored ones, and those of older and synthetic datasets."""

from __future__ import annotations

import numpy as np

from diffused_heads.diffused_heads_core.data.tracks import track_of
from diffused_heads.diffused_heads_core.motion.track import COLUMNS
from diffused_heads.diffused_heads_core.pose import FACE, POSE
from diffused_heads.training.synthesis.expression import EXPRESSION, index


def test_a_stored_track_counts() -> None:
    rows = np.random.default_rng(0).normal(0, 0.1, (5, len(COLUMNS))).astype(np.float32)
    track = track_of({"motion": rows, "pose": np.zeros((5, 5)), "expression": np.zeros((5, 12))})
    assert track is not None and np.array_equal(track.values, rows)


def test_others_have_pose_eyes_and_brows_and_synthetic_ones_the_smile() -> None:
    rng = np.random.default_rng(1)
    pose, expression = rng.normal(0, 0.1, (4, len(POSE))), rng.uniform(0, 1, (4, len(EXPRESSION)))
    annotations = {"pose": pose.astype(np.float32), "expression": expression.astype(np.float32)}
    exact, measured = track_of(annotations), track_of(annotations, measured=True)
    assert exact is not None and measured is not None
    np.testing.assert_allclose(exact.pose, pose, rtol=1e-6)
    for number, name in enumerate(FACE):
        np.testing.assert_allclose(exact.face[:, number], expression[:, index(name)], rtol=1e-6)
    np.testing.assert_allclose(exact.values[:, COLUMNS.index("smile")], expression[:, index("smile")], rtol=1e-6)
    assert not measured.expression.any() and not exact.size.any()
    assert track_of({"pose": pose}) is None
