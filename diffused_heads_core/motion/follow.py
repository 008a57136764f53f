"""The track that a model follows when its user gives a motion."""

from __future__ import annotations

import logging
from fractions import Fraction

import numpy as np

from ..config import ModelConfig
from .clip import MotionClip
from .track import COLUMNS, MotionTrack

_log = logging.getLogger(__name__)


def fitted(clip: MotionClip, frames: int, fps: Fraction) -> MotionTrack:
    """The track of a video of ``frames`` frames at ``fps``.

    A shorter motion goes on back and forth; the log says so.
    """
    wanted = float(frames / fps)
    if clip.seconds < wanted - 0.5 / float(fps) and np.ptp(clip.track.values, axis=0).any():
        _log.info("the motion lasts %.2f s, the video %.2f s: it goes on back and forth", clip.seconds, wanted)
    return clip.at_rate(fps).lasting(frames).track


def followed(track: MotionTrack, config: ModelConfig, name: str) -> MotionTrack | None:
    """What a model called ``name`` follows of a track: all of it within ``track.LIMITS``, or None if it follows none.

    The log says in a line what it does not follow.
    """
    if not config.head_motion:
        _log.warning("the motion has no effect: the model %s makes up its own", name)
        return None
    limited = track.limited()
    beyond = [column for column, out in zip(COLUMNS, (limited.values != track.values).any(0)) if out]
    if beyond:
        _log.warning("the motion leaves the range in %s: held at its ends", ", ".join(beyond))
    if config.mouth is None and (track.size.any() or track.expression.any()):
        _log.warning("size and expression of the motion have no effect with the model %s", name)
    return limited


def with_expression(track: MotionTrack, expression: MotionClip) -> MotionTrack:
    """A track with a constant, the first row of a clip, added."""
    return MotionTrack.of_values(track.values + expression.track.values[:1])
