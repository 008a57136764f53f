"""Example Portrait and Voice: what there is to choose, and what each choice gives."""

from __future__ import annotations

from types import SimpleNamespace

import torch


def test_the_lists_name_every_bundled_file(host: SimpleNamespace) -> None:
    portrait, voice = host.node("examples", "ExamplePortraitAndVoice").define_schema().inputs
    assert portrait.options == ["ada", "kim", "lena", "omar", "rosa", "samira"]
    assert voice.options == ["weather", "welcome"]


def test_every_choice_gives_a_portrait_and_a_voice(host: SimpleNamespace) -> None:
    node = host.node("examples", "ExamplePortraitAndVoice")
    portraits, voices = (choice.options for choice in node.define_schema().inputs)
    for i, portrait in enumerate(portraits):
        image, audio = node.execute(portrait, voices[i % len(voices)]).args
        assert image.shape == (1, 512, 512, 3) and image.dtype == torch.float32
        assert 0 <= image.min() < 0.3 and 0.7 < image.max() <= 1
        waveform = audio["waveform"]
        assert waveform.ndim == 3 and waveform.shape[0] == 1 and audio["sample_rate"] >= 16000
        assert waveform.shape[2] > 3 * audio["sample_rate"] and 0.05 < waveform.abs().max() <= 1
