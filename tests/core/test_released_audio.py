"""The released audio encoder: windows, state, and one embedding per frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core import pretrained_audio
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_audio_windows_hop_a_frame_and_carry_their_state(encoder: Path) -> None:
    encode = pretrained_audio.TorchScriptAudioEncoder(encoder)
    mono = np.arange(1, 6401, dtype=np.float32)
    found = encode(mono, 10)
    assert found.shape == (10, 256) and found.dtype == torch.float32
    assert found[:, 2].tolist() == list(range(10))
    first = [0, 0] + [640 * i - 1280 + 1 for i in range(2, 10)]
    assert found[:, 0].tolist() == first and found[:, 1].tolist() == [
        f + 3199 if f + 3199 <= 6400 else 0 for f in range(-1279, 5121, 640)
    ]
    torch.testing.assert_close(
        encode(mono[:5120], 8)[:5], found[:5]
    )  # the same beginning, apart from what the last windows reach


@pytest.mark.parametrize("samples, frames", [(0, 1), (1, 1), (639, 1), (641, 2), (16000, 25), (16000, 27), (16000, 20)])
def test_exactly_as_many_embeddings_as_frames(encoder: Path, samples: int, frames: int) -> None:
    encode = pretrained_audio.TorchScriptAudioEncoder(encoder)
    found = encode(np.ones(samples, np.float32), frames)
    reached = max(1, min(frames, samples // 640))
    assert found.shape == (frames, 256)
    assert found[:, 2].tolist() == [*range(reached), *[reached - 1] * (frames - reached)]


def test_a_missing_audio_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DiffusedHeadsError, match="crema.audio_encoder.pt: expected the released TorchScript audio encoder"
    ):
        pretrained_audio.load_audio_encoder(tmp_path / "crema.safetensors")
