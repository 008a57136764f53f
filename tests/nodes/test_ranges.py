"""The ranges of the widgets are those that the core accepts: both ends, and nothing a step beyond them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from diffused_heads.diffused_heads_core.config import PRESETS, ModelConfig
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.compositing import _check_settings
from diffused_heads.diffused_heads_core.face.placing import RULES, Placing
from diffused_heads.diffused_heads_core.generator import SamplingOptions
from diffused_heads.diffused_heads_core.media.video import as_fps
from diffused_heads.diffused_heads_core.motion import MotionOptions
from diffused_heads.diffused_heads_core.motion.editing import in_range
from diffused_heads.diffused_heads_core.samplers import SAMPLERS
from diffused_heads.diffused_heads_core.talking_head import TalkingHead

PLACES = {name: lambda value, name=name: Placing(**{name: value}) for name in ("x", "y", "size", "margin")}
PLACES["face_index"] = lambda value: Placing(index=value)
OPTIONS = ("guidance", "colour_lock", "eta", "motion_anchor", "temperature")
SAMPLING = {name: lambda value, name=name: SamplingOptions(**{name: value}) for name in (*OPTIONS, "steps", "seed")}
SAMPLING["steps"] = lambda value: TalkingHead.options(SimpleNamespace(config=ModelConfig()), steps=value)
MOTION = {
    "head_motion": lambda value: MotionOptions(head=value),
    "liveliness": lambda value: MotionOptions(head=value),
    "blinks": lambda value: MotionOptions(blinks=value),
}
COLUMNS = ("smile", "frown", "furrow", "squint", "gaze_x", "gaze_y", "yaw", "pitch", "roll")
EXPRESSION = {name: lambda value, name=name: in_range(name, value) for name in COLUMNS}
EXPRESSION["brows"] = lambda value: in_range("brow_left", value)
RATES = {"fps": as_fps, "detail": lambda value: _check_settings(value, 25.0)}
ACCEPTED: dict[str, Callable[[Any], Any]] = {**PLACES, **SAMPLING, **MOTION, **RATES, **EXPRESSION}
NODES = [
    ("talking_portrait", "TalkingPortrait"),
    ("several_speakers", "SeveralSpeakers"),
    ("sampling_options", "SamplingOptionsNode"),
    ("identity", "LoadIdentity"),
    ("sampler", "DiffusedHeadsSampler"),
    ("paste_back", "PasteBack"),
    ("audio", "EncodeAudio"),
    ("edit_motion", "Expression"),
]
OPEN = {"max_side", "start", "duration"}  # what is allowed depends on the other inputs, or everything above 0 is
UNLIMITED = {"face_index"}  # the core has no largest value


@pytest.mark.parametrize("place", NODES, ids=lambda place: place[1])
def test_numbers(host: SimpleNamespace, place: tuple[str, str]) -> None:
    host.node("load_model", "register_folder")()
    inputs = [socket for socket in host.node(*place).define_schema().inputs if socket.kind in ("INT", "FLOAT")]
    checked = [socket for socket in inputs if socket.id not in OPEN]
    for socket in checked:
        accept, step = ACCEPTED[socket.id], getattr(socket, "step", 1)
        accept(socket.min)
        accept(socket.max)
        for beyond in (socket.min - step, *(() if socket.id in UNLIMITED else (socket.max + step,))):
            with pytest.raises(DiffusedHeadsError):
                accept(beyond)


def test_choices(host: SimpleNamespace) -> None:
    host.node("load_model", "register_folder")()
    wanted = {"face": list(RULES), "quality": list(PRESETS), "sampler": list(SAMPLERS)}
    found = {
        socket.id: socket.options
        for place in NODES
        for socket in host.node(*place).define_schema().inputs
        if socket.kind == "COMBO" and socket.id in wanted
    }
    assert found == wanted
