"""The second reading of a video, in which its clips' pictures are cut out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...diffused_heads_core.errors import DiffusedHeadsError
from ...diffused_heads_core.face.alignment import Placement, crop
from .clips import Cut
from .decode import Moment, PictureReader
from .settings import Settings

DETAIL = 2  # pixels of a video, a side, that a crop's pixel is made from at most
SHOWN_SIZE = 320  # pixels of the longer side of a picture for the report


class SecondReading:
    """``filled`` gives the cuts with their frames, each as soon as it is complete; after it ``pictures`` holds those of
    the numbers ``wanted``: (small picture, how many pixels of the video one of its pixels is).
    """

    def __init__(self, path: Path, settings: Settings, cuts: Sequence[Cut], wanted: Sequence[int]) -> None:
        self._path, self._settings, self._cuts, self._wanted = path, settings, list(cuts), set(wanted)
        self.pictures: dict[int, tuple[np.ndarray, float]] = {}

    def filled(self) -> Iterator[Cut]:
        """The cuts in the order in which they end. DiffusedHeadsError where the file no longer has their pictures."""
        waiting = sorted(self._cuts, key=lambda cut: (cut.segment.stop, cut.segment.track.number))
        last = max([cut.segment.stop for cut in waiting] + [number + 1 for number in self._wanted], default=0)
        for moment in PictureReader(self._path, self._settings.fps).moments() if last else ():
            self._take(moment, [cut for cut in waiting if cut.segment.first <= moment.index < cut.segment.stop])
            while waiting and waiting[0].segment.stop <= moment.index + 1:
                yield self._complete(waiting.pop(0))
            if moment.index + 1 >= last:
                break
        if waiting:
            raise DiffusedHeadsError(f"{self._path}: the file changed while it was read")

    def _take(self, moment: Moment, cuts: list[Cut]) -> None:
        if moment.index in self._wanted:
            small = moment.picture.rgb(SHOWN_SIZE)
            self.pictures[moment.index] = small, moment.picture.size[1] / small.shape[1]
        picture: np.ndarray | None = None
        for cut in cuts:
            at, size = moment.index - cut.segment.first, self._settings.size
            if cut.frames is None:
                cut.frames = np.empty((len(cut.segment), size, size, 3), np.uint8)
            if at and not moment.fresh:
                cut.frames[at] = cut.frames[at - 1]
                continue
            if picture is None:
                picture = moment.picture.rgb(self._enough(moment, cuts))
            cut.frames[at] = crop(
                picture, scaled(cut.segment.placement, moment.picture.size[1] / picture.shape[1]), size
            )

    def _enough(self, moment: Moment, cuts: list[Cut]) -> int:
        """Length of the longer side with which the smallest of the faces still has its detail."""
        shrink = DETAIL * self._settings.size / min(cut.segment.placement.side for cut in cuts)
        return max(1, round(max(moment.picture.size) * min(1.0, shrink)))

    def _complete(self, cut: Cut) -> Cut:
        if cut.frames is None:
            raise DiffusedHeadsError(f"{self._path}: the file changed while it was read")
        self._cuts.remove(cut)
        return cut


def scaled(placement: Placement, scale: float) -> Placement:
    """The same frame in a picture of which one pixel is ``scale`` of the placement's pixels."""
    return Placement(np.column_stack([placement.matrix[:, :2] * scale, placement.matrix[:, 2]]))
