"""What one viewer's head has heard and shows when: sound and picture on one clock.

Sound comes in about as fast as time goes by, and goes out ``delay`` seconds later, together with the frame that belongs
to it. Frames that cannot be ready in time are left out; sound never is.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np

RATE, CHANNELS = 48000, 2  # of the sound in and out, as Opus gives it
MISSING = 0.06  # seconds by which sound may be late before silence takes its place
AHEAD, FAR_AHEAD = 0.25, 1.0  # seconds too early beyond which silent, and any sound, is left out
SILENT = 10 ** (-50 / 20)
LATE = 0.035  # seconds after its time beyond which a frame is not shown
SPARE = 0.08  # seconds, above MISSING, for what is irregular: arrival of sound, other work of the machine
LONGEST_DELAY = 2.0  # seconds
RECENT = 2.0  # seconds over which frames are counted, and at least between two changes of the delay


class Talking(Protocol):
    """What a session needs of ``streaming.head.TalkingStream``."""

    @property
    def look_ahead(self) -> float: ...
    @property
    def fps(self) -> int: ...
    @property
    def ready(self) -> int: ...
    def take(self, pcm: np.ndarray) -> None: ...
    def frame(self, number: int) -> np.ndarray: ...


class Session:
    """One viewer. clock: seconds; painting: how long a frame takes to make, a first guess in seconds.

    ``hear``, ``sound`` and ``picture`` are called from one thread, ``step`` from another.
    """

    def __init__(self, talking: Talking, clock: Callable[[], float], painting: float = 0.05):
        self._talking, self._clock, self.painting = talking, clock, painting
        self._irregular = painting / 4  # mean deviation of the time that a frame takes
        self.delay = self._needed_delay()
        self.began: float | None = None  # when the first sample was heard, or should have been
        self._lock = threading.Lock()
        self._heard: deque[np.ndarray] = deque()  # int16 (k, CHANNELS), not yet sent
        self._pending: list[np.ndarray] = []  # not yet taken by the head
        self._count = 0  # samples heard
        self._next = 0
        self._pictures: deque[tuple[int, np.ndarray]] = deque(maxlen=50)
        self._shown: deque[float] = deque()
        self._judged = 0.0
        self.filled = self.shown = self.left_out = self.late = 0

    @property
    def fps(self) -> int:
        """Frames per second of the head."""
        return self._talking.fps

    def start(self) -> None:
        """Time begins, with or without sound."""
        if self.began is None:
            self.began = self._judged = self._clock()

    def hear(self, block: np.ndarray) -> None:
        """The next sound, int16 (k, CHANNELS) at RATE."""
        self.start()
        early = self._count / RATE - self._now()
        if early > FAR_AHEAD or (early > AHEAD and np.abs(block.astype(np.int32)).max() < SILENT * 2**15):
            return
        self._append(block)

    def _now(self) -> float:
        assert self.began is not None
        return self._clock() - self.began

    def _append(self, block: np.ndarray) -> None:
        self._heard.append(block)
        self._count += len(block)
        with self._lock:
            self._pending.append(block)

    def fill(self) -> None:
        """Put silence where sound is missing."""
        missing = int((self._now() - MISSING) * RATE) - self._count
        if missing > 0:
            self._append(np.zeros((missing, CHANNELS), np.int16))
            self.filled += missing

    def due(self, seconds: float) -> float:
        """How long it is until what came in at ``seconds`` of the session goes out; negative if that is past."""
        return seconds + self.delay - self._now()

    def sound(self, samples: int) -> np.ndarray:
        """The next samples to send, int16 (samples, CHANNELS); silence for what has not come."""
        block, at = np.zeros((samples, CHANNELS), np.int16), 0
        while self._heard and at < samples:
            part = self._heard.popleft()
            used = part[: samples - at]
            block[at : at + len(used)] = used
            at += len(used)
            if len(used) < len(part):
                self._heard.appendleft(part[len(used) :])
        return block

    def step(self) -> bool:
        """Make the next frame that can be in time, if its sound is known; whether one was made."""
        with self._lock:
            blocks, self._pending = self._pending, []
        if blocks:
            self._talking.take(np.ascontiguousarray(np.concatenate(blocks).T))
        fps = self._talking.fps
        number = max(self._next, math.ceil((self._now() + self._reckoned - self.delay) * fps))
        if number >= self._talking.ready:
            return False
        began = self._clock()
        picture = self._talking.frame(number)
        off = self._clock() - began - self.painting
        self.painting += off / 8
        self._irregular += (abs(off) - self._irregular) / 4
        self.left_out += number - self._next
        self._next = number + 1
        self._pictures.append((number, picture))
        return True

    def picture(self) -> tuple[int, np.ndarray] | None:
        """The next frame and its number that is not late, if there is one; it may be ``due`` later."""
        while self._pictures:
            number, picture = self._pictures.popleft()
            if self.due(number / self._talking.fps) >= -LATE:
                self.shown += 1
                self._shown.append(self._clock())
                return number, picture
            self.late += 1
        return None

    @property
    def _reckoned(self) -> float:
        """How long most frames take to make, as TCP reckons with answers (RFC 6298), seconds."""
        return self.painting + 2 * self._irregular

    def _needed_delay(self) -> float:
        return min(LONGEST_DELAY, self._talking.look_ahead + 1 / self._talking.fps + SPARE + self._reckoned)

    def adapt(self) -> None:
        """Make the delay longer if frames take longer than it allows: the sound pauses once."""
        now, needed = self._clock(), self._needed_delay()
        if needed > self.delay and now - self._judged > RECENT:
            self.delay, self._judged = min(LONGEST_DELAY, needed + SPARE), now

    @property
    def frames_per_second(self) -> float:
        """Frames shown per second, lately."""
        while self._shown and self._shown[0] < self._clock() - RECENT:
            self._shown.popleft()
        return len(self._shown) / RECENT

    def status(self) -> dict[str, float]:
        """Figures for the page, seconds and counts."""
        return {
            "delay": round(self.delay, 3),
            "look_ahead": self._talking.look_ahead,
            "fps": round(self.frames_per_second, 1),
            "painting": round(self.painting, 4),
            "shown": self.shown,
            "left_out": self.left_out + self.late,
            "late": self.late,
            "filled": round(self.filled / RATE, 2),
        }
