"""Pictures about training, all uint8 RGB: clips with boxes around the lips, the loss curve, the node's preview."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from ..diffused_heads_core.data.shards import Dataset
from ..diffused_heads_core.media.pictures import load_picture
from ..diffused_heads_core.pose import HeadGeometry

SHOWN, COLUMNS = 12, 6  # clips in a sheet, and moments of each
LIPS, CROP = (80, 255, 80), (255, 160, 40)
INK, RAW, LINE, GRID = (30, 30, 30), (176, 200, 232), (36, 92, 190), (226, 226, 226)
CURVE = (480, 200)  # pixels, width and height
SMOOTHING = 0.9  # share of the point before in the next point of the smoothed curve, in long runs
MOUTH = (0.1, 0.05)  # half sides of a neutral mouth's box, fractions of the frame


def lip_sheet(dataset: Dataset, margin: float = 0.0) -> np.ndarray:
    """Moments of up to SHOWN clips, one clip per row, with the lips' boxes if the dataset has them."""
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(SHOWN, len(dataset))).round().astype(int))
    rows = []
    for clip in (dataset.clip(int(number)) for number in chosen):
        moments = np.linspace(0, len(clip.frames) - 1, COLUMNS).round().astype(int)
        boxes = clip.annotations.get("lip_box")
        shown = [clip.frames[i] if boxes is None else boxed(clip.frames[i], boxes[i], margin, 96) for i in moments]
        rows.append(np.hstack(shown))
    return np.vstack(rows)


def boxed(frame: np.ndarray, box: np.ndarray, margin: float, least: int = 512) -> np.ndarray:
    """A frame (S, S, 3) with the box (4,) px drawn, and the crop ``margin`` px around it.

    The frame is enlarged to at least ``least`` pixels per side.
    """
    size = len(frame)
    factor = max(1, -(-least // size))
    drawn = np.ascontiguousarray(cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST))
    thick = max(1, factor * size // 256)
    if margin:
        _rectangle(drawn, np.clip(box + margin * np.array([-1, -1, 1, 1]), 0, size), factor, CROP, 2 * thick)
    _rectangle(drawn, box, factor, LIPS, thick)
    return drawn


def _rectangle(picture: np.ndarray, box: np.ndarray, factor: int, colour: tuple[int, int, int], thick: int) -> None:
    left, top, right, bottom = (int(v) for v in np.rint(np.asarray(box) * factor))
    cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), colour, thick)


def neutral_box(geometry: HeadGeometry, size: int) -> np.ndarray:
    """Where the lips of a neutral head are in a frame of ``size`` px, (4,) px."""
    (x, y), (wide, high) = geometry.mouth, MOUTH
    return size * np.array([x - wide, y - high, x + wide, y + high])


def sample_frame(dataset: Dataset, clip: int) -> tuple[np.ndarray, np.ndarray | None]:
    """A frame (S, S, 3) of a clip and its lips' box (4,) px, or None.

    It is the frame with the mouth open widest if that is known, else the middle one.
    """
    found = dataset.clip(clip % len(dataset))
    openness = found.annotations.get("mouth_open")
    number = len(found.frames) // 2 if openness is None else int(np.argmax(openness))
    boxes = found.annotations.get("lip_box")
    return found.frames[number], None if boxes is None else boxes[number]


def portrait_frame(path: str, size: int) -> np.ndarray:
    """A square portrait as a frame of ``size`` px."""
    return cv2.resize(load_picture(path)[..., :3], (size, size), interpolation=cv2.INTER_AREA)


def loss_curve(points: Sequence[tuple[int, float]], steps: int) -> np.ndarray:
    """A picture of CURVE pixels: the losses (step, value) of a run of ``steps``, raw and smoothed, on a log scale."""
    width, height = CURVE
    picture = np.full((height, width, 3), 255, np.uint8)
    left, right, top, bottom = 46, width - 12, 26, height - 24
    points = [(step, value) for step, value in points if math.isfinite(value) and value > 0]
    if not points:
        return _text(picture, "no losses yet", (left, height // 2))
    values = np.log10([value for _, value in points])
    low, high = float(values.min()), max(float(values.max()), float(values.min()) + 0.05)
    x = np.array([left + (right - left) * min(step / max(steps, 1), 1.0) for step, _ in points])
    for level in np.linspace(low, high, 4):
        y = int(_height(level, low, high, top, bottom))
        cv2.line(picture, (left, y), (right, y), GRID, 1)
        _text(picture, f"{10**level:.2g}", (4, y + 4))
    for colour, series, thick in ((RAW, values, 1), (LINE, smoothed(values), 2)):
        line = np.stack([x, _height(series, low, high, top, bottom)], -1)
        cv2.polylines(picture, [np.rint(line).astype(np.int32)], False, colour, thick, cv2.LINE_AA)
    step, value = points[-1]
    _text(picture, f"loss {value:.4g}   step {step} of {steps}", (left, 16))
    return _text(_text(picture, "0", (left, height - 8)), str(steps), (right - 7 * len(str(steps)), height - 8))


def _height(value: float | np.ndarray, low: float, high: float, top: int, bottom: int) -> float | np.ndarray:
    return bottom - (bottom - top) * (value - low) / (high - low)


def smoothed(values: np.ndarray) -> np.ndarray:
    """Exponential moving average of values (n,), which starts as a plain mean."""
    found, mean = np.empty(len(values)), 0.0
    for number, value in enumerate(values):
        share = min(SMOOTHING, number / (number + 1))
        mean = share * mean + (1 - share) * float(value)
        found[number] = mean
    return found


def _text(picture: np.ndarray, text: str, at: tuple[int, int]) -> np.ndarray:
    return cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, INK, 1, cv2.LINE_AA)


def stacked(curve: np.ndarray, sheet: np.ndarray | None) -> np.ndarray:
    """The loss curve above the newest sample sheet, which is scaled to the same width."""
    if sheet is None:
        return curve
    width = curve.shape[1]
    height = max(1, round(sheet.shape[0] * width / sheet.shape[1]))
    interpolation = cv2.INTER_AREA if width < sheet.shape[1] else cv2.INTER_LINEAR
    return np.vstack([curve, cv2.resize(sheet, (width, height), interpolation=interpolation)])
