"""Sound and picture of a session stay together, whatever comes late."""

from __future__ import annotations

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.live.session import CHANNELS, LATE, LONGEST_DELAY, MISSING, RATE, Session

BLOCK = RATE // 50


class Clock:
    """Time that passes when it is told to, and with every frame that is painted."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Head:
    """Paints its frames' numbers, in ``painting`` seconds each."""

    look_ahead, fps = 0.24, 25

    def __init__(self, clock: Clock, painting: float):
        self.clock, self.painting, self.samples = clock, painting, 0
        self.painted: list[int] = []

    def take(self, pcm: np.ndarray) -> None:
        assert pcm.dtype == np.int16 and pcm.shape[0] == CHANNELS
        self.samples += pcm.shape[1]

    @property
    def ready(self) -> int:
        return max(0, int((self.samples / RATE - self.look_ahead) * self.fps))

    def frame(self, number: int) -> np.ndarray:
        assert number < self.ready
        self.clock.now += self.painting
        self.painted.append(number)
        return np.full((2, 2, 3), number % 256, np.uint8)


def block(value: int = 1000, samples: int = BLOCK) -> np.ndarray:
    return np.full((samples, CHANNELS), value, np.int16)


def run(session: Session, clock: Clock, head: Head, seconds: float, speaks: bool = True) -> list[float]:
    """Time goes by; returns how late each frame would be shown, seconds, negative before it is due."""
    end, heard, late = clock.now + seconds, clock.now, []
    session.start()
    while clock.now < end:
        while speaks and heard + 0.02 <= clock.now:
            session.hear(block())
            heard += 0.02
        session.fill()
        session.adapt()
        if not session.step():
            clock.now += 0.004
        while (found := session.picture()) is not None:
            late.append(-session.due(found[0] / head.fps))
    return late


@pytest.mark.parametrize("painting, least", [(0.01, 24), (0.03, 23), (0.1, 9), (0.3, 2.5)])
def test_frames_are_left_out_when_time_is_short_and_shown_ones_are_in_time(painting: float, least: float) -> None:
    clock = Clock()
    head = Head(clock, painting)
    session = Session(head, clock, painting)
    late = run(session, clock, head, 10)
    assert max(late) <= LATE and len(late) >= least * (10 - session.delay)
    assert head.painted == sorted(head.painted)
    assert session.shown + session.left_out + session.late == pytest.approx(head.painted[-1] + 1, abs=1)


def test_the_delay_grows_when_frames_take_longer_than_expected_and_has_an_end() -> None:
    clock = Clock()
    head = Head(clock, 0.2)
    session = Session(head, clock, 0.01)
    first = session.delay
    assert first < 0.45
    run(session, clock, head, 8)
    assert first < session.delay < 1 and session.status()["fps"] > 2
    head.painting = 5.0
    run(session, clock, head, 60)
    assert session.delay <= LONGEST_DELAY


def test_all_sound_goes_out_in_its_order() -> None:
    clock, sent = Clock(), []
    session = Session(Head(clock, 0.01), clock)
    for number in range(1, 50):
        session.hear(block(number, 700))
        clock.now += 700 / RATE
        session.fill()
    for _ in range(30):
        sent.append(session.sound(BLOCK))
    found = np.concatenate(sent)
    expected = np.repeat(np.arange(1, 50), 700)[: len(found)]
    np.testing.assert_array_equal(found[:, 0], expected)


def test_missing_sound_becomes_silence_and_what_comes_too_early_is_left_out() -> None:
    clock = Clock()
    session = Session(Head(clock, 0.01), clock)
    session.start()
    clock.now += 1
    session.fill()
    assert session.filled == pytest.approx((1 - MISSING) * RATE, abs=1)
    before = session.filled
    for _ in range(50):
        session.hear(block(3000))
    session.fill()
    assert session.filled == before
    for value in (0, 3000):  # a second ahead of time: silence first, then anything
        count = session._count
        session.hear(block(value))
        assert (session._count == count) == (value == 0)
    for _ in range(10):
        session.hear(block(3000))
    assert session._count / RATE <= 1 + 1.0 + 0.02
    sound = session.sound(3 * RATE)
    assert sound.shape == (3 * RATE, CHANNELS) and not sound[int(2.02 * RATE) :].any()


def test_a_session_without_sound_shows_an_idle_head() -> None:
    clock = Clock()
    head = Head(clock, 0.01)
    late = run(Session(head, clock, 0.01), clock, head, 5, speaks=False)
    assert len(late) > 20 * 4
