"""The teacher of the audio encoder: Whisper's encoder (Radford et al. 2022), and the corpus of its features.

Speech of many speakers is joined into windows of 30 s, which is what Whisper reads. A window keeps its log-mel columns,
as recorded and in other rooms, through other microphones and with noise, and the teacher's features of the clean sound.
CTranslate2 runs the teacher: ``pip install ctranslate2``.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ...diffused_heads_core.audio_encoder import SAMPLE_RATE, log_mel
from ...diffused_heads_core.errors import DiffusedHeadsError
from ...diffused_heads_core.files import atomic_path
from ...diffused_heads_core.media.audio import load_audio, to_mono_16k
from ...diffused_heads_core.media.mixdown import normalise_level
from ...diffused_heads_core.media.video import frame_count, read_video
from ..speech_augmentation import augment_speech
from ..synthesis import flite
from ..synthesis.expression import MOUTH
from ..synthesis.visemes import MEASURED, mouth_track
from .lip_measures import LIPS, measured_lips
from .speech_refining import SECONDS as UTTERANCE, utterance

SECONDS, FPS = 30, 25  # of a window, and frames per second
SAMPLES, FRAMES = SECONDS * SAMPLE_RATE, SECONDS * FPS
GAP = SAMPLE_RATE // 5  # samples of silence between two recordings of a window: 0.2 s
VARIANTS = 3  # of a window's sound, the first is clean
SOUNDS = (".flac", ".wav", ".mp3", ".ogg", ".opus", ".m4a", ".webm")
VIDEOS = (".mpg", ".mp4", ".mkv", ".mov", ".avi")
LABELS = (*LIPS, *MOUTH)  # measured on real people, and exact in synthetic speech
WHISPER_FFT, WHISPER_HOP, WHISPER_MELS = 400, 160, 80
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Corpus:
    """Windows of speech, W of them.

    mels: (W, VARIANTS, mels, 4 * FRAMES) float16. teacher: (W, FRAMES, C) float16, its features. mouths: (W, FRAMES,
    len(LABELS)) float32, NaN where unknown: measured lips of real people, mouth channels of synthetic speech.
    """

    mels: np.ndarray
    teacher: np.ndarray
    mouths: np.ndarray


class Whisper:
    """Whisper's encoder in CTranslate2's format: ``teacher(mono)`` gives features, 25 per second."""

    def __init__(self, folder: Path, threads: int = 1):
        try:
            import ctranslate2
        except ImportError as error:
            raise DiffusedHeadsError(f"the teacher needs CTranslate2 (pip install ctranslate2): {error}") from error
        try:
            self._model: Any = ctranslate2.models.Whisper(str(folder), compute_type="float32", intra_threads=threads)
        except RuntimeError as error:
            raise DiffusedHeadsError(f"{folder}: expected a Whisper model of CTranslate2 ({error})") from error
        self._storage = ctranslate2.StorageView

    def __call__(self, mono: np.ndarray) -> np.ndarray:
        """Levelled sound (n,) at 16 kHz, at most 30 s -> (FRAMES, C), each the mean of two of its 50 per second."""
        columns = np.ascontiguousarray(whisper_mel(np.pad(mono, (0, SAMPLES - len(mono))))[None])
        found = np.array(self._model.encode(self._storage.from_array(columns), to_cpu=True))[0]
        return found.reshape(FRAMES, 2, -1).mean(1)


def whisper_mel(mono: np.ndarray) -> np.ndarray:
    """Whisper's input for sound of whole hops: (n,) -> (80, n / 160) float32."""
    spectrum = torch.stft(
        torch.from_numpy(mono), WHISPER_FFT, WHISPER_HOP, window=torch.hann_window(WHISPER_FFT), return_complex=True
    )
    power = torch.from_numpy(slaney_filters()) @ spectrum[:, :-1].abs().square()
    level = power.clamp(min=1e-10).log10()
    return ((level.clamp(min=float(level.max()) - 8) + 4) / 4).numpy()


def slaney_filters() -> np.ndarray:
    """Triangles of unit area on Slaney's mel scale, linear below 1 kHz, 0 to 8 kHz: (80, 201) float32."""
    step = np.log(6.4) / 27
    scale = np.linspace(0, 15 + np.log(8) / step, WHISPER_MELS + 2)
    edges = np.where(scale < 15, scale * 200 / 3, 1000 * np.exp(step * (scale - 15)))
    bins = np.fft.rfftfreq(WHISPER_FFT, 1 / SAMPLE_RATE)
    low, mid, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.maximum(np.minimum((bins - low) / (mid - low), (high - bins) / (high - mid)), 0)
    return (triangles * 2 / (high - low)).astype(np.float32)


@dataclass(frozen=True)
class Source:
    """Where speech comes from: a folder of recordings, or None for synthetic voices; at most so many minutes of it."""

    folder: Path | None
    minutes: float = 60.0

    @classmethod
    def parse(cls, text: str) -> Source:
        """From ``FOLDER`` or ``FOLDER=MINUTES``; the folder ``espeak`` stands for synthetic voices."""
        name, _, minutes = text.partition("=")
        return cls(None if name == "espeak" else Path(name), float(minutes or 60))

    @property
    def name(self) -> str:
        """A short name for people."""
        return "espeak" if self.folder is None else self.folder.name

    @property
    def key(self) -> str:
        """A name for files that differs between folders and lengths."""
        place = "" if self.folder is None else str(self.folder.resolve())
        return f"{self.name}-{hashlib.sha256(place.encode()).hexdigest()[:8]}-{self.minutes:g}"

    def recordings(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Sound (n,) at 16 kHz, at most 30 s, and mouths (frames, len(LABELS))."""
        left = self.minutes * 60 * SAMPLE_RATE
        for mono, mouths in _synthetic() if self.folder is None else _recorded(self.folder):
            if left <= 0:
                return
            left -= len(mono)
            yield mono * 0.5 / max(float(np.abs(mono).max()), 1e-3), mouths


def _synthetic() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for index in count():
        speech, frames = utterance(0, index, index % 2 == 1 and flite.available()), round(UTTERANCE * FPS)
        mouths = np.full((frames, len(LABELS)), np.nan, np.float32)
        mouths[:, len(LIPS) :] = mouth_track(speech.phonemes, frames, FPS, MEASURED)
        yield speech.samples, mouths


def _recorded(folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    paths = speech_files(folder)
    lips = measured_lips([path for path in paths if path.suffix.lower() in VIDEOS])
    for path in paths:
        try:
            audio = read_video(path).audio if path.suffix.lower() in VIDEOS else load_audio(path)
        except DiffusedHeadsError as error:
            log.warning("%s; left out", error)
            continue
        if audio is None:
            continue
        mono = to_mono_16k(audio)[:SAMPLES]
        mouths = np.full((frame_count(len(mono) / SAMPLE_RATE, FPS), len(LABELS)), np.nan, np.float32)
        if path in lips:
            measured = lips[path][: len(mouths)]
            mouths[: len(measured), : len(LIPS)] = measured
        yield mono, mouths


def speech_files(folder: Path) -> list[Path]:
    """Sound and video files below a folder in turns: one of each subfolder that holds files, then a second of each.

    Raises DiffusedHeadsError if there are none.
    """
    speakers: dict[Path, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SOUNDS + VIDEOS:
            speakers[path.parent].append(path)
    if not speakers:
        raise DiffusedHeadsError(f"{folder}: expected a folder with recordings ({', '.join(SOUNDS + VIDEOS)})")
    return [path for turn in zip_longest(*speakers.values()) for path in turn if path]


def windows(recordings: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Recordings joined into windows of 30 s that begin on frame boundaries: sound (SAMPLES,), mouths (FRAMES, L)."""
    hop, at = SAMPLE_RATE // FPS, 0
    sound, mouths = _empty_window()
    for mono, labels in recordings:
        if at and at * hop + len(mono) > SAMPLES:
            yield sound, mouths
            (sound, mouths), at = _empty_window(), 0
        sound[at * hop : at * hop + len(mono)] = mono
        mouths[at : at + len(labels)] = labels[: FRAMES - at]
        at += -(-(len(mono) + GAP) // hop)
    if at:
        yield sound, mouths


def _empty_window() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(SAMPLES, np.float32), np.full((FRAMES, len(LABELS)), np.nan, np.float32)


def corpus(source: Source, teacher: Whisper, mels: int, seed: int = 0) -> Corpus:
    """The windows of a source. Every window depends on the seed and its number only."""
    columns, features, mouths = [], [], []
    for number, (sound, labels) in enumerate(tqdm(windows(source.recordings()), desc=source.name, unit="window")):
        streams = [np.random.default_rng([seed, number, variant]) for variant in range(1, VARIANTS)]
        sounds = [normalise_level(s) for s in (sound, *(augment_speech(sound, rng) for rng in streams))]
        columns.append(np.stack([log_mel(s, FRAMES, FPS, mels).numpy().astype(np.float16) for s in sounds]))
        features.append(teacher(sounds[0]).astype(np.float16))
        mouths.append(labels)
    return Corpus(np.stack(columns), np.stack(features), np.stack(mouths))


def stored_corpus(source: Source, teacher: Whisper, mels: int, cache: Path, seed: int = 0) -> Corpus:
    """The same as ``corpus``, stored in the folder ``cache`` so that it is made only once."""
    path = cache / f"{source.key}-{mels}-{seed}.npz"
    if not path.is_file():
        made = corpus(source, teacher, mels, seed)
        with atomic_path(path) as part, part.open("wb") as stream:
            np.savez(stream, **vars(made))
    with np.load(path) as arrays:
        return Corpus(**arrays)
