"""Checkpoints: exact round trips, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from diffused_heads.diffused_heads_core import checkpoints
from diffused_heads.diffused_heads_core.audio_encoder import AudioEncoder
from diffused_heads.diffused_heads_core.checkpoints import Checkpoint
from diffused_heads.diffused_heads_core.config import AudioConfig, FeatureGroup, ModelConfig, UNetConfig
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.talking_head import load_model
from diffused_heads.diffused_heads_core.unet import UNet

CONFIG = ModelConfig(
    audio=AudioConfig(channels=32, embedding=16),
    steps=8,
    sampler="ddim",
    unet=UNetConfig(
        image_size=16,
        model_channels=32,
        channel_mult=(1, 2),
        res_blocks=1,
        head_channels=32,
        features=(FeatureGroup("audio", 16),),
    ),
)


def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    tensors = {
        **{f"unet.{n}": t for n, t in UNet(CONFIG.unet).state_dict().items()},
        **{f"audio_encoder.{n}": t for n, t in AudioEncoder(CONFIG.audio).state_dict().items()},
    }
    return Checkpoint(
        CONFIG,
        {n: torch.randn_like(t) for n, t in tensors.items()},
        "Apache-2.0",
        {"steps": 12, "data": "none", "fid": 1.5},
    )


@pytest.fixture
def written(tmp_path: Path) -> Path:
    checkpoints.save(tmp_path / "model.safetensors", checkpoint())
    return tmp_path / "model.safetensors"


def test_everything_comes_back_bit_for_bit(written: Path) -> None:
    want, found = checkpoint(), checkpoints.load(written)
    assert (found.config, found.licence, found.summary) == (want.config, want.licence, want.summary)
    assert set(found.tensors) == set(want.tensors) and all(
        torch.equal(found.tensors[n], t) for n, t in want.tensors.items()
    )
    assert [p.name for p in written.parent.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("dtype", sorted(checkpoints.STORED))
def test_stored_types(dtype: str, tmp_path: Path) -> None:
    want = checkpoint()
    checkpoints.save(tmp_path / "x.safetensors", want, dtype)
    found = checkpoints.load(tmp_path / "x.safetensors")
    for name, tensor in want.tensors.items():
        assert found.tensors[name].dtype == torch.float32
        assert torch.equal(found.tensors[name], tensor.to(checkpoints.STORED[dtype]).float())


def test_metadata_are_plain_words(written: Path) -> None:
    with safe_open(written, "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "diffused-heads-1" and set(metadata) == {"format", "config", "licence", "summary"}
    assert '"image_size":16' in metadata["config"]


def test_a_model_loads_from_its_checkpoint_alone(written: Path) -> None:
    model, want = load_model(written, "cpu"), checkpoint()
    assert model.config == CONFIG and model.licence == "Apache-2.0" and not model.unet.training
    assert all(torch.equal(t, want.tensors[f"unet.{n}"]) for n, t in model.unet.state_dict().items())
    assert all(torch.equal(t, want.tensors[f"audio_encoder.{n}"]) for n, t in model.audio_encoder.state_dict().items())
    assert (model.options().sampler, model.options().steps, model.options(steps=3).steps) == ("ddim", 8, 3)


def test_a_failed_write_leaves_the_old_file(written: Path) -> None:
    before, broken = written.read_bytes(), checkpoint()
    broken.tensors["unet.odd"] = torch.zeros(3).to_sparse()
    with pytest.raises((RuntimeError, ValueError, NotImplementedError)):
        checkpoints.save(written, broken)
    assert written.read_bytes() == before and len(list(written.parent.iterdir())) == 1


def refused(path: Path) -> str:
    """The one-line message that both loading and load_model give."""
    with pytest.raises(DiffusedHeadsError) as caught:
        checkpoints.load(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and "expected" in message
    return message


def test_files_that_are_no_checkpoint(written: Path) -> None:
    folder, whole = written.parent, written.read_bytes()
    torch.save({"a": torch.zeros(3)}, folder / "zip")
    for name, content, word in (
        ("text", b"hello, this is text\n", "a text file"),
        ("empty", b"", "empty"),
        ("short", whole[:5], "another kind"),
        ("truncated", whole[:-100], "truncated"),
        ("header", whole[:300], "truncated"),
        ("zip", (folder / "zip").read_bytes(), "convert"),
        ("pickle", b"\x80\x02}q\x00.", "pickle"),
    ):
        (folder / name).write_bytes(content)
        assert word in refused(folder / name), name
    assert "no such file" in refused(folder / "absent") and "folder" in refused(folder)


def test_safetensors_of_another_project(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3)}, tmp_path / "bare.safetensors")
    save_file({"a": torch.zeros(3)}, tmp_path / "other.safetensors", {"format": "pt", "modelspec.title": "x"})
    assert "another project" in refused(tmp_path / "bare.safetensors")
    assert "modelspec.title" in refused(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    "metadata", [{}, {"config": "{"}, {"config": '{"steps": 0}'}, {"config": '{"unet": {"colour": 3}}'}]
)
def test_damaged_metadata_name_the_file(metadata: dict[str, str], tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3)}, tmp_path / "x.safetensors", {"format": checkpoints.FORMAT, **metadata})
    with pytest.raises(DiffusedHeadsError) as caught:
        checkpoints.load(tmp_path / "x.safetensors")
    assert str(caught.value).startswith(str(tmp_path / "x.safetensors")) and "\n" not in str(caught.value)


def test_tensors_that_do_not_fit_are_counted(tmp_path: Path) -> None:
    want = checkpoint()
    del want.tensors["unet.out.2.bias"]
    want.tensors["unet.more"] = torch.zeros(1)
    checkpoints.save(tmp_path / "x.safetensors", want)
    with pytest.raises(DiffusedHeadsError, match=r"2 tensors do not fit .* unet\.out\.2\.bias missing"):
        load_model(tmp_path / "x.safetensors", "cpu")


def test_unknown_models_and_devices(written: Path) -> None:
    with pytest.raises(DiffusedHeadsError, match="'nobody'.*no such file"):
        load_model("nobody")
    with pytest.raises(DiffusedHeadsError, match="a folder"):
        load_model(written.parent)
    with pytest.raises(DiffusedHeadsError, match="device='abacus'"):
        load_model(written, "abacus")
