"""The annotations of a clip, from what was measured on its face; names and units are those of the avatar corpus."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...diffused_heads_core.face.alignment import Placement
from ...diffused_heads_core.face.mesh import SIXTY_EIGHT
from ...diffused_heads_core.pose import HeadGeometry, rotation_matrix
from ..synthesis.expression import EXPRESSION, clamp, index
from .head_pose import HeadPoses, head_poses

# The channels of ``expression`` that are measured; the others are 0.
MEASURED = ("open", "wide", "blink_left", "blink_right", "brow_left", "brow_right")
SMOOTHING = 0.04  # seconds, deviation of the Gaussian that smooths poses and brows
LIP_MARGIN = 0.03  # in eye distances, around the landmarks of the outer lips
HEAD = HeadGeometry()
OUTER_LIPS = slice(48, 60)  # of the 68 landmarks
# An avatar's mouth opening at open = 1 and rise of a brow at brow = 1, in eye distances; widening and narrowing of its
# mouth at wide = 1 and -1, as shares of its width at rest.
OPEN, RAISED = 0.34, 0.1
SPREAD, ROUNDED = 0.24, 0.36
MESH_UNIT = "pixels x, y, z of the 468 landmarks, z away from the viewer"
UNITS = {
    "pose": "yaw, pitch, roll in radians; tx, ty in fractions of the frame; 0 is the clip's usual position",
    "expression": f"{', '.join(EXPRESSION)}; measured: {', '.join(MEASURED)}",
    "landmarks": "pixels x, y of the 68 iBUG points",
    "lip_box": f"pixels x0, y0, x1, y1 of the outer lips and {LIP_MARGIN} eye distances around them",
    "mouth_open": "inner lip gap over eye distance",
    "mouth_width": "mouth width over eye distance",
    "mesh": MESH_UNIT,
}


@dataclass(frozen=True, eq=False)
class Observations:
    """One face in T pictures. In pixels of the video: mesh (T, 468, 3), rigid (T, K, 3). In eye distances: mouth
    (T, 2), its opening and width; brows (T, 2, 3), from the eyes' corners to the brows, z towards the viewer. lids:
    (T,) closure 0..1.
    """

    mesh: np.ndarray
    rigid: np.ndarray
    mouth: np.ndarray
    lids: np.ndarray
    brows: np.ndarray


def smoothed(track: np.ndarray, fps: float, seconds: float = SMOOTHING) -> np.ndarray:
    """A track (T, ...) smoothed with a Gaussian of that deviation, without delay; mirrored at its ends."""
    deviation = seconds * fps
    radius = min(int(np.ceil(3 * deviation)), len(track) - 1)
    if radius < 1:
        return np.array(track, np.float64)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    padded = np.pad(np.asarray(track, np.float64), [(radius, radius)] + [(0, 0)] * (np.ndim(track) - 1), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(kernel), 0)
    return windows @ (kernel / kernel.sum())


def annotate(
    face: Observations, placement: Placement, size: int, fps: float
) -> tuple[dict[str, np.ndarray], HeadPoses]:
    """Annotations with T rows for the crop of ``size`` pixels at ``placement``, and the fitted head poses.

    They are float32, the face mesh float16.
    """
    heads = head_poses(face.rigid, placement)
    mesh = mesh_in_crop(face.mesh, placement, size)
    marks = mesh[:, SIXTY_EIGHT, :2]
    lips, around = marks[:, OUTER_LIPS], LIP_MARGIN * size * math.dist(HEAD.left_eye, HEAD.right_eye)
    annotations = {
        "pose": smoothed(heads.pose, fps),
        "expression": expression(face, heads.pose, fps),
        "landmarks": marks,
        "lip_box": np.concatenate([lips.min(1) - around, lips.max(1) + around], 1),
        "mouth_open": face.mouth[:, 0],
        "mouth_width": face.mouth[:, 1],
    }
    rows = {name: np.ascontiguousarray(values, np.float32) for name, values in annotations.items()}
    return {**rows, "mesh": mesh.astype(np.float16)}, heads


def mesh_in_crop(mesh: np.ndarray, placement: Placement, size: int) -> np.ndarray:
    """Face meshes (T, 468, 3) in pixels of the video -> in pixels of the crop of ``size`` pixels at ``placement``."""
    return size * np.concatenate([placement.to_frame(mesh[..., :2]), mesh[..., 2:] / placement.side], -1)


def expression(face: Observations, pose: np.ndarray, fps: float) -> np.ndarray:
    """Expression (T, 12) in the units of avatars; channels that are not MEASURED are 0."""
    columns = np.zeros((len(face.mouth), len(EXPRESSION)))
    columns[:, index("open")] = face.mouth[:, 0] / OPEN
    wider = face.mouth[:, 1] / max(float(np.median(face.mouth[:, 1])), 1e-6) - 1
    columns[:, index("wide")] = np.where(wider > 0, wider / SPREAD, wider / ROUNDED)
    columns[:, [index("blink_left"), index("blink_right")]] = face.lids[:, None]
    columns[:, [index("brow_left"), index("brow_right")]] = brows(face.brows, pose, fps)
    return clamp(columns)


def brows(above: np.ndarray, pose: np.ndarray, fps: float) -> np.ndarray:
    """Brows (T, 2), -1 lowered .. 1 raised relative to their median. above: their positions (T, 2, 3) relative to the
    eyes; pose: (T, 5), whose rotation is removed from them.
    """
    back = np.einsum("tji,tsj->tsi", rotation_matrix(*pose[:, :3].T), above)
    height = -back[..., 1]
    return smoothed((height - np.median(height, 0)) / RAISED, fps)
