"""Engines compute what PyTorch computes, are chosen by themselves, and give way to PyTorch if they fail.

Tests of a runtime are skipped if it is not installed (extra ``cpu``; onnxruntime).
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from diffused_heads import main
from diffused_heads.diffused_heads_core.config import FeatureGroup, SpatialInput, UNetConfig
from diffused_heads.diffused_heads_core.engines import engine as engines
from diffused_heads.diffused_heads_core.engines.engine import RUNTIMES, GraphNetwork, fastest_network
from diffused_heads.diffused_heads_core.engines.graph import example_inputs, onnx_bytes
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.talking_head import load_model
from diffused_heads.diffused_heads_core.unet import UNet

sys.path[:0] = [str(Path(__file__).parent)]
from hard_inputs import save_tiny  # noqa: E402

SPATIAL = (SpatialInput("identity", 3), SpatialInput("motion", 6))
PLAIN = UNetConfig(
    image_size=16,
    model_channels=16,
    channel_mult=(1, 2),
    res_blocks=1,
    head_channels=16,
    norm_groups=8,
    spatial=SPATIAL,
    features=(FeatureGroup("audio", 8),),
)
CONFIGS = {
    "as published": PLAIN,
    "attention": UNetConfig(**{**vars(PLAIN), "attention_levels": (0, 1)}),
    "blended": UNetConfig(
        **{
            **vars(PLAIN),
            "image_size": 32,
            "unshuffle": 2,
            "refine": 8,
            "skip": ("identity",),
            "prediction": "x0",
            "learned_variance": False,
        }
    ),
}


def needs(*packages: str) -> None:
    for package in ("onnx", *packages):
        pytest.importorskip(package)


def random_network(config: UNetConfig) -> UNet:
    """A network none of whose layers is zero, with outputs near 1."""
    torch.manual_seed(0)
    unet = UNet(config).eval()
    for parameter in unet.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return unet


@torch.no_grad()
def difference(network: object, unet: UNet, batch: int) -> float:
    """Largest difference of all outputs for inputs of ``batch`` rows that are unlike each other."""
    inputs = example_inputs(unet.config, batch)
    inputs["t"] = torch.arange(batch) * 211
    found, expected = (run(inputs["x_t"], inputs["t"], inputs, inputs) for run in (network, unet))
    assert (found[1] is None) == (expected[1] is None)
    return max(float((a - b).abs().max()) for a, b in zip(found, expected) if b is not None)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_onnx_graph_gives_pytorch_s_outputs_at_any_batch_size(config: UNetConfig) -> None:
    needs("onnxruntime")
    unet = random_network(config)
    run, _ = RUNTIMES["onnxruntime"](onnx_bytes(unet))
    for batch in (1, 3):
        assert difference(GraphNetwork(config, run), unet, batch) < 1e-3


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_openvino_gives_pytorch_s_outputs_at_any_batch_size(config: UNetConfig) -> None:
    needs("openvino")
    unet = random_network(config)
    run, name = RUNTIMES["openvino"](onnx_bytes(unet))
    for batch in (1, 3):  # bfloat16 keeps eight bits
        assert difference(GraphNetwork(config, run), unet, batch) < (0.1 if "bfloat16" in name else 1e-3)


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_bundled_model_makes_the_same_frames(name: str) -> None:
    needs(name)
    reference, model = load_model("human", "cpu", engine="pytorch"), load_model("human", "cpu", engine=name)
    identity = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    embeddings = torch.zeros(5, model.config.audio.embedding)
    made = [np.stack(list(head.generate(identity, embeddings, head.options(steps=2)))) for head in (reference, model)]
    assert isinstance(model.network(), GraphNetwork)
    assert np.abs(made[0].astype(float) - made[1]).mean() < 1.0  # of 255


def test_a_changed_network_is_not_computed_from_its_old_graph() -> None:
    needs("onnxruntime")
    model = load_model("human", "cpu", engine="onnxruntime")
    before = model.network()
    assert model.network() is before
    with torch.no_grad():
        next(iter(model.unet.parameters())).mul_(2)
    assert model.network() is not before


def test_an_engine_works_in_a_host_s_inference_mode() -> None:
    needs("onnxruntime")
    model = load_model("human", "cpu", engine="onnxruntime")
    identity = np.full((128, 128, 3), 90, np.uint8)
    with torch.inference_mode():
        frames = list(model.generate(identity, torch.zeros(2, model.config.audio.embedding), model.options(steps=1)))
    assert isinstance(model.network(), GraphNetwork) and len(frames) == 2


def test_half_weights_are_computed_by_pytorch() -> None:
    model = load_model("human", "cpu").to(dtype=torch.bfloat16)
    assert model.network() is model.unet


def test_auto_takes_pytorch_if_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda package: None)
    unet = random_network(PLAIN)
    assert fastest_network(unet) is unet
    with pytest.raises(DiffusedHeadsError, match=r"expected the packages onnx and openvino .*diffused-heads\[cpu\]"):
        fastest_network(unet, "openvino")


def test_unknown_engines_are_refused() -> None:
    with pytest.raises(DiffusedHeadsError, match="engine='abacus': expected one of auto, pytorch, openvino"):
        load_model("human", "cpu", engine="abacus")


def broken(graph: bytes) -> tuple[engines.Run, str]:
    raise RuntimeError("no such\ninstruction")


def wrong(graph: bytes) -> tuple[engines.Run, str]:
    return lambda inputs: [inputs[0] + 1], "wrong"


@pytest.mark.parametrize("runtime, reason", [(broken, "no such instruction"), (wrong, "from PyTorch's")])
def test_an_engine_that_fails_gives_way_to_pytorch_in_one_line(monkeypatch, caplog, runtime, reason) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda package: package)
    monkeypatch.setattr(engines, "onnx_bytes", lambda unet: b"")
    monkeypatch.setitem(RUNTIMES, "openvino", runtime)
    unet = random_network(CONFIGS["blended"])
    with caplog.at_level(logging.INFO):
        assert fastest_network(unet) is unet
    (line,) = caplog.messages
    assert line.startswith("engine openvino failed, PyTorch computes instead") and reason in line


def test_export_writes_a_graph_that_explains_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needs("onnxruntime")
    import onnxruntime

    target, model = tmp_path / "tiny.onnx", save_tiny(tmp_path / "tiny.safetensors")
    assert main(["export", str(model), str(target)]) == 0
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    head, said = load_model(model, "cpu", engine="pytorch"), session.get_modelmeta().custom_metadata_map
    assert said["format"] == "diffused-heads-onnx-1" and said["licence"] == "Apache-2.0"
    assert json.loads(said["config"])["unet"]["image_size"] == head.config.unet.image_size
    inputs = json.loads(said["inputs"])
    assert list(inputs) == [found.name for found in session.get_inputs()]
    assert list(inputs) == ["x_t", "t", "motion", "identity", "face", "audio"]
    assert all(about["shape"] == found.shape for about, found in zip(inputs.values(), session.get_inputs()))
    sampling = json.loads(said["sampling"])
    assert sampling["steps"] == len(sampling["timesteps"]) == len(sampling["alphas_cumprod"]) == head.config.steps
    examples = example_inputs(head.config.unet, 2)
    (found,) = session.run(None, {name: tensor.numpy() for name, tensor in examples.items()})
    with torch.no_grad():
        expected, _ = head.unet(examples["x_t"], examples["t"], examples, examples)
    assert np.abs(found - expected.numpy()).max() < 1e-3


def test_export_refuses_another_kind_of_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "human", str(tmp_path / "human.pt")]) == 1
    assert "human.pt: expected a name ending in .onnx, found .pt" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
