"""Meters that are shown a clip frame by frame and keep numbers, not frames."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from .metrics import faces, motion, pictures
from .metrics.features import face_of, look, person, similarity
from .metrics.frechet import Moments
from .metrics.networks import BATCH, CLIP, CLIP_SIDE, FACE_SIDE, Networks, network_frame
from .metrics.sync import SyncMeter, offset_and_confidence, sound_windows
from .readers import NOTHING, Reader, Reading, eye_openings

FLOW_MAP = 64  # px of the map of mean flow
THUMBNAILS, THUMBNAIL = 8, 128
FRAME_FIGURES = ("ofm", "ofm_released", "f_mse", "cpbd", "sharpness", "sharpness_eyes", "background_change")


@dataclass
class SideFigures:
    """What was measured of one clip by itself. values: by metric; series: by name, one value a frame; looks: moments of
    all frames and of the clip's first and last ``window``; flow (64, 64): mean optical flow in px a frame; mouth, eyes:
    openings (T,); landmarks (T, 68, 2) in px; thumbnails: evenly spaced frames; person: mean face features; the rest
    are features (n, D) of supplied networks.
    """

    frames: int
    values: dict[str, float]
    series: dict[str, np.ndarray]
    looks: tuple[Moments, Moments, Moments]
    flow: np.ndarray
    mouth: np.ndarray
    eyes: np.ndarray
    landmarks: np.ndarray
    thumbnails: list[np.ndarray]
    person: np.ndarray
    inception: np.ndarray | None = None
    i3d: np.ndarray | None = None


class SideMeter:
    """One side of a pair: ``add`` every frame, then ``figures``.

    truth: landmarks (T, 68, 2) in px of the frames that are added, or None; reader: what reads them otherwise.
    """

    def __init__(
        self,
        fps: float,
        window: float,
        truth: np.ndarray | None = None,
        reader: Reader | None = None,
        networks: Networks | None = None,
    ):
        self.fps, self.window, self.truth, self.reader = fps, window, truth, reader
        self.rows: dict[str, list[float]] = {name: [] for name in FRAME_FIGURES}
        self.looks: list[np.ndarray] = []
        self.persons: list[np.ndarray] = []
        self.readings: list[Reading] = []
        self.thumbnails = Thumbnails()
        self.networks = NetworkMeter(networks, fps) if networks is not None else None
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self._corners: np.ndarray | None = None
        self._flow = np.zeros((FLOW_MAP, FLOW_MAP))

    @property
    def count(self) -> int:
        """Frames seen."""
        return len(self.looks)

    def add(self, frame: np.ndarray) -> Reading:
        """Take the next frame, uint8 (H, W, 3) RGB; what was read or is known of its face."""
        reading = self._read(frame)
        marks = None if reading.landmarks is None else np.asarray(reading.landmarks, np.float64)[None]
        gray = motion.luminance(frame)
        self._motion(frame, gray)
        self._sharpness(frame, gray, marks)
        face = face_of(frame, faces.face_boxes(marks)[0] if marks is not None else None)
        self.persons.append(person(face))
        self.looks.append(look(frame))
        self.readings.append(reading)
        self.thumbnails.add(frame)
        if self.networks is not None:
            self.networks.add(frame)
        return reading

    def _read(self, frame: np.ndarray) -> Reading:
        if self.truth is not None:
            marks = self.truth[self.count] if self.count < len(self.truth) else None
            return Reading.of(marks) if marks is not None and np.isfinite(marks).all() else NOTHING
        return self.reader.read(frame) if self.reader is not None else NOTHING

    def _motion(self, frame: np.ndarray, gray: np.ndarray) -> None:
        if self._before is not None:
            length = motion.flow_magnitude(self._before[1], gray)
            self._flow += cv2.resize(length, (FLOW_MAP, FLOW_MAP), interpolation=cv2.INTER_AREA)
            self.rows["ofm"].append(float(length.mean()))
            self.rows["ofm_released"].append(motion.released_flow_figure(length))
            self.rows["f_mse"].append(motion.frame_mse(self._before[0], frame))
        self._before = frame, gray

    def _sharpness(self, frame: np.ndarray, gray: np.ndarray, marks: np.ndarray | None) -> None:
        corner = pictures.corners(frame)
        self._corners = corner if self._corners is None else self._corners
        self.rows["background_change"].append(pictures.root_mean_square(corner, self._corners))
        self.rows["sharpness"].append(pictures.laplacian_variance(gray))
        self.rows["cpbd"].append(pictures.cpbd(frame))
        eyes = [pictures.cut(gray, box) for box in faces.eye_boxes(marks)[0]] if marks is not None else []
        self.rows["sharpness_eyes"].append(
            float(np.mean([pictures.laplacian_variance(e) for e in eyes])) if eyes else float("nan")
        )

    def figures(self, mono: np.ndarray | None = None) -> SideFigures:
        """Everything of the clip; ``mono``: its sound at 16 kHz, for SyncNet."""
        mouth, eyes = np.array([r.mouth for r in self.readings]), eye_openings(self.readings)
        values = {name: mean(row) for name, row in self.rows.items()}
        values["blinks_per_second"], values["blink_duration"] = faces.blink_figures(eyes, self.fps)
        looks, rows = np.stack(self.looks), max(1, min(round(self.window * self.fps), self.count // 2 or 1))
        missing = np.full((68, 2), np.nan)
        marks = np.stack([missing if r.landmarks is None else r.landmarks for r in self.readings]).astype(np.float32)
        found = SideFigures(
            self.count,
            values,
            self._series(),
            (Moments.of(looks), Moments.of(looks[:rows]), Moments.of(looks[-rows:])),
            self._flow / max(self.count - 1, 1),
            mouth,
            eyes,
            marks,
            self.thumbnails.chosen(),
            np.mean(self.persons, 0),
        )
        if self.networks is not None:
            found.inception, found.i3d = self.networks.features()
            values["av_offset"], values["av_confidence"] = self.networks.sync(mono)
        return found

    def _series(self) -> dict[str, np.ndarray]:
        """Values frame by frame; those between two frames belong to the later."""
        first = float("nan")
        moving = {name: np.array([first, *self.rows[name]]) for name in ("ofm", "f_mse")}
        return {**moving, **{name: np.array(self.rows[name]) for name in ("sharpness", "background_change")}}

    def identity_series(self, other: np.ndarray) -> np.ndarray:
        """Cosine of each frame's face features and ``other`` (mean features of a clip)."""
        return np.array([similarity(one, other) for one in self.persons])


class PairMeter:
    """A clip against its reference, frame by frame. ``marks``: the reference's landmarks (68, 2) in px, or None."""

    def __init__(self) -> None:
        self.rows: dict[str, list[float]] = {
            name: [] for name in ("ssim", "psnr", "background_error", "eye_error", "mouth_error")
        }

    def add(self, frame: np.ndarray, reference: np.ndarray, marks: np.ndarray | None) -> None:
        """Take the next two frames, of one shape."""
        self.rows["ssim"].append(pictures.ssim(frame, reference))
        self.rows["psnr"].append(pictures.psnr(frame, reference))
        self.rows["background_error"].append(pictures.background_error(frame, reference))
        known = None if marks is None or not np.isfinite(marks).all() else np.asarray(marks, np.float64)[None]
        for name, boxes in (("eye_error", faces.eye_boxes), ("mouth_error", faces.mouth_boxes)):
            self.rows[name].append(
                float("nan") if known is None else pictures.region_error(frame, reference, boxes(known)[0])
            )

    def values(self) -> dict[str, float]:
        """Mean of each over the frames where it is known."""
        return {name: mean(row) for name, row in self.rows.items()}

    def series(self) -> dict[str, np.ndarray]:
        """Values frame by frame."""
        return {name: np.array(self.rows[name]) for name in ("ssim", "psnr", "background_error")}


class NetworkMeter:
    """Features of a clip by supplied networks."""

    def __init__(self, networks: Networks, fps: float):
        self._networks, self._fps = networks, fps
        self._frames: list[np.ndarray] = []
        self._clip: list[np.ndarray] = []
        self._pictures: list[np.ndarray] = []
        self._clips: list[np.ndarray] = []
        self._sync = SyncMeter(networks.lips) if networks.syncnet is not None else None

    def add(self, frame: np.ndarray) -> None:
        """Take the next frame."""
        if self._networks.inception is not None:
            self._frames.append(frame)
            if len(self._frames) == BATCH:
                self._flush()
        if self._networks.i3d is not None:
            self._clip.append(network_frame(frame, CLIP_SIDE))
            if len(self._clip) == CLIP:
                self._clips.append(self._networks.clips(np.stack(self._clip)[None]))
                self._clip = []
        if self._sync is not None:
            self._sync.add(network_frame(frame, FACE_SIDE))

    def _flush(self) -> None:
        if self._frames:
            self._pictures.append(self._networks.pictures(np.stack(self._frames)))
        self._frames = []

    def features(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Inception features of all frames and I3D features of all whole runs of 16 frames; None without the network."""
        self._flush()
        return tuple(np.concatenate(rows) if rows else None for rows in (self._pictures, self._clips))

    def sync(self, mono: np.ndarray | None) -> tuple[float, float]:
        """SyncNet's offset and confidence; NaN without network or sound, or at another rate than 25 frames/s."""
        if self._sync is None or mono is None or abs(self._fps - 25) > 0.1:
            return float("nan"), float("nan")
        windows = sound_windows(mono, self._sync.frames)
        if not len(windows):
            return float("nan"), float("nan")
        return offset_and_confidence(self._sync.embeddings(), self._networks.sounds(windows))


@dataclass
class Thumbnails:
    """Evenly spaced small frames of a clip whose length is not known in advance."""

    stride: int = 1
    seen: int = 0
    kept: list[np.ndarray] = field(default_factory=list)

    def add(self, frame: np.ndarray) -> None:
        """Show the next frame."""
        if self.seen % self.stride == 0:
            height, width = frame.shape[:2]
            scale = THUMBNAIL / max(height, width)
            self.kept.append(
                cv2.resize(
                    frame, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
                )
            )
        self.seen += 1
        if len(self.kept) == 4 * THUMBNAILS:
            self.kept, self.stride = self.kept[::2], 2 * self.stride

    def chosen(self) -> list[np.ndarray]:
        """At most THUMBNAILS of them."""
        places = np.unique(np.linspace(0, len(self.kept) - 1, min(THUMBNAILS, len(self.kept))).round().astype(int))
        return [self.kept[i] for i in places]


def mean(row: list[float]) -> float:
    """Mean of the known values; NaN where there is none."""
    known = [v for v in row if np.isfinite(v)]
    return float(np.mean(known)) if known else float("nan")
