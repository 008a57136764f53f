"""Head motion (not the paper's motion frames): what a head does that its speech does not prescribe.

``track`` is the data: one row of numbers per video frame. The other modules make tracks.
"""

from .random_motion import MotionOptions, sample_track
from .track import MotionTrack

__all__ = ["MotionOptions", "MotionTrack", "sample_track"]
