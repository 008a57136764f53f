"""The face mesh: 468 landmarks and a presence score in an upright square crop around a face.

Network: Kartynnik et al. 2019, arXiv:1907.06724, 192 px.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from .crops import Pyramid, Square
from .mesh import POINTS, eye_centres
from .outputs import join_outputs

SIZE = 192
MARGIN = 1.5  # side of the crop, in sides of the face's box
_LEFT_EYE, _RIGHT_EYE = 0, 1


class LandmarkNetwork:
    """The network; not to be shared between threads."""

    def __init__(self, model: bytes) -> None:
        """``model``: the contents of face_landmark.tflite."""
        self._net = cv2.dnn.readNetFromTFLite(np.frombuffer(join_outputs(model), np.uint8))

    def find(self, pyramid: Pyramid, square: Square) -> tuple[np.ndarray, float]:
        """Landmarks (468, 3), picture pixels (z: smaller is nearer), and the logit of the presence of a face."""
        crop = pyramid.crop(square, SIZE, cv2.BORDER_REPLICATE)
        self._net.setInput(cv2.dnn.blobFromImage(crop, 1 / 255, (SIZE, SIZE)))
        output = self._net.forward().reshape(-1)
        points = output[:-1].reshape(POINTS, 3) / SIZE
        placed = np.column_stack([square.to_picture(points[:, :2]), points[:, 2] * square.side])
        return placed, float(output[-1])


def square_of_keypoints(box: np.ndarray, keypoints: np.ndarray) -> Square:
    """The crop for a detected face: box (4,) and keypoints (6, 2) in pixels, turned so that its eyes are level."""
    x, y = (box[:2] + box[2:]) / 2
    return Square(
        float(x), float(y), MARGIN * float(np.max(box[2:] - box[:2])), tilt(*keypoints[[_LEFT_EYE, _RIGHT_EYE]])
    )


def square_of_landmarks(landmarks: np.ndarray) -> Square:
    """The crop for a face whose landmarks (468, 2|3) are known: around their extent along its own axes."""
    angle = tilt(*eye_centres(landmarks))
    axes = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points = landmarks[:, :2] @ axes
    low, high = points.min(0), points.max(0)
    x, y = (low + high) / 2 @ axes.T
    return Square(float(x), float(y), MARGIN * float(np.max(high - low)), angle)


def tilt(left_eye: np.ndarray, right_eye: np.ndarray) -> float:
    """Angle of the line from the left to the right eye, radians, clockwise in the image."""
    across = right_eye - left_eye
    return float(math.atan2(across[1], across[0]))
