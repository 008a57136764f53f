"""The face mesh: the network that finds 468 landmarks, what each of them is, and measures of them.

Network: Kartynnik et al. 2019, arXiv:1907.06724, 192 px. Left and right are those of the image. Landmarks are (468, 2)
or (468, 3) pixels; measures are relative to the distance between the eyes' centres, so they do not depend on the
picture's size. Contours run from left to right.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from ..errors import DiffusedHeadsError
from ..mouth import face_mesh, warp
from .crops import Pyramid, Square
from .outputs import join_outputs

SIZE = 192  # px of the network's input
IRIS_SIZE = 256  # of the later network, whose further landmarks are the irises
MARGIN = 1.5  # side of the crop, in sides of the face's box
POINTS = face_mesh.POINTS

LEFT_EYE_UPPER = np.array([33, 246, 161, 160, 159, 158, 157, 173, 133])
LEFT_EYE_LOWER = np.array([33, 7, 163, 144, 145, 153, 154, 155, 133])
RIGHT_EYE_UPPER = np.array([362, 398, 384, 385, 386, 387, 388, 466, 263])
RIGHT_EYE_LOWER = np.array([362, 382, 381, 380, 374, 373, 390, 249, 263])
OUTER_LIP_UPPER = np.array([61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291])
OUTER_LIP_LOWER = np.array([61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291])
INNER_LIP_UPPER = np.array([78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308])
INNER_LIP_LOWER = np.array([78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308])
LEFT_BROW = np.array([70, 63, 105, 66, 107])
RIGHT_BROW = np.array([336, 296, 334, 293, 300])
NOSE_BRIDGE = np.array([168, 6, 197, 195, 5, 4])
NOSE_BASE = np.array([98, 97, 2, 326, 327])
NOSE_TIP = 1
LEFT_EAR, RIGHT_EAR = 234, 454
JAW = np.array([127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356])


def _closed(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """A contour once around, clockwise in the image from its left corner."""
    return np.concatenate([upper, lower[-2:0:-1]])


LEFT_EYE = _closed(LEFT_EYE_UPPER, LEFT_EYE_LOWER)
RIGHT_EYE = _closed(RIGHT_EYE_UPPER, RIGHT_EYE_LOWER)
OUTER_LIPS, INNER_LIPS = warp.OUTER_LIPS, warp.INNER_LIPS
LEFT_EYE_CORNERS = LEFT_EYE_UPPER[[0, -1]]
RIGHT_EYE_CORNERS = RIGHT_EYE_UPPER[[0, -1]]
SIXTY_EIGHT = np.concatenate(
    [
        JAW,
        LEFT_BROW,
        RIGHT_BROW,
        [168, 197, 5, 4],
        NOSE_BASE,
        [33, 160, 158, 133, 153, 144],
        [362, 385, 387, 263, 373, 380],
        [61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181],
        [78, 82, 13, 312, 308, 317, 14, 87],
    ]
)


class LandmarkNetwork:
    """The network; not to be shared between threads."""

    def __init__(self, model: bytes, size: int = SIZE) -> None:
        """model: the contents of a network file; size: px of its input, ``SIZE`` or ``IRIS_SIZE``."""
        self._size = size
        self._net = cv2.dnn.readNetFromTFLite(np.frombuffer(join_outputs(model), np.uint8))

    def find(self, pyramid: Pyramid, square: Square) -> tuple[np.ndarray, float]:
        """Landmarks (468, 3), picture pixels (z: smaller is nearer), and the logit of the presence of a face."""
        crop = pyramid.crop(square, self._size, cv2.BORDER_REPLICATE)
        self._net.setInput(cv2.dnn.blobFromImage(crop, 1 / 255, (self._size, self._size)))
        output = self._net.forward().reshape(-1)
        points = output[: 3 * POINTS].reshape(POINTS, 3) / self._size
        placed = np.column_stack([square.to_picture(points[:, :2]), points[:, 2] * square.side])
        return placed, float(output[-1])


def square_of_keypoints(box: np.ndarray, keypoints: np.ndarray) -> Square:
    """The crop for a detected face: box (4,) and keypoints (6, 2) in pixels, turned so that its eyes are level."""
    x, y = (box[:2] + box[2:]) / 2
    return Square(float(x), float(y), MARGIN * float(np.max(box[2:] - box[:2])), tilt(*keypoints[:2]))


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


def _points(landmarks: np.ndarray) -> np.ndarray:
    points = np.asarray(landmarks, np.float64)
    if points.ndim != 2 or points.shape[0] != POINTS or points.shape[1] not in (2, 3):
        raise DiffusedHeadsError(f"landmarks: expected ({POINTS}, 2) or ({POINTS}, 3), found {points.shape}")
    return points[:, :2]


def eye_centres(landmarks: np.ndarray) -> np.ndarray:
    """Middles of the eyes' corners, which blinking does not move: (2, 2) px, left then right."""
    points = _points(landmarks)
    return np.stack([points[LEFT_EYE_CORNERS].mean(0), points[RIGHT_EYE_CORNERS].mean(0)])


def eye_distance(landmarks: np.ndarray) -> float:
    """Distance between the eyes' centres, px."""
    left, right = eye_centres(landmarks)
    return float(np.linalg.norm(right - left))


def stable_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """Points that speech does not move, (3, 2) px: left eye's centre, right eye's centre, end of the nose."""
    nose = _points(landmarks)[[NOSE_TIP, *NOSE_BASE]].mean(0)
    return np.concatenate([eye_centres(landmarks), nose[None]])


def mouth_opening(landmarks: np.ndarray) -> float:
    """Gap between the inner lips at the mouth's middle, in eye distances: about 0 closed, 0.6 wide open."""
    points = _points(landmarks)
    gap = points[INNER_LIP_LOWER[4:7]] - points[INNER_LIP_UPPER[4:7]]
    return float(np.linalg.norm(gap, axis=1).mean() / max(eye_distance(points), 1e-6))


def mouth_width(landmarks: np.ndarray) -> float:
    """Distance between the outer mouth corners, in eye distances."""
    points = _points(landmarks)
    left, right = points[OUTER_LIP_UPPER[[0, -1]]]
    return float(np.linalg.norm(right - left) / max(eye_distance(points), 1e-6))


def lip_box(landmarks: np.ndarray) -> tuple[float, float, float, float]:
    """Bounding box (x0, y0, x1, y1) px of the outer lips, no margin."""
    lips = _points(landmarks)[OUTER_LIPS]
    (x0, y0), (x1, y1) = lips.min(0), lips.max(0)
    return float(x0), float(y0), float(x1), float(y1)


def eye_opening(landmarks: np.ndarray) -> tuple[float, float]:
    """Gap between the lids over the eye's width, (left, right): about 0 closed, 0.25 to 0.4 open."""
    points = _points(landmarks)
    return (_aperture(points, LEFT_EYE_UPPER, LEFT_EYE_LOWER), _aperture(points, RIGHT_EYE_UPPER, RIGHT_EYE_LOWER))


def _aperture(points: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> float:
    gap = np.linalg.norm(points[upper[3:6]] - points[lower[3:6]], axis=1).mean()
    return float(gap / max(np.linalg.norm(points[upper[-1]] - points[upper[0]]), 1e-6))


def to_68(landmarks: np.ndarray) -> np.ndarray:
    """The mesh points nearest to the usual 68 (Multi-PIE / iBUG order): (468, 2|3) -> (68, 2|3), same units.

    Raises DiffusedHeadsError for other shapes, as the measures do.
    """
    _points(landmarks)
    return np.asarray(landmarks)[SIXTY_EIGHT]
