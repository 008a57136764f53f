"""The list of models, which names are refused and in which words, and what the host's memory management gets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import diffused_heads
from diffused_heads.diffused_heads_core import checkpoints
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.talking_head import TalkingHead
from diffused_heads.nodes import model_files

FILES = ["b.safetensors", "A.SAFETENSORS", "notes.txt", "old/crema.pt", "last.ckpt", "b.audio_encoder.pt"]


def test_choices_are_bundled_then_ours_then_released(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "bundled_models", lambda: {"avatar": Path("avatar.safetensors")})
    assert model_files.choices(FILES) == ["avatar", "A.SAFETENSORS", "b.safetensors", "last.ckpt", "old/crema.pt"]


@pytest.mark.parametrize(
    "name, files, words",
    [
        ("old/crema.pt", FILES, ("diffused-heads convert crema.pt crema.safetensors", "--audio-encoder")),
        ("last.ckpt", FILES, ("diffused-heads convert last.ckpt",)),
        ("c.safetensors", FILES, ("'c.safetensors'", "b.safetensors")),
        ("a.safetensors", ["crema.pt"], ("there is no model 'a.safetensors': put", "models/diffused_heads")),
    ],
)
def test_refusals_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, name: str, files: list[str], words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(checkpoints, "bundled_models", dict)
    why = model_files.refusal(name, files)
    assert why is not None and all(word in why for word in words) and "\n" not in why
    assert model_files.refusal("b.safetensors", FILES) is None


def test_weights_loaded_in_inference_mode_are_ordinary(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    path = make_model(tmp_path / "a.safetensors")
    with torch.inference_mode():
        head = model_files.load(path)
    assert not any(p.is_inference() for p in [*head.unet.parameters(), *head.audio_encoder.parameters()])


def test_the_fingerprint_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"1")
    os.utime(path, ns=(1, 1))
    first = model_files.fingerprint(path)
    assert model_files.fingerprint(path) == first
    os.utime(path, ns=(1, 2))
    second = model_files.fingerprint(path)
    path.write_bytes(b"22")
    os.utime(path, ns=(1, 2))
    assert len({first, second, model_files.fingerprint(path)}) == 3


@pytest.mark.parametrize(
    "precision, device, fp16, bf16, want",
    [
        ("auto", "cpu", True, True, torch.float32),
        ("float16", "cpu", True, True, torch.float32),
        ("auto", "cuda", True, True, torch.float16),
        ("auto", "cuda", False, True, torch.bfloat16),
        ("auto", "cuda", False, False, torch.float32),
        ("float32", "cuda", True, True, torch.float32),
        ("bfloat16", "mps", True, True, torch.bfloat16),
        ("auto", "privateuseone", True, True, torch.float32),
    ],
)
def test_precision(
    host: SimpleNamespace, precision: str, device: str, fp16: bool, bf16: bool, want: torch.dtype
) -> None:
    host.fp16, host.bf16 = fp16, bf16
    assert host.node("runtime", "choose_dtype")(precision, torch.device(device)) == want


def test_the_patcher_moves_all_weights(host: SimpleNamespace, head: TalkingHead) -> None:
    patcher = host.node("runtime", "manage")(head)
    assert patcher.model.unet is head.unet and patcher.model.audio_encoder is head.audio_encoder
    assert not any(p.requires_grad for p in patcher.model.parameters())
    patcher.model.to("meta")
    assert head.device.type == "meta" and next(head.audio_encoder.parameters()).device.type == "meta"


def test_the_node_loads_from_the_folder(host: SimpleNamespace, make_model: Callable[..., Path]) -> None:
    node = host.node("load_model", "LoadModel")
    host.node("load_model", "register_folder")()
    folder = host.models / "diffused_heads"
    make_model(folder / "mine.safetensors")
    (folder / "released.pt").write_bytes(b"x")
    assert folder.is_dir() and node.validate_inputs("mine.safetensors") is True and node.validate_inputs() is True
    assert "diffused-heads convert released.pt" in node.validate_inputs("released.pt")
    assert "models/diffused_heads" in node.validate_inputs("gone.safetensors")
    first = node.fingerprint_inputs("mine.safetensors", precision="auto")
    make_model(folder / "mine.safetensors", 64)
    assert node.fingerprint_inputs("mine.safetensors", precision="auto") != first
    model = node.execute("mine.safetensors").args[0]
    assert (
        model.name == "mine.safetensors"
        and model.head.config.unet.image_size == 64
        and model.head.dtype == torch.float32
    )
    assert model.patcher.model.unet is model.head.unet
    with pytest.raises(DiffusedHeadsError, match="model_name: .*diffused-heads convert"):
        node.execute("released.pt")


def test_the_pack_fails_aloud(
    host: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "folder_paths", None)
    with pytest.raises(ImportError):
        asyncio.run(diffused_heads.comfy_entrypoint())
    assert "cannot be loaded" in caplog.text and "Traceback" in caplog.text
