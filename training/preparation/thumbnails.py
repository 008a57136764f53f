"""Small JPEG pictures for the report."""

from __future__ import annotations

import cv2
import numpy as np

PICTURES, SIDE = 6, 96  # of a strip: how many, and their side in pixels
WIDTH = 192
QUALITY = 80
LIPS, FACE = (80, 255, 80), (255, 160, 40)


def strip(frames: np.ndarray, lip_boxes: np.ndarray) -> bytes:
    """Some frames of a clip (T, S, S, 3) side by side, the lips' box (T, 4) px drawn in."""
    chosen = np.linspace(0, len(frames) - 1, PICTURES).round().astype(int)
    return _jpeg(np.hstack([_boxed(frames[i], lip_boxes[i], SIDE, SIDE / frames.shape[2], LIPS) for i in chosen]))


def overview(picture: np.ndarray, scale: float, box: tuple[float, ...] | None) -> bytes:
    """A whole picture (H, W, 3), one pixel of which is ``scale`` of those that the face's box is given in."""
    factor = WIDTH / picture.shape[1]
    return _jpeg(_boxed(picture, np.zeros(4) if box is None else np.array(box), WIDTH, factor / scale, FACE))


def _boxed(picture: np.ndarray, box: np.ndarray, width: int, factor: float, colour: tuple[int, int, int]) -> np.ndarray:
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    smaller = width < picture.shape[1]
    drawn = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    left, top, right, bottom = (int(round(float(v) * factor)) for v in box)
    return cv2.rectangle(np.ascontiguousarray(drawn), (left, top), (right, bottom), colour, 1)


def _jpeg(picture: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
