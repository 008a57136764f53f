"""One process or many: what the training loop asks of its surroundings.

A launcher (``torchrun`` or ``accelerate launch``) starts the processes and tells each its place in the environment;
without one there is one process, and nothing outside the run is touched. Many processes each hold the whole network
(DDP), or, with ``shard``, a part of it (FSDP2), gathered layer by layer where it is needed.
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

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.talking_head import pick_device

PATIENCE = timedelta(hours=4)  # for the one process that decodes a large dataset
log = logging.getLogger(__name__)


class Alone:
    """One process on one device. ``rank`` of ``processes``; the one of rank 0 writes files."""

    rank, processes, sharded = 0, 1, False

    def __init__(self, device: torch.device, precision: str):
        self.device, self.half = device, precision == "bf16" and computes_bfloat16(device)
        if precision == "bf16" and not self.half:
            log.info("%s does not compute in bfloat16: this run computes in float32", device)

    @property
    def main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def describe(self) -> str:
        """For people: where the run runs."""
        return f"{self.device}, {self.processes} process{'es' if self.processes > 1 else ''}{', sharded' if self.sharded else ''}"

    def autocast(self) -> AbstractContextManager[object]:
        """Convolutions and matrix products in bfloat16 where the run wants it."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model to call in training."""
        return model.to(self.device)

    def accumulating(self, model: nn.Module, last: bool) -> AbstractContextManager[object]:
        """Around the forward and backward pass of one part of a batch: gradients are exchanged in the last one alone."""
        return nullcontext()

    def own_randomness(self) -> AbstractContextManager[object]:
        """The block may use PyTorch's global generators; afterwards they are as before."""
        return torch.random.fork_rng([self.device] if self.device.type == "cuda" else [])

    def reseed(self, seed: int) -> None:
        """Seed the generators that dropout uses, of this device alone."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.default_generators[self.device.index or 0].manual_seed(seed)

    def gather(self, values: Tensor) -> Tensor:
        """Values (n, …) of all processes, one after the other."""
        return values

    def total(self, value: float) -> float:
        """The sum of a number over all processes."""
        return value

    def same(self, value: float) -> float:
        """The main process's number."""
        return value

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The block runs in the main process, then in the others: what it leaves on the disk is made once."""
        yield

    def leave(self) -> None:
        """Give back what was taken for the run."""


class Many(Alone):
    """One of many processes, by torch.distributed."""

    def __init__(self, device: torch.device, precision: str, shard: bool):
        super().__init__(device, precision)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
        self.rank, self.processes, self.sharded = dist.get_rank(), dist.get_world_size(), shard

    def wrap(self, model: nn.Module) -> nn.Module:
        if self.sharded:
            return _sharded(model.to(memory_format=torch.contiguous_format), self.device)
        return nn.parallel.DistributedDataParallel(
            model.to(self.device), device_ids=[self.device] if self.device.type == "cuda" else None
        )

    def accumulating(self, model: nn.Module, last: bool) -> AbstractContextManager[object]:
        if self.sharded:
            model.set_requires_gradient_sync(last)
            return nullcontext()
        return nullcontext() if last else model.no_sync()

    def gather(self, values: Tensor) -> Tensor:
        found = [torch.empty_like(values) for _ in range(self.processes)]
        dist.all_gather(found, values.contiguous())
        return torch.cat(found)

    def total(self, value: float) -> float:
        found = torch.tensor(float(value), dtype=torch.float64, device=self.device)
        dist.all_reduce(found)
        return float(found)

    def same(self, value: float) -> float:
        return self.total(value if self.main else 0.0)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        if not self.main:
            self._wait()
        try:
            yield
        finally:
            if self.main:
                self._wait()

    def _wait(self) -> None:
        dist.barrier(device_ids=[self.device.index] if self.device.type == "cuda" else None)

    def leave(self) -> None:
        if dist.is_initialized():
            dist.destroy_process_group()


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16; processors and GPUs without it imitate it, much slower than float32."""
    if device.type == "cpu":
        supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
        return bool(supported and supported())
    return device.type != "cuda" or torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


def _sharded(model: nn.Module, device: torch.device) -> nn.Module:
    """Every stage of the network as one unit that is gathered when it is computed (torch.distributed.fsdp.fully_shard)."""
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise DiffusedHeadsError(f"sharding needs PyTorch 2.6 or later, found {torch.__version__}") from error
    model.to(device)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for stage in [*model.unet.input_blocks, model.unet.middle_block, *model.unet.output_blocks]:
        fully_shard(stage, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def join(device: str, precision: str, shard: bool = False) -> Alone:
    """This process's place, from the launcher's environment. ``device``: auto, cpu, cuda, mps.

    Raises DiffusedHeadsError for a device that is not there, and for ``shard`` in a single process.
    """
    processes, local = int(os.environ.get("WORLD_SIZE", "1")), os.environ.get("LOCAL_RANK", "0")
    shard = shard or os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"
    if processes == 1:
        if shard:
            raise DiffusedHeadsError("sharding: expected many processes (torchrun or accelerate launch), found one")
        return Alone(pick_device(device), precision)
    kind = pick_device("cpu" if os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true" else device).type
    return Many(torch.device(f"cuda:{local}") if kind == "cuda" else torch.device("cpu"), precision, shard)


def whole(tensor: Tensor) -> Tensor:
    """A parameter as one tensor, gathered from all processes where it is sharded (every process must call it)."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor cut up, or laid out in memory, as the parameter is; one of another shape as it is."""
    if tensor.shape != parameter.shape:
        return tensor
    if not hasattr(parameter, "full_tensor"):
        return torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(parameter.device), parameter.device_mesh, parameter.placements)
