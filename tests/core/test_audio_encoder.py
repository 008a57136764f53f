"""The audio front end and encoder: known tones, and a reach that is bounded and measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.audio_encoder import (
    COLUMNS_PER_FRAME,
    FFT,
    SAMPLE_RATE,
    AudioEncoder,
    log_mel,
    mel_filters,
)
from diffused_heads.diffused_heads_core.config import AudioConfig
from diffused_heads.diffused_heads_core.media.mixdown import normalise_level
from diffused_heads.diffused_heads_core.mouth.streaming_encoder import StreamingAudioEncoder

CONFIG = AudioConfig(mels=32, channels=24, embedding=10)
FPS = 25
HOP = SAMPLE_RATE // FPS
SILENCE = -1.0  # of a log-mel column: (log10(1e-7) + 4) / 3


def encoder() -> AudioEncoder:
    torch.manual_seed(0)
    return AudioEncoder(CONFIG).eval()


def sound(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, frames * HOP).astype(np.float32)


@torch.no_grad()
def embed(net: torch.nn.Module, mono: np.ndarray, frames: int) -> torch.Tensor:
    return net(log_mel(mono, frames, FPS, CONFIG.mels)[None])[0]


def test_embeddings_do_not_change_when_sound_follows_beyond_the_reach() -> None:
    """A change from frame 20 on is seen from exactly frame 20 - reach on, and so many frames are needed for that."""
    net, mono = encoder(), sound(40)
    other = mono.copy()
    other[20 * HOP :] = sound(20, 1)
    changed = (embed(net, mono, 40) - embed(net, other, 40)).abs().amax(1) > 1e-5
    assert changed.nonzero()[0].item() == 20 - AudioEncoder.reach
    assert changed[20 - AudioEncoder.reach :].all()


def test_a_prefix_of_the_sound_gives_a_prefix_of_the_embeddings() -> None:
    net, mono = encoder(), sound(40)
    whole, part = embed(net, mono, 40), embed(net, mono[: 24 * HOP], 24)
    torch.testing.assert_close(part[: 24 - AudioEncoder.reach], whole[: 24 - AudioEncoder.reach], atol=1e-5, rtol=0)


def test_the_past_is_bounded_too() -> None:
    net, mono = encoder(), sound(40)
    other = mono.copy()
    other[: 20 * HOP] = sound(20, 1)
    changed = (embed(net, mono, 40) - embed(net, other, 40)).abs().amax(1) > 1e-5
    assert changed.nonzero()[-1].item() == 19 + AudioEncoder.reach


@pytest.mark.parametrize("fps", [24, 25, 30])
@pytest.mark.parametrize("frames", [1, 2, 1100])
def test_columns_per_frame_at_any_rate(fps: int, frames: int) -> None:
    assert log_mel(sound(3), frames, fps, 16).shape == (16, COLUMNS_PER_FRAME * frames)


def test_a_click_lights_the_columns_around_its_time() -> None:
    mono = np.zeros(10 * HOP, np.float32)
    mono[round(0.2 * SAMPLE_RATE)] = 1.0
    level = log_mel(mono, 10, FPS, CONFIG.mels).mean(0)
    lit = (level > SILENCE + 0.01).nonzero().flatten().tolist()
    assert (
        lit and min(lit) >= 18 and max(lit) <= 21
    )  # columns are 10 ms wide and 25 ms long: 0.2 s lies between 19 and 20
    assert 18 <= np.mean(lit) <= 21


@pytest.mark.parametrize("hertz", [200, 440, 1000, 3000])
def test_a_tone_lights_its_band(hertz: int) -> None:
    time = np.arange(20 * HOP) / SAMPLE_RATE
    level = log_mel((0.3 * np.sin(2 * np.pi * hertz * time)).astype(np.float32), 20, FPS, 40)[:, 40]
    bins = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)
    centre = bins[mel_filters(40)[int(level.argmax())].argmax()]
    assert centre == pytest.approx(hertz, abs=max(60, 0.1 * hertz))


def test_silence_is_the_floor_and_ten_times_louder_is_two_thirds_more() -> None:
    torch.testing.assert_close(log_mel(np.zeros(HOP, np.float32), 3, FPS, 32), torch.full((32, 12), SILENCE))
    quiet, loud = (log_mel(gain * sound(10), 10, FPS, 32) for gain in (1.0, 10.0))
    torch.testing.assert_close(loud[:, 4:-4] - quiet[:, 4:-4], torch.full((32, 32), 2 / 3), atol=1e-3, rtol=0)


def test_blocks_join_without_a_seam() -> None:
    mono = sound(1100)
    whole, part = log_mel(mono, 1100, FPS, 16), log_mel(mono[900 * HOP :], 200, FPS, 16)
    torch.testing.assert_close(whole[:, 3610:], part[:, 10:], atol=1e-4, rtol=0)


def streaming() -> StreamingAudioEncoder:
    torch.manual_seed(0)
    return StreamingAudioEncoder(AudioConfig(kind="mel-streaming", mels=32, channels=24, embedding=10)).eval()


@torch.no_grad()
def test_the_streaming_encoder_depends_on_exactly_the_columns_that_it_states() -> None:
    net, frame = streaming(), 30
    first, last = frame * COLUMNS_PER_FRAME, (frame + 1) * COLUMNS_PER_FRAME - 1
    mel = torch.randn(1, 32, 60 * COLUMNS_PER_FRAME)
    want = net(mel)[0, frame]

    def changes(column: int) -> bool:
        other = mel.clone()
        other[..., column] += 10
        return not torch.allclose(net(other)[0, frame], want, atol=1e-6)

    assert changes(last + net.ahead) and not changes(last + net.ahead + 1)
    assert changes(first - net.behind) and not changes(first - net.behind - 1)
    assert net.reach == -(-max(net.ahead, net.behind) // COLUMNS_PER_FRAME)


def test_the_streaming_encoder_waits_for_less_than_160_ms_of_sound_levelling_included() -> None:
    net, mono = streaming(), sound(60)
    other, cut = mono.copy(), 31 * HOP + round(0.16 * SAMPLE_RATE)
    other[cut:] = 3 * sound(60, 1)[cut:]
    whole, changed = (embed(net, normalise_level(s), 60) for s in (mono, other))
    assert torch.equal(whole[:31], changed[:31]) and not torch.allclose(whole[32], changed[32], atol=1e-4)
