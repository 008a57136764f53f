"""Example Portrait and Voice, with stand-ins for the host's modules."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

MODULE = "diffused_heads.nodes.examples"


class Anything:
    """Stands for a class of the host's schema: keeps what it was called with."""

    def __init__(self, *names, **options):
        self.names, self.options = names, options

    def __getattr__(self, name):
        return type(name, (Anything,), {})


@pytest.fixture
def examples(monkeypatch):
    socket = SimpleNamespace(Input=Anything, Output=Anything)
    latest = ModuleType("comfy_api.latest")
    latest.io = SimpleNamespace(
        ComfyNode=object, Schema=Anything, NodeOutput=lambda *values: values, Image=socket, Audio=socket, Combo=socket
    )
    monkeypatch.setitem(sys.modules, "comfy_api", ModuleType("comfy_api"))
    monkeypatch.setitem(sys.modules, "comfy_api.latest", latest)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    yield importlib.import_module(MODULE)
    sys.modules.pop(MODULE, None)


def test_the_lists_name_every_bundled_file(examples):
    inputs = examples.ExamplePortraitAndVoice.define_schema().options["inputs"]
    assert [entry.names for entry in inputs] == [("portrait",), ("voice",)]
    assert all(entry.options["tooltip"] for entry in inputs)
    assert inputs[0].options["options"] == ["ada", "kim", "lena", "omar", "rosa", "samira"]
    assert inputs[1].options["options"] == ["weather", "welcome"]


def test_every_choice_gives_a_portrait_and_a_voice(examples):
    voices = examples.example_names("speech", ".wav")
    for i, portrait in enumerate(examples.example_names("portrait", ".png")):
        image, audio = examples.ExamplePortraitAndVoice.execute(portrait, voices[i % len(voices)])
        assert image.shape == (1, 512, 512, 3) and image.dtype == torch.float32
        assert 0 <= image.min() < 0.3 and 0.7 < image.max() <= 1
        waveform = audio["waveform"]
        assert waveform.ndim == 3 and waveform.shape[0] == 1 and audio["sample_rate"] >= 16000
        assert waveform.shape[2] > 3 * audio["sample_rate"] and 0.05 < waveform.abs().max() <= 1
