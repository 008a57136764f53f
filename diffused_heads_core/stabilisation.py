"""What keeps a long clip from drifting: frames are held to the identity frame's colours before they are fed back."""

from __future__ import annotations

import torch
from torch import Tensor

MEMORY = 1.0  # seconds over which a clip's colours are averaged: what talking and blinking change is left alone
LEAST_SPREAD = 0.02  # of a channel, in [-1, 1]: a plain picture's noise is not stretched
GAIN = (0.8, 1.25)  # of the contrast in one frame


class ColourLock:
    """Holds the mean and the standard deviation of each channel to the identity frame's.

    identity: (B, 3, S, S), [-1, 1]; strength 0 (nothing) .. 1 (all of the difference). With running averages m, s of a
    clip's own mean and deviation (exponential, ``MEMORY`` seconds) a frame x becomes
    x + strength * ((x - m) * s_id / s + m_id - m), where x is left out of the bracket as it is.
    One frame's own change, such as an opening mouth, hardly moves the averages; a drift that is fed back does.
    """

    def __init__(self, identity: Tensor, strength: float, fps: float):
        self.strength, self.rate = strength, 1 / (MEMORY * fps)
        self.target = self.average = _colours(identity)

    def __call__(self, frame: Tensor) -> Tensor:
        """The corrected frame, (B, 3, S, S), [-1, 1]; to be called once a frame, in order."""
        self.average = tuple(
            torch.lerp(old, new, self.rate) for old, new in zip(self.average, _colours(frame), strict=True)
        )
        (mean, spread), (mean_id, spread_id) = self.average, self.target
        gain = (spread_id.clamp(min=LEAST_SPREAD) / spread.clamp(min=LEAST_SPREAD)).clamp(*GAIN)
        return torch.lerp(frame, (frame - mean) * gain + mean_id, self.strength).clamp(-1, 1)


def _colours(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, (B, 3, 1, 1) each."""
    return pictures.mean((2, 3), keepdim=True), pictures.std((2, 3), keepdim=True)
