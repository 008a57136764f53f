"""Evaluate Video: figures of known clips, what cannot be measured, and the face networks."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError

pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra 'evaluate')")


@pytest.fixture
def clip() -> torch.Tensor:
    """An IMAGE of 12 frames, 40 wide and 48 high: a smooth ground over which a square moves."""
    ground = torch.linspace(0.2, 0.7, 48)[None, :, None, None].expand(12, 48, 40, 3).clone()
    for n in range(12):
        ground[n, 10:20, n : n + 8] = torch.tensor([0.9, 0.4, 0.3])
    return ground


@pytest.fixture
def node(host: SimpleNamespace) -> Any:
    return host.node("evaluate", "EvaluateTalkingHead")


def test_a_clip_against_itself(node: Any, host: SimpleNamespace, clip: torch.Tensor, speech: dict[str, Any]) -> None:
    report, numbers, figures = node.execute(clip, 25.0, clip, speech, find_face=False).args
    assert report.ndim == 4 and report.shape[0] == 1 and report.shape[3] == 3 and report.dtype == torch.float32
    assert 0 <= float(report.min()) < float(report.max()) <= 1
    found = json.loads(figures)
    assert found["ssim"] == 1 and found["psnr"] == 100 and found["frechet"] == 0 and found["f_mse"] > 0
    assert "SSIM" in numbers and "find_face is off" in numbers and "1 clip, 12 frames" in numbers
    assert [value for value, total, _ in host.progress] == list(range(1, 13)) and host.progress[0][1] == 12


def test_other_clips_and_other_shapes(node: Any, clip: torch.Tensor) -> None:
    alpha = torch.cat([clip, torch.ones_like(clip[..., :1])], -1)
    dark = torch.nn.functional.interpolate((0.9 * clip).movedim(-1, 1), scale_factor=2).movedim(1, -1)
    found = json.loads(node.execute(alpha, 25.0, dark[:7], find_face=False).args[2])
    assert 10 < found["psnr"] < 40 and found["background_error"] > 3
    alone = json.loads(node.execute(clip, 25.0, find_face=False).args[2])
    assert "ssim" not in alone and alone["ofm"] > 0
    assert json.loads(node.execute(clip[:, :, :, :1], 12.0, clip, find_face=False).args[2])["ssim"] < 1


@pytest.mark.parametrize(
    "images, reference, words",
    [
        (None, None, "generated: expected frames"),
        (torch.zeros(0, 32, 32, 3), None, "found \\(0, 32, 32, 3\\)"),
        (torch.zeros(2, 32, 32, 3), torch.zeros(2, 32, 90, 3), "proportions"),
        (torch.full((2, 32, 32, 3), torch.nan), None, "NaN"),
    ],
)
def test_what_cannot_be_measured(node: Any, images: Any, reference: Any, words: str) -> None:
    with pytest.raises(DiffusedHeadsError, match=words):
        node.execute(images, 25.0, reference, find_face=False)


def test_it_can_be_interrupted(node: Any, host: SimpleNamespace, clip: torch.Tensor) -> None:
    host.stop_at = 3
    with pytest.raises(host.Stop):
        node.execute(clip, 25.0, find_face=False)
    assert len(host.progress) == 3


def test_the_hosts_face_networks_read_the_clip(node: Any, clip: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    import diffused_heads.nodes.evaluate as module

    mesh = np.random.default_rng(0).uniform(5, 35, (468, 3))
    finder = SimpleNamespace(find=lambda picture: [SimpleNamespace(landmarks=mesh)], track=lambda picture, face: face)
    monkeypatch.setattr(module.runtime, "face_finder", lambda: finder)
    figures = json.loads(node.execute(clip, 25.0, clip).args[2])
    assert figures["lmd"] == 0 and figures["mouth_error"] == 0 and figures["sharpness_eyes"] > 0


def test_without_the_networks_it_says_so(node: Any, clip: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    import diffused_heads.nodes.evaluate as module

    def none() -> None:
        raise DiffusedHeadsError("the download failed")

    monkeypatch.setattr(module.runtime, "face_finder", none)
    assert "the face networks are not there (the download failed)" in node.execute(clip, 25.0).args[1]
