"""What a generated frame changes of the picture's crop: motion, colour, and where the moved crop explains the frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

ANALYSED = 128  # pixels per side at which motion and colours are compared
LEAST_ANALYSED = 16  # pixels per side below which no motion is sought
FARTHEST = 0.12  # of the frame's side: no part of a head moves farther
FLOW_BLUR = 0.7  # pixels of ANALYSED
FLOW_MEMORY = 0.1  # seconds over which motion is averaged while it changes by much less than JITTER
JITTER = 0.1  # pixels of ANALYSED
SEAM_REACH = 0.12  # standard deviation over which border colours are averaged, of the frame's side
SEAM_GRID = 32  # pixels per side at which border colours are averaged
SEAM_MEMORY = 0.15  # seconds over which border colours are averaged
SEAM_OUTLIER = 30.0  # of 255: border pixels farther from the median than this hardly count
RESIDUAL_BLUR = 1.6  # pixels of ANALYSED: softer edges of a frame that moved correctly are no residual
UNEXPLAINED = 12.0  # of 255: residual at which detail has faded to 1/e
STRETCH = 0.6  # logarithm of a change of area at which detail has faded to 1/e
DETAIL_RETURN = 0.08  # seconds in which faded detail comes back; it fades at once
_NO_MAP: Any = None  # of OpenCV, which takes x and y together; an empty array can be read as if it were there
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, eq=False)
class Change:
    """What a frame of (A, A) pixels does to the crop.

    flow: (A, A, 2), pixels from a place in the frame to the same place in the crop. colour: (A, A, 3), to be added to
    the frame. gate: (A, A), 0..1, how far the moved crop explains the frame.
    """

    flow: np.ndarray
    colour: np.ndarray
    gate: np.ndarray


class Changes:
    """Compares the frames of a clip, in their order, with the crop, and smooths the result over time.

    reference: the crop, float32 (A, A, 3), 0..255. band: weights (A, A) of the places whose colours are compared, or
    None to leave colours alone.
    """

    def __init__(self, reference: np.ndarray, band: np.ndarray | None, fps: float):
        self.reference, self.band, self.side = reference, band, len(reference)
        self._gray, self._grid = gray(reference), grid(self.side, self.side)
        self._rates = {
            memory: 1 - math.exp(-1 / (fps * memory)) for memory in (FLOW_MEMORY, SEAM_MEMORY, DETAIL_RETURN)
        }
        self._search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._search.setFinestScale(0)
        self._flow: np.ndarray | None = None
        self._gate: np.ndarray | None = None
        self._seam: np.ndarray | None = None
        self._places: np.ndarray | None = None

    def __call__(self, frame: np.ndarray) -> Change:
        """The change that the next frame, float32 (A, A, 3), 0..255, makes."""
        seam = self._border_colours(self.reference - frame) if self._seam is None else self._seam
        flow = self._motion(frame + seam)
        moved = sampled(self.reference, self._grid + flow)
        self._seam = colour = self._border_colours(moved - frame)
        blur = RESIDUAL_BLUR * self.side / ANALYSED
        left_over = power(cv2.GaussianBlur(frame + colour - moved, (0, 0), blur))
        return Change(flow, colour, self._explained(left_over, flow))

    def _border_colours(self, difference: np.ndarray) -> np.ndarray:
        """A smooth (A, A, 3) that continues the differences along the band inwards, by normalised convolution.

        Their median is followed at once, since frames flicker as a whole; differences from place to place slowly.
        """
        if self.band is None or not (strong := self.band > 0.3).any():
            return np.zeros_like(difference)
        middle = np.median(difference[strong], axis=0)
        apart = difference - middle
        weight = (self.band * np.exp(power(apart) / -(SEAM_OUTLIER**2)))[..., None]
        both = resized(np.concatenate([apart * weight, weight], 2), SEAM_GRID)
        both = cv2.GaussianBlur(both, (0, 0), SEAM_REACH * SEAM_GRID, borderType=cv2.BORDER_CONSTANT)
        places = both[..., :3] / (both[..., 3:] + 1e-4)
        self._places = places if self._places is None else _toward(self._places, places, self._rates[SEAM_MEMORY])
        return cv2.resize(self._places, (self.side, self.side), interpolation=cv2.INTER_LINEAR) + middle

    def _motion(self, frame: np.ndarray) -> np.ndarray:
        if self.side < LEAST_ANALYSED:
            return np.zeros((self.side, self.side, 2), np.float32)
        flow = self._search.calc(gray(frame), self._gray, None if self._flow is None else self._flow.copy())
        length = np.hypot(flow[..., 0], flow[..., 1])[..., None]
        flow = flow * np.minimum(1, FARTHEST * self.side / np.maximum(length, 1e-6))
        flow = cv2.GaussianBlur(flow, (0, 0), FLOW_BLUR * self.side / ANALYSED)
        self._flow = flow if self._flow is None else self._followed(self._flow, flow)
        return self._flow

    def _followed(self, old: np.ndarray, new: np.ndarray) -> np.ndarray:
        """The old motion moved towards the new: at once where they differ clearly, slowly where that may be noise."""
        change = new - old
        clear = np.sqrt((change * change).sum(2, keepdims=True)) * (ANALYSED / self.side / JITTER)
        return old + np.clip(clear, self._rates[FLOW_MEMORY], 1) * change

    def _explained(self, left_over: np.ndarray, flow: np.ndarray) -> np.ndarray:
        """Where the picture's detail is kept, 0..1: where little is left over and nothing is stretched or squeezed."""
        blur = RESIDUAL_BLUR * self.side / ANALYSED
        across, down = (cv2.Sobel(flow, cv2.CV_32F, *order, ksize=1, scale=0.5) for order in ((1, 0), (0, 1)))
        area = (1 + across[..., 0]) * (1 + down[..., 1]) - down[..., 0] * across[..., 1]
        stretch = np.log(np.maximum(area, 0.05)) / STRETCH
        gate = cv2.GaussianBlur(np.exp(-left_over / UNEXPLAINED**2 - stretch * stretch), (0, 0), blur)
        risen = gate if self._gate is None else _toward(self._gate, gate, self._rates[DETAIL_RETURN])
        self._gate = np.minimum(gate, risen)
        return self._gate


def resized(image: np.ndarray, side: int) -> np.ndarray:
    """A square image (S, S) or (S, S, C) at ``side`` pixels: averaged if it shrinks, linear if it grows."""
    if len(image) == side:
        return image
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if side < len(image) else cv2.INTER_LINEAR)


def sampled(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """An image at ``places``, x and y index for each pixel, float32 (h, w, 2); its border is repeated outside."""
    return cv2.remap(image, places, _NO_MAP, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def power(difference: np.ndarray) -> np.ndarray:
    """Mean square of the channels, (S, S, 3) -> (S, S)."""
    return cv2.transform(difference * difference, np.full((1, 3), 1 / 3))


def _toward(old: np.ndarray, new: np.ndarray, rate: float) -> np.ndarray:
    return old + np.float32(rate) * (new - old)


def gray(image: np.ndarray) -> np.ndarray:
    """Luminance: float32 (S, S, 3), 0..255 -> uint8 (S, S)."""
    return np.rint(np.clip(image @ LUMA, 0, 255)).astype(np.uint8)


def grid(height: int, width: int) -> np.ndarray:
    """x and y index of each pixel, float32 (height, width, 2)."""
    return np.stack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)), -1)
