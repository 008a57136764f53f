"""Diversity: how much several takes of one clip, made with different seeds, differ."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from .faces import NOSE_TIP, blink_frames, eye_distance


def pixel_diversity(takes: np.ndarray) -> float:
    """RMS deviation of frames (K, H, W, 3) uint8 of K takes, at one moment, from their mean: grey levels 0..127.5."""
    return float(np.sqrt(takes.astype(np.float32).var(0).mean()))


def pose_diversity(landmarks: np.ndarray) -> float:
    """RMS deviation of the nose tip from the takes' mean place, in eye distances, over the frames of K takes: 0 or
    more.

    landmarks: (K, T, 68, 2) in px. Turning, nodding and shifting the head all move the nose. NaN where no frame has a
    face in every take.
    """
    nose = landmarks[:, :, NOSE_TIP]
    apart = np.stack([eye_distance(take) for take in landmarks]).mean(0)
    there = np.isfinite(nose).all((0, 2)) & np.isfinite(apart)
    if not there.any():
        return float("nan")
    scaled = nose[:, there] / apart[there, None]
    return float(np.sqrt(np.square(scaled - scaled.mean(0)).sum(-1).mean()))


def blink_diversity(openings: np.ndarray, fps: float) -> float:
    """Share of blink frames that two takes do not share (1 - intersection over union), mean over pairs: 0 (all blink
    together) .. 1.

    openings: (K, T) eye openings. Two takes without any blink share all of none: 0. NaN where a track is unknown.
    """
    if not (np.isfinite(openings).mean(1) > 0.5).all():
        return float("nan")
    inside = [blink_frames(track, fps) for track in openings]
    return float(
        np.mean([1 - (a & b).sum() / (a | b).sum() if (a | b).any() else 0.0 for a, b in combinations(inside, 2)])
    )
