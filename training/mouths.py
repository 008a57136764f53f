"""Another person's mouth on a portrait: what teaches a network to paint mouths by the sound and not by the portrait."""
from __future__ import annotations

import cv2
import numpy as np

MARGIN = (0.15, 0.35)  # beyond the lips' box, of its width and of its height, that are exchanged with them
TINT = 0.05            # standard deviation of a random gain on each colour of the mouth


def with_mouth_of(picture: np.ndarray, box: np.ndarray, other: np.ndarray, other_box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture (S, S, 3) uint8 whose mouth is that of another one of the same size, scaled to its width, with soft edges.

    box, other_box: x0, y0, x1, y1 of the lips in pixels. The skin around the mouth is brought to the picture's, and the
    mouth gets a tint of its own. A picture with lips less than 2 pixels wide, in either, is returned as it is.
    """
    (x0, y0, x1, y1), (u0, v0, u1, v1) = box.tolist(), other_box.tolist()
    if min(x1 - x0, u1 - u0) < 2:
        return picture
    size, scale = picture.shape[0], (x1 - x0) / (u1 - u0)
    centre, from_centre = ((x0 + x1) / 2, (y0 + y1) / 2), ((u0 + u1) / 2, (v0 + v1) / 2)
    place = np.array([[scale, 0, centre[0] - scale * from_centre[0]], [0, scale, centre[1] - scale * from_centre[1]]])
    mouth = cv2.warpAffine(other, place, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    height = max(y1 - y0, (v1 - v0) * scale)
    half = (x1 - x0) * (0.5 + MARGIN[0]), height * (0.5 + MARGIN[1])
    rows, columns = np.ogrid[:size, :size]
    away = np.sqrt(((columns + 0.5 - centre[0]) / half[0]) ** 2 + ((rows + 0.5 - centre[1]) / half[1]) ** 2)
    mask = np.clip((1 - away) / 0.25, 0, 1).astype(np.float32)[..., None]
    ring = (mask > 0) & (mask < 1)
    gain = ((picture * ring).sum((0, 1)) + 1) / ((mouth * ring).sum((0, 1)) + 1)
    mouth *= gain.clip(0.3, 3).astype(np.float32) * (1 + TINT * np.float32(rng.standard_normal(3)))
    return np.clip(np.rint(picture + mask * (mouth - picture)), 0, 255).astype(np.uint8)
