"""Annotations of a clip from what was seen of its face, under the names and in the units of the avatars' corpus."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...diffused_heads_core.face.alignment import Placement
from ...diffused_heads_core.pose import HeadGeometry, rotation_matrix
from ..synthesis.expression import EXPRESSION, clamp, index
from .head_pose import HeadPoses, head_poses

MEASURED = (
    "open", "wide", "blink_left", "blink_right", "brow_left", "brow_right",
)  # the other columns of expression are 0  # fmt: skip
SMOOTHING = 0.04  # seconds, deviation of the Gaussian that takes the landmarks' tremble out of poses and brows
OPEN = 0.34  # mouth opening, in eye distances, of an avatar's widest vowel
SPREAD, ROUNDED = (
    0.24,
    0.36,
)  # widening and narrowing of an avatar's mouth at wide = 1 and -1, shares of its width at rest
LIP_MARGIN = 0.03  # eye distances around the outer lips: landmarks lie on their edge, give or take
HEAD = HeadGeometry()
OUTER_LIPS = slice(48, 60)  # of the 68 points
RAISED = 0.1  # rise, in eye distances, of an avatar's brow at brow = 1
UNITS = {
    "pose": "yaw, pitch, roll in radians; tx, ty in fractions of the frame; 0 is the clip's usual position",
    "expression": f"{', '.join(EXPRESSION)}; measured: {', '.join(MEASURED)}",
    "landmarks": "pixels x, y of the 68 iBUG points",
    "lip_box": f"pixels x0, y0, x1, y1 of the outer lips and {LIP_MARGIN} eye distances around them",
    "mouth_open": "inner lip gap over eye distance",
    "mouth_width": "mouth width over eye distance",
}


@dataclass(frozen=True, eq=False)
class Seen:
    """One face through T pictures, positions in pixels of the video: marks (T, 68, 2), rigid (T, K, 3), mouth (T, 2)
    opening and width, lids (T,) closure 0..1, brows (T, 2, 3) from the eyes' corners to the brows, z toward the viewer,
    in eye distances.
    """

    marks: np.ndarray
    rigid: np.ndarray
    mouth: np.ndarray
    lids: np.ndarray
    brows: np.ndarray


def smoothed(track: np.ndarray, fps: float, seconds: float = SMOOTHING) -> np.ndarray:
    """A track (T, ...) low-passed with a Gaussian, without delay; its ends are mirrored."""
    deviation = seconds * fps
    radius = min(int(np.ceil(3 * deviation)), len(track) - 1)
    if radius < 1:
        return np.array(track, np.float64)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    padded = np.pad(np.asarray(track, np.float64), [(radius, radius)] + [(0, 0)] * (np.ndim(track) - 1), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(kernel), 0)
    return windows @ (kernel / kernel.sum())


def annotate(seen: Seen, placement: Placement, size: int, fps: float) -> tuple[dict[str, np.ndarray], HeadPoses]:
    """Annotations, float32 with T rows, of the frame that ``placement`` cuts out at ``size`` pixels; and what the poses
    came from.
    """
    heads = head_poses(seen.rigid, placement)
    marks = placement.to_frame(seen.marks) * size
    lips, around = marks[:, OUTER_LIPS], LIP_MARGIN * size * math.dist(HEAD.left_eye, HEAD.right_eye)
    annotations = {
        "pose": smoothed(heads.pose, fps),
        "expression": expression(seen, heads.pose, fps),
        "landmarks": marks,
        "lip_box": np.concatenate([lips.min(1) - around, lips.max(1) + around], 1),
        "mouth_open": seen.mouth[:, 0],
        "mouth_width": seen.mouth[:, 1],
    }
    return {name: np.ascontiguousarray(values, np.float32) for name, values in annotations.items()}, heads


def expression(seen: Seen, pose: np.ndarray, fps: float) -> np.ndarray:
    """Expression (T, 12) in the avatars' units; what landmarks do not tell is 0."""
    columns = np.zeros((len(seen.mouth), len(EXPRESSION)))
    columns[:, index("open")] = seen.mouth[:, 0] / OPEN
    wider = seen.mouth[:, 1] / max(float(np.median(seen.mouth[:, 1])), 1e-6) - 1
    columns[:, index("wide")] = np.where(wider > 0, wider / SPREAD, wider / ROUNDED)
    columns[:, [index("blink_left"), index("blink_right")]] = seen.lids[:, None]
    columns[:, [index("brow_left"), index("brow_right")]] = brows(seen.brows, pose, fps)
    return clamp(columns)


def brows(above: np.ndarray, pose: np.ndarray, fps: float) -> np.ndarray:
    """Brows (T, 2), -1 lowered .. 1 raised against the usual, from where they are above the eyes (T, 2, 3); the head's
    turn is taken out.
    """
    back = np.einsum("tji,tsj->tsi", rotation_matrix(*pose[:, :3].T), above)
    height = -back[..., 1]
    return smoothed((height - np.median(height, 0)) / RAISED, fps)
