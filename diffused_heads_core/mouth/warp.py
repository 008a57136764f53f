"""Warping a picture from one face mesh to another, triangle by triangle, and maps of the lips."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np

from .face_mesh import face_mesh

# The face's outline, once around, from the middle of the forehead.
OUTLINE = np.array(
    [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149]
    + [150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
)
OUTER_LIPS = np.array([61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146])
INNER_LIPS = np.array([78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95])
REACH = 1.35  # size of the ring around the face at which the warp ends, in sizes of its outline
LEAST_AREA = 1e-2  # square pixels, twice: thinner triangles show nothing
EDGE = 4  # pixels of the lips that are painted with the mouth's inside
SOFT = 1.5  # pixels over which that passes into the rest, standard deviation
SUBPIXEL = 5  # bits of OpenCV's fixed-point coordinates
_NO_MAP: Any = None  # of OpenCV, which takes x and y together; an empty array is read as if it were there


@cache
def _triangles() -> tuple[np.ndarray, int]:
    """Those of the mesh and of the strip between its outline and the ring, and how many are inside the mouth."""
    mesh, count = face_mesh(), len(OUTLINE)
    ring, following = len(mesh.mean) + np.arange(count), np.roll(np.arange(count), -1)
    strip = [np.stack([OUTLINE, OUTLINE[following], ring], 1), np.stack([OUTLINE[following], ring[following], ring], 1)]
    return np.concatenate([mesh.triangles, *strip]), mesh.inside


def _with_ring(mesh: np.ndarray, source: np.ndarray) -> np.ndarray:
    """A mesh's points (468, 2) and those of the ring around the source's face, which stays where it is."""
    middle = source[:, :2].mean(0)
    return np.concatenate([mesh[:, :2], middle + REACH * (source[OUTLINE, :2] - middle)])


def warp_map(source: np.ndarray, target: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Where each pixel of the target is found in the source: (h, w, 2) float32, array indices of the source.

    source, target: meshes (468, 3) in pixels of their pictures, the centre of the top-left pixel at (0.5, 0.5). box:
    left, top, right, bottom of the part of the target that is wanted. The warp is affine in each triangle. Nearer
    triangles hide farther ones, and all hide those inside the mouth. Beyond a ring around the face nothing moves.
    """
    left, top, width, height = box[0], box[1], box[2] - box[0], box[3] - box[1]
    triangles, inside = _triangles()
    found, goal = _with_ring(source, source)[triangles], _with_ring(target, source)[triangles] - (left, top)
    across, down = goal[:, 1] - goal[:, 0], goal[:, 2] - goal[:, 0]
    area = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]
    index = _drawn(goal, area, _far_to_near(target, triangles, inside), width, height)
    table = _movements(goal, found - goal - (left, top), area)[index]
    y, x = (np.arange(n, dtype=np.float32)[:, None] + np.float32(0.5) for n in (height, width))
    across, down = x.T, y
    places = np.empty((height, width, 2), np.float32)
    for axis in (0, 1):
        constant, right, below, low, high = (table[..., 2 * n + axis] for n in range(5))
        places[..., axis] = np.clip(constant + right * across + below * down, low, high)
    places[..., 0] += across + np.float32(left - 0.5)
    places[..., 1] += down + np.float32(top - 0.5)
    return places


def _movements(goal: np.ndarray, change: np.ndarray, area: np.ndarray) -> np.ndarray:
    """How the pixels of each triangle (n, 3, 2) move, an affine function of their place: (n + 1, 10) float32.

    Columns, for x and y each: constant, per pixel to the right, per pixel down, least, most. A pixel at a thin
    triangle's edge can lie outside it, so no pixel moves farther than one of the corners does. The last row is 0.
    """
    table = np.zeros((len(goal) + 1, 10), np.float32)
    area = np.where(np.abs(area) > LEAST_AREA, area, 1.0)[:, None]
    (across, down), (second, third) = ((part[:, 1] - part[:, 0], part[:, 2] - part[:, 0]) for part in (goal, change))
    table[:-1, 2:4] = right = (second * down[:, 1:] - third * across[:, 1:]) / area
    table[:-1, 4:6] = below = (third * across[:, :1] - second * down[:, :1]) / area
    table[:-1, 0:2] = change[:, 0] - right * goal[:, 0, :1] - below * goal[:, 0, 1:]
    table[:-1, 6:8], table[:-1, 8:10] = change.min(1), change.max(1)
    return table


def _far_to_near(target: np.ndarray, triangles: np.ndarray, inside: int) -> np.ndarray:
    """The order in which triangles are drawn."""
    depth = np.concatenate([target[:, 2], np.full(len(OUTLINE), target[:, 2].max() + 1)])[triangles].mean(1)
    depth[:inside] = np.inf
    return np.argsort(-depth, kind="stable")


def _drawn(goal: np.ndarray, area: np.ndarray, order: np.ndarray, width: int, height: int) -> np.ndarray:
    """The number of the triangle (n, 3, 2) at each pixel, (height, width) int32, -1 outside all."""
    low, high = goal.min(1), goal.max(1)
    seen = (high > 0).all(1) & (low < (width, height)).all(1) & (np.abs(area) > LEAST_AREA)
    corners = np.rint((goal - 0.5) * (1 << SUBPIXEL)).astype(np.int32)
    index = np.full((height, width), -1, np.int32)
    for number in order[seen[order]]:
        cv2.fillConvexPoly(index, corners[number], int(number), cv2.LINE_8, SUBPIXEL)
    return index


def warped(picture: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A picture (H, W, C) sampled at ``warp_map``'s places, cubic, its border repeated."""
    found = cv2.remap(picture, places, _NO_MAP, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found).reshape(*places.shape[:2], -1)


def sampled(table: np.ndarray, places: np.ndarray, border: int = cv2.BORDER_CONSTANT) -> np.ndarray:
    """A table (H, W, n) sampled linearly at array indices (h, w, 2), float32; border: OpenCV's, by default 0."""
    if table.ndim == 3 and table.shape[2] > 4:  # more than OpenCV takes at once
        return np.dstack([sampled(np.ascontiguousarray(part), places, border) for part in np.split(table, [4], 2)])
    return np.asarray(cv2.remap(table, places, _NO_MAP, cv2.INTER_LINEAR, borderMode=border), np.float32)


def lip_maps(mesh: np.ndarray, width: int, height: int) -> np.ndarray:
    """Inside of the outer and of the inner lips, (2, height, width) float32, 0..1, of a mesh in pixels."""
    maps = np.zeros((2, height, width), np.uint8)
    for plane, contour in zip(maps, (OUTER_LIPS, INNER_LIPS)):
        corners = np.rint((mesh[contour, :2] - 0.5) * (1 << SUBPIXEL)).astype(np.int32)
        cv2.fillPoly(plane, [corners], 255, cv2.LINE_AA, SUBPIXEL)
    return maps.astype(np.float32) / 255


def mouth_mask(maps: np.ndarray) -> np.ndarray:
    """A soft mask (height, width) float32, 0..1, of the inside of the mouth in ``lip_maps`` and the lips' edges."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * EDGE + 1, 2 * EDGE + 1))
    return cv2.GaussianBlur(cv2.dilate(maps[1], kernel), (0, 0), SOFT)
