"""How much moves: optical flow and frame differences between consecutive frames, as in the paper's appendix.

Both are meant to be near the ground truth's, not near zero: a frozen picture has the least motion of all.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np

FARNEBACK: dict[str, Any] = {
    "flow": None,
    "pyr_scale": 0.5,
    "levels": 7,
    "winsize": 5,
    "iterations": 15,
    "poly_n": 5,
    "poly_sigma": 1.2,
    "flags": 0,
}


def flow_magnitude(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Length of the optical flow (H, W) float32, px per frame, between two luminances (H, W) uint8.

    Farneback 2003 with the parameters of the paper's appendix. OFM is its mean over pixels and frame pairs.
    """
    flow = cv2.calcOpticalFlowFarneback(before, after, **FARNEBACK)
    return cv2.magnitude(flow[..., 0], flow[..., 1])


def released_flow_figure(magnitude: np.ndarray) -> float:
    """OFM of one frame pair as the released evaluation computes it: lengths (H, W) stretched, coloured, averaged.

    Range 42 (nothing stands out) .. 171. The stretch hides how large the motion is: compare it only with the same
    figure of the truth. Source: the published figures of about 70; the colour map is not documented, and of OpenCV's
    usual ones JET is the one that gives such figures.
    """
    stretched = cv2.normalize(magnitude, np.empty_like(magnitude), 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return float(np.bincount(stretched.ravel(), minlength=256) @ _jet() / stretched.size)


@lru_cache(maxsize=1)
def _jet() -> np.ndarray:
    """Mean over channels of each of the colour map's 256 colours."""
    return cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_JET)[0].mean(-1)


def frame_mse(before: np.ndarray, after: np.ndarray) -> float:
    """Mean squared difference of two frames (H, W, 3) uint8, 0..65025; F-MSE is its mean over consecutive frames."""
    difference = cv2.absdiff(before, after).astype(np.int32)
    return float(np.square(difference).mean())
