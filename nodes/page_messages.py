"""What the nodes tell the page's scripts in ``web/js``: progress of sampling, the head's motion, where a head is.

Each message goes to the page that queued the prompt, about the node that is executed. If there is no page (the prompt
came over the API) or no execution, nothing happens.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import comfy_execution.utils
import folder_paths
import numpy as np
import server
from PIL import Image
from torch import Tensor

from ..diffused_heads_core.face.alignment import Placement
from ..diffused_heads_core.motion import MotionTrack
from ..diffused_heads_core.pose import FACE, POSE
from .convert import image_to_uint8, opaque_image

PROGRESS, MOTION, HEAD = "diffused_heads.progress", "diffused_heads.motion", "diffused_heads.head"  # web/js knows them
PROGRESS_INTERVAL = 0.25  # seconds between two messages
CURVE_POINTS = 1000  # of a curve, at most
ANGLES = ("yaw", "pitch", "roll")
PICTURE_SIDE = 768  # pixels, at most, of the picture in which the page draws the head's square
FOLDER = "diffused_heads"  # in the host's temporary folder


def send_to_page(event: str, make: Callable[[], dict[str, Any]]) -> None:
    """Send what ``make`` gives, as JSON; it is called only if there are a page and an execution."""
    node, host = comfy_execution.utils.get_executing_context(), server.PromptServer.instance
    if node is not None and host.client_id is not None:
        host.send_sync(event, {"node": node.node_id, **make()}, host.client_id)


class SamplingStatus:
    """Tells the page which frame is sampled and how many seconds are left. ``clock`` gives seconds."""

    def __init__(self, frames: int, clock: Callable[[], float] = time.monotonic):
        self.frames, self.clock = frames, clock
        self.started, self.sent = clock(), -math.inf
        self.first: tuple[float, float] | None = None  # time and frames done at the first call, after the warm-up

    def show(self, done: float) -> None:
        """done: finished frames, with the finished part of the next one; at ``frames`` the time taken is sent."""
        now, finished = self.clock(), done >= self.frames
        left = self._left(now, done)
        if finished or now - self.sent >= PROGRESS_INTERVAL:
            self.sent = now
            frame = min(int(done) + 1, self.frames)
            seconds = now - self.started if finished else left
            status = {"frame": frame, "frames": self.frames, "seconds": seconds, "finished": finished}
            send_to_page(PROGRESS, lambda: status)

    def _left(self, now: float, done: float) -> float | None:
        """Seconds to go at the pace since the first call; None as long as there is no pace."""
        if self.first is None:
            self.first = now, done
        started, before = self.first
        return (self.frames - done) * (now - started) / (done - before) if done > before else None


def send_motion(track: MotionTrack | None, fps: Fraction | float) -> None:
    """Have the page draw a head's motion, or nothing if the model makes up its own."""
    send_to_page(MOTION, lambda: {"motion": motion_curves(track, fps) if track else None})


def motion_curves(track: MotionTrack, fps: Fraction | float) -> dict[str, Any]:
    """A motion as the page draws it: degrees of ANGLES, the closing of the lids from 0 to 1, the length in seconds.

    Long tracks are thinned to at most CURVE_POINTS points, each with the strongest blink until the next.
    """
    starts = np.arange(0, len(track), math.ceil(len(track) / CURVE_POINTS))
    degrees = {name: np.degrees(track.pose[starts, POSE.index(name)]) for name in ANGLES}
    lids = track.face[:, [FACE.index("blink_left"), FACE.index("blink_right")]].max(1)
    curves = {**degrees, "blink": np.maximum.reduceat(lids, starts)}
    rounded = {name: np.round(curve.astype(np.float64), 2).tolist() for name, curve in curves.items()}
    return {"seconds": float(len(track) / fps), **rounded}


def send_head(source: Tensor, placement: Placement) -> None:
    """Have the page show the first picture of an IMAGE with the square around its head."""
    send_to_page(HEAD, lambda: head_square(source, placement))


def head_square(source: Tensor, placement: Placement) -> dict[str, Any]:
    """A picture and its head's square as the page shows them.

    x, y: the square's centre as fractions of width and height; size: its side as a fraction of the shorter side, above
    1 if it reaches beyond the picture; angle: how far it is turned clockwise, radians. A small copy of the picture goes
    into the host's temporary folder.
    """
    picture = image_to_uint8(opaque_image(source[:1]))[0]
    height, width = picture.shape[:2]
    x, y = placement.corners.mean(0) / (width, height)
    square = {"x": x, "y": y, "size": placement.side / min(height, width), "angle": placement.angle}
    return {**_temporary_picture(picture), **{name: round(float(value), 5) for name, value in square.items()}}


def _temporary_picture(picture: np.ndarray) -> dict[str, str]:
    """Save a small JPEG of a picture uint8 (H, W, 3), named after its content; how the page asks for it."""
    small, data = Image.fromarray(picture), BytesIO()
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    small.save(data, "JPEG", quality=85)
    path = Path(folder_paths.get_temp_directory(), FOLDER, f"{hashlib.sha256(data.getvalue()).hexdigest()[:24]}.jpg")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.getvalue())
    return {"filename": path.name, "subfolder": FOLDER, "type": "temp"}
