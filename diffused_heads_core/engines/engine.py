"""Choosing what computes a network.

``pytorch`` is the reference. On a CPU, OpenVINO and ONNX Runtime compute the same ONNX graph two to three times as
fast; ``auto`` takes the first that is installed (extra ``cpu``). The graph is made in memory when it is needed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..config import UNetConfig
from ..errors import DiffusedHeadsError
from ..unet import UNet
from .graph import example_inputs, onnx_bytes

Run = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]  # a graph's outputs from its inputs
CLOSE = 0.03  # mean difference from PyTorch's output for random inputs; bfloat16 is 0.005 off
_log = logging.getLogger(__name__)


class Network(Protocol):
    """What sampling calls: a ``UNet``, or another engine that computes the same."""

    config: UNetConfig

    def __call__(
        self, x_t: Tensor, t: Tensor, spatial: Mapping[str, Tensor], features: Mapping[str, Tensor], /
    ) -> tuple[Tensor, Tensor | None]:
        """Inputs and outputs of ``UNet``."""


class GraphNetwork:
    """A network whose graph another runtime computes on the CPU, in float32 or bfloat16."""

    def __init__(self, config: UNetConfig, run: Run):
        self.config, self._run, self._lock = config, run, threading.Lock()

    def __call__(
        self, x_t: Tensor, t: Tensor, spatial: Mapping[str, Tensor], features: Mapping[str, Tensor], /
    ) -> tuple[Tensor, Tensor | None]:
        """Inputs and outputs of ``UNet``."""
        named = [*(spatial[s.name] for s in self.config.spatial), *(features[g.name] for g in self.config.features)]
        inputs = [np.ascontiguousarray(tensor.numpy()) for tensor in (x_t, t, *named)]
        with self._lock:
            prediction, *variance = self._run(inputs)
        return torch.from_numpy(prediction), torch.from_numpy(variance[0]) if variance else None


def _openvino(graph: bytes) -> tuple[Run, str]:
    """OpenVINO: in bfloat16 if the processor computes in it, which changes frames by 0.05 of 255 on average."""
    import openvino

    core = openvino.Core()
    half = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # pinned threads wait for a processor that another program uses
    }
    request = core.compile_model(core.read_model(graph), "CPU", settings).create_infer_request()

    def run(inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        return list(request.infer(list(inputs), share_inputs=True).values())

    return run, f"OpenVINO {openvino.__version__.split('-')[0]}, {'bfloat16' if half else 'float32'}"


def _onnxruntime(graph: bytes) -> tuple[Run, str]:
    """ONNX Runtime, float32."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leaves the processors to others
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [found.name for found in session.get_inputs()]
    return lambda inputs: session.run(
        None, dict(zip(names, inputs))
    ), f"ONNX Runtime {onnxruntime.__version__}, float32"


RUNTIMES = {"openvino": _openvino, "onnxruntime": _onnxruntime}  # the faster one first
ENGINES = ("auto", "pytorch", *RUNTIMES)


def check_engine(engine: str, device: torch.device) -> None:
    """Raise DiffusedHeadsError for an engine that is unknown, not installed, or does not compute on ``device``."""
    if engine not in ENGINES:
        raise DiffusedHeadsError(f"engine={engine!r}: expected one of {', '.join(ENGINES)}")
    if engine in RUNTIMES and device.type != "cpu":
        raise DiffusedHeadsError(f"engine={engine!r}: it computes on the CPU, found the device {device}")
    if engine in RUNTIMES and not _installed(engine):
        raise DiffusedHeadsError(
            f'engine={engine!r}: expected the packages onnx and {engine} (pip install "diffused-heads[cpu]")'
        )


def _installed(runtime: str) -> bool:
    return all(find_spec(package) is not None for package in ("onnx", runtime))


def fastest_network(unet: UNet, engine: str = "auto") -> Network:
    """What computes a network with ``engine``: the network itself, or its graph for a float32 network on the CPU.

    One line of the log names the runtime. If it fails or computes something else than PyTorch, a warning says so and
    PyTorch computes. Errors of ``check_engine``.
    """
    weights = next(unet.parameters())
    check_engine(engine, weights.device)
    if engine == "auto":
        engine = next(filter(_installed, RUNTIMES), "pytorch")
    if engine == "pytorch" or weights.device.type != "cpu" or weights.dtype != torch.float32:
        return unet
    try:
        run, name = RUNTIMES[engine](onnx_bytes(unet))
        network = GraphNetwork(unet.config, run)
        _check_output(network, unet)
    except Exception as error:  # each runtime has its own classes
        _log.warning("engine %s failed, PyTorch computes instead: %s", engine, " ".join(str(error).split())[:200])
        return unet
    _log.info("engine: %s", name)
    return network


@torch.no_grad()
def _check_output(network: GraphNetwork, unet: UNet) -> None:
    """Raise DiffusedHeadsError if a graph's output is not PyTorch's."""
    inputs = example_inputs(unet.config)
    x_t, t = inputs["x_t"], inputs["t"]
    expected = unet(x_t, t, inputs, inputs)[0]
    apart = float((network(x_t, t, inputs, inputs)[0] - expected).abs().mean() / expected.std().clamp(min=1))
    if not apart <= CLOSE:
        raise DiffusedHeadsError(f"its output is {apart:.3g} from PyTorch's, at most {CLOSE:g} expected")
