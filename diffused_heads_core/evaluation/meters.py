"""Meters of one clip: they get its frames one by one and keep numbers, not frames."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from .metrics import faces, motion, pictures
from .metrics.features import cosine, face_crop, face_features, frame_features
from .metrics.frechet import Moments
from .metrics.networks import BATCH, CLIP, CLIP_SIDE, FACE_SIDE, Networks, network_frame
from .metrics.sync import FPS as SYNC_FPS, SyncMeter, offset_and_confidence, sound_windows
from .readers import NOTHING, Reader, Reading, eye_openings

FLOW_MAP = 64  # px of the map of mean flow
THUMBNAILS, THUMBNAIL = 8, 128
FRAME_FIGURES = ("ofm", "ofm_released", "f_mse", "cpbd", "sharpness", "sharpness_eyes", "background_change")


@dataclass
class SideFigures:
    """Figures of one clip by itself.

    values: by metric. series: by metric, one value per frame. moments: of the frame features of the whole clip, of its
    first and of its last ``window``. flow: mean optical flow (64, 64), px per frame. mouth, eyes: openings (T,).
    landmarks: (T, 68, 2) px. thumbnails: evenly spaced frames. face: mean face features. inception, i3d: features
    (n, D) of supplied networks.
    """

    frames: int
    values: dict[str, float]
    series: dict[str, np.ndarray]
    moments: tuple[Moments, Moments, Moments]
    flow: np.ndarray
    mouth: np.ndarray
    eyes: np.ndarray
    landmarks: np.ndarray
    thumbnails: list[np.ndarray]
    face: np.ndarray
    inception: np.ndarray | None = None
    i3d: np.ndarray | None = None


class SideMeter:
    """One clip: ``add`` every frame, then ``figures``.

    truth: landmarks (T, 68, 2) in px of the frames that are added, if they are known; reader: reads them otherwise.
    window: seconds at the clip's ends that are compared.
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
        self.frames: list[np.ndarray] = []  # frame features, and the faces' features
        self.faces: list[np.ndarray] = []
        self.readings: list[Reading] = []
        self.thumbnails = Thumbnails()
        self.networks = NetworkMeter(networks, fps) if networks is not None else None
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self._corners: np.ndarray | None = None
        self._flow = np.zeros((FLOW_MAP, FLOW_MAP))

    @property
    def count(self) -> int:
        """Frames so far."""
        return len(self.frames)

    def add(self, frame: np.ndarray) -> Reading:
        """Take the next frame, uint8 (H, W, 3) RGB; returns what is known of its face."""
        reading = self._read(frame)
        marks = None if reading.landmarks is None else np.asarray(reading.landmarks, np.float64)[None]
        gray = pictures.luminance(frame)
        self._motion(frame, gray)
        self._sharpness(frame, gray, marks)
        face = face_crop(frame, faces.face_boxes(marks)[0] if marks is not None else None)
        self.faces.append(face_features(face))
        self.frames.append(frame_features(frame))
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
        """Everything that was measured; ``mono``: the clip's sound at 16 kHz, for SyncNet."""
        eyes, values = eye_openings(self.readings), {name: mean(row) for name, row in self.rows.items()}
        values["blinks_per_second"], values["blink_duration"] = faces.blink_figures(eyes, self.fps)
        frames, rows = np.stack(self.frames), max(1, min(round(self.window * self.fps), self.count // 2 or 1))
        missing = np.full((68, 2), np.nan)
        marks = [missing if reading.landmarks is None else reading.landmarks for reading in self.readings]
        found = SideFigures(
            frames=self.count,
            values=values,
            series=self._series(),
            moments=(Moments.of(frames), Moments.of(frames[:rows]), Moments.of(frames[-rows:])),
            flow=self._flow / max(self.count - 1, 1),
            mouth=np.array([reading.mouth for reading in self.readings]),
            eyes=eyes,
            landmarks=np.stack(marks).astype(np.float32),
            thumbnails=self.thumbnails.chosen(),
            face=np.mean(self.faces, 0),
        )
        if self.networks is not None:
            found.inception, found.i3d = self.networks.features()
            values["av_offset"], values["av_confidence"] = self.networks.sync(mono)
        return found

    def _series(self) -> dict[str, np.ndarray]:
        """Values frame by frame; a value between two frames belongs to the later one."""
        moving = {name: np.array([float("nan"), *self.rows[name]]) for name in ("ofm", "f_mse")}
        return {**moving, **{name: np.array(self.rows[name]) for name in ("sharpness", "background_change")}}

    def face_similarity(self, other: np.ndarray) -> np.ndarray:
        """Cosine of each frame's face features with ``other``, the mean features of a clip: (T,)."""
        return np.array([cosine(face, other) for face in self.faces])


class PairMeter:
    """A clip against its reference, frame by frame."""

    def __init__(self) -> None:
        self.rows: dict[str, list[float]] = {
            name: [] for name in ("ssim", "psnr", "background_error", "eye_error", "mouth_error")
        }

    def add(self, frame: np.ndarray, reference: np.ndarray, marks: np.ndarray | None) -> None:
        """Take the next two frames, of one shape; marks: the reference's landmarks (68, 2) in px, if they are known."""
        self.rows["ssim"].append(pictures.ssim(frame, reference))
        self.rows["psnr"].append(pictures.psnr(frame, reference))
        self.rows["background_error"].append(pictures.background_error(frame, reference))
        known = None if marks is None or not np.isfinite(marks).all() else np.asarray(marks, np.float64)[None]
        for name, boxes in (("eye_error", faces.eye_boxes), ("mouth_error", faces.mouth_boxes)):
            self.rows[name].append(
                float("nan") if known is None else pictures.region_error(frame, reference, boxes(known)[0])
            )

    def values(self) -> dict[str, float]:
        """Mean of each metric over the frames in which it is known."""
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
        """Inception features of all frames and I3D features of all whole runs of 16 frames; None if not supplied."""
        self._flush()
        pictures, clips = (np.concatenate(rows) if rows else None for rows in (self._pictures, self._clips))
        return pictures, clips

    def sync(self, mono: np.ndarray | None) -> tuple[float, float]:
        """SyncNet's offset and confidence; NaN without network or sound, or at another rate than 25 frames/s."""
        if self._sync is None or mono is None or abs(self._fps - SYNC_FPS) > 0.1:
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
        """Take the next frame."""
        if self.seen % self.stride == 0:
            height, width = frame.shape[:2]
            scale = THUMBNAIL / max(height, width)
            size = max(1, round(width * scale)), max(1, round(height * scale))
            self.kept.append(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))
        self.seen += 1
        if len(self.kept) == 4 * THUMBNAILS:
            self.kept, self.stride = self.kept[::2], 2 * self.stride

    def chosen(self) -> list[np.ndarray]:
        """At most THUMBNAILS of them."""
        places = np.unique(np.linspace(0, len(self.kept) - 1, min(THUMBNAILS, len(self.kept))).round().astype(int))
        return [self.kept[i] for i in places]


def mean(row: list[float]) -> float:
    """Mean of the finite values; NaN if there are none."""
    known = [v for v in row if np.isfinite(v)]
    return float(np.mean(known)) if known else float("nan")
