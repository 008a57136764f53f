"""Landmarks of one face: the crop follows them until it stands still, and other crops tell how far they can be trusted.

The landmark network is trained on upright faces in the middle of its crop. Each pass brings the crop nearer to that; a
few passes are enough for most faces, small or turned ones take more. From a crop that is turned by 60 degrees or more
the passes lead astray, so a face whose turn is not known is first looked at by the detector in four turns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .crops import Pyramid, Square
from .detector import Candidate, Detector
from .mesh import SIZE, LandmarkNetwork, eye_centres, eye_distance, square_of_landmarks, stable_landmarks

STILL, NEARLY = 0.006, 0.025  # changes of the crop, in sides and radians, below which it stands still, or nearly
PASSES = 15  # at most; then the crop has to stand nearly still
HOPELESS = 3  # passes after which a presence logit below 0 ends the search
SMALLEST = 4.0  # px: side of a crop below which there is nothing to see
AROUND = 2.8  # side of the square in which the detector looks again, in sides of the face's box
APART = 0.25  # eye distances by which the detector's eyes may be away from the landmarks'
CHECKS = ((8.0, 1.05, 0.02, 0.0), (-8.0, 1.05, -0.02, 0.0), (3.0, 0.95, 0.0, 0.02), (-3.0, 0.95, 0.0, -0.02))
"""Turn (degrees), scale and shift (sides) of the crops that check a fit; their mean is the fitted crop."""


@dataclass(frozen=True, eq=False)
class Fit:
    """Landmarks (468, 3), px, the presence logit, and ``spread``: by how many eye distances other crops disagree.

    The spread is infinite if the crop did not come to stand still, and 0 if nothing was checked.
    """

    landmarks: np.ndarray
    presence: float
    square: Square
    spread: float = 0.0


def converge(mesh: LandmarkNetwork, pyramid: Pyramid, square: Square, still: float = STILL, limit: int = PASSES) -> Fit:
    """Landmarks from a first crop on, each pass in a crop around the last pass's landmarks, until it stands still."""
    for number in range(1, limit + 1):
        landmarks, presence = mesh.find(pyramid, square)
        following = square_of_landmarks(landmarks)
        if not following.differs(square, still):
            return Fit(landmarks, presence, square)
        lost = following.side < SMALLEST or not _inside(following, pyramid)
        if lost or number == limit or (number >= HOPELESS and presence < 0):
            break
        square = following
    return Fit(landmarks, presence, square, math.inf if lost or following.differs(square, NEARLY) else 0.0)


def _inside(square: Square, pyramid: Pyramid) -> bool:
    return 0 <= square.x <= pyramid.width and 0 <= square.y <= pyramid.height


def checked(mesh: LandmarkNetwork, pyramid: Pyramid, fit: Fit) -> Fit:
    """The fit with its spread; landmarks of a face with fewer pixels than the network's crop are the checks' mean."""
    if math.isinf(fit.spread):
        return fit
    sets = [fit.landmarks, *(mesh.find(pyramid, _changed(fit.square, *each))[0] for each in CHECKS)]
    mean = np.mean(sets, axis=0)
    apart = max(float(np.linalg.norm(stable_landmarks(each) - stable_landmarks(mean), axis=1).max()) for each in sets)
    landmarks = mean if fit.square.side < SIZE else fit.landmarks
    return replace(fit, landmarks=landmarks, spread=apart / max(eye_distance(mean), 1e-6))


def _changed(square: Square, degrees: float, scale: float, right: float, down: float) -> Square:
    x, y = square.to_picture(np.array([0.5 + right, 0.5 + down]))
    return Square(float(x), float(y), square.side * scale, square.angle + math.radians(degrees))


def agrees(fit: Fit, candidate: Candidate) -> bool:
    """Whether landmarks that stand still have the eyes where the detector has them."""
    eyes = eye_centres(fit.landmarks)
    apart = float(np.linalg.norm(eyes - candidate.keypoints[:2], axis=1).max())
    return math.isfinite(fit.spread) and apart <= APART * eye_distance(fit.landmarks)


def look_again(detector: Detector, pyramid: Pyramid, box: np.ndarray, angle: float = 0.0) -> Candidate | None:
    """The face in a box (4,), px, as the detector sees it best in four turns from ``angle`` on; None if in none."""
    x, y = (box[:2] + box[2:]) / 2
    side = AROUND * float(np.max(box[2:] - box[:2]))
    turned = [Square(float(x), float(y), side, angle + quarter * math.pi / 2) for quarter in range(4)]
    found, _ = detector.candidates(pyramid, turned, 0.3)
    near = [each for each in found if np.abs((each.box[:2] + each.box[2:]) / 2 - (x, y)).max() < side / 5]
    return max(near, key=lambda each: each.score, default=None)
