"""The motion that phonemes do not determine: blinks, gaze, brows, smile and head pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...diffused_heads_core.pose import POSE
from .expression import FACE, RANGES

POSE_STD = dict(zip(POSE, (0.10, 0.06, 0.05, 0.010, 0.010)))  # rad, rad, rad, frame fractions
POSE_LIMIT = dict(zip(POSE, (0.30, 0.18, 0.15, 0.030, 0.030)))
POSE_SPEED = dict(zip(POSE, (0.25, 0.20, 0.15, 0.040, 0.040)))  # per second
BLINK_RATE = 0.25  # per second
BLINK_CLOSING = 0.080
BLINK_OPENING = 0.150


@dataclass(frozen=True)
class Motion:
    """face: (T, 7) float32 in the order of expression.FACE; pose: (T, 5) float32 in the order of pose.POSE."""

    face: np.ndarray
    pose: np.ndarray


def mean_power(samples: np.ndarray, sample_rate: int, frames: int, fps: float) -> np.ndarray:
    """Mean square (frames,) of sound (n,) during each frame; 0 after its end."""
    edges = np.round(np.arange(frames + 1) / fps * sample_rate).astype(int)
    total = np.concatenate([[0.0], np.cumsum(np.asarray(samples, np.float64) ** 2)])
    edges = np.minimum(edges, len(samples))
    return np.diff(total[edges]) / np.maximum(np.diff(edges), 1)


def loudness(samples: np.ndarray, sample_rate: int, frames: int, fps: float = 25.0) -> np.ndarray:
    """Root mean square of the sound during each frame over the clip's maximum, (frames,) in 0..1; 0 for silence."""
    level = np.sqrt(mean_power(samples, sample_rate, frames, fps))
    return level / max(level.max(initial=0.0), 1e-9)


def stressed(level: np.ndarray, fps: float = 25.0) -> np.ndarray:
    """Numbers (k,) of the frames with loud syllables: peaks of the loudness above 0.6, at least 0.35 s apart."""
    padded = np.concatenate([[0.0], level, [0.0]])
    peaks = np.flatnonzero((padded[1:-1] >= padded[:-2]) & (padded[1:-1] > padded[2:]) & (level > 0.6))
    chosen: list[int] = []
    for frame in peaks:
        if not chosen or frame - chosen[-1] >= 0.35 * fps:
            chosen.append(int(frame))
    return np.array(chosen, int)


def smooth_noise(rng: np.random.Generator, frames: int, fps: float, seconds: float) -> np.ndarray:
    """White noise (frames,) smoothed with a Gaussian, of unit deviation; seconds: the Gaussian's deviation."""
    radius = int(np.ceil(3 * seconds * fps))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / (seconds * fps)) ** 2)
    return np.convolve(rng.standard_normal(frames + 2 * radius), kernel / np.sqrt((kernel**2).sum()), "valid")


def _bumps(moments: np.ndarray, centres: np.ndarray, heights: np.ndarray, width: float) -> np.ndarray:
    """Sum of Gaussian bumps at the moments (frames,); moments, centres (k,) and width in seconds."""
    return (heights * np.exp(-0.5 * ((moments[:, None] - centres) / width) ** 2)).sum(1)


def _lid(moments: np.ndarray, start: float, held: float) -> np.ndarray:
    """One blink: a raised-cosine closing, ``held`` seconds closed, a raised-cosine opening."""
    marks = start + np.cumsum([0.0, BLINK_CLOSING, held, BLINK_OPENING])
    ramp = np.interp(moments, marks, [0.0, 1.0, 1.0, 0.0])
    return 0.5 - 0.5 * np.cos(np.pi * ramp)


def blinks(rng: np.random.Generator, frames: int, fps: float = 25.0) -> np.ndarray:
    """Left and right lids (frames, 2), 0 open .. 1 closed: about BLINK_RATE blinks per second, at least 0.6 s apart."""
    moments = (np.arange(frames) + 0.5) / fps
    track = np.zeros((frames, 2))
    time = rng.exponential(1 / BLINK_RATE) - 0.3
    while time < frames / fps:
        held = rng.uniform(0.25, 0.5) if rng.random() < 0.04 else rng.uniform(0.0, 0.05)
        lag = rng.uniform(-0.008, 0.008)
        lids = np.stack([_lid(moments, time, held), _lid(moments, time + lag, held)], 1)
        track = np.maximum(track, lids)
        time += 0.6 + held + rng.exponential(max(1 / BLINK_RATE - 0.6, 0.1))
    return track


def gaze(rng: np.random.Generator, frames: int, fps: float = 25.0) -> np.ndarray:
    """Gaze (frames, 2) right and down, within 0.7: fixations of 0.8..4 s, mostly on the viewer, saccades of 40 ms."""
    moments = (np.arange(frames) + 0.5) / fps
    marks, points, time = [], [], 0.0
    while time < frames / fps:
        point = rng.normal(0, 0.05, 2) if rng.random() < 0.75 else rng.normal(0, 1, 2) * (0.28, 0.14)
        end = time + rng.uniform(0.8, 4.0)
        marks += [time, end]
        points += [point, point]
        time = end + 0.040
    points = np.clip(points, -0.7, 0.7)
    return np.stack([np.interp(moments, marks, points[:, axis]) for axis in range(2)], 1)


def _accents(rng: np.random.Generator, beats: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """A random share of the beats, with random heights of mean 1."""
    chosen = beats[rng.random(len(beats)) < share]
    return chosen, rng.uniform(0.5, 1.5, len(chosen))


def _brows(rng: np.random.Generator, beats: np.ndarray, frames: int, fps: float) -> np.ndarray:
    moments = (np.arange(frames) + 0.5) / fps
    centres, heights = _accents(rng, beats, 0.3)
    both = (
        rng.normal(0, 0.12)
        + 0.15 * smooth_noise(rng, frames, fps, 0.8)
        + _bumps(moments, centres, 0.25 * heights, 0.14)
    )
    apart = 0.04 * smooth_noise(rng, frames, fps, 1.0)
    return np.stack([both + apart, both - apart], 1).clip(-1, 1)


def _slowed(track: np.ndarray, fps: float, limit: float) -> np.ndarray:
    """The track, shrunk towards its mean until its greatest speed is within the limit (per second)."""
    speed = np.abs(np.diff(track)).max(initial=0.0) * fps
    return track if speed <= limit else track.mean() + (track - track.mean()) * (limit / speed)


def head_pose(rng: np.random.Generator, beats: np.ndarray, frames: int, fps: float = 25.0) -> np.ndarray:
    """Pose (frames, 5) within POSE_LIMIT and POSE_SPEED; beats: (k,) seconds at which the head may nod a little."""
    moments = (np.arange(frames) + 0.5) / fps
    centres, heights = _accents(rng, beats, 0.4)
    nod = _bumps(moments, centres, 0.018 * heights, 0.16)
    columns = []
    for name in POSE:
        track = POSE_STD[name] * smooth_noise(rng, frames, fps, 0.9) + (nod if name == "pitch" else 0.0)
        track = POSE_LIMIT[name] * np.tanh(track / POSE_LIMIT[name])
        columns.append(_slowed(track, fps, POSE_SPEED[name]))
    return np.stack(columns, 1).astype(np.float32)


def motion(rng: np.random.Generator, level: np.ndarray, fps: float = 25.0) -> Motion:
    """Face and head of one clip; level: (T,) loudness 0..1, at whose peaks brows may rise and the head may nod."""
    frames = len(level)
    beats = (stressed(level, fps) + 0.5) / fps
    streams = rng.spawn(5)
    smile = 0.15 + 0.20 * smooth_noise(streams[0], frames, fps, 1.5)
    columns = {"smile": smile.clip(*RANGES["smile"])}
    columns["blink_left"], columns["blink_right"] = blinks(streams[1], frames, fps).T
    columns["gaze_x"], columns["gaze_y"] = gaze(streams[2], frames, fps).T
    columns["brow_left"], columns["brow_right"] = _brows(streams[3], beats, frames, fps).T
    face = np.stack([columns[name] for name in FACE], 1).astype(np.float32)
    return Motion(face, head_pose(streams[4], beats, frames, fps))
