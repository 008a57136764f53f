"""Differences between two pictures, their sharpness, and the diversity of several. Frames are uint8 (H, W, 3) RGB."""

from __future__ import annotations

import cv2
import numpy as np

from ...errors import DiffusedHeadsError

SMALLEST = 16  # px of a frame's shorter side
SSIM_WINDOW, SSIM_K = 7, (0.01, 0.03)
PSNR_MOST = 100.0  # dB, for equal frames
CORNER = 0.1  # side of a corner, as a fraction of the frame's shorter side
CPBD_BLOCK, CPBD_SHARE, CPBD_CONTRAST = 64, 0.002, 50
JUST_NOTICEABLE = {True: 5, False: 3}  # px of edge width in blocks of low contrast, and of others


def luminance(frame: np.ndarray) -> np.ndarray:
    """uint8 (H, W) of an RGB frame, ITU-R BT.601 weights.

    Raises DiffusedHeadsError unless the frame is uint8 (H, W, 3) of at least 16 px.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or min(frame.shape[:2]) < SMALLEST:
        raise DiffusedHeadsError(
            f"frame: expected uint8 (H, W, 3) of at least {SMALLEST} px, found {frame.dtype} {frame.shape}"
        )
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def _check_pair(frame: np.ndarray, reference: np.ndarray) -> None:
    if frame.shape != reference.shape or frame.dtype != np.uint8 or reference.dtype != np.uint8:
        found = f"{frame.dtype} {frame.shape} and {reference.dtype} {reference.shape}"
        raise DiffusedHeadsError(f"frames: expected two of one shape and uint8, found {found}")


def psnr(frame: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal-to-noise ratio 10 log10(255^2 / MSE) in dB, 0..PSNR_MOST (which stands for infinity)."""
    _check_pair(frame, reference)
    error = float(np.square(cv2.absdiff(frame, reference).astype(np.int32)).mean())
    return min(PSNR_MOST, 10 * float(np.log10(255**2 / error))) if error else PSNR_MOST


def ssim(frame: np.ndarray, reference: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004), -1..1, 1 for equal frames.

    Mean over pixels and channels of (2 m_x m_y + C1)(2 s_xy + C2) / ((m_x^2 + m_y^2 + C1)(s_x^2 + s_y^2 + C2)) in
    windows of 7 x 7, sample covariances, C = (0.01 * 255)^2 and (0.03 * 255)^2, without the border, as scikit-image
    defines it.
    """
    _check_pair(frame, reference)
    x, y = frame.astype(np.float64), reference.astype(np.float64)

    def local(values: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(values, -1, (SSIM_WINDOW, SSIM_WINDOW))

    mx, my, pixels = local(x), local(y), SSIM_WINDOW**2
    sample = pixels / (pixels - 1)
    vx, vy, vxy = (
        sample * (local(a * b) - ma * mb) for a, b, ma, mb in ((x, x, mx, mx), (y, y, my, my), (x, y, mx, my))
    )
    c1, c2 = ((k * 255) ** 2 for k in SSIM_K)
    similarity = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    edge = SSIM_WINDOW // 2
    return float(similarity[edge:-edge, edge:-edge].mean())


def laplacian_variance(gray: np.ndarray) -> float:
    """Sharpness of a luminance (H, W) uint8: variance of its Laplacian (Pech-Pacheco et al. 2000), 0 or more.

    Noise and artefacts raise it as edges do. Its ratio to the truth's sharpness is good near 1, bad above and below.
    """
    return float(cv2.Laplacian(gray.astype(np.float32), cv2.CV_32F).var())


def cpbd(frame: np.ndarray) -> float:
    """Cumulative probability of blur detection (Narvekar & Karam 2011), 0 (all edges look blurred) .. 1.

    In blocks of 64 x 64 px with more than 0.2% edge pixels, an edge of width w is seen as blurred with probability 1 -
    exp(-(w / w_JNB)^3.6), w_JNB = 5 px if the block's contrast is at most 50 levels, else 3 px. CPBD is the share of
    edges with a probability of at most that at w = w_JNB (63%), hence of edges with w <= w_JNB. Edges are thinned
    maxima along rows of the horizontal Sobel gradient, beyond twice its root mean square; widths reach from the
    luminance's extremum on the left to that on the right (Marziliano et al. 2002). NaN without edges.
    """
    gray = luminance(frame)
    rows, columns, widths = edge_widths(gray)
    limits, counted = _block_limits(gray, rows, columns)
    return float((widths[counted] <= limits[counted]).mean()) if counted.any() else float("nan")


def edge_widths(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and widths in px (n,) of the vertical edges of a luminance (H, W) uint8."""
    values = gray.astype(np.int32)
    slope = cv2.Sobel(gray, cv2.CV_32F, 1, 0, ksize=3)
    strength = np.abs(slope)
    edge = strength > max(2 * float(np.sqrt(np.square(slope).mean())), 1.0)
    edge[:, 1:] &= strength[:, 1:] >= strength[:, :-1]
    edge[:, :-1] &= strength[:, :-1] > strength[:, 1:]
    edge[:, [0, -1]] = False
    rows, columns = np.nonzero(edge)
    rising, steps = slope[rows, columns] > 0, np.diff(values, axis=1)
    widths = np.where(rising, _run(steps > 0, rows, columns), _run(steps < 0, rows, columns))
    return rows, columns, widths


def _run(same: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Length of the run of true steps (H, W - 1) through each pixel; step j leads from pixel j to j + 1."""
    place = np.arange(same.shape[1])
    stops_right = np.minimum.accumulate(np.where(same, same.shape[1], place)[:, ::-1], axis=1)[:, ::-1]
    stops_left = np.maximum.accumulate(np.where(same, -1, place), axis=1)
    return stops_right[rows, columns] - stops_left[rows, columns - 1] - 1


def _block_limits(gray: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Just noticeable width of each edge's block, and whether the block has enough edges to count."""
    down, across = (-(-n // CPBD_BLOCK) for n in gray.shape)
    limits, counts = np.zeros((down, across)), np.zeros((down, across), bool)
    at = rows // CPBD_BLOCK, columns // CPBD_BLOCK
    edges = np.bincount(at[0] * across + at[1], minlength=down * across).reshape(down, across)
    for i in range(down):
        for j in range(across):
            block = gray[i * CPBD_BLOCK : (i + 1) * CPBD_BLOCK, j * CPBD_BLOCK : (j + 1) * CPBD_BLOCK]
            limits[i, j] = JUST_NOTICEABLE[int(block.max()) - int(block.min()) <= CPBD_CONTRAST]
            counts[i, j] = edges[i, j] > CPBD_SHARE * block.size
    return limits[at], counts[at]


def corners(frame: np.ndarray) -> np.ndarray:
    """The four corners of a frame as (4 n, n, 3), n = CORNER of its shorter side: the head does not reach them."""
    side = max(1, round(CORNER * min(frame.shape[:2])))
    return np.concatenate([frame[:side, :side], frame[:side, -side:], frame[-side:, :side], frame[-side:, -side:]])


def background_error(frame: np.ndarray, reference: np.ndarray) -> float:
    """Root mean squared difference in the four corners, grey levels 0..255; 0 is best."""
    _check_pair(frame, reference)
    return root_mean_square(corners(frame), corners(reference))


def region_error(frame: np.ndarray, reference: np.ndarray, boxes: np.ndarray) -> float:
    """Root mean squared difference inside boxes (k, 4) x0, y0, x1, y1 in px, grey levels 0..255; 0 is best."""
    _check_pair(frame, reference)
    parts = [(cut(frame, box).reshape(-1), cut(reference, box).reshape(-1)) for box in boxes]
    return root_mean_square(*(np.concatenate(side) for side in zip(*parts)))


def root_mean_square(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean squared difference of two uint8 arrays of one shape."""
    return float(np.sqrt(np.square(a.astype(np.int32) - b).mean()))


def cut(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The part of a picture (H, W, ...) inside a box x0, y0, x1, y1 in px, at least one pixel of it."""
    height, width = picture.shape[:2]
    x0, x1 = (int(v) for v in (np.floor(box[0]), np.ceil(box[2])))
    y0, y1 = (int(v) for v in (np.floor(box[1]), np.ceil(box[3])))
    x0, y0 = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
    return picture[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]


def pixel_diversity(takes: np.ndarray) -> float:
    """RMS deviation of one moment's frames (K, H, W, 3) uint8 of K takes from their mean: grey levels 0..127.5."""
    return float(np.sqrt(takes.astype(np.float32).var(0).mean()))
