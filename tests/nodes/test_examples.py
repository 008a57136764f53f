"""Example Portrait and Voice: what there is to choose, and what each choice gives."""

from __future__ import annotations

from types import SimpleNamespace

import torch


def test_the_lists_name_every_bundled_file(host: SimpleNamespace) -> None:
    portrait, voice, _ = host.node("examples", "ExamplePortraitAndVoice").define_schema().inputs
    assert portrait.options == ["ada", "kim", "lena", "mei", "noah", "omar", "rosa", "samira"]
    assert voice.options == ["weather", "welcome"]


def test_every_choice_gives_a_portrait_and_a_voice(host: SimpleNamespace) -> None:
    node = host.node("examples", "ExamplePortraitAndVoice")
    portraits, voices = (choice.options for choice in node.define_schema().inputs[:2])
    for i, portrait in enumerate(portraits):
        image, audio = node.execute(portrait, voices[i % len(voices)]).args
        assert image.shape == (1, 512, 512, 3) and image.dtype == torch.float32
        assert 0 <= image.min() < 0.3 and 0.7 < image.max() <= 1
        waveform = audio["waveform"]
        assert waveform.ndim == 3 and waveform.shape[0] == 1 and audio["sample_rate"] >= 16000
        assert waveform.shape[2] > 3 * audio["sample_rate"] and 0.05 < waveform.abs().max() <= 1


def test_duration_takes_the_beginning_of_the_recording(host: SimpleNamespace) -> None:
    node = host.node("examples", "ExamplePortraitAndVoice")
    whole, part = (node.execute("kim", "weather", **given).args[1] for given in ({}, {"duration": 1.3}))
    count = round(1.3 * part["sample_rate"])
    assert part["waveform"].shape[2] == count and torch.equal(part["waveform"], whole["waveform"][:, :, :count])
