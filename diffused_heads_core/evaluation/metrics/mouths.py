"""How mouths look: crops of the lower face that follow the head, and their sharpness, flicker and colours.

A crop is a square of ``SIDE`` px around the mouth, scaled so that ``EYE_PX`` px are one eye distance: figures of a
picture and of its copy are at the same scale. The square follows points that speech does not move (eyes and nose).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from ...face.crops import Pyramid, Square
from .faces import EYE_CORNERS, MOUTH
from .pictures import laplacian_variance, luminance

EYE_PX, SIDE = 64, 128
NOSE = slice(30, 36)  # tip and base
OUTER_LIPS, INNER_LIPS = slice(48, 60), slice(60, 68)
CHEEKS_AND_CHIN = [*range(3, 14), 31, 35]  # jaw line and sides of the nose
EDGE, LIP_EDGE, LIP_MARGIN = 5, 7, 6  # px: of the face's outline and of the lips left out; around the lips in the box
BLUR = 1.0  # px: deviation of the Gaussian before changes are measured
SHIFT = 4  # fractional bits of OpenCV's polygons
LEAST_PIXELS = 30  # for a figure of a region


@dataclass(frozen=True, eq=False)
class LowerFaces:
    """Crops (T, SIDE, SIDE, 3) uint8 RGB and landmarks in them (T, 68, 2) px, NaN (and black) without a face."""

    crops: np.ndarray
    points: np.ndarray

    def known(self) -> list[int]:
        """Frames with a face."""
        return [int(n) for n in np.flatnonzero(np.isfinite(self.points).all((1, 2)))]


def lower_faces(frames: Iterable[np.ndarray], landmarks: np.ndarray) -> LowerFaces:
    """Crops of frames uint8 (H, W, 3) with landmarks (T, 68, 2) in px."""
    crops = np.zeros((len(landmarks), SIDE, SIDE, 3), np.uint8)
    points = np.full((len(landmarks), 68, 2), np.nan)
    for n, (frame, square) in enumerate(zip(frames, mouth_squares(landmarks))):
        if square is not None:
            crops[n] = Pyramid(frame).crop(square, SIDE, cv2.BORDER_REPLICATE)
            points[n] = square.to_fractions(landmarks[n]) * SIDE
    return LowerFaces(crops, points)


def mouth_squares(landmarks: np.ndarray, side: float = SIDE / EYE_PX) -> list[Square | None]:
    """Squares around the mouth that follow the head, ``side`` eye distances wide; None without a face.

    landmarks: (T, 68, 2) px. Each frame's eyes and nose are fitted to the clip's median face by the similarity of least
    squares; the centre is the median place of the mouth relative to them.
    """
    marks = np.asarray(landmarks, np.float64)
    eyes = marks[:, EYE_CORNERS].mean(2)
    stable = np.concatenate([eyes, marks[:, NOSE].mean(1, keepdims=True)], 1)
    places, mouth = _complex(stable), _complex(marks[:, MOUTH].mean(1))
    there = np.isfinite(places).all(1) & np.isfinite(mouth)
    if not there.any():
        return [None] * len(marks)
    middle, across = places[:, :2].mean(1), places[:, 1] - places[:, 0]
    face = np.array([-0.5, 0.5, _median((places[there, 2] - middle[there]) / across[there])])
    centre = _median((mouth[there] - middle[there]) / across[there])
    spread = face - face.mean()
    slopes = (places * spread.conj()).sum(1) / np.square(np.abs(spread)).sum()
    centres = places.mean(1) + slopes * (centre - face.mean())
    return [
        Square(float(c.real), float(c.imag), side * float(abs(a)), float(np.angle(a))) if known else None
        for c, a, known in zip(centres, slopes, there)
    ]


def _complex(points: np.ndarray) -> np.ndarray:
    return points[..., 0] + 1j * points[..., 1]


def _median(values: np.ndarray) -> complex:
    return complex(np.median(values.real), np.median(values.imag))


def polygon(points: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Inside of a polygon (k, 2) px, the centre of the first pixel at (0.5, 0.5): (side, side) bool."""
    mask = np.zeros((side, side), np.uint8)
    corners = np.rint((np.asarray(points) - 0.5) * 2**SHIFT).astype(np.int32)
    cv2.fillPoly(mask, [corners], 1, shift=SHIFT)
    return mask.astype(bool)


def lip_ring(points: np.ndarray) -> np.ndarray:
    """The lips themselves, (SIDE, SIDE) bool, of landmarks (68, 2) in a crop."""
    return polygon(points[OUTER_LIPS]) & ~polygon(points[INNER_LIPS])


def inside_mouth(points: np.ndarray) -> np.ndarray:
    """What is seen between the lips, (SIDE, SIDE) bool, of landmarks (68, 2) in a crop."""
    return polygon(points[INNER_LIPS])


def skin_around(points: np.ndarray) -> np.ndarray:
    """Cheeks, chin and upper lip without the lips and the face's outline, (SIDE, SIDE) bool."""
    face = polygon(_hull(points[CHEEKS_AND_CHIN])).astype(np.uint8)
    lips = polygon(_hull(points[OUTER_LIPS])).astype(np.uint8)
    inner = cv2.erode(face, np.ones((2 * EDGE + 1,) * 2, np.uint8))
    return inner.astype(bool) & ~cv2.dilate(lips, np.ones((2 * LIP_EDGE + 1,) * 2, np.uint8)).astype(bool)


def _hull(points: np.ndarray) -> np.ndarray:
    return cv2.convexHull(points.astype(np.float32))[:, 0]


def lip_sharpness(faces: LowerFaces) -> float:
    """Mean over frames of the variance of the Laplacian in the lips' box, 6 px wider on every side.

    Meant to be near the true frames'. NaN without a face.
    """
    found = []
    for n in faces.known():
        lips = faces.points[n, OUTER_LIPS]
        (x0, y0), (x1, y1) = (
            np.clip(v, 0, SIDE).astype(int) for v in (lips.min(0) - LIP_MARGIN, lips.max(0) + LIP_MARGIN)
        )
        if x1 - x0 > 2 and y1 - y0 > 2:
            found.append(laplacian_variance(luminance(faces.crops[n])[y0:y1, x0:x1]))
    return float(np.mean(found)) if found else float("nan")


def flicker(faces: LowerFaces) -> float:
    """How much the still skin around the mouth changes from frame to frame: mean grey levels, 0 (steady) or more.

    Mean over consecutive frames of ``unexplained_change`` in cheeks, chin and upper lip, in pictures blurred by a
    Gaussian of one pixel: else the interpolation of fine texture that moves counts as flicker. Meant to be near the
    true frames', whose camera noise counts too. NaN without two consecutive frames with a face.
    """
    known = set(faces.known())
    pairs = [(n, n + 1) for n in sorted(known) if n + 1 in known]
    skin = {n: skin_around(faces.points[n]) for n in known}
    grey = {n: cv2.GaussianBlur(luminance(faces.crops[n]).astype(np.float32), (0, 0), BLUR) for n in known}
    found = [unexplained_change(grey[a], grey[b], skin[a] & skin[b]) for a, b in pairs]
    return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")


def unexplained_change(before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> float:
    """Mean absolute difference, inside the mask (H, W), of two luminances (H, W) that no small affine motion explains.

    The motion's six numbers are fitted by least squares to the brightness gradients (Lucas & Kanade 1981, one step).
    For two pictures that differ in independent noise of deviation s it is 2 s / sqrt(pi). NaN for a mask of fewer than
    30 pixels.
    """
    if mask.sum() < LEAST_PIXELS:
        return float("nan")
    first, second = before.astype(np.float64), after.astype(np.float64)
    mean = (first + second) / 2
    down, across = (np.gradient(mean, axis=axis)[mask] for axis in (0, 1))
    y, x = (where / max(mask.shape) - 0.5 for where in np.nonzero(mask))
    terms = np.stack([across, down, x * across, y * across, x * down, y * down], 1)
    change = (second - first)[mask]
    motion = np.linalg.lstsq(terms, change, rcond=None)[0]
    return float(np.abs(change - terms @ motion).mean())


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """sRGB uint8 (..., 3) as CIELAB float32 of the white point D65: L 0..100, a and b about -110..100."""
    flat = np.asarray(rgb, np.float32).reshape(1, -1, 3) / 255
    return cv2.cvtColor(flat, cv2.COLOR_RGB2Lab).reshape(np.shape(rgb))


def mean_lab(crops: Iterable[np.ndarray], masks: Iterable[np.ndarray]) -> np.ndarray:
    """Mean CIELAB colour (3,) of the pixels of crops (H, W, 3) inside their masks (H, W); NaN for fewer than 30."""
    pixels = np.concatenate([np.empty((0, 3), np.uint8), *(crop[mask] for crop, mask in zip(crops, masks))])
    return to_lab(pixels).mean(0) if len(pixels) >= LEAST_PIXELS else np.full(3, np.nan)


def lip_colour(faces: LowerFaces) -> np.ndarray:
    """Mean CIELAB colour (3,) of the lips over all frames."""
    known = faces.known()
    return mean_lab(faces.crops[known], (lip_ring(faces.points[n]) for n in known))


def mouth_colour(faces: LowerFaces, frames: Iterable[int]) -> np.ndarray:
    """Mean CIELAB colour (3,) between the lips (teeth, tongue and the dark) in these frames."""
    chosen = list(frames)
    return mean_lab(faces.crops[chosen], (inside_mouth(faces.points[n]) for n in chosen))


def colour_difference(a: np.ndarray, b: np.ndarray) -> float:
    """CIELAB colour difference dE (CIE 1976) of two colours (3,); about 2 is just seen side by side."""
    return float(np.linalg.norm(np.asarray(a, np.float64) - b))
