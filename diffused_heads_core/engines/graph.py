"""The network as an ONNX graph, for the runtimes of ``engine`` and for other programs."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoints import to_json
from ..config import ModelConfig, UNetConfig
from ..errors import DiffusedHeadsError
from ..files import atomic_path
from ..schedule import noise_schedule
from ..unet import UNet

FORMAT = "diffused-heads-onnx-1"
OPSET = 17
MISSING = 'needs the package onnx: pip install "diffused-heads[cpu]"'
MEANINGS = {
    "x_t": "the noisy frame: RGB in [-1, 1] plus noise",
    "t": "the original timestep of each row, 0 to timesteps - 1",
    "identity": "the identity frame, warped to the target's head pose if the model has head_motion; RGB in [-1, 1]",
    "still": "the identity frame as it is; RGB in [-1, 1]",
    "motion": "the previous frames, oldest first, warped like identity; each RGB, or gray if motion_gray; [-1, 1]",
    "lips": "insides of the outer and of the inner lips of the shape to be painted, 0..1",
    "face": "maps of the target's eyes, brows and head (pose.face_maps)",
    "audio": "audio embeddings of the frames around this one, oldest first, from the model's audio encoder",
}


def example_inputs(config: UNetConfig, batch: int = 1) -> dict[str, Tensor]:
    """Random inputs of a network by name, in the order of the graph's inputs: x_t, t, spatial inputs, features."""
    random, shape = torch.Generator().manual_seed(0), config.frame_shape

    def normal(*shape: int) -> Tensor:
        return torch.randn((batch, *shape), generator=random)

    return {
        "x_t": normal(3, *shape),
        "t": torch.full((batch,), 500),
        **{s.name: normal(s.channels, *shape).clamp(-1, 1) for s in config.spatial},
        **{g.name: normal(g.window, g.channels) for g in config.features},
    }


def onnx_bytes(unet: UNet) -> bytes:
    """A float32 network on the CPU as an ONNX graph for any batch size.

    Inputs are those of ``example_inputs``; the outputs are ``prediction`` and, if it is learned, ``variance``. Raises
    DiffusedHeadsError if the package onnx is missing, and what PyTorch raises if it cannot export the network.
    """
    if find_spec("onnx") is None:
        raise DiffusedHeadsError(f"an ONNX graph {MISSING}")
    examples = example_inputs(unet.config)
    outputs = ["prediction", *(["variance"] if unet.config.learned_variance else [])]
    target = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of the checks of shapes
        torch.onnx.export(
            _Positional(unet).eval(),
            tuple(tensor.clone() for tensor in examples.values()),
            target,  # type: ignore[arg-type]
            input_names=list(examples),
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in (*examples, *outputs)},
            opset_version=OPSET,
            dynamo=False,
        )
    return target.getvalue()


class _Positional(nn.Module):
    """A network whose inputs and outputs are positional, as tracing wants them."""

    def __init__(self, unet: UNet):
        super().__init__()
        self.unet = unet

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        config, (x_t, t, *rest) = self.unet.config, inputs
        named = dict(zip([*(s.name for s in config.spatial), *(g.name for g in config.features)], rest))
        prediction, variance = self.unet(x_t, t, named, named)
        return (prediction,) if variance is None else (prediction, variance)


def export(unet: UNet, config: ModelConfig, licence: str, target: Path) -> None:
    """Write a float32 network on the CPU to an ONNX file with its metadata; the file appears whole or not at all.

    Errors of ``onnx_bytes``, and OSError if the file cannot be written.
    """
    graph = onnx_bytes(unet)
    import onnx

    model = onnx.load_model_from_string(graph)
    onnx.helper.set_model_props(model, dict(metadata(config, licence)))
    with atomic_path(target) as part:
        part.write_bytes(model.SerializeToString())


def metadata(config: ModelConfig, licence: str) -> Mapping[str, str]:
    """What another program must know to use the graph: texts by name, all but format and licence in JSON."""
    schedule = noise_schedule(config.schedule, config.timesteps).respace(config.steps)
    inputs = {
        name: {"shape": ["batch", *tensor.shape[1:]], "meaning": MEANINGS.get(name, name)}
        for name, tensor in example_inputs(config.unet).items()
    }
    sampling: dict[str, Any] = {
        "sampler": config.sampler,
        "steps": config.steps,
        "timesteps": schedule.timesteps.tolist(),
        "alphas_cumprod": schedule.alphas_cumprod.tolist(),
    }
    outputs = {"prediction": f"prediction of {config.unet.prediction} (batch, 3, height, width)"}
    if config.unet.learned_variance:
        outputs["variance"] = "weights in [-1, 1] between the least and the largest log variance"
    return {
        "format": FORMAT,
        "licence": licence,
        "config": to_json(config),
        **{
            name: json.dumps(value)
            for name, value in (("inputs", inputs), ("outputs", outputs), ("sampling", sampling))
        },
    }
