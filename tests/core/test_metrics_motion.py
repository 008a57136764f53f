"""Optical flow and frame differences: against an implementation written from the formula, and on known motion."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.evaluation.meters import SideMeter
from diffused_heads.diffused_heads_core.evaluation.metrics import motion
from diffused_heads.diffused_heads_core.evaluation.metrics.pictures import luminance
from diffused_heads.diffused_heads_core.media.video import read_video

REAL = Path(__file__).resolve().parents[3] / "shared" / "real_inputs" / "video"
CLIPS = ("EAMM_happy.mp4", "LipNet_bbaf2n.mpg", "lip-readin_sample_video.mp4")
FRAMES = 20


def texture(size: int = 96, seed: int = 0) -> np.ndarray:
    """A smooth random picture twice as wide as asked, so that a window can move over it."""
    noise = np.random.default_rng(seed).normal(0, 1, (2 * size, 2 * size, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.clip(128 + 60 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def moving(step: float, frames: int = 4, size: int = 96) -> list[np.ndarray]:
    """A window that moves ``step`` px to the right a frame: its content moves to the left."""
    whole = texture(size)
    place = [np.float32([[1, 0, -20 - step * n], [0, 1, -20]]) for n in range(frames)]
    return [cv2.warpAffine(whole, m, (size, size), flags=cv2.INTER_LINEAR) for m in place]


def oracle(frames: list[np.ndarray]) -> tuple[float, float]:
    """OFM and F-MSE of the paper's appendix, in as few lines as they take."""
    grays = [cv2.cvtColor(np.ascontiguousarray(f[..., ::-1]), cv2.COLOR_BGR2GRAY) for f in frames]
    flow = [cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 7, 5, 15, 5, 1.2, 0) for a, b in pairwise(grays)]
    flows = np.stack(flow).astype(np.float64)
    clip = np.stack(frames).astype(np.float64)
    return float(np.sqrt((flows**2).sum(-1)).mean()), float(((clip[1:] - clip[:-1]) ** 2).mean())


def measured(frames: list[np.ndarray]) -> tuple[float, float]:
    """OFM and F-MSE of a clip as an evaluation measures them."""
    meter = SideMeter(25, 1.0)
    for frame in frames:
        meter.add(frame)
    values = meter.figures().values
    return values["ofm"], values["f_mse"]


@pytest.mark.parametrize("name", CLIPS)
def test_real_clips_agree_with_the_formula(name: str) -> None:
    if not (REAL / name).is_file():
        pytest.skip(f"{name} is not in ../shared/real_inputs/video")
    frames = [
        cv2.resize(f, (f.shape[1] // 2, f.shape[0] // 2), interpolation=cv2.INTER_AREA)
        for f, _ in zip(read_video(REAL / name).frames, range(FRAMES))
    ]
    assert measured(frames) == pytest.approx(oracle(frames), rel=1e-4) and min(oracle(frames)) > 0


def test_made_clips_agree_with_the_formula() -> None:
    for step in (0.3, 1.7):
        frames = moving(step)
        assert measured(frames) == pytest.approx(oracle(frames), rel=1e-5)


@pytest.mark.parametrize("step", [0.5, 1.0, 2.0])
def test_the_flow_of_a_shift_is_the_shift(step: float) -> None:
    a, b = (luminance(f) for f in moving(step, 2))
    assert np.median(motion.flow_magnitude(a, b)[15:-15, 15:-15]) == pytest.approx(step, abs=0.1)


def test_a_frozen_picture_does_not_move() -> None:
    ofm, mse = measured(moving(1, 1) * 3)
    assert ofm < 0.02 and mse == 0


def test_frame_mse_of_a_known_change() -> None:
    black, grey = np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16, 3), np.uint8)
    grey[:8, :, 0] = 200  # half of the pixels, one of three channels
    assert motion.frame_mse(black, grey) == motion.frame_mse(grey, black) == pytest.approx(200**2 / 6)


def test_the_released_variant_hides_how_large_the_motion_is() -> None:
    a, b = (luminance(f) for f in moving(1.0, 2))
    length = motion.flow_magnitude(a, b)
    assert motion.released_flow_figure(length) == pytest.approx(motion.released_flow_figure(10 * length), abs=1)
    assert motion.released_flow_figure(np.zeros((16, 16), np.float32)) == pytest.approx(
        128 / 3
    )  # JET begins at (0, 0, 128)
    ramp = np.tile(np.linspace(0, 3, 256, dtype=np.float32), (4, 1))
    coloured = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_JET)
    assert motion.released_flow_figure(ramp) == pytest.approx(coloured.mean(), abs=0.5)
    assert 42 < motion.released_flow_figure(length) < 171


def test_fewer_than_two_frames_have_no_motion() -> None:
    assert np.isnan(measured(moving(0, 1))).all()


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((16, 16), np.uint8),
        np.zeros((16, 16, 3)),
        np.zeros((16, 16, 4), np.uint8),
        np.zeros((8, 16, 3), np.uint8),
    ],
)
def test_what_is_no_frame_is_refused(frame: np.ndarray) -> None:
    with pytest.raises(DiffusedHeadsError, match="expected uint8"):
        luminance(frame)
