"""The portraits that a page offers: bundled ones, those named on the command line, and uploads."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..assets import ASSETS, PORTRAITS, bundled_file
from ..errors import DiffusedHeadsError
from ..face.portrait import Portrait, place_portrait
from ..media.pictures import load_picture, shrink
from ..talking_head import TalkingHead

THUMBNAIL = 192  # pixels
MOST_UPLOADS = 24  # kept at once; the oldest go


class Portraits:
    """Portraits by a short name, each placed when it is first spoken.

    files: offered before the bundled ones. max_side: pixels; larger pictures are made smaller.
    """

    def __init__(self, model: TalkingHead, files: Sequence[Path], max_side: int):
        self._model, self._max_side = model, max_side
        best = bundled_file(PORTRAITS)
        bundled = sorted(ASSETS.glob(PORTRAITS), key=lambda path: (path != best, path.name))
        self._pictures = {f"{number}-{path.stem}": self._read(path) for number, path in enumerate([*files, *bundled])}
        self.labels = dict(zip(self._pictures, (path.stem.removeprefix("portrait-") for path in [*files, *bundled])))
        self._placed: dict[str, Portrait] = {}
        self._uploads: list[str] = []

    def _read(self, path: Path) -> np.ndarray:
        picture = load_picture(path)
        picture = shrink(picture, self._max_side) if max(picture.shape[:2]) > self._max_side else picture
        height, width = (side // 2 * 2 for side in picture.shape[:2])  # video has even sides
        return np.ascontiguousarray(picture[:height, :width])

    def add(self, data: bytes, label: str) -> str:
        """Offer an uploaded picture file; returns its name.

        Raises DiffusedHeadsError if it cannot be read or has no face that can be placed.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "upload")
            path.write_bytes(data)
            try:
                picture = self._read(path)
            except DiffusedHeadsError as error:
                raise DiffusedHeadsError(str(error).replace(str(path), label)) from None
        name = f"upload-{len(self._uploads)}"
        self._placed[name] = place_portrait(picture, self._model.config, name=label)
        self._pictures[name], self.labels[name] = picture, label
        self._uploads.append(name)
        for old in self._uploads[:-MOST_UPLOADS]:
            for kept in (self._placed, self._pictures, self.labels):
                kept.pop(old, None)
        return name

    def placed(self, name: str) -> Portrait:
        """A portrait. Raises DiffusedHeadsError for a name that is not offered, and for a picture without a face."""
        if name not in self._placed:
            if name not in self._pictures:
                raise DiffusedHeadsError(f"portrait {name!r}: not offered, load the page again")
            picture = self._pictures[name]
            self._placed[name] = place_portrait(picture, self._model.config, name=self.labels[name])
        return self._placed[name]

    def thumbnail(self, name: str) -> bytes | None:
        """A small JPEG; None for a name that is not offered."""
        picture = self._pictures.get(name)
        if picture is None:
            return None
        scale, data = THUMBNAIL / min(picture.shape[:2]), io.BytesIO()
        size = [max(1, round(side * scale)) for side in reversed(picture.shape[:2])]
        Image.fromarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA)).save(data, "JPEG", quality=85)
        return data.getvalue()
