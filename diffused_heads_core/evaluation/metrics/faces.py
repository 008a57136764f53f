"""Figures of facial landmarks: mouth, blinks, distances between two faces, diversity of takes. No pictures are needed.

Landmarks are the usual 68 points (iBUG order), float (T, 68, 2) in pixels; a frame in which no face was found is NaN.
Left and right are those of the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ...errors import DiffusedHeadsError

LEFT_EYE, RIGHT_EYE, MOUTH = slice(36, 42), slice(42, 48), slice(48, 68)
EYE_CORNERS = np.array([(36, 39), (42, 45)])  # of the left and of the right eye, image left first
INNER_TOP, INNER_BOTTOM, NOSE_TIP = 62, 66, 30
LMD_SIZE = 128  # px of the frame in which landmark distances are given
BLINK_DROP = 0.65  # of the open eye's height, below which the lids count as closing
BLINK_WINDOW = 2.0  # s around a frame whose median is the open eye's height
BLINK_LONGEST = 1.0  # s; longer is a closed eye
LAG_REACH = 0.6  # s; lags are searched up to this, either way
FOUND_LEAST = 0.5  # share of frames in which a face must be found for a figure of the clip


def _check(landmarks: np.ndarray) -> np.ndarray:
    if landmarks.ndim != 3 or landmarks.shape[1:] != (68, 2):
        raise DiffusedHeadsError(f"landmarks: expected (T, 68, 2), found {landmarks.shape}")
    return np.asarray(landmarks, np.float64)


def eye_distance(landmarks: np.ndarray) -> np.ndarray:
    """Distance between the eyes' centres, px: (T,)."""
    marks = _check(landmarks)
    return np.linalg.norm(marks[:, RIGHT_EYE].mean(1) - marks[:, LEFT_EYE].mean(1), axis=-1)


def mouth_opening(landmarks: np.ndarray) -> np.ndarray:
    """Gap between the inner lips' middles over the distance between the eyes: (T,), 0 (closed) to about 0.6."""
    marks = _check(landmarks)
    return np.linalg.norm(marks[:, INNER_BOTTOM] - marks[:, INNER_TOP], axis=-1) / eye_distance(marks)


def eye_opening(landmarks: np.ndarray) -> np.ndarray:
    """Eye aspect ratio (Soukupova & Cech 2016), mean of both eyes: (T,), 0 (closed) to about 0.4.

    (|p2 - p6| + |p3 - p5|) / (2 |p1 - p4|) for an eye's points p1 .. p6.
    """
    marks = _check(landmarks)

    def ratio(eye: np.ndarray) -> np.ndarray:
        height = np.linalg.norm(eye[:, 1] - eye[:, 5], axis=-1) + np.linalg.norm(eye[:, 2] - eye[:, 4], axis=-1)
        return height / (2 * np.linalg.norm(eye[:, 0] - eye[:, 3], axis=-1))

    return (ratio(marks[:, LEFT_EYE]) + ratio(marks[:, RIGHT_EYE])) / 2


def eye_boxes(landmarks: np.ndarray, margin: float = 0.3) -> np.ndarray:
    """Boxes (T, 2, 4) x0, y0, x1, y1 in px around the eyes, ``margin`` of the eyes' distance wider on every side."""
    return np.stack([_boxes(landmarks, part, margin) for part in (LEFT_EYE, RIGHT_EYE)], 1)


def mouth_boxes(landmarks: np.ndarray, margin: float = 0.15) -> np.ndarray:
    """Boxes (T, 1, 4) x0, y0, x1, y1 in px around the mouth, ``margin`` of the eyes' distance wider on every side."""
    return _boxes(landmarks, MOUTH, margin)[:, None]


def face_boxes(landmarks: np.ndarray) -> np.ndarray:
    """Boxes (T, 4) around all points, grown by a fifth of the eyes' distance and as much again above the brows."""
    boxes = _boxes(landmarks, slice(None), 0.2)
    boxes[:, 1] -= 0.2 * eye_distance(landmarks)
    return boxes


def _boxes(landmarks: np.ndarray, part: slice, margin: float) -> np.ndarray:
    marks = _check(landmarks)[:, part]
    grow = margin * eye_distance(landmarks)[:, None]
    return np.concatenate([marks.min(1) - grow, marks.max(1) + grow], -1)


def landmark_distance(found: np.ndarray, reference: np.ndarray, size: float, part: slice = MOUTH) -> float:
    """LMD (Chen et al. 2018): mean distance of mouth landmarks, in px of a 128 px frame; 0 is best.

    found, reference: (T, 68, 2) in px of frames whose shorter side is ``size``. As in the source, each frame's points
    are first moved so that their means coincide: the head's position does not count. Frames without a face on either
    side are left out; NaN if half of the frames or more are.
    """
    a, b = (_check(marks)[:, part] for marks in (found, reference))
    if len(a) != len(b):
        raise DiffusedHeadsError(f"landmarks: expected two tracks of one length, found {len(a)} and {len(b)} frames")
    distance = np.linalg.norm((a - a.mean(1, keepdims=True)) - (b - b.mean(1, keepdims=True)), axis=-1).mean(-1)
    there = np.isfinite(distance)
    return float(distance[there].mean()) * LMD_SIZE / size if there.mean() > FOUND_LEAST else float("nan")


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r of two tracks (T,), -1..1, over the frames in which both are known.

    0 if either is constant, NaN for fewer than 3 frames.
    """
    there = np.isfinite(a) & np.isfinite(b)
    if there.sum() < 3:
        return float("nan")
    a, b = (np.asarray(v, np.float64)[there] for v in (a, b))
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 1e-12 else 0.0


def lagged_correlation(found: np.ndarray, truth: np.ndarray, reach: int) -> np.ndarray:
    """Pearson's r at lags -reach .. reach frames, (2 reach + 1,); at a positive lag ``found`` comes late."""
    count = len(truth)
    return np.array(
        [
            correlation(found[max(lag, 0) : count + min(lag, 0)], truth[max(-lag, 0) : count - max(lag, 0)])
            for lag in range(-reach, reach + 1)
        ]
    )


def mouth_agreement(found: np.ndarray, truth: np.ndarray, fps: float) -> tuple[float, float]:
    """Mouth-opening correlation and lag: Pearson's r (1 is best) without lag, and the lag in frames (0 is best) of the
    highest r within LAG_REACH seconds, positive if the mouth is late.

    found, truth: mouth openings (T,). NaN, NaN if no more than half of the frames are known; the lag is NaN if either
    mouth stays still or no lag gives a positive r.
    """
    if (np.isfinite(found) & np.isfinite(truth)).mean() <= FOUND_LEAST:
        return float("nan"), float("nan")
    reach = min(round(LAG_REACH * fps), max(len(truth) // 3, 0))
    curve = np.nan_to_num(lagged_correlation(found, truth, reach), nan=-1.0)
    best = int(curve.argmax())
    return correlation(found, truth), float(best - reach) if curve[best] > 0 else float("nan")


@dataclass(frozen=True)
class Blink:
    """When a blink begins and how long it lasts, in seconds, between the moments at which the lids are half closed."""

    start: float
    duration: float


def blinks(opening: np.ndarray, fps: float) -> list[Blink]:
    """Blinks in a track of eye openings (T,), any unit.

    The threshold adapts to the person: in a blink the opening falls below 65% of its median over the 2 s around.
    The blink lasts, to a fraction of a frame, while the opening is below the mean of that median and the blink's
    least value. What lasts longer than 1 s or is cut by the clip's ends does not count. Gaps of the track are bridged.
    """
    track = bridged(opening)
    if track is None:
        return []
    usual = _rolling_median(track, max(1, round(BLINK_WINDOW * fps / 2)))
    below = np.concatenate([[False], track < BLINK_DROP * usual, [False]])
    starts, ends = (np.flatnonzero(below[1:] & ~below[:-1]), np.flatnonzero(below[:-1] & ~below[1:]))
    found: list[Blink] = []
    for start, end in zip(starts, ends):
        blink = _blink(track, usual, int(start), int(end), fps)
        if blink is not None and not (found and blink.start < found[-1].start + found[-1].duration):
            found.append(blink)
    return [blink for blink in found if blink.duration <= BLINK_LONGEST]


def _blink(track: np.ndarray, usual: np.ndarray, start: int, end: int, fps: float) -> Blink | None:
    """The blink whose frames below the threshold are start .. end - 1."""
    least = start + int(track[start:end].argmin())
    half = (usual[least] + track[least]) / 2
    first, last = least, least
    while first > 0 and track[first - 1] < half:
        first -= 1
    while last < len(track) - 1 and track[last + 1] < half:
        last += 1
    if first == 0 or last == len(track) - 1:
        return None
    begins = first - (half - track[first]) / (track[first - 1] - track[first])
    ends = last + (half - track[last]) / (track[last + 1] - track[last])
    return Blink(begins / fps, (ends - begins) / fps)


def blink_frames(opening: np.ndarray, fps: float) -> np.ndarray:
    """Which frames lie inside a blink: (T,) bool."""
    inside, moments = np.zeros(len(opening), bool), np.arange(len(opening)) / fps
    for blink in blinks(opening, fps):
        inside |= (moments >= blink.start) & (moments <= blink.start + blink.duration)
    return inside


def blink_figures(opening: np.ndarray, fps: float) -> tuple[float, float]:
    """Blinks per second and median blink duration in seconds of eye openings (T,); meant to be near the truth's.

    NaN, NaN if no more than half of the frames are known; the duration is NaN without a blink. People blink 0.28 to
    0.45 times per second, for 0.1 to 0.4 s (paper, section 4; Bentivoglio et al. 1997).
    """
    if bridged(opening) is None:
        return float("nan"), float("nan")
    found = blinks(opening, fps)
    return len(found) * fps / len(opening), float(np.median([b.duration for b in found])) if found else float("nan")


def bridged(track: np.ndarray) -> np.ndarray | None:
    """A track (T,) with its unknown frames interpolated; None if half of them or more are unknown."""
    track = np.asarray(track, np.float64)
    there = np.isfinite(track)
    if not len(track) or there.mean() <= FOUND_LEAST:
        return None
    return np.interp(np.arange(len(track)), np.flatnonzero(there), track[there])


def pose_diversity(landmarks: np.ndarray) -> float:
    """RMS deviation of the nose tip from its mean over K takes, in eye distances, over all frames: 0 or more.

    landmarks: (K, T, 68, 2) in px. Turning, nodding and shifting the head all move the nose. NaN if no frame has a face
    in every take.
    """
    nose = landmarks[:, :, NOSE_TIP]
    apart = np.stack([eye_distance(take) for take in landmarks]).mean(0)
    there = np.isfinite(nose).all((0, 2)) & np.isfinite(apart)
    if not there.any():
        return float("nan")
    scaled = nose[:, there] / apart[there, None]
    return float(np.sqrt(np.square(scaled - scaled.mean(0)).sum(-1).mean()))


def blink_diversity(openings: np.ndarray, fps: float) -> float:
    """Share of blink frames that two takes do not have in common, mean over pairs: 0 (all blink together) .. 1.

    openings: (K, T) eye openings. 1 - intersection over union; 0 for two takes without blinks. NaN if no more than half
    of a track is known.
    """
    if not (np.isfinite(openings).mean(1) > FOUND_LEAST).all():
        return float("nan")
    inside = [blink_frames(track, fps) for track in openings]
    apart = [1 - (a & b).sum() / (a | b).sum() if (a | b).any() else 0.0 for a, b in combinations(inside, 2)]
    return float(np.mean(apart))


def _rolling_median(track: np.ndarray, reach: int) -> np.ndarray:
    padded = np.pad(track, reach, constant_values=np.nan)
    return np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1), axis=-1)
