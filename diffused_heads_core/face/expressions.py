"""The networks that read a face's motion: 478 landmarks with irises, and 52 expressions from them.

Sources: Grishchenko et al. 2020 (arXiv:2006.10962), and MediaPipe's face blendshapes (Apache-2.0). The first 468
landmarks are those of ``face.mesh``; the expressions have the names of Apple's ARKit, in which left is the person's.
"""

from __future__ import annotations

import cv2
import numpy as np

from .crops import Pyramid, Square
from .networks import MotionModels
from .outputs import join_outputs

SIZE = 256  # px of the landmark network's input
POINTS = 478
LEFT_IRIS, RIGHT_IRIS = 468, 473  # centres, left and right of the image
# Numbers of the expressions in use.
NUMBERS = {
    "browDownLeft": 1,
    "browDownRight": 2,
    "eyeSquintLeft": 19,
    "eyeSquintRight": 20,
    "mouthFrownLeft": 30,
    "mouthFrownRight": 31,
    "mouthSmileLeft": 44,
    "mouthSmileRight": 45,
}
# The landmarks that the expressions are read from, in the order of MediaPipe's face_blendshapes_graph.
READ = np.array(
    [
        0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80,
        81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153,
        154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249,
        251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314,
        317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382,
        384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473,
        474, 475, 476, 477
    ]
)  # fmt: skip


class ExpressionNetworks:
    """Both networks; not to be shared between threads."""

    def __init__(self, models: MotionModels) -> None:
        self._landmarks = cv2.dnn.readNetFromTFLite(np.frombuffer(join_outputs(models.irises), np.uint8))
        self._expressions = cv2.dnn.readNetFromTFLite(np.frombuffer(models.expressions, np.uint8))

    def find(self, pyramid: Pyramid, square: Square) -> tuple[np.ndarray, float]:
        """Landmarks (478, 3), picture pixels (z: smaller is nearer), and the logit of the presence of a face."""
        crop = pyramid.crop(square, SIZE, cv2.BORDER_REPLICATE)
        self._landmarks.setInput(cv2.dnn.blobFromImage(crop, 1 / 255, (SIZE, SIZE)))
        output = self._landmarks.forward().reshape(-1)
        points = output[: 3 * POINTS].reshape(POINTS, 3) / SIZE
        placed = np.column_stack([square.to_picture(points[:, :2]), points[:, 2] * square.side])
        return placed, float(output[3 * POINTS])

    def expressions(self, landmarks: np.ndarray) -> np.ndarray:
        """How strongly each of the 52 expressions is there, 0..1, from landmarks (478, 2|3)."""
        self._expressions.setInput(np.ascontiguousarray(landmarks[READ, :2], np.float32)[None])
        return self._expressions.forward().reshape(-1)
