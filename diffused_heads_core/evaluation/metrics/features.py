"""Hand-crafted picture features: of whole frames (for Fréchet distances) and of faces (for their similarity).

Nothing is learnt: the same figures on every machine, offline. They see colour, layout, sharpness and texture, not what
networks trained on photographs see. Figures made with them are called neither FID nor FVD nor face recognition. Frames
are uint8 (H, W, 3) RGB.
"""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 128  # px to which a frame is scaled
GRID, LEVELS, TEXTURE_GRID = 4, 4, 2
TEXTURE_WEIGHT = 4.0  # brings texture to the scale of colour
FACE_SIDE, CELLS, ANGLES, FACE_GRID = 64, 8, 8, 6
FACE = (0.2, 0.2, 0.8, 0.88)  # the face's usual place, as fractions of a frame, if landmarks are missing


def _planes(frame: np.ndarray, side: int) -> np.ndarray:
    """Luminance and two colour differences (side, side, 3) float32, about 0..1 and -0.5..0.5."""
    way = cv2.INTER_AREA if min(frame.shape[:2]) >= side else cv2.INTER_LINEAR
    small = frame if frame.shape[:2] == (side, side) else cv2.resize(frame, (side, side), interpolation=way)
    planes = np.asarray(cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb), np.float32)
    planes[..., 1:] -= 0.5
    return planes


def frame_features(frame: np.ndarray) -> np.ndarray:
    """Features of a whole frame: (96,) float32.

    48 numbers: luminance and colour differences averaged in 4 x 4 fields. 48 numbers: at 128, 64, 32 and 16 px, mean
    absolute horizontal and vertical differences and Laplacian of luminance in 2 x 2 fields, times 4.
    """
    planes = _planes(frame, SIDE)
    parts = [cv2.resize(planes, (GRID, GRID), interpolation=cv2.INTER_AREA).ravel()]
    level = np.ascontiguousarray(planes[..., 0])
    for _ in range(LEVELS):
        across, down = (cv2.Sobel(level, cv2.CV_32F, *order, ksize=1) for order in ((1, 0), (0, 1)))
        energy = np.abs(np.stack([across, down, cv2.Laplacian(level, cv2.CV_32F)], -1))
        fields = cv2.resize(energy, (TEXTURE_GRID, TEXTURE_GRID), interpolation=cv2.INTER_AREA)
        parts.append(TEXTURE_WEIGHT * fields.ravel())
        level = cv2.resize(level, (level.shape[1] // 2, level.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return np.concatenate(parts).astype(np.float32)


def face_crop(frame: np.ndarray, box: np.ndarray | None = None) -> np.ndarray:
    """The part of a frame that shows the face: inside ``box`` x0, y0, x1, y1 in px, by default the usual place."""
    height, width = frame.shape[:2]
    if box is None or not np.isfinite(box).all():
        side, left, top = min(height, width), (width - min(height, width)) // 2, (height - min(height, width)) // 4
        box = np.array(FACE) * side + (left, top, left, top)
    x0, x1 = np.clip(np.round([box[0], box[2]]).astype(int), 0, width)
    y0, y1 = np.clip(np.round([box[1], box[3]]).astype(int), 0, height)
    return frame[y0:y1, x0:x1] if y1 - y0 > 3 and x1 - x0 > 3 else frame


def face_features(face: np.ndarray) -> np.ndarray:
    """Features of a picture of a face: (620,) float32.

    512 numbers: histograms of gradient directions (HOG) in 8 x 8 cells (Dalal & Triggs 2005, 8 unsigned directions,
    normalised as a whole), centred; 108 numbers: colours in 6 x 6 fields without the average luminance.
    """
    planes = _planes(face, FACE_SIDE)
    light = cv2.GaussianBlur(planes[..., 0], (0, 0), 1.0)
    length, angle = cv2.cartToPolar(cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1))
    turns = angle * (ANGLES / np.pi) % ANGLES
    lower = np.floor(turns).astype(int) % ANGLES
    share = turns - np.floor(turns)
    maps = np.zeros((FACE_SIDE, FACE_SIDE, ANGLES), np.float32)
    rows, columns = np.indices(lower.shape)
    maps[rows, columns, lower] += length * (1 - share)
    maps[rows, columns, (lower + 1) % ANGLES] += length * share
    gradients = cv2.resize(maps, (CELLS, CELLS), interpolation=cv2.INTER_AREA).ravel()
    gradients = np.sqrt(gradients / (gradients.sum() + 1e-6))
    colours = cv2.resize(planes, (FACE_GRID, FACE_GRID), interpolation=cv2.INTER_AREA).reshape(-1, 3)
    colours = (colours - [colours[:, 0].mean(), 0, 0]).ravel()
    return np.concatenate([gradients - gradients.mean(), colours * [np.sqrt(1 / 8)]]).astype(np.float32)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of the angle between two vectors: -1..1, 1 for the same direction, 0 if either is zero."""
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.dot(a, b)) / length if length > 1e-12 else 0.0
