"""Head motion (not the paper's motion frames): what a head does that its speech does not prescribe.

``track`` is the data: one row of numbers per video frame; ``clip`` adds the frames' rate. ``files`` reads and writes
them, ``editing`` changes them, ``random_motion`` makes them from a seed. ``face.motion`` measures them in a video.
"""

from .clip import ENDS, MotionClip
from .files import read_motion, write_motion
from .random_motion import MotionOptions, sample_track
from .track import MotionTrack

__all__ = ["ENDS", "MotionClip", "MotionOptions", "MotionTrack", "read_motion", "sample_track", "write_motion"]
