"""A dataset read from its shards while training, for data whose decoded frames do not fit on the disk.

For each sample a few frames are decoded, from the key frame before them. Sound and annotations of recent clips stay in
memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..diffused_heads_core.audio_encoder import COLUMNS_PER_FRAME
from ..diffused_heads_core.data.codecs import decode_frames
from ..diffused_heads_core.data.shards import Dataset
from .cache import VARIANTS, WANTED, as_stored, clip_mels

KEPT = 2048  # clips whose sound and annotations stay in memory: for 3 s 60 kB, with a face mesh 270 kB


@dataclass(frozen=True)
class _SoundAndTracks:
    """A clip without its pictures: mels (VARIANTS, mels, 4 T) float16, annotations (T, …)."""

    mels: np.ndarray
    annotations: dict[str, np.ndarray]


class ShardStore:
    """The same interface as ``cache.FrameStore``, read from the shards; it is pickled as the path of its folder."""

    variants = VARIANTS

    def __init__(self, folder: Path, mels: int):
        self.dataset, self.bands = Dataset(folder), mels
        self.lengths = np.array([self.dataset.frames(i) for i in range(len(self.dataset))], np.int64)
        self.tracks = frozenset(name for name in self.dataset.header["annotations"] if name in WANTED)
        self._kept: OrderedDict[int, _SoundAndTracks] = OrderedDict()

    def __reduce__(self) -> tuple[Callable[[Path, int], ShardStore], tuple[Path, int]]:
        return ShardStore, (self.dataset.path, self.bands)

    def pictures(self, clip: int, frames: Sequence[int]) -> np.ndarray:
        """The given frames of a clip, (n, S, S, 3) uint8."""
        return self.dataset.decoded(clip, "mp4", lambda data: decode_frames(data, [int(frame) for frame in frames]))

    def track(self, name: str, clip: int, frames: Sequence[int]) -> np.ndarray:
        """An annotation at the given frames of a clip, (n, …) float32."""
        return np.asarray(self._sound_and_tracks(clip).annotations[name][np.asarray(frames)], np.float32)

    def mel(self, clip: int, low: int, high: int, variant: int) -> np.ndarray:
        """Log-mel columns of frames low .. high - 1 of a clip, (mels, 4 (high - low)) float16."""
        return self._sound_and_tracks(clip).mels[variant, :, low * COLUMNS_PER_FRAME : high * COLUMNS_PER_FRAME]

    def _sound_and_tracks(self, clip: int) -> _SoundAndTracks:
        if clip in self._kept:
            self._kept.move_to_end(clip)
            return self._kept[clip]
        audio, rate = self.dataset.audio(clip)
        annotations = {
            name: as_stored(name, rows) for name, rows in self.dataset.annotations(clip).items() if name in WANTED
        }
        mels = clip_mels(audio, rate, clip, self.dataset, self.bands)
        self._kept[clip] = _SoundAndTracks(mels, annotations)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return self._kept[clip]
