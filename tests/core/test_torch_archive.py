"""Weights-only reading: every element type, view and shared storage exactly, and nothing of the file run."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from diffused_heads.diffused_heads_core.released.archive import TorchArchive


def test_half_precision_views_and_shared_storages_are_read_exactly(tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = torch.randn(6, 8)
    state = {
        "whole": base,
        "turned": base.t(),
        "part": base[2:5, 1::3],
        "half": base.half(),
        "brain": base.bfloat16(),
        "double": base.double(),
        "count": torch.tensor(7),
        "none": torch.zeros(0, 3),
        "parameter": nn.Parameter(base[1]),
        "mask": base > 0,
    }
    torch.save({"state_dict": state}, tmp_path / "x.ckpt")
    with TorchArchive(tmp_path / "x.ckpt", "tensors") as archive:
        places = archive.state_dict()
        for name, want in state.items():
            found = archive.read(places[name])
            assert found.dtype == want.dtype and torch.equal(found, want.data) and found.is_contiguous(), name


class Attend(nn.Module):
    """A module with an integer attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.n_heads, self.qkv = 3, nn.Conv1d(6, 18, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.qkv(x).reshape(x.shape[0] * self.n_heads, -1)


class Nested(nn.Module):
    """Modules below one another, a shared weight, a buffer, and an integer constant."""

    __constants__ = ("levels",)

    def __init__(self) -> None:
        super().__init__()
        self.levels, self.blocks = 5, nn.ModuleList([nn.Sequential(nn.Conv1d(6, 6, 1), nn.SiLU()), Attend()])
        self.twin = self.blocks[0][0]
        self.register_buffer("table", torch.arange(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks[1](self.blocks[0](x)) * self.levels


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_module_in_a_repacked_zip_of_another_folder_name(tmp_path: Path) -> None:
    module, buffer, again = Nested(), io.BytesIO(), tmp_path / "renamed.pt"
    torch.jit.save(torch.jit.script(module), buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(again, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            new.writestr("another_name/" + entry.partition("/")[2], old.read(entry))
    with TorchArchive(again, "a module") as archive:
        tensors, numbers = archive.module()
        want = module.state_dict()
        assert archive.scripted and {"blocks.1.n_heads": 3, "levels": 5}.items() <= numbers.items()
        assert set(tensors) == set(want) and all(torch.equal(archive.read(tensors[n]), want[n]) for n in want)


class Evil:
    """Pickles as a call that would leave a file behind."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return (exec, (f"open({str(self.path)!r}, 'w')",))


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    trap, loop = tmp_path / "trap", {}
    loop["again"] = loop
    torch.save(
        {
            "state_dict": {"a": torch.ones(2)},
            "hyper_parameters": {"x": Evil(trap), "y": [Evil(trap)], "loop": loop, "n": 3},
        },
        tmp_path / "x.ckpt",
    )
    with TorchArchive(tmp_path / "x.ckpt", "tensors") as archive:
        assert archive.settings() == {"n": 3} and list(archive.state_dict()) == ["a"]
    assert not trap.exists()
