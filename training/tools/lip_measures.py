"""Measures of real people's lips in videos, for the training and the judgement of an audio encoder."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...diffused_heads_core.face.finder import Face, FaceFinder
from ...diffused_heads_core.face.mesh import eye_distance
from ...diffused_heads_core.media.video import read_video

# Distances between two points of the face mesh: gap and width of the mouth, nose tip to chin, height with the lips,
# nose tip to upper lip, lower lip to chin.
PAIRS = {
    "opening": (13, 14),
    "width": (61, 291),
    "jaw": (1, 152),
    "height": (0, 17),
    "upper": (1, 0),
    "lower": (17, 152),
}
LIPS = tuple(PAIRS)
log = logging.getLogger(__name__)


def lip_measures(landmarks: np.ndarray) -> np.ndarray:
    """Distances of PAIRS over the clip's median eye distance: landmarks (T, 468, 2 or 3) -> (T, len(LIPS))."""
    points = landmarks[..., :2].astype(np.float64)
    first, second = (points[:, [pair[end] for pair in PAIRS.values()]] for end in (0, 1))
    eyes = np.median([eye_distance(frame) for frame in points])
    return (np.linalg.norm(first - second, axis=-1) / eyes).astype(np.float32)


def measured_lips(paths: Iterable[Path]) -> dict[Path, np.ndarray]:
    """Lip measures (T, len(LIPS)) of each video relative to the mean of its folder's videos, which show one person.

    Videos in which the face is not found in every frame are left out.
    """
    people: dict[Path, dict[Path, np.ndarray]] = defaultdict(dict)
    finder: FaceFinder | None = None
    for path in tqdm(list(paths), desc="measuring lips", unit="video", disable=None):
        finder = finder or FaceFinder()
        landmarks = _landmarks(path, finder)
        if landmarks is None:
            log.warning("%s: no face in some frame; its lips are left out", path)
        else:
            people[path.parent][path] = lip_measures(landmarks)
    found = {}
    for clips in people.values():
        mean = np.concatenate(list(clips.values())).mean(0)
        found.update({path: lips - mean for path, lips in clips.items()})
    return found


def _landmarks(path: Path, finder: FaceFinder) -> np.ndarray | None:
    """Landmarks (T, 468, 3) of the largest face, followed through a video; None if it is lost."""
    face: Face | None = None
    found = []
    for picture in read_video(path).frames:
        face = (finder.track(picture, face) if face else None) or next(iter(finder.find(picture)), None)
        if face is None or face.landmarks is None:
            return None
        found.append(face.landmarks)
    return np.stack(found) if found else None
