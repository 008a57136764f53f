"""One process or many: devices, precision, collectives and sharding for the training loop.

``torchrun`` starts the processes and gives each its place in environment variables. Without it there is one process,
and no process group is made. Many processes each hold the whole network (DDP) or, with ``shard``, a part of it
(FSDP2), gathered layer by layer as it is computed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..diffused_heads_core.checkpoints import pick_device
from ..diffused_heads_core.errors import DiffusedHeadsError

TIMEOUT = timedelta(hours=4)  # the other processes wait while one decodes a large dataset
log = logging.getLogger(__name__)


class SingleProcess:
    """One process on one device. ``rank`` of ``processes``; the process of rank 0 writes the files."""

    rank, processes, sharded = 0, 1, False

    def __init__(self, device: torch.device, precision: str):
        """precision: "bf16" for autocast if the device computes in bfloat16, "no" for float32."""
        self.device, self.autocast_enabled = device, precision == "bf16" and supports_bfloat16(device)
        if precision == "bf16" and not self.autocast_enabled:
            log.info("%s does not compute in bfloat16: this run computes in float32", device)

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def describe(self) -> str:
        """Device, number of processes and sharding, for people."""
        processes = f"{self.processes} process{'es' if self.processes > 1 else ''}"
        return f"{self.device}, {processes}{', sharded' if self.sharded else ''}"

    def autocast(self) -> AbstractContextManager[object]:
        """Convolutions and matrix products in bfloat16, if the run computes in it."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast_enabled)

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model to call in training, on the device of this process."""
        return model.to(self.device)

    def gradient_sync(self, model: nn.Module, last: bool) -> AbstractContextManager[object]:
        """Around forward and backward of one part of a batch: processes exchange gradients only in the last."""
        return nullcontext()

    def isolated_rng(self) -> AbstractContextManager[object]:
        """The block may use PyTorch's global generators; afterwards they are as before."""
        return torch.random.fork_rng([self.device] if self.device.type == "cuda" else [])

    def reseed(self, seed: int) -> None:
        """Seed the global generators of the CPU and of this device, which dropout uses."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.default_generators[self.device.index or 0].manual_seed(seed)

    def gather(self, values: Tensor) -> Tensor:
        """Values (n, …) of all processes, concatenated in the order of ranks."""
        return values

    def sum(self, value: float) -> float:
        """The sum of a number over all processes."""
        return value

    def broadcast(self, value: float) -> float:
        """The main process's number."""
        return value

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Run the block in the main process, then in the others, so that files are made once."""
        yield

    def close(self) -> None:
        """Destroy the process group, if there is one."""


class DistributedProcess(SingleProcess):
    """One of many processes, connected by torch.distributed."""

    def __init__(self, device: torch.device, precision: str, shard: bool):
        super().__init__(device, precision)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
        self.rank, self.processes, self.sharded = dist.get_rank(), dist.get_world_size(), shard

    def wrap(self, model: nn.Module) -> nn.Module:
        if self.sharded:
            return _fully_shard(model.to(self.device, memory_format=torch.contiguous_format), self.device)
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model.to(self.device), device_ids=devices)

    def gradient_sync(self, model: nn.Module, last: bool) -> AbstractContextManager[object]:
        if self.sharded:
            model.set_requires_gradient_sync(last)
            return nullcontext()
        return nullcontext() if last else model.no_sync()

    def gather(self, values: Tensor) -> Tensor:
        found = [torch.empty_like(values) for _ in range(self.processes)]
        dist.all_gather(found, values.contiguous())
        return torch.cat(found)

    def sum(self, value: float) -> float:
        found = torch.tensor(float(value), dtype=torch.float64, device=self.device)
        dist.all_reduce(found)
        return float(found)

    def broadcast(self, value: float) -> float:
        return self.sum(value if self.is_main else 0.0)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        if not self.is_main:
            self._barrier()
        try:
            yield
        finally:
            if self.is_main:
                self._barrier()

    def _barrier(self) -> None:
        dist.barrier(device_ids=[self.device.index] if self.device.type == "cuda" else None)

    def close(self) -> None:
        if dist.is_initialized():
            dist.destroy_process_group()


def supports_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16; processors and GPUs that do not emulate it, much slower than float32."""
    if device.type == "cpu":
        supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
        return bool(supported and supported())
    return device.type != "cuda" or torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


def _fully_shard(model: nn.Module, device: torch.device) -> nn.Module:
    """Shard every stage of the network as one unit, the rest as another (FSDP2); the model is changed in place."""
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise DiffusedHeadsError(f"sharding needs PyTorch 2.6 or later, found {torch.__version__}") from error
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for stage in [*model.unet.input_blocks, model.unet.middle_block, *model.unet.output_blocks]:
        fully_shard(stage, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def join(device: str, precision: str, shard: bool = False) -> SingleProcess:
    """This process's place, from the environment that ``torchrun`` sets. ``device``: auto, cpu, cuda, mps.

    Raises DiffusedHeadsError if the device is absent, and for ``shard`` in a single process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        if shard:
            raise DiffusedHeadsError("sharding: expected many processes (torchrun), found one")
        return SingleProcess(pick_device(device), precision)
    cuda = pick_device(device).type == "cuda"
    own = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if cuda else "cpu")
    return DistributedProcess(own, precision, shard)


def full_tensor(tensor: Tensor) -> Tensor:
    """A sharded tensor gathered from all processes, which must all call this; any other tensor unchanged."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def local_shard(tensor: Tensor) -> Tensor:
    """This process's part of a sharded tensor, in the same memory; any other tensor unchanged."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def shard_like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor sharded, or laid out in memory, like a parameter; a tensor of another shape stays unchanged.

    If the parameter is sharded, every process must call this.
    """
    if tensor.shape != parameter.shape:
        return tensor
    if not hasattr(parameter, "full_tensor"):
        return torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(parameter.device).contiguous(), parameter.device_mesh, parameter.placements)
