"""How much moves: optical flow and frame differences between consecutive frames, as in the paper's appendix.

Both are meant to be near the ground truth's, not near zero: a frozen picture has the least motion of all.
Frames are uint8 (H, W, 3) RGB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np

from ...errors import DiffusedHeadsError

FARNEBACK = {"pyr_scale": 0.5, "levels": 7, "winsize": 5, "iterations": 15, "poly_n": 5, "poly_sigma": 1.2, "flags": 0}
SMALLEST = 16  # px of a side


def luminance(frame: np.ndarray) -> np.ndarray:
    """uint8 (H, W) of an RGB frame, ITU-R BT.601 weights; DiffusedHeadsError for other shapes and types."""
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or min(frame.shape[:2]) < SMALLEST:
        raise DiffusedHeadsError(
            f"frame: expected uint8 (H, W, 3) of at least {SMALLEST} px, found {frame.dtype} {frame.shape}"
        )
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def flow_magnitude(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Length of the optical flow (H, W) float32, pixels a frame, between two luminances (H, W) uint8.

    Farneback 2003 with the parameters of the paper's appendix.
    """
    flow = cv2.calcOpticalFlowFarneback(before, after, None, **FARNEBACK)
    return cv2.magnitude(flow[..., 0], flow[..., 1])


def released_flow_figure(magnitude: np.ndarray) -> float:
    """One frame pair's figure as the released evaluation has it: lengths (H, W) stretched to 0..255, coloured,
    averaged.

    Range 42 (nothing stands out) .. 171. The stretch hides how large the motion is; compare it with nothing but the
    same figure of the truth. Source: the published figures of about 70; the colour map is not documented, and of
    OpenCV's usual ones JET is the one that gives such figures.
    """
    stretched = cv2.normalize(magnitude, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return float(np.bincount(stretched.ravel(), minlength=256) @ _jet() / stretched.size)


@lru_cache(maxsize=1)
def _jet() -> np.ndarray:
    """Mean over channels of each of the colour map's 256 colours."""
    return cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_JET)[0].mean(-1)


def frame_mse(before: np.ndarray, after: np.ndarray) -> float:
    """Mean squared difference of two frames over pixels and channels, on the scale 0..255: 0..65025."""
    difference = cv2.absdiff(before, after).astype(np.int32)
    return float(np.square(difference).mean())


def _flows(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    return (flow_magnitude(a, b) for a, b in pairwise(luminance(f) for f in frames))


def optical_flow_magnitude(frames: Iterable[np.ndarray]) -> float:
    """OFM: mean length of the optical flow between consecutive frames, pixels a frame, 0 or more.

    OFM = mean over frame pairs and pixels of |flow(n, n + 1)| (paper, appendix). NaN for fewer than two frames.
    """
    return _mean([float(m.mean()) for m in _flows(frames)])


def optical_flow_released(frames: Iterable[np.ndarray]) -> float:
    """The released evaluation's variant of OFM: mean of ``released_flow_figure`` over frame pairs; no unit, 42..171."""
    return _mean([released_flow_figure(m) for m in _flows(frames)])


def f_mse(frames: Iterable[np.ndarray]) -> float:
    """F-MSE: mean squared difference between consecutive frames (0..255 squared), 0..65025 (paper, appendix).

    NaN for fewer than two frames.
    """
    return _mean([frame_mse(a, b) for a, b in pairwise(frames)])


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
