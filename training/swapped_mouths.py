"""Another person's mouth on an identity frame: the network then learns to paint mouths by the sound alone."""

from __future__ import annotations

import cv2
import numpy as np

MARGIN = (0.15, 0.35)  # around the lips' box, shares of its width and height that are replaced too
TINT = 0.05  # standard deviation of a random gain on each colour of the mouth


def with_mouth_of(
    picture: np.ndarray, box: np.ndarray, other: np.ndarray, other_box: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """A picture (S, S, 3) uint8 with the mouth of another of the same size, scaled to its width, with soft edges.

    box, other_box: x0, y0, x1, y1 of the lips in pixels. Shape, teeth and opening are the other's. The skin around the
    mouth takes the picture's colour, and the lips that of the picture's lips up to a random gain, since they tell the
    network what colour to paint with. If the lips of either are less than 2 pixels wide, the picture is returned as is.
    """
    (x0, y0, x1, y1), (u0, v0, u1, v1) = box.tolist(), other_box.tolist()
    if min(x1 - x0, u1 - u0) < 2:
        return picture
    size, scale = picture.shape[0], (x1 - x0) / (u1 - u0)
    centre, from_centre = ((x0 + x1) / 2, (y0 + y1) / 2), ((u0 + u1) / 2, (v0 + v1) / 2)
    place = np.array([[scale, 0, centre[0] - scale * from_centre[0]], [0, scale, centre[1] - scale * from_centre[1]]])
    mouth = cv2.warpAffine(other, place, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mouth = mouth.astype(np.float32)
    half = np.array([(x1 - x0) / 2, max(y1 - y0, (v1 - v0) * scale) / 2])
    mask = _ellipse(size, centre, half * (1 + 2 * np.array(MARGIN)))
    ring = (mask > 0) & (mask < 1)
    gain = _gain(picture, ring, mouth, ring)
    heights = (y1 - y0, (v1 - v0) * scale)
    replaced, pasted = (_ellipse(size, centre, np.array([half[0], height / 2])) > 0 for height in heights)
    red = _redness(mouth)
    tint = _gain(picture, replaced * _redness(picture), mouth, pasted * red)
    tint = tint * (1 + TINT * np.float32(rng.standard_normal(3)))
    usual = (red * red * pasted).sum() / max((red * pasted).sum(), 1e-6)
    lips = _ellipse(size, centre, half * 1.1) * np.clip(red / max(usual, 1e-6), 0, 1)
    mouth *= gain + lips * (tint - gain)
    return np.clip(np.rint(picture + mask * (mouth - picture)), 0, 255).astype(np.uint8)


def _redness(picture: np.ndarray) -> np.ndarray:
    """(S, S, 1): how much redder than green; lips are, teeth and the dark between them are not."""
    return np.maximum(picture[..., :1].astype(np.float32) - picture[..., 1:2], 0)


def _ellipse(size: int, centre: tuple[float, float], half: np.ndarray) -> np.ndarray:
    """(size, size, 1) float32: 1 in the ellipse of these half axes, falling to 0 over the last quarter of the way."""
    rows, columns = np.ogrid[:size, :size]
    away = np.sqrt(((columns + 0.5 - centre[0]) / half[0]) ** 2 + ((rows + 0.5 - centre[1]) / half[1]) ** 2)
    return np.clip((1 - away) / 0.25, 0, 1).astype(np.float32)[..., None]


def _gain(wanted: np.ndarray, there: np.ndarray, found: np.ndarray, here: np.ndarray) -> np.ndarray:
    """Gains (3,) that bring the mean colour of ``found`` in one region to that of ``wanted`` in another, 0.3 .. 3."""
    means = [
        (picture * region).sum((0, 1)) / max(region.sum(), 1e-6) + 1e-2
        for picture, region in ((wanted, there), (found, here))
    ]
    return (means[0] / means[1]).clip(0.3, 3).astype(np.float32)
