"""The recordings of a conversation: one for each channel, and all of them mixed for the video."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import DiffusedHeadsError
from ..media.audio import Audio
from ..media.mixdown import mix_and_resample, resample
from .bleed import without_bleed

SAME = 0.999  # correlation of two channels that hold the same sound


def channels_of(audio: Audio) -> list[Audio]:
    """The channels of a recording as recordings, the left one first, without what they hold of each other's voices.

    Raises DiffusedHeadsError if there is only one, or if the first two hold the same sound.
    """
    if audio.channels < 2:
        raise DiffusedHeadsError(
            f"{audio.name}: expected two channels or more, one for each speaker, found one; give each speaker a "
            "recording"
        )
    left, right = audio.samples[:2]
    product = float(np.sqrt(left @ left) * np.sqrt(right @ right))
    if audio.channels == 2 and product and float(left @ right) > SAME * product:
        raise DiffusedHeadsError(
            f"{audio.name}: expected a speaker in each channel, both channels hold the same sound; give each speaker "
            "a recording"
        )
    names = ("left channel", "right channel") if audio.channels == 2 else None
    channels = [
        Audio(audio.samples[k : k + 1], audio.sample_rate, f"{audio.name}, {names[k] if names else f'channel {k + 1}'}")
        for k in range(audio.channels)
    ]
    return without_bleed(channels)


def mixed(recordings: Sequence[Audio]) -> Audio:
    """All recordings at once, at the highest of their rates, as long as the longest; one alone is returned as it is.

    As many channels as the one with most: the others are mixed to one channel that is heard in all. If the sum leaves
    full scale, all of it is made quieter.
    """
    if len(recordings) == 1:
        return recordings[0]
    rate = max(audio.sample_rate for audio in recordings)
    channels = max(audio.channels for audio in recordings)
    length = int(max(audio.exact_duration for audio in recordings) * rate)
    total = np.zeros((channels, length), np.float32)
    for audio in recordings:
        if audio.channels == channels:
            samples = audio.samples if audio.sample_rate == rate else resample(audio.samples, audio.sample_rate, rate)
        else:
            samples = mix_and_resample(audio.samples, audio.sample_rate, rate)[None]
        samples = samples[:, :length]
        total[:, : samples.shape[1]] += samples
    peak = float(np.abs(total).max(initial=0))
    return Audio(total / peak if peak > 1 else total, rate, " + ".join(audio.name for audio in recordings))
