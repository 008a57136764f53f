"""What the nodes tell the page: frames and seconds left, the curves of the head's motion, the square of the head."""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from diffused_heads.diffused_heads_core.face.alignment import Placement, square_placement
from diffused_heads.diffused_heads_core.motion import MotionTrack


@pytest.fixture
def messages(host: SimpleNamespace) -> ModuleType:
    """The module."""
    host.node("page_messages", "send_to_page")
    return sys.modules["diffused_heads.nodes.page_messages"]


def test_the_status_counts_frames_and_the_seconds_left(messages: ModuleType, host: SimpleNamespace) -> None:
    """Each frame takes 2 s after a warm-up of 10 s, which does not count: after 3 of 6 frames, 6 s are left."""
    clock = iter([0.0, 10.0, 12.0, 14.0, 16.0, 18.0, 20.0])
    status = messages.SamplingStatus(6, lambda: next(clock))
    for done in range(1, 7):
        status.show(done)
    assert {(event, page) for event, _, page in host.messages} == {("diffused_heads.progress", "page")}
    said = [data for _, data, _ in host.messages]
    assert {data["node"] for data in said} == {"7"} and {data["frames"] for data in said} == {6}
    assert [data["frame"] for data in said] == [2, 3, 4, 5, 6, 6]
    assert [data["seconds"] for data in said] == [None, 8, 6, 4, 2, 20]
    assert [data["finished"] for data in said] == [False] * 5 + [True]


def test_the_status_counts_steps_of_a_slow_frame(messages: ModuleType, host: SimpleNamespace) -> None:
    clock = iter([0.0, 1.0, 2.0])
    status = messages.SamplingStatus(2, lambda: next(clock))
    status.show(0.1)
    status.show(0.2)
    assert host.messages[-1][1]["frame"] == 1
    assert host.messages[-1][1]["seconds"] == pytest.approx(18)


def test_messages_are_few(messages: ModuleType, host: SimpleNamespace) -> None:
    """1,000 frames in a second: at most four messages, and the last."""
    clock = iter(np.arange(1001) / 1000)
    status = messages.SamplingStatus(1000, lambda: next(clock))
    for done in range(1, 1001):
        status.show(done)
    assert len(host.messages) <= 5 and host.messages[-1][1]["finished"]


@pytest.mark.parametrize("lacking", ["page", "executing"])
def test_without_a_page_or_an_execution_nothing_is_sent(
    messages: ModuleType, host: SimpleNamespace, lacking: str
) -> None:
    setattr(host, lacking, None)
    messages.SamplingStatus(1).show(1)
    messages.send_motion(None, 25)
    messages.send_head(torch.zeros(1, 100, 200, 3), square_placement(80, 30, 40))
    assert host.messages == [] and not (host.temp / messages.FOLDER).exists()


def test_curves_are_degrees_and_the_lids(messages: ModuleType, host: SimpleNamespace) -> None:
    pose, face = np.zeros((50, 5), np.float32), np.zeros((50, 6), np.float32)
    pose[:, 0], pose[:, 1], pose[:, 2] = math.radians(10), math.radians(-5), math.radians(2)
    face[20, 0], face[30, 1] = 0.5, 1.0  # left lid, right lid
    messages.send_motion(MotionTrack(pose, face), Fraction(25))
    ((event, data, _),) = host.messages
    curves = data["motion"]
    assert event == "diffused_heads.motion"
    assert curves["seconds"] == 2
    assert (curves["yaw"], curves["pitch"], curves["roll"]) == ([10.0] * 50, [-5.0] * 50, [2.0] * 50)
    assert {at: blink for at, blink in enumerate(curves["blink"]) if blink} == {20: 0.5, 30: 1.0}


def test_long_curves_are_thinned_and_keep_short_blinks(messages: ModuleType) -> None:
    pose, face = np.zeros((15001, 5), np.float32), np.zeros((15001, 6), np.float32)
    face[7007, :2] = 1.0
    curves = messages.motion_curves(MotionTrack(pose, face), 25)
    assert 900 < len(curves["blink"]) == len(curves["yaw"]) <= 1000
    assert [at for at, blink in enumerate(curves["blink"]) if blink] == [7007 // 16]


def test_models_without_a_track_clear_the_curves(messages: ModuleType, host: SimpleNamespace) -> None:
    messages.send_motion(None, 25)
    assert host.messages == [("diffused_heads.motion", {"node": "7", "motion": None}, "page")]


def test_the_square_is_told_in_the_widgets_units(messages: ModuleType, host: SimpleNamespace) -> None:
    """A square of 40 pixels at (80, 30) of a picture of 200 x 100."""
    picture = torch.zeros(2, 100, 200, 3)
    picture[0, :, :100, 0] = 1  # the left half of the first is red
    messages.send_head(picture, square_placement(80, 30, 40))
    ((event, head, _),) = host.messages
    assert event == "diffused_heads.head"
    assert (head["x"], head["y"], head["size"], head["angle"]) == (0.5, 0.5, 0.4, 0)
    saved = Image.open(host.temp / head["subfolder"] / head["filename"])
    assert head["type"] == "temp" and saved.size == (200, 100)
    left, right = saved.getpixel((20, 50)), saved.getpixel((180, 50))
    assert left[0] > 240 and max(left[1:]) < 15 and max(right) < 15


def test_a_turned_square_and_a_large_picture(messages: ModuleType, host: SimpleNamespace) -> None:
    """A frame of 1,000 pixels, turned clockwise by 30 degrees about the middle of a picture of 2,000 x 1,000."""
    cos, sin = math.cos(math.radians(30)) / 1000, math.sin(math.radians(30)) / 1000
    turn = np.array([[cos, sin], [-sin, cos]])
    placement = Placement(np.column_stack([turn, 0.5 - turn @ (1000, 500)]))
    head = messages.head_square(torch.zeros(1, 1000, 2000, 4), placement)
    assert (head["x"], head["y"], head["size"]) == pytest.approx((0.5, 0.5, 1.0), abs=1e-4)
    assert head["angle"] == pytest.approx(math.radians(30), abs=1e-4)
    assert Image.open(host.temp / head["subfolder"] / head["filename"]).size == (768, 384)
