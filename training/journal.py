"""Losses and speed of a run: a line a ``log_every`` in losses.csv and TensorBoard, losses also by quartile of the
timestep.
"""

from __future__ import annotations

import csv
import io
import logging
import time
from pathlib import Path

import torch
from torch import Tensor

from ..diffused_heads_core.files import atomic_path
from .parallel import Alone

log = logging.getLogger(__name__)
QUARTILES = 4
HEADER = ("step", "name", "value")


class Journal:
    """Collects what happens between two lines; numbers stay on the device until then, so that nothing waits for them.

    Without a ``folder`` nothing is written. ``losses.csv`` has step, name, value; lines beyond ``step`` are dropped
    when a run goes on from there. A line is about the steps since the one before, or since the run was taken up again.
    """

    def __init__(self, folder: Path | None, step: int, parallel: Alone, board: bool = True):
        self.parallel = parallel
        self.losses: list[Tensor] = []
        self.times: list[Tensor] = []
        self.norms: list[Tensor] = []
        self.names: tuple[str, ...] = ()
        self.began, self.waited, self.last = time.monotonic(), 0.0, step
        self.path: Path | None = None
        self.board = None
        if folder is not None and parallel.main:
            self.path = folder / "losses.csv"
            self._keep(step)
            self.board = _tensorboard(folder, step) if board else None

    def _keep(self, step: int) -> None:
        rows: list[list[str]] = []
        if self.path.is_file():
            with self.path.open(newline="") as file:
                rows = [row for row in list(csv.reader(file))[1:] if len(row) == len(HEADER) and int(row[0]) <= step]
        text = io.StringIO(newline="")
        csv.writer(text).writerows([HEADER, *rows])
        with atomic_path(self.path) as part:
            part.write_text(text.getvalue(), newline="")

    def add(self, losses: dict[str, Tensor], t: Tensor) -> None:
        """Losses (B,) each at timesteps t (B,) in 0..1."""
        self.names = tuple(losses)
        self.losses.append(torch.stack([values.detach().float() for values in losses.values()], 1))
        self.times.append(t.detach().float())

    def add_norm(self, norm: Tensor) -> None:
        """The norm of a step's gradient."""
        self.norms.append(norm.detach().float().reshape(1))

    def wait(self, seconds: float) -> None:
        """Time that the loop waited for data."""
        self.waited += seconds

    def write(self, step: int, lr: float, batch: int) -> dict[str, float]:
        """One line; every process must call this. Returns the means over all processes, rates and memory."""
        losses, t = self.parallel.gather(torch.cat(self.losses)), self.parallel.gather(torch.cat(self.times))
        means = self._means(losses.cpu(), t.cpu()) | {"gradient_norm": float(torch.cat(self.norms).mean()), "lr": lr}
        seconds = max(time.monotonic() - self.began, 1e-9)
        means |= {
            "samples_a_second": (step - self.last) * batch / seconds,
            "waiting": self.waited / seconds,
            "memory_gb": memory(self.parallel.device),
        }
        self.losses, self.times, self.norms = [], [], []
        self.began, self.waited, self.last = time.monotonic(), 0.0, step
        if self.path is not None:
            self._write(step, means)
        return means

    def _means(self, losses: Tensor, t: Tensor) -> dict[str, float]:
        quartile = (t * QUARTILES).long().clamp(max=QUARTILES - 1)
        means = {f"loss/{name}": float(losses[:, i].double().mean()) for i, name in enumerate(self.names)}
        for i, name in enumerate(self.names):
            means |= {
                f"loss_by_t/{name}_q{q}": float(losses[quartile == q, i].mean()) for q in quartile.unique().tolist()
            }
        return means

    def _write(self, step: int, means: dict[str, float]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows((step, name, f"{value:.6g}") for name, value in means.items())
        with self.path.open("a", newline="") as file:
            file.write(text.getvalue())
        if self.board is not None:
            for name, value in means.items():
                self.board.add_scalar(name, value, step)
        log.info(
            "step %d  loss %.5f  lip %.5f  %.1f samples/s  waiting %.0f%%  %.1f GB",
            step,
            means["loss/total"],
            means["loss/lip"],
            means["samples_a_second"],
            100 * means["waiting"],
            means["memory_gb"],
        )

    def figures(self, step: int, found: dict[str, float]) -> None:
        """Validation figures, for TensorBoard."""
        if self.board is not None:
            for name, value in found.items():
                self.board.add_scalar(f"validation/{name}", value, step)

    def close(self) -> None:
        """Finish the files."""
        if self.board is not None:
            self.board.close()


def memory(device: torch.device) -> float:
    """Gigabytes: the most that PyTorch held on a GPU, elsewhere what the process holds now (0 where that cannot be
    told).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        import psutil
    except ImportError:
        return 0.0
    return psutil.Process().memory_info().rss / 1e9


def _tensorboard(folder: Path, step: int) -> object | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("tensorboard is not installed: losses go to losses.csv alone")
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
