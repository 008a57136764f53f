"""Measure clips group by group (the takes of a clip and its reference), each read once and frame by frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice

import cv2
import numpy as np

from ..errors import DiffusedHeadsError, raise_problems
from ..media.audio import Audio, to_mono_16k
from ..processes import WorkerPool
from .meters import PairMeter, SideFigures, SideMeter
from .metrics.faces import blink_diversity, landmark_distance, mouth_agreement, mouth_opening, pose_diversity
from .metrics.features import cosine
from .metrics.networks import NetworkFiles, Networks
from .metrics.pictures import pixel_diversity
from .readers import Reader
from .sources import ClipStream, Group, Source

SAME_SHAPE = 0.02  # relative difference up to which two aspect ratios count as equal
ENVELOPE = 4  # values of the sound's envelope per frame


@dataclass(frozen=True)
class Settings:
    """How clips are measured.

    size: px of the shorter side to which clip and reference are scaled first (None: the larger one to the smaller).
    seconds: only the first seconds of each clip (None: all). window: seconds at a clip's ends that the degradation rate
    compares. readers: makes a reader of landmarks, for clips without true ones; no_readers: the reason if it is None.
    networks: supplied by the user. Raises DiffusedHeadsError for values out of range.
    """

    size: int | None = None
    seconds: float | None = None
    window: float = 1.0
    readers: Callable[[], Reader] | None = None
    no_readers: str = "no face networks were asked for"
    networks: NetworkFiles = field(default_factory=NetworkFiles)

    def __post_init__(self) -> None:
        lengths = {"seconds": self.seconds, "window": self.window}
        wrong = {f"size={self.size}: expected 32..2048 px": self.size is not None and not 32 <= self.size <= 2048}
        wrong |= {f"{n}={v}: expected seconds above 0": v is not None and not v > 0 for n, v in lengths.items()}
        raise_problems("evaluation", wrong)


@dataclass
class GroupFigures:
    """Figures of a group.

    generated, pairs, pair_series: per take, its own figures, those against the reference, and those frame by frame.
    reference: the reference's own figures. diversity: of the takes. mouth: true mouth opening (T,). envelope: of the
    sound, (n,) in 0..1.
    """

    name: str
    takes: list[str]
    fps: float
    generated: list[SideFigures]
    reference: SideFigures | None
    pairs: list[dict[str, float]]
    pair_series: list[dict[str, np.ndarray]]
    diversity: dict[str, float]
    mouth: np.ndarray
    envelope: np.ndarray


class Scale:
    """Brings the frames of clip and reference to one shape, which the first frames decide.

    size: px of the shorter side; None for that of the smaller frame.
    """

    def __init__(self, size: int | None):
        self._size = size
        self._shape: tuple[int, int] | None = None

    def __call__(self, frames: list[np.ndarray], names: list[str]) -> list[np.ndarray]:
        """Frames uint8 (H, W, 3) of one moment, scaled to one shape; names: of the clips, for errors.

        Raises DiffusedHeadsError if their proportions differ.
        """
        self._shape = self._shape or self._choose(frames, names)
        height, width = self._shape
        return [
            f if f.shape[:2] == self._shape else cv2.resize(f, (width, height), interpolation=_way(f, height))
            for f in frames
        ]

    def _choose(self, frames: list[np.ndarray], names: list[str]) -> tuple[int, int]:
        smallest = min(frames, key=lambda f: min(f.shape[:2]))
        height, width = smallest.shape[:2]
        for frame, name in zip(frames, names):
            if abs(frame.shape[1] / frame.shape[0] * height / width - 1) > SAME_SHAPE:
                raise DiffusedHeadsError(
                    f"{name}: expected frames of the proportions {width} x {height} like its partner's, "
                    f"found {frame.shape[1]} x {frame.shape[0]}"
                )
        scale = 1 if self._size is None else self._size / min(height, width)
        return round(height * scale), round(width * scale)


def _way(frame: np.ndarray, height: int) -> int:
    return cv2.INTER_AREA if frame.shape[0] > height else cv2.INTER_CUBIC


@lru_cache(maxsize=1)
def _networks(files: NetworkFiles) -> Networks | None:
    return Networks(files) if files.inception or files.i3d or files.syncnet else None


def measure(
    group: Group, settings: Settings = Settings(), on_frame: Callable[[int], None] | None = None
) -> GroupFigures:
    """Measure one group. ``on_frame(n)`` is called after each moment; it may raise to stop.

    Takes and reference are read in lockstep, up to the shortest, at the first take's frame rate; of a reference at
    another rate the nearest frames are taken. Raises DiffusedHeadsError for clips that cannot be read or do not belong
    together.
    """
    return _Measurement(group, settings).run(on_frame)


class _Measurement:
    """One group while it is measured. ``sides``: the takes, and the reference after them if there is one."""

    def __init__(self, group: Group, settings: Settings):
        self.group, self.settings = group, settings
        sources = [*group.takes, *([group.reference] if group.reference else [])]
        self.names, self.sides = [source.name for source in sources], [_open(source) for source in sources]
        self.reference = self.sides[-1] if group.reference else None
        self.takes, self.fps = self.sides[: len(group.takes)], self.sides[0].fps
        self.truths = [_at_rate(side.landmarks, side.fps, self.fps) for side in self.sides]
        trusted = all(truth is not None for truth in self.truths)
        networks = _networks(settings.networks)
        readers = settings.readers if not trusted else None
        self.meters = [
            SideMeter(self.fps, settings.window, truth if trusted else None, readers() if readers else None, networks)
            for truth in self.truths
        ]
        self.pairs = [PairMeter() for _ in self.takes] if self.reference else []
        self.pixels: list[float] = []
        self.count = 0
        self.scales: list[float] = []

    def run(self, on_frame: Callable[[int], None] | None) -> GroupFigures:
        """Read and measure all frames; arguments and errors of ``measure``."""
        scale, seconds = Scale(self.settings.size), self.settings.seconds
        for frames in islice(self._moments(), None if seconds is None else round(seconds * self.fps)):
            self._moment([f.shape for f in frames], scale(list(frames), self.names))
            if on_frame is not None:
                on_frame(self.count)
        if not self.count:
            raise DiffusedHeadsError(f"{self.names[0]}: expected frames, found none")
        return self._figures()

    def _moments(self) -> Iterator[tuple[np.ndarray, ...]]:
        frames = [take.frames for take in self.takes]
        if self.reference:
            frames.append(_retimed(self.reference.frames, self.reference.fps, self.fps))
        return zip(*frames)

    def _moment(self, shapes: list[tuple[int, ...]], frames: list[np.ndarray]) -> None:
        if not self.scales:
            self.scales = [frame.shape[0] / shape[0] for frame, shape in zip(frames, shapes)]
            self.shape = frames[0].shape[:2]
            for meter, factor in zip(self.meters, self.scales):
                meter.truth = None if meter.truth is None else meter.truth * factor
        readings = [meter.add(frame) for meter, frame in zip(self.meters, frames)]
        if self.reference:
            marks = self._true_marks(readings[-1].landmarks)
            for pair, frame in zip(self.pairs, frames):
                pair.add(frame, frames[-1], marks)
        if len(self.takes) > 1:
            self.pixels.append(pixel_diversity(np.stack(frames[: len(self.takes)])))
        self.count += 1

    def _true_marks(self, read: np.ndarray | None) -> np.ndarray | None:
        truth = self.truths[-1]
        return truth[self.count] * self.scales[-1] if truth is not None and self.count < len(truth) else read

    def _figures(self) -> GroupFigures:
        seconds, wanted = self.count / self.fps, self.settings.networks.syncnet is not None
        sounds = [_mono(side.audio, seconds) if wanted else None for side in self.sides]
        found = [meter.figures(mono) for meter, mono in zip(self.meters, sounds)]
        generated, reference = found[: len(self.takes)], found[-1] if self.reference else None
        mouth = self._true_mouth(reference)
        pairs, series = [], []
        if reference is not None:
            for meter, side, pair in zip(self.meters, generated, self.pairs):
                pairs.append({**pair.values(), **self._against(side, reference, mouth)})
                series.append({**pair.series(), "face_similarity": meter.face_similarity(reference.face)})
        audio = self.reference.audio if self.reference and self.reference.audio else self.takes[0].audio
        return GroupFigures(
            name=self.group.name,
            takes=[take.name for take in self.group.takes],
            fps=self.fps,
            generated=generated,
            reference=reference,
            pairs=pairs,
            pair_series=series,
            diversity=self._diversity(generated),
            mouth=mouth,
            envelope=envelope(audio, self.count, self.fps),
        )

    def _true_mouth(self, reference: SideFigures | None) -> np.ndarray:
        if reference is None:
            return np.full(self.count, np.nan)
        if (truth := self.truths[-1]) is None:
            return reference.mouth
        opening = mouth_opening(truth[: self.count])
        return np.pad(opening, (0, self.count - len(opening)), constant_values=np.nan)

    def _against(self, side: SideFigures, reference: SideFigures, mouth: np.ndarray) -> dict[str, float]:
        r, lag = mouth_agreement(side.mouth, mouth, self.fps)
        sharp = reference.values["sharpness"]
        return {
            "mouth_r": r,
            "mouth_lag": lag,
            "lmd": landmark_distance(side.landmarks, reference.landmarks, min(self.shape)),
            "face_similarity": cosine(side.face, reference.face),
            "sharpness_ratio": side.values["sharpness"] / sharp if sharp > 0 else float("nan"),
        }

    def _diversity(self, generated: list[SideFigures]) -> dict[str, float]:
        if len(generated) < 2:
            return {}
        return {
            "diversity_pixel": float(np.mean(self.pixels)),
            "diversity_pose": pose_diversity(np.stack([g.landmarks for g in generated])),
            "diversity_blink": blink_diversity(np.stack([g.eyes for g in generated]), self.fps),
        }


def _open(source: Source) -> ClipStream:
    clip = source.open()
    if not 1 <= clip.fps <= 240:
        raise DiffusedHeadsError(f"{source.name}: fps={clip.fps}, expected 1 to 240 frames/s")
    return clip


def _at_rate(landmarks: np.ndarray | None, fps: float, wanted: float) -> np.ndarray | None:
    if landmarks is None or abs(fps / wanted - 1) < 1e-3:
        return landmarks
    rows = np.floor((np.arange(int(len(landmarks) * wanted / fps)) + 0.5) * fps / wanted).astype(int)
    return landmarks[np.minimum(rows, len(landmarks) - 1)]


def _retimed(frames: Iterable[np.ndarray], fps: float, wanted: float) -> Iterator[np.ndarray]:
    """Frames at another rate: for each moment, the frame that is shown at its middle."""
    if abs(fps / wanted - 1) < 1e-3:
        yield from frames
        return
    moment = 0
    for index, frame in enumerate(frames):
        while (moment + 0.5) * fps / wanted < index + 1:
            yield frame
            moment += 1


def _mono(audio: Audio | None, seconds: float) -> np.ndarray | None:
    return None if audio is None else to_mono_16k(audio)[: round(seconds * 16000)]


def envelope(audio: Audio | None, frames: int, fps: float) -> np.ndarray:
    """Peak amplitude of the sound, ENVELOPE values per frame: (4 * frames,) float32 in 0..1; empty without sound."""
    if audio is None:
        return np.empty(0, np.float32)
    edges = np.round(np.arange(frames * ENVELOPE + 1) * audio.sample_rate / (fps * ENVELOPE)).astype(int)
    loud = np.abs(audio.samples[:, : edges[-1]]).max(0)
    loud = np.pad(loud, (0, max(0, edges[-1] - len(loud))))
    return np.maximum.reduceat(loud, edges[:-1]).astype(np.float32)


def measured(
    groups: Iterable[Group], settings: Settings, workers: int = 1, on_frame: Callable[[int], None] | None = None
) -> Iterator[GroupFigures]:
    """Measure groups one by one, or in several new processes; yields them in order and starts only a few ahead.

    on_frame: as for ``measure``; not called with several processes.
    """
    if workers <= 1:
        yield from (measure(group, settings, on_frame) for group in groups)
        return
    with WorkerPool(workers) as pool:
        waiting: deque[Future[GroupFigures]] = deque()
        for group in groups:
            waiting.append(pool.submit(measure, group, settings))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
