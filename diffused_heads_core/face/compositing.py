"""Compositing: generated heads pasted back into the picture that they came from, at the picture's own resolution.

A frame holds far fewer pixels than the head in a photograph. So the photograph itself is carried along with the head's
motion, and the frame adds what is different. With W the warp by the optical flow between the picture's crop and the
frame, and g from 0 to 1 how far that warp explains the frame,

    head = up(frame + colour - g W(crop)) + up(g) W(picture),

which is the picture itself where nothing changes, and the enlarged frame where something new appears (g = 0).
``colour`` is how far the picture's colours around the head are from the frame's, carried on smoothly inwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from ..errors import DiffusedHeadsError
from ..pose import HeadGeometry
from .alignment import Placement, check_overlap, check_picture, crop, head_mask, hold_inside, inside_picture
from .changes import ANALYSED, FARTHEST, LUMA, Changes, grid, power, resized, sampled

LEAST_WORKING = 64  # pixels per side below which frames are not shrunk
NOISE_BLUR = 1.0  # pixels of a frame: finer residuals are taken for noise
NOISE = 2.5  # of 255: a residual clearly below this is taken for the model's noise
FINER = 4  # frames are enlarged up to so many times by cubic interpolation, beyond that linearly
STRIP = 128  # rows composited at a time, to stay in the processor's cache
BLURS = (0, 0.4, 0.5, 0.6, 0.7, 0.85, 1, 1.2, 1.4, 1.7, 2, 2.4, 2.8, 3.4, 4)  # pixels of a frame
SHARPER = 1.1  # times the frame's sharpness that the crop may have


def paste_back(
    frames: Iterable[np.ndarray],
    picture: np.ndarray,
    placement: Placement,
    mask: np.ndarray | None = None,
    geometry: HeadGeometry = HeadGeometry(),
    detail: float = 1.0,
    match_colour: bool = True,
    fps: float = 25.0,
) -> Iterator[np.ndarray]:
    """Yield the whole picture for each frame, a new uint8 (H, W, C); arguments and errors as for ``Compositor``."""
    compositor = Compositor(picture, placement, mask, geometry, detail, match_colour, fps)
    return (compositor.paste(frame) for frame in frames)


class Compositor:
    """Pastes the frames of one clip, in their order, into one picture.

    picture: uint8 (H, W, 3), or (H, W, 4) whose alpha is kept. placement: where the frames lie in it. mask: float
    (H, W), 0..1, by default ``head_mask``. detail: 0..1, how much of the picture's own fine detail is kept.
    match_colour: frames take on the picture's colours at the mask's border. ``region`` is the part of the picture that
    changes, a pair of slices. Raises DiffusedHeadsError for other arrays and values, and for a frame that lies wholly
    outside the picture.
    """

    def __init__(
        self,
        picture: np.ndarray,
        placement: Placement,
        mask: np.ndarray | None = None,
        geometry: HeadGeometry = HeadGeometry(),
        detail: float = 1.0,
        match_colour: bool = True,
        fps: float = 25.0,
    ):
        check_picture(picture)
        check_overlap(placement, *picture.shape[:2])
        _check_settings(detail, fps)
        self.picture, self.placement, self.detail = picture, placement, float(detail)
        self._match_colour, self._fps, self._count = match_colour, float(fps), 0
        height, width = picture.shape[:2]
        if mask is None:
            whole = head_mask(placement, height, width, geometry)
        else:
            whole = _checked_mask(mask, picture, placement)
        self.region = _region(whole)
        self._mask = np.ascontiguousarray(whole[self.region])
        self._opaque = _on_white(picture)
        self._scale: _Scale | None = None

    def paste(self, frame: np.ndarray) -> np.ndarray:
        """The whole picture with one frame (S, S, 3) uint8 in it: a new uint8 (H, W, C)."""
        patch = self.patch(frame)
        picture = self.picture.copy()
        picture[self.region] = patch
        return picture

    def patch(self, frame: np.ndarray) -> np.ndarray:
        """``picture[region]`` with one frame (S, S, 3) uint8 in it: a new uint8 (h, w, C)."""
        self._check_frame(frame)
        self._count += 1
        patch = self.picture[self.region].copy()
        if patch.size:
            self._paint(frame, patch)
        return patch

    def _check_frame(self, frame: np.ndarray) -> None:
        size = self._scale.size if self._scale else frame.shape[0] if frame.ndim else 0
        if frame.dtype != np.uint8 or frame.shape != (size, size, 3) or not size:
            wanted = f"({size}, {size}, 3) as before" if self._scale else "(S, S, 3)"
            raise DiffusedHeadsError(f"frame {self._count}: expected uint8 {wanted}, found {frame.dtype} {frame.shape}")

    def _start(self, frame: np.ndarray) -> _Scale:
        """Prepare what depends on the frames' size and sharpness, from the first one."""
        self._scale = scale = _Scale(len(frame), self.placement)
        reference = scale.working(crop(self._opaque, self.placement, len(frame)))
        self._reference = _as_sharp_as(scale.working(frame), reference)
        self._grid = grid(scale.side, scale.side)
        left, top = self.region[1].start, self.region[0].start
        band = _band(self._mask, self.placement, left, top, scale.analysed)
        height, width = self.picture.shape[:2]
        band *= inside_picture(self.placement, height, width, scale.analysed)
        small = resized(self._reference, scale.analysed)
        self._changes = Changes(small, band if self._match_colour else None, self._fps)
        self._reach = math.ceil(FARTHEST * self.placement.side) + 2
        self._source = _padded(self._opaque, self.region, self._reach)
        self._strip_grid = grid(min(STRIP, len(self._mask)), self._mask.shape[1]) + np.float32(self._reach)
        return scale

    def _paint(self, frame: np.ndarray, patch: np.ndarray) -> None:
        scale = self._scale or self._start(frame)
        working = scale.working(frame)
        change = self._changes(resized(working, scale.analysed))
        flow = resized(change.flow, scale.side) * (scale.side / scale.analysed)
        gate = resized(change.gate, scale.side) * self.detail
        moved = sampled(self._reference, self._grid + flow)
        residual = working + resized(change.colour, scale.side) - moved
        rest = residual * (1 - self.detail * _noise(residual)) + (1 - gate[..., None]) * moved
        layers = scale.finer(rest), gate, flow @ (self.placement.inverse[:, :2].T / scale.side).astype(np.float32)
        for top in range(0, len(patch), STRIP):
            self._paint_strip(layers, top, patch[top : top + STRIP])

    def _paint_strip(self, layers: tuple[np.ndarray, np.ndarray, np.ndarray], top: int, patch: np.ndarray) -> None:
        """Paint rows from ``top`` on into ``patch`` (n, w, C); layers: rest, gate and shift in picture pixels."""
        rest, gate, shift = (self._enlarge(layer, top, patch.shape[:2]) for layer in layers)
        if self.detail:
            source = self._source[top : top + len(patch) + 2 * self._reach]
            carried = sampled(source, self._strip_grid[: len(patch)] + shift)
            rest = cv2.add(rest, cv2.multiply(carried, cv2.merge([gate] * 3), dtype=cv2.CV_32F))
        rows, columns = slice(self.region[0].start + top, self.region[0].start + top + len(patch)), self.region[1]
        below = self._opaque[rows, columns]
        weight = cv2.merge([self._mask[top : top + len(patch)]] * 3)
        change = cv2.multiply(weight, cv2.subtract(rest, below, dtype=cv2.CV_32F))
        mixed = cv2.add(below, change, dtype=cv2.CV_8U)
        patch[..., :3] = mixed if patch.shape[2] == 3 else _off_white(patch, below, mixed)

    def _enlarge(self, layer: np.ndarray, top: int, shape: tuple[int, int]) -> np.ndarray:
        """A layer over the frame, (s, s) or (s, s, n), resampled at rows of the region from ``top`` on."""
        matrix = self.placement.pixels(len(layer), self.region[1].start, self.region[0].start + top)
        cubic = layer.shape == (len(self._reference), len(self._reference), 3)
        flags = (cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(layer, matrix, shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)


class _Scale:
    """Sizes at which frames of ``size`` pixels are processed.

    side: the frame's, but not much above the picture's resolution at ``placement``; analysed: for the motion.
    """

    def __init__(self, size: int, placement: Placement):
        self.size = size
        self.side = min(size, max(math.ceil(placement.side), LEAST_WORKING))
        self.analysed = min(self.side, ANALYSED)
        self._finer = min(FINER, math.ceil(placement.side / self.side))

    def working(self, frame: np.ndarray) -> np.ndarray:
        """uint8 (size, size, 3) -> float32 (side, side, 3), 0..255."""
        return resized(frame, self.side).astype(np.float32)

    def finer(self, layer: np.ndarray) -> np.ndarray:
        """Enlarged by a whole number, so that what follows may be interpolated linearly."""
        side = self.side * self._finer
        return layer if self._finer == 1 else cv2.resize(layer, (side, side), interpolation=cv2.INTER_CUBIC)


def _as_sharp_as(frame: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """The crop, as blurred as the frame: so the picture returns what a model or a plain enlargement lost."""
    wanted = _sharpness(frame) * SHARPER
    for sigma in BLURS:
        blurred = cv2.GaussianBlur(crop, (0, 0), sigma) if sigma else crop
        if _sharpness(blurred) <= wanted:
            return blurred
    return blurred


def _sharpness(image: np.ndarray) -> float:
    return float(np.abs(cv2.Laplacian(image @ LUMA, cv2.CV_32F)).mean())


def _noise(residual: np.ndarray) -> np.ndarray:
    """How far a residual (S, S, 3) may be taken for the model's noise, (S, S, 1), 0..1."""
    return np.exp(power(cv2.GaussianBlur(residual, (0, 0), NOISE_BLUR)) / -(NOISE**2))[..., None]


def _check_settings(detail: float, fps: float) -> None:
    if not 0 <= detail <= 1:
        raise DiffusedHeadsError(f"detail={detail}: expected 0 to 1")
    if not (math.isfinite(fps) and fps > 0):
        raise DiffusedHeadsError(f"fps={fps}: expected frames/s above 0")


def _checked_mask(mask: np.ndarray, picture: np.ndarray, placement: Placement) -> np.ndarray:
    if mask.shape != picture.shape[:2] or mask.dtype.kind != "f":
        raise DiffusedHeadsError(
            f"mask: expected float {picture.shape[:2]} as the picture, found {mask.dtype} {mask.shape}"
        )
    if not (mask.min() >= -1e-3 and mask.max() <= 1.001):  # False for NaN too; resampling goes slightly beyond 0 and 1
        raise DiffusedHeadsError(f"mask: expected 0 to 1, found {mask.min()} to {mask.max()}")
    return hold_inside(np.clip(mask, 0, 1), placement)


def _region(mask: np.ndarray) -> tuple[slice, slice]:
    """The smallest box around what is above 0."""
    spans = []
    for axis in (1, 0):
        found = np.flatnonzero(mask.any(axis))
        spans.append(slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0))
    return spans[0], spans[1]


def _band(mask: np.ndarray, placement: Placement, left: int, top: int, side: int) -> np.ndarray:
    """Where the mask passes from 1 to 0, seen from the frame: float32 (side, side), 0..1.

    mask: its part from (left, top) of the picture on.
    """
    seen = cv2.warpAffine(mask, placement.pixels(side, left, top), (side, side), flags=cv2.INTER_LINEAR)
    seen = cv2.GaussianBlur(seen, (0, 0), 0.02 * side)
    return 4 * seen * (1 - seen)


def _padded(picture: np.ndarray, region: tuple[slice, slice], reach: int) -> np.ndarray:
    """A region of a picture and ``reach`` pixels around it, the picture's border repeated."""
    (top, bottom), (left, right) = ((part.start - reach, part.stop + reach) for part in region)
    height, width = picture.shape[:2]
    inner = picture[max(top, 0) : bottom, max(left, 0) : right]
    missing = max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0)
    return cv2.copyMakeBorder(inner, *missing, cv2.BORDER_REPLICATE)


def _on_white(picture: np.ndarray) -> np.ndarray:
    """RGB (H, W, 3) as it looks on white; the picture itself if it has no alpha."""
    if picture.shape[2] == 3:
        return picture
    alpha = picture[..., 3:].astype(np.float32) / 255
    return np.rint(picture[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def _off_white(patch: np.ndarray, below: np.ndarray, mixed: np.ndarray) -> np.ndarray:
    """The colours with which RGBA ``patch``, which looks like ``below`` on white, looks like ``mixed``."""
    change = mixed.astype(np.float32) - below
    colours = patch[..., :3] + change * (255 / np.maximum(patch[..., 3:], 1).astype(np.float32)) * (patch[..., 3:] > 0)
    return np.rint(np.clip(colours, 0, 255)).astype(np.uint8)
