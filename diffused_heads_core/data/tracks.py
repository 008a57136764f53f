"""The motion track of a dataset's clip."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..motion.track import COLUMNS, MotionTrack
from ..pose import FACE, POSE

MOTION = "motion"  # the annotation that holds a whole track, (T, 16)
MOTION_UNIT = f"{', '.join(COLUMNS)}; angles in radians; 0 is the clip's usual state"
_SMILE = -len(FACE) - 1  # column of ``expression`` in synthetic clips, before those of ``pose.FACE``


def track_of(annotations: Mapping[str, np.ndarray], measured: bool = False) -> MotionTrack | None:
    """The track of a clip with these annotations, None if they have no pose and expression.

    A stored track counts. Other clips have pose, eyes and brows, and synthetic ones, which are not ``measured``, the
    smile; all of it is exact in synthetic clips.
    """
    if MOTION in annotations:
        return MotionTrack.of_values(annotations[MOTION])
    if not {"pose", "expression"} <= annotations.keys():
        return None
    pose, expression = annotations["pose"], annotations["expression"]
    values = np.zeros((len(pose), len(COLUMNS)), np.float32)
    values[:, : len(POSE)] = pose
    first = COLUMNS.index(FACE[0])
    values[:, first : first + len(FACE)] = expression[:, -len(FACE) :]
    if not measured:
        values[:, COLUMNS.index("smile")] = expression[:, _SMILE]
    return MotionTrack.of_values(values)
