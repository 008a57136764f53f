"""Compositing: generated heads back into the picture that they came from, at the picture's own resolution.

A frame holds far fewer pixels than the head in a photograph. So the photograph itself is carried along with the head's
motion, and the frame tells what is different: with W the warp by the optical flow between the picture's crop and the
frame, and g from 0 to 1 where that warp explains the frame,

    head = up(frame + colour - g W(crop)) + up(g) W(picture),

which is the picture itself where nothing changes, and the enlarged frame where something new appears (g = 0).
``colour`` is how far the picture's colours around the head are from the frame's, carried on smoothly inwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from ..errors import DiffusedHeadsError
from ..pose import HeadGeometry
from .alignment import Placement, check_overlap, check_picture, crop, head_mask, hold_inside, inside_picture

ANALYSED = 128  # pixels a side at which motion and colours are compared
LEAST_ANALYSED = 16  # pixels a side below which no motion is sought
LEAST_WORKING = 64  # pixels a side below which frames are not shrunk
FARTHEST = 0.12  # of the frame's side: no part of a head moves farther
FLOW_BLUR = 0.7  # pixels of ANALYSED
FLOW_MEMORY = 0.1  # seconds over which motion is averaged where it changes by much less than JITTER
JITTER = 0.1  # pixels of ANALYSED
SEAM_REACH = 0.12  # standard deviation over which border colours are averaged, of the frame's side
SEAM_MEMORY = 0.15  # seconds over which border colours are averaged
SEAM_OUTLIER = 30.0  # of 255: border pixels farther from the median than this hardly count
RESIDUAL_BLUR = 1.6  # pixels of ANALYSED: unsharp edges of a frame that moved rightly are no residual
UNEXPLAINED = 12.0  # of 255: residual at which detail has faded to 1/e
NOISE_BLUR = 1.0  # pixels of a frame, over which its noise is told from what it shows
NOISE = 2.5  # of 255: a residual clearly below this is taken for the model's noise
STRETCH = 0.6  # logarithm of a change of area at which detail has faded to 1/e
DETAIL_RETURN = 0.08  # seconds in which faded detail comes back; it goes at once
FINER = 4  # frames are enlarged up to so many times by cubic interpolation, beyond that linearly
STRIP = 128  # rows composited at a time, to stay in the processor's cache
BLURS = (0, 0.4, 0.5, 0.6, 0.7, 0.85, 1, 1.2, 1.4, 1.7, 2, 2.4, 2.8, 3.4, 4)  # pixels of a frame
SHARPER = 1.1  # times the frame's sharpness that the crop may have
LUMA = np.float32([0.299, 0.587, 0.114])
_SEAM_GRID = 32


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
    """Yield the whole picture for each frame, a new uint8 (H, W, C), one at a time; arguments and errors as of
    ``Compositor``.
    """
    compositor = Compositor(picture, placement, mask, geometry, detail, match_colour, fps)
    return (compositor.paste(frame) for frame in frames)


class Compositor:
    """Pastes the frames of one clip, in their order, into one picture.

    picture: uint8 (H, W, 3), or (H, W, 4) whose alpha is kept; placement: where the frames lie in it; mask: float
    (H, W), 0..1, by default ``head_mask``; detail: 0..1, how much of the picture's own fine detail is carried along;
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
        mask = (
            head_mask(placement, *picture.shape[:2], geometry)
            if mask is None
            else _checked_mask(mask, picture, placement)
        )
        self.region = _region(mask)
        self._mask = np.ascontiguousarray(mask[self.region])
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

    def _start(self, frame: np.ndarray) -> None:
        self._scale = scale = _Scale(len(frame), self.placement)
        reference = scale.working(crop(self._opaque, self.placement, len(frame)))
        self._reference = _as_sharp_as(scale.working(frame), reference)
        self._grid = _grid(scale.side, scale.side)
        left, top = self.region[1].start, self.region[0].start
        band = _band(self._mask, self.placement, left, top, scale.analysed)
        band *= inside_picture(self.placement, *self.picture.shape[:2], scale.analysed)
        self._changes = _Changes(
            _resized(self._reference, scale.analysed), band if self._match_colour else None, self._fps
        )
        self._reach = math.ceil(FARTHEST * self.placement.side) + 2
        self._source = _padded(self._opaque, self.region, self._reach)
        self._strip_grid = _grid(min(STRIP, len(self._mask)), self._mask.shape[1]) + np.float32(self._reach)

    def _paint(self, frame: np.ndarray, patch: np.ndarray) -> None:
        if self._scale is None:
            self._start(frame)
        scale, working = self._scale, self._scale.working(frame)
        change = self._changes(_resized(working, scale.analysed))
        flow = _resized(change.flow, scale.side) * (scale.side / scale.analysed)
        gate = _resized(change.gate, scale.side) * self.detail
        moved = cv2.remap(self._reference, self._grid + flow, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        residual = working + _resized(change.colour, scale.side) - moved
        rest = residual * (1 - self.detail * _noise(residual)) + (1 - gate[..., None]) * moved
        layers = scale.finer(rest), gate, flow @ (self.placement.inverse[:, :2].T / scale.side).astype(np.float32)
        for top in range(0, len(patch), STRIP):
            self._paint_strip(layers, top, patch[top : top + STRIP])

    def _paint_strip(self, layers: tuple[np.ndarray, np.ndarray, np.ndarray], top: int, patch: np.ndarray) -> None:
        """Rows from ``top`` on, into ``patch`` (n, w, C); layers: the finer rest, the gate and the shift in picture
        pixels.
        """
        rest, gate, shift = (self._enlarge(layer, top, patch.shape[:2]) for layer in layers)
        if self.detail:
            source = self._source[top : top + len(patch) + 2 * self._reach]
            carried = cv2.remap(
                source, self._strip_grid[: len(patch)] + shift, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
            )
            rest = cv2.add(rest, cv2.multiply(carried, cv2.merge([gate] * 3), dtype=cv2.CV_32F))
        rows, columns = slice(self.region[0].start + top, self.region[0].start + top + len(patch)), self.region[1]
        below = self._opaque[rows, columns]
        weight = cv2.merge([self._mask[top : top + len(patch)]] * 3)
        change = cv2.multiply(weight, cv2.subtract(rest, below, dtype=cv2.CV_32F))
        mixed = cv2.add(below, change, dtype=cv2.CV_8U)
        patch[..., :3] = mixed if patch.shape[2] == 3 else _off_white(patch, below, mixed)

    def _enlarge(self, layer: np.ndarray, top: int, shape: tuple[int, int]) -> np.ndarray:
        """A layer over the frame, (s, s) or (s, s, n), at rows of the region from ``top`` on."""
        matrix = self.placement.pixels(len(layer), self.region[1].start, self.region[0].start + top)
        kind = (
            cv2.INTER_CUBIC
            if layer.ndim == 3 and layer.shape == (self._scale.side, self._scale.side, 3)
            else cv2.INTER_LINEAR
        )
        return cv2.warpAffine(
            layer, matrix, shape[::-1], flags=kind | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
        )


class _Scale:
    """Sizes that frames of ``size`` pixels are worked on at, where they lie at ``placement``.

    side: that of the frame, but not much above the picture's own resolution; analysed: where motion is sought.
    """

    def __init__(self, size: int, placement: Placement):
        self.size = size
        self.side = min(size, max(math.ceil(placement.side), LEAST_WORKING))
        self.analysed = min(self.side, ANALYSED)
        self._finer = min(FINER, math.ceil(placement.side / self.side))

    def working(self, frame: np.ndarray) -> np.ndarray:
        """uint8 (size, size, 3) -> float32 (side, side, 3), 0..255."""
        return _resized(frame, self.side).astype(np.float32)

    def finer(self, layer: np.ndarray) -> np.ndarray:
        """Enlarged by a whole number, so that what follows may be interpolated linearly."""
        side = self.side * self._finer
        return layer if self._finer == 1 else cv2.resize(layer, (side, side), interpolation=cv2.INTER_CUBIC)


@dataclass(frozen=True, eq=False)
class _Change:
    """What a frame of (A, A) pixels does to the crop: flow (A, A, 2), pixels from a place in the frame to the same
    place in the crop; colour (A, A, 3), to be added to the frame; gate (A, A), 0..1, where the moved crop explains the
    frame.
    """

    flow: np.ndarray
    colour: np.ndarray
    gate: np.ndarray


class _Changes:
    """Compares the frames of a clip, one after the other, with the crop; what it finds is steadied over time.

    reference: the crop, float32 (A, A, 3), 0..255; band: (A, A), where colours are compared, or None for not at all.
    """

    def __init__(self, reference: np.ndarray, band: np.ndarray | None, fps: float):
        self.reference, self.band, self.side = reference, band, len(reference)
        self._gray, self._grid = _gray(reference), _grid(self.side, self.side)
        self._rates = {
            memory: 1 - math.exp(-1 / (fps * memory)) for memory in (FLOW_MEMORY, SEAM_MEMORY, DETAIL_RETURN)
        }
        self._search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._search.setFinestScale(0)
        self._flow = self._gate = self._seam = self._places = None

    def __call__(self, frame: np.ndarray) -> _Change:
        """The change that the next frame, float32 (A, A, 3), 0..255, makes."""
        flow = self._motion(
            frame + (self._seam if self._seam is not None else self._border_colours(self.reference - frame))
        )
        moved = cv2.remap(self.reference, self._grid + flow, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        self._seam = colour = self._border_colours(moved - frame)
        blur = RESIDUAL_BLUR * self.side / ANALYSED
        left_over = _power(cv2.GaussianBlur(frame + colour - moved, (0, 0), blur))
        return _Change(flow, colour, self._explained(left_over, flow))

    def _border_colours(self, difference: np.ndarray) -> np.ndarray:
        """A smooth (A, A, 3) that continues the differences along the band inwards, by normalised convolution.

        Their middle is followed at once, since frames flicker as a whole; what differs from place to place, slowly.
        """
        if self.band is None or not (strong := self.band > 0.3).any():
            return np.zeros_like(difference)
        middle = np.median(difference[strong], axis=0)
        apart = difference - middle
        weight = (self.band * np.exp(_power(apart) / -(SEAM_OUTLIER**2)))[..., None]
        both = _resized(np.concatenate([apart * weight, weight], 2), _SEAM_GRID)
        both = cv2.GaussianBlur(both, (0, 0), SEAM_REACH * _SEAM_GRID, borderType=cv2.BORDER_CONSTANT)
        places = both[..., :3] / (both[..., 3:] + 1e-4)
        self._places = places if self._places is None else _toward(self._places, places, self._rates[SEAM_MEMORY])
        return cv2.resize(self._places, (self.side, self.side), interpolation=cv2.INTER_LINEAR) + middle

    def _motion(self, frame: np.ndarray) -> np.ndarray:
        if self.side < LEAST_ANALYSED:
            return np.zeros((self.side, self.side, 2), np.float32)
        flow = self._search.calc(_gray(frame), self._gray, None if self._flow is None else self._flow.copy())
        length = np.hypot(flow[..., 0], flow[..., 1])[..., None]
        flow = flow * np.minimum(1, FARTHEST * self.side / np.maximum(length, 1e-6))
        flow = cv2.GaussianBlur(flow, (0, 0), FLOW_BLUR * self.side / ANALYSED)
        self._flow = flow if self._flow is None else self._followed(flow)
        return self._flow

    def _followed(self, flow: np.ndarray) -> np.ndarray:
        """The last motion, moved to ``flow``: at once where they differ clearly, slowly where it may be noise."""
        change = flow - self._flow
        clear = np.sqrt((change * change).sum(2, keepdims=True)) * (ANALYSED / self.side / JITTER)
        return self._flow + np.clip(clear, self._rates[FLOW_MEMORY], 1) * change

    def _explained(self, left_over: np.ndarray, flow: np.ndarray) -> np.ndarray:
        """Where detail belongs, 0..1: little is left over, and nothing is torn or squeezed."""
        blur = RESIDUAL_BLUR * self.side / ANALYSED
        across, down = (cv2.Sobel(flow, cv2.CV_32F, *order, ksize=1, scale=0.5) for order in ((1, 0), (0, 1)))
        area = (1 + across[..., 0]) * (1 + down[..., 1]) - down[..., 0] * across[..., 1]
        stretch = np.log(np.maximum(area, 0.05)) / STRETCH
        gate = cv2.GaussianBlur(np.exp(-left_over / UNEXPLAINED**2 - stretch * stretch), (0, 0), blur)
        risen = gate if self._gate is None else _toward(self._gate, gate, self._rates[DETAIL_RETURN])
        self._gate = np.minimum(gate, risen)
        return self._gate


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    """A square image (S, S) or (S, S, C) at ``side`` pixels: averaged where it shrinks, linear where it grows."""
    if len(image) == side:
        return image
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if side < len(image) else cv2.INTER_LINEAR)


def _as_sharp_as(frame: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """The crop, blurred as far as the frame is: so the picture gives back what a model or a plain enlargement lost."""
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
    return np.exp(_power(cv2.GaussianBlur(residual, (0, 0), NOISE_BLUR)) / -(NOISE**2))[..., None]


def _power(difference: np.ndarray) -> np.ndarray:
    """Mean square of the channels, (S, S, 3) -> (S, S)."""
    return cv2.transform(difference * difference, np.full((1, 3), 1 / 3))


def _toward(old: np.ndarray, new: np.ndarray, rate: float) -> np.ndarray:
    return old + np.float32(rate) * (new - old)


def _gray(image: np.ndarray) -> np.ndarray:
    """float32 (S, S, 3), 0..255 -> uint8 (S, S)."""
    return np.rint(np.clip(image @ LUMA, 0, 255)).astype(np.uint8)


def _grid(height: int, width: int) -> np.ndarray:
    """x and y index of each pixel, float32 (height, width, 2)."""
    return np.stack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)), -1)


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
    if not (mask.min() >= -1e-3 and mask.max() <= 1.001):  # False for NaN too; resampled masks stray a little
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
    """Where the mask passes from 1 to 0, seen from the frame: float32 (side, side), 0..1; mask: its part from (left,
    top) on.
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
    """RGB (H, W, 3) as it looks on white; the picture itself where it has no alpha."""
    if picture.shape[2] == 3:
        return picture
    alpha = picture[..., 3:].astype(np.float32) / 255
    return np.rint(picture[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def _off_white(patch: np.ndarray, below: np.ndarray, mixed: np.ndarray) -> np.ndarray:
    """The colours that make RGBA ``patch``, which looks as ``below`` on white, look as ``mixed``; its own where nothing
    changed.
    """
    change = mixed.astype(np.float32) - below
    colours = patch[..., :3] + change * (255 / np.maximum(patch[..., 3:], 1).astype(np.float32)) * (patch[..., 3:] > 0)
    return np.rint(np.clip(colours, 0, 255)).astype(np.uint8)
