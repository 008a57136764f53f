from dataclasses import replace

import pytest
import torch

from diffused_heads.diffused_heads_core import checkpoints
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.training.tools import average as module


@pytest.fixture(scope="module")
def pair():
    first = checkpoints.load(checkpoints.find_model("avatar"))
    return first, replace(first, tensors={name: value.float() + 1 for name, value in first.tensors.items()})


def test_a_mean_lies_between_its_models_by_their_shares(pair, tmp_path):
    first, second = pair
    other = tmp_path / "other.safetensors"
    checkpoints.save(other, second)
    module.main([str(tmp_path / "mean.safetensors"), "avatar=1", f"{other}=3"])
    mean = checkpoints.load(tmp_path / "mean.safetensors")
    assert (
        mean.config == first.config and mean.licence == first.licence and mean.summary["data"] == "procedural avatars"
    )
    parents = [(parent["model"], parent["share"]) for parent in mean.summary["average of"]]
    assert parents == [("avatar", 0.25), ("other.safetensors", 0.75)]
    for name, value in first.tensors.items():
        assert torch.allclose(mean.tensors[name], value.float() + 0.75, atol=1e-3), name


def test_other_architectures_licences_and_shares_are_refused(pair):
    first, second = pair
    with pytest.raises(DiffusedHeadsError, match="b: expected a share above 0, found -1"):
        module.average([("a", first, 2.0), ("b", second, -1.0)])
    for share in (-2.0, float("inf"), float("nan")):  # the first of them would make the sum nothing
        with pytest.raises(DiffusedHeadsError, match="b: expected a share above 0"):
            module.average([("a", first, 2.0), ("b", second, share)])
    with pytest.raises(DiffusedHeadsError, match="b: expected the licence of a, Apache-2.0, found of another kind"):
        module.average([("a", first, 1.0), ("b", replace(second, licence="of another kind"), 1.0)])
    changed = replace(
        second, tensors={name: value[:1] if value.ndim else value for name, value in second.tensors.items()}
    )
    with pytest.raises(DiffusedHeadsError, match="b: expected the architecture and settings of a"):
        module.average([("a", first, 1.0), ("b", changed, 1.0)])


def test_a_weight_that_is_none_is_explained(tmp_path, capsys):
    with pytest.raises(SystemExit):
        module.main([str(tmp_path / "x.safetensors"), "avatar=much"])
    assert "avatar=much: expected MODEL=WEIGHT" in capsys.readouterr().err and not list(tmp_path.iterdir())
