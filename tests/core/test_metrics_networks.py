"""Supplied networks and SyncNet's figures, with small TorchScript programs whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.evaluation.metrics import sync
from diffused_heads.diffused_heads_core.evaluation.metrics.networks import CLIP, CLIP_SIDE, NetworkFiles, Networks

RATE = 16000
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
signal = pytest.importorskip("scipy.fft", reason="scipy is not installed (the extra 'test')")


class Inception(nn.Module):
    """Stands for Inception: means of the four quarters, doubled where features are not asked for."""

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor:
        assert x.dtype == torch.uint8
        found = torch.nn.functional.adaptive_avg_pool2d(x.float(), 2).flatten(1)
        return found if return_features else 2 * found


class Video(nn.Module):
    """Stands for I3D: mean colour and mean change from frame to frame."""

    def forward(self, x: Tensor) -> Tensor:
        assert list(x.shape[1:]) == [3, 16, 224, 224] and float(x.abs().max()) <= 1
        return torch.cat([x.mean([2, 3, 4]), (x[:, :, 1:] - x[:, :, :-1]).abs().mean([2, 3, 4])], 1)


class Sync(nn.Module):
    """Stands for SyncNet: both sides tell how much their window lights up or swells."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def forward_lip(self, x: Tensor) -> Tensor:
        assert list(x.shape[1:]) == [3, 5, 224, 224]
        return x.mean([1, 3, 4]) / 255 * 4

    @torch.jit.export
    def forward_aud(self, x: Tensor) -> Tensor:
        assert list(x.shape[1:]) == [1, 13, 20]
        loud = x[:, 0, 0].unflatten(1, [5, 4]).mean(2)
        return (loud > 10).float() * 4


def scripted(path: Path, module: nn.Module) -> Path:
    torch.jit.save(torch.jit.script(module), str(path))
    return path


@pytest.fixture
def networks(tmp_path: Path) -> Networks:
    files = {
        name: scripted(tmp_path / f"{name}.pt", module)
        for name, module in (("inception", Inception()), ("i3d", Video()), ("syncnet", Sync()))
    }
    return Networks(NetworkFiles(**files, trusted=True))


def test_networks_are_given_what_they_expect(networks: Networks) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8)
    found = networks.pictures(frames)
    assert found.shape == (3, 12) and found[0, 0] == pytest.approx(
        frames[0, :20, :20, 0].mean()
    )  # so features were asked for
    clip = np.full((1, CLIP, CLIP_SIDE, CLIP_SIDE, 3), 255, np.uint8)
    assert networks.clips(clip)[0] == pytest.approx([1, 1, 1, 0, 0, 0])


def test_a_program_runs_only_where_it_is_trusted(tmp_path: Path) -> None:
    path = scripted(tmp_path / "inception.pt", Inception())
    with pytest.raises(DiffusedHeadsError, match="inception.pt.*--trust-torchscript"):
        NetworkFiles(inception=path)
    with pytest.raises(DiffusedHeadsError, match="no such file"):
        NetworkFiles(i3d=tmp_path / "none.pt", trusted=True)
    assert NetworkFiles() == NetworkFiles(trusted=False)


def test_other_files_and_other_networks_are_named(tmp_path: Path) -> None:
    text = tmp_path / "text.pt"
    text.write_text("no network")
    with pytest.raises(DiffusedHeadsError, match="text.pt: expected the inception network"):
        Networks(NetworkFiles(inception=text, trusted=True))
    wrong = Networks(NetworkFiles(syncnet=scripted(tmp_path / "wrong.pt", Inception()), trusted=True))
    with pytest.raises(DiffusedHeadsError, match="wrong.pt: expected the syncnet network, its call failed"):
        wrong.lips(np.zeros((1, 3, 5, 224, 224), np.float32))


def test_mfcc_of_the_definition() -> None:
    """The same coefficients by the textbook's steps, with scipy's DCT, at one moment."""
    sound = (
        0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE) + 0.05 * np.random.default_rng(0).normal(size=RATE)
    ).astype(np.float32)
    found = sync.mfcc(sound)
    assert found.shape == (13, 98)
    integer = sound.astype(np.float64) * 32767
    emphasised = np.append(integer[0], integer[1:] - 0.97 * integer[:-1])
    power = np.abs(np.fft.rfft(emphasised[4800:5200], 512)) ** 2 / 512
    cepstrum = signal.dct(np.log(sync.mel_filters() @ power), type=2, norm="ortho")[:13] * (
        1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    )
    assert found[1:, 30] == pytest.approx(cepstrum[1:], rel=1e-4, abs=1e-3) and found[0, 30] == pytest.approx(
        np.log(power.sum()), rel=1e-5
    )


def test_mel_filters_are_triangles_even_in_mel() -> None:
    filters = sync.mel_filters()
    assert filters.shape == (26, 257) and filters.max() == 1 and (filters >= 0).all()
    peaks = filters.argmax(1) * RATE / 512
    mel = 2595 * np.log10(1 + peaks[6:] / 700)
    assert np.diff(mel) == pytest.approx(np.diff(mel).mean(), rel=0.25)


def clip(late: int, frames: int = 75) -> tuple[list[np.ndarray], np.ndarray]:
    """A face that lights up ``late`` frames after a tone sounds, in bursts of uneven length."""
    rng = np.random.default_rng(7)
    on = np.repeat(rng.integers(0, 2, frames), rng.integers(2, 7, frames))[:frames].astype(bool)
    sound = np.repeat(on, RATE // 25) * np.sin(2 * np.pi * 300 * np.arange(frames * RATE // 25) / RATE) * 0.5
    shown = np.roll(on, late)
    return [np.full((224, 224, 3), 255 if lit else 0, np.uint8) for lit in shown], sound.astype(np.float32)


@pytest.mark.parametrize("late", [-6, 0, 2, 9])
def test_the_offset_is_how_late_the_picture_is(networks: Networks, late: int) -> None:
    frames, sound = clip(late)
    meter = sync.SyncMeter(networks.lips)
    for frame in frames:
        meter.add(frame)
    offset, confidence = sync.offset_and_confidence(
        meter.embeddings(), networks.sounds(sync.sound_windows(sound, len(frames)))
    )
    assert offset == late and confidence > 1


def test_other_sound_costs_confidence(networks: Networks) -> None:
    frames, sound = clip(0)
    meter = sync.SyncMeter(networks.lips)
    for frame in frames:
        meter.add(frame)
    seen = meter.embeddings()
    right = sync.offset_and_confidence(seen, networks.sounds(sync.sound_windows(sound, 75)))[1]
    wrong = sync.offset_and_confidence(seen, networks.sounds(sync.sound_windows(sound[::-1].copy(), 75)))[1]
    assert wrong < 0.5 * right


def test_short_clips_have_no_offset() -> None:
    assert np.isnan(sync.offset_and_confidence(np.zeros((30, 2)), np.zeros((30, 2)))).all()
    assert sync.sound_windows(np.zeros(RATE // 10, np.float32), 3).shape == (0, 1, 13, 20)
    assert sync.SyncMeter(lambda x: x).embeddings().shape[0] == 0
    with pytest.raises(DiffusedHeadsError, match="400 samples"):
        sync.mfcc(np.zeros(100))
