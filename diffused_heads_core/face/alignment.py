"""Alignment: where the model's square frame lies in a picture, how it is cut out, and the head's soft mask.

Picture coordinates are pixels, x right, y down, the centre of the top-left pixel at (0.5, 0.5); frame coordinates are
fractions of the square frame as in ``pose``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ..errors import DiffusedHeadsError
from ..media.pictures import square_crop_resize
from ..pose import HeadGeometry, smooth

MARGINS = (-0.5, 4.0)
WHOLE = 1e-3  # pixels: frames nearer to whole pixels than this are cut out without resampling
LARGEST_CANVAS = 4096  # pixels per side of the supersampled frame
HEAD_FADE = (1.1, 1.5)  # radii of the head's ellipse between which its mask fades: room for hair and motion
LEAST_FADE = 0.03  # frame fractions
EDGE_FADE = {"left": 0.06, "top": 0.06, "right": 0.06, "bottom": 0.12}  # frame fractions; shoulders fade more slowly


@dataclass(frozen=True, eq=False)
class Placement:
    """A similarity transform from picture pixels to frame fractions: u = matrix @ (x, y, 1), matrix (2, 3) float64.

    Raises DiffusedHeadsError if the matrix is not finite, mirrors, or is not a similarity.
    """

    matrix: np.ndarray

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, np.float64)
        if matrix.shape != (2, 3) or not np.isfinite(matrix).all():
            raise DiffusedHeadsError(
                f"placement: expected a finite matrix (2, 3), found {matrix.shape} {matrix.tolist()}"
            )
        (a, b, _), (c, d, _) = matrix
        scale = math.hypot(a, c)
        if scale < 1e-9 or max(abs(a - d), abs(b + c)) > 1e-6 * scale:
            raise DiffusedHeadsError(f"placement: expected turn, scale and shift alone, found {matrix[:, :2].tolist()}")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    @property
    def inverse(self) -> np.ndarray:
        """Frame fractions -> picture pixels, (2, 3) float64."""
        turn = np.linalg.inv(self.matrix[:, :2])
        return np.column_stack([turn, -turn @ self.matrix[:, 2]])

    @property
    def side(self) -> float:
        """Length of the frame's side, picture pixels."""
        return 1 / math.hypot(self.matrix[0, 0], self.matrix[1, 0])

    @property
    def angle(self) -> float:
        """How far the frame is turned clockwise in the picture, radians."""
        return math.atan2(self.inverse[1, 0], self.inverse[0, 0])

    @property
    def corners(self) -> np.ndarray:
        """The frame's top left, top right, bottom right and bottom left corner in picture pixels, (4, 2)."""
        return self.to_picture(np.array([(0, 0), (1, 0), (1, 1), (0, 1)]))

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Picture pixels (..., 2) -> frame fractions (..., 2)."""
        return np.asarray(points, np.float64) @ self.matrix[:, :2].T + self.matrix[:, 2]

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Frame fractions (..., 2) -> picture pixels (..., 2)."""
        inverse = self.inverse
        return np.asarray(points, np.float64) @ inverse[:, :2].T + inverse[:, 2]

    def pixels(self, size: int, left: int = 0, top: int = 0) -> np.ndarray:
        """OpenCV's matrix (2, 3): picture array indices, from (left, top) on -> indices of a ``size`` pixel frame."""
        shift = self.to_frame(np.array([left + 0.5, top + 0.5]))
        return np.column_stack([size * self.matrix[:, :2], size * shift - 0.5])

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """left, top, right, bottom, in whole pixels, of the frame's part of a picture; empty if right <= left."""
        corners = self.corners
        low = np.floor(np.clip(corners.min(0) + WHOLE, 0, (width, height))).astype(int)
        high = np.ceil(np.clip(corners.max(0) - WHOLE, 0, (width, height))).astype(int)
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def align(
    points: np.ndarray, geometry: HeadGeometry = HeadGeometry(), margin: float = 0.0, level: bool = True
) -> Placement:
    """The similarity that takes a face's stable points nearest to where the model has them.

    points: (3, 2) pixels: image-left eye, image-right eye, nose. margin: the frame is (1 + margin) times larger around
    the head. level: the head is set upright; otherwise the frame is not turned and the head keeps its tilt. Source:
    Umeyama, "Least-squares estimation of transformation parameters between two point patterns" (PAMI 1991); in the
    plane, with points as complex numbers, w = a z + b with a = sum(conj(z) w) / sum(|z|^2) about the means. Raises
    DiffusedHeadsError for other shapes, values that are not finite, coinciding points, and a margin outside MARGINS.
    """
    points = np.asarray(points, np.float64)
    if points.shape != (3, 2) or not np.isfinite(points).all():
        raise DiffusedHeadsError(f"face points: expected three finite (x, y), found {points.shape} {points.tolist()}")
    _check_margin(margin)
    target = np.array([geometry.left_eye, geometry.right_eye, geometry.nose]) @ (1, 1j)
    source = points @ (1, 1j)
    apart = source - source.mean()
    spread = float((abs(apart) ** 2).sum())
    if spread < 1e-6:
        raise DiffusedHeadsError(f"face points: expected eyes and nose apart, found {points.tolist()}")
    a = (apart.conj() @ (target - target.mean())) / spread
    if abs(a) ** 2 * spread < 1e-9:
        raise DiffusedHeadsError(f"face points: expected two eyes above a nose, found {points.tolist()}")
    centre = complex(*geometry.centre)
    head = source.mean() + (centre - target.mean()) / a
    a = (a if level else abs(a)) / (1 + margin)
    b = centre - a * head
    return Placement(np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]]))


def _check_margin(margin: float) -> None:
    if not MARGINS[0] <= margin <= MARGINS[1]:
        raise DiffusedHeadsError(f"margin={margin}: expected {MARGINS[0]} to {MARGINS[1]}")


def square_placement(left: float, top: float, side: float) -> Placement:
    """The upright square with that corner and side, in pixels; raises DiffusedHeadsError unless side is above 0."""
    if not (math.isfinite(left) and math.isfinite(top) and math.isfinite(side) and side > 0):
        raise DiffusedHeadsError(
            f"square: expected finite numbers and a side above 0, found left={left}, top={top}, side={side}"
        )
    return Placement(np.array([[1 / side, 0, -left / side], [0, 1 / side, -top / side]]))


def whole_placement(height: int, width: int) -> Placement:
    """The largest square of a picture: centred in a wide one, a quarter of the way down in a tall one."""
    side = min(height, width)
    return square_placement((width - side) // 2, (height - side) // 4, side)


def crop(picture: np.ndarray, placement: Placement, size: int) -> np.ndarray:
    """Cut the frame out of a picture: uint8 (H, W, 3) or (H, W, 4) -> (size, size, C).

    Shrinks by area averaging, enlarges by cubic interpolation, copies if pixels match. Beyond the picture's border its
    colours continue, blurrier with the distance. Transparent pixels are left out and come out white. Raises
    DiffusedHeadsError for other arrays, a size below 1, and a frame that lies wholly outside the picture.
    """
    check_picture(picture)
    if size < 1:
        raise DiffusedHeadsError(f"size={size}, expected 1 or more")
    if picture.shape[2] == 3:
        return _cut(picture, placement, size)
    if picture[..., 3].min() == 255:
        return np.dstack([_cut(picture[..., :3], placement, size), np.full((size, size), 255, np.uint8)])
    alpha = picture[..., 3:].astype(np.float32)
    cut = _cut(np.concatenate([picture[..., :3] * (alpha / 255), alpha], 2), placement, size)
    colours = np.where(cut[..., 3:] < 0.5, 255, cut[..., :3] * (255 / np.maximum(cut[..., 3:], 0.5)))
    return np.rint(np.clip(np.concatenate([colours, cut[..., 3:]], 2), 0, 255)).astype(np.uint8)


def check_picture(picture: np.ndarray, name: str = "picture") -> None:
    """Raise DiffusedHeadsError unless this is uint8 (H, W, 3) or (H, W, 4)."""
    if picture.ndim != 3 or picture.dtype != np.uint8 or picture.shape[2] not in (3, 4) or not picture.size:
        raise DiffusedHeadsError(
            f"{name}: expected uint8 (H, W, 3) or (H, W, 4), found {picture.dtype} {picture.shape}"
        )


def check_overlap(placement: Placement, height: int, width: int) -> None:
    """Raise DiffusedHeadsError if the frame lies wholly outside a picture of that size."""
    left, top, right, bottom = placement.box(height, width)
    if right <= left or bottom <= top:
        raise DiffusedHeadsError(
            f"placement: the frame {placement.corners.round(1).tolist()} lies outside the picture of {width}x{height}"
        )


def inside_picture(placement: Placement, height: int, width: int, size: int) -> np.ndarray:
    """1 at those pixels of a frame, float32 (size, size), that lie inside the picture, 0 outside."""
    axis = (np.arange(size) + 0.5) / size
    at = placement.to_picture(np.stack(np.meshgrid(axis, axis), -1))
    inside = (at >= 0) & (at <= (width, height))
    return np.asarray(inside.all(2), np.float32)


def _cut(picture: np.ndarray, placement: Placement, size: int) -> np.ndarray:
    height, width = picture.shape[:2]
    left, top, right, bottom = placement.box(height, width)
    check_overlap(placement, height, width)
    off = np.concatenate(placement.corners[[0, 2]]) - (left, top, right, bottom)
    if abs(placement.angle) * placement.side < WHOLE and abs(off).max() < WHOLE:
        return square_crop_resize(picture[top:bottom, left:right], size)
    around = 4 + math.ceil(2 * placement.side / size)  # the reach of interpolation at the frame's edge
    left, top = max(0, left - around), max(0, top - around)
    part = np.ascontiguousarray(picture[top : bottom + around, left : right + around])
    frame = _warp(part, placement, left, top, size, cv2.BORDER_REPLICATE)
    if not _leaves(placement, height, width):
        return frame
    inside = _warp(np.ones(part.shape[:2], np.float32), placement, left, top, size, cv2.BORDER_CONSTANT)
    return _extend(frame, np.clip(inside, 0, 1))


def _leaves(placement: Placement, height: int, width: int) -> bool:
    corners = placement.corners
    return bool(corners.min() < -WHOLE or (corners.max(0) > np.array((width, height)) + WHOLE).any())


def _warp(part: np.ndarray, placement: Placement, left: int, top: int, size: int, border: int) -> np.ndarray:
    """Resample to the frame; to shrink, at least one sample per picture pixel is averaged over each pixel's area."""
    finer = max(1, math.ceil(placement.side / size - 1e-6))
    while finer > 1 and finer * size > LARGEST_CANVAS:
        finer -= 1
    canvas = finer * size
    shrink = placement.side / canvas
    matrix = placement.pixels(canvas, left, top)
    if shrink > 1.5:  # the picture is finer than the largest canvas: averaged before it is sampled
        height, width = part.shape[:2]
        small = max(1, round(width / shrink)), max(1, round(height / shrink))
        part = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
        ratio = np.array([width / small[0], height / small[1]])
        matrix = np.column_stack([matrix[:, :2] * ratio, matrix[:, 2] + matrix[:, :2] @ (ratio / 2 - 0.5)])
    warped = cv2.warpAffine(part, matrix, (canvas, canvas), flags=cv2.INTER_CUBIC, borderMode=border)
    return warped if finer == 1 else cv2.resize(warped, (size, size), interpolation=cv2.INTER_AREA)


def _extend(frame: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Fill where ``inside`` (S, S) is 0 with ever coarser averages of the rest (push-pull; Gortler et al. 1996)."""
    weights, sums = [inside], [frame.astype(np.float32) * inside[..., None]]
    while min(weights[-1].shape) > 1:
        weights.append(cv2.pyrDown(weights[-1]))
        sums.append(cv2.pyrDown(sums[-1]))
    total = max(float(inside.sum()), 1e-6)
    filled = np.broadcast_to(sums[0].sum((0, 1)) / total, sums[-1].shape).astype(np.float32)
    for weight, colours in zip(weights[::-1], sums[::-1], strict=True):
        rough = cv2.resize(filled, weight.shape[::-1], interpolation=cv2.INTER_LINEAR).reshape(colours.shape)
        share = np.minimum(2 * weight, 1)[..., None] if weight is not inside else weight[..., None]
        filled = rough + share * (colours / np.maximum(weight, 1e-6)[..., None] - rough)
    exact = np.where(inside[..., None] > 0.999, frame, filled)
    return exact.astype(np.float32) if frame.dtype != np.uint8 else np.rint(np.clip(exact, 0, 255)).astype(np.uint8)


def head_mask(placement: Placement, height: int, width: int, geometry: HeadGeometry = HeadGeometry()) -> np.ndarray:
    """Soft mask of a head that fills the frame as the model expects: float32 (height, width), 1 inside, 0 outside.

    The ellipse of the head with room for hair, ears, chin and motion. It is 0 at the frame's border, except at those
    sides of the frame that lie at or beyond the picture's border, where there is nothing to blend with.
    """
    mask = np.zeros((height, width), np.float32)
    left, top, right, bottom = box = placement.box(height, width)
    if right > left and bottom > top:
        across, down = _fractions(placement, box)
        radius = np.hypot(
            (across - geometry.centre[0]) / geometry.radii[0], (down - geometry.centre[1]) / geometry.radii[1]
        )
        soft = smooth((HEAD_FADE[1] - radius) / (HEAD_FADE[1] - HEAD_FADE[0]))
        mask[top:bottom, left:right] = soft * _window(placement, height, width, across, down, EDGE_FADE)
    return mask


def hold_inside(mask: np.ndarray, placement: Placement) -> np.ndarray:
    """A mask (H, W) that fades out at the frame's border: a new float32 (H, W); exceptions as in ``head_mask``."""
    held = np.zeros(mask.shape, np.float32)
    height, width = mask.shape
    left, top, right, bottom = box = placement.box(height, width)
    if right > left and bottom > top:
        fades = dict.fromkeys(EDGE_FADE, LEAST_FADE)
        window = _window(placement, height, width, *_fractions(placement, box), fades)
        held[top:bottom, left:right] = mask[top:bottom, left:right] * window
    return held


def _fractions(placement: Placement, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Frame fractions across and down, float32 (h, w) each, of the pixels of a box."""
    left, top, right, bottom = box
    x, y = np.arange(left, right) + 0.5, (np.arange(top, bottom) + 0.5)[:, None]
    across, down = ((m[0] * x + m[1] * y + m[2]).astype(np.float32) for m in placement.matrix)
    return across, down


def _window(
    placement: Placement, height: int, width: int, across: np.ndarray, down: np.ndarray, fades: dict[str, float]
) -> np.ndarray:
    """1 in the frame, fading to 0 at those of its sides that lie inside the picture, over ``fades`` frame fractions."""
    window, beyond = np.ones(across.shape, np.float32), _sides_beyond(placement, height, width)
    for name, distance in {"left": across, "top": down, "right": 1 - across, "bottom": 1 - down}.items():
        window *= distance > 0 if name in beyond else smooth(distance / fades[name])
    return window


def _sides_beyond(placement: Placement, height: int, width: int) -> set[str]:
    """Sides of the frame that lie wholly at or beyond one border of the picture."""
    corners = placement.corners
    ends = {"top": (0, 1), "right": (1, 2), "bottom": (2, 3), "left": (3, 0)}
    beyond = np.column_stack([corners < 0.5, corners > np.array((width, height)) - 0.5])
    return {name for name, (one, other) in ends.items() if (beyond[one] & beyond[other]).any()}
