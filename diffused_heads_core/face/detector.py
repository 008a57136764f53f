"""BlazeFace, the face detector: candidates in square crops, and merging those of one face.

Network: Bazarevsky et al. 2019, arXiv:1907.05047; 256 px, the version for distant faces, or 128 px, the one for near
faces, which looks at four parts of a square as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .crops import Pyramid, Square
from .outputs import join_outputs

SIZE = 256  # px of the input of the network for distant faces
NEAR = 128  # of the one for near faces
PART = 0.62  # side of each of the four parts, in sides of the square
GRIDS = ((16, 2), (8, 6))  # cells per side, anchors per cell
KEYPOINTS = 6
SAME_FACE = 0.3  # overlap (intersection over union) from which two candidates are one face


@dataclass(frozen=True)
class Candidate:
    """A possible face: box (4,) x0 y0 x1 y1 and keypoints (6, 2), both in picture pixels, score 0..1."""

    box: np.ndarray
    keypoints: np.ndarray
    score: float


def anchors() -> np.ndarray:
    """Centres of the anchors in fractions of the crop: (896, 2), in the order of the network's outputs."""
    centres = []
    for cells, repeats in GRIDS:
        axis = (np.arange(cells) + 0.5) / cells
        grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
        centres.append(np.repeat(grid, repeats, axis=0))
    return np.concatenate(centres)


ANCHORS = anchors()


def decode(regressors: np.ndarray, centres: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Points (N, 8, 2), in fractions of the crop, from regressors (N, 16), in crop pixels from the ``centres`` (N, 2).

    size: of the crop, px. The eight points are the box's top-left and bottom-right corners and the six keypoints.
    """
    points = np.asarray(regressors, np.float64).reshape(-1, 2 + KEYPOINTS, 2) / size
    middle, half = points[:, 0] + centres, points[:, 1] / 2
    return np.concatenate([(middle - half)[:, None], (middle + half)[:, None], points[:, 2:] + centres[:, None]], 1)


def sigmoid(logits: np.ndarray | float) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1 + np.tanh(np.asarray(logits, np.float64) / 2))


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of a box (4,) with boxes (N, 4): (N,) in 0..1."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    return shared / np.maximum(areas - shared, 1e-9)


def merge(candidates: list[Candidate], same: float = SAME_FACE) -> list[Candidate]:
    """Weighted non-maximum suppression: candidates that overlap by ``same`` become their mean by score; best first."""
    rest = sorted(candidates, key=lambda candidate: -candidate.score)
    merged: list[Candidate] = []
    while rest:
        boxes = np.stack([candidate.box for candidate in rest])
        alike = overlap(boxes[0], boxes) >= same
        alike[0] = True
        group = [candidate for candidate, taken in zip(rest, alike, strict=True) if taken]
        weights = np.array([candidate.score for candidate in group])
        box = np.average([each.box for each in group], axis=0, weights=weights)
        keypoints = np.average([each.keypoints for each in group], axis=0, weights=weights)
        merged.append(Candidate(box, keypoints, group[0].score))
        rest = [candidate for candidate, taken in zip(rest, alike, strict=True) if not taken]
    return merged


class Detector:
    """The network; not to be shared between threads."""

    def __init__(self, model: bytes, size: int = SIZE) -> None:
        """model: the contents of a network file; size: px of its input, ``SIZE`` or ``NEAR``."""
        self._size = size
        self._net = cv2.dnn.readNetFromTFLite(np.frombuffer(join_outputs(model), np.uint8))

    def candidates(
        self, pyramid: Pyramid, squares: Sequence[Square], threshold: float
    ) -> tuple[list[Candidate], float]:
        """Candidates in one square, or in four side by side at half the size each, in one pass of the network.

        Returns those with a score of ``threshold`` or more, unmerged, and the best score of all.
        """
        if self._size == SIZE:
            return self._seen(pyramid, squares, threshold)
        alone = [self._seen(pyramid, [each], threshold) for each in _with_parts(squares)]
        return [candidate for found, _ in alone for candidate in found], max(best for _, best in alone)

    def _seen(self, pyramid: Pyramid, squares: Sequence[Square], threshold: float) -> tuple[list[Candidate], float]:
        """One pass of the network."""
        side, size = math.isqrt(len(squares)), self._size
        crops = [pyramid.crop(square, size // side) for square in squares]
        canvas = np.concatenate([np.concatenate(crops[row : row + side], 1) for row in range(0, len(crops), side)])
        self._net.setInput(cv2.dnn.blobFromImage(canvas, 1 / 127.5, (size, size), (127.5, 127.5, 127.5)))
        output = self._net.forward().reshape(len(ANCHORS), -1)
        scores = sigmoid(output[:, -1])
        good = scores >= threshold
        points = decode(output[good, :-1], ANCHORS[good], size) * side
        found = [_placed(each, float(score), squares, side) for each, score in zip(points, scores[good], strict=True)]
        return found, float(scores.max())


def _with_parts(squares: Sequence[Square]) -> list[Square]:
    """Squares that are looked at in one pass of ``SIZE`` px, for passes of ``NEAR`` px: one has four parts besides."""
    if len(squares) > 1:
        return list(squares)
    (whole,) = squares
    ends = PART / 2, 1 - PART / 2
    centres = whole.to_picture(np.array([(x, y) for y in ends for x in ends]))
    return [whole, *(Square(float(x), float(y), PART * whole.side, whole.angle) for x, y in centres)]


def _placed(points: np.ndarray, score: float, squares: Sequence[Square], side: int) -> Candidate:
    """A candidate in the picture from points (8, 2), in sides of a square; its box stays upright."""
    middle = (points[0] + points[1]) / 2
    column, row = np.clip(middle.astype(int), 0, side - 1)
    square = squares[row * side + column]
    half = (points[1] - points[0]) / 2 * square.side
    centre, keypoints = (square.to_picture(part - (column, row)) for part in (middle, points[2:]))
    return Candidate(np.concatenate([centre - half, centre + half]), keypoints, score)
