"""Losses and speed of a run, written to losses.csv and TensorBoard every ``log_every`` steps.

Losses are also written by quartile of the timestep.
"""

from __future__ import annotations

import csv
import io
import logging
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..diffused_heads_core.files import atomic_path
from .parallel import SingleProcess

log = logging.getLogger(__name__)
QUARTILES = 4
HEADER = ("step", "name", "value")


class Journal:
    """Collects losses, gradient norms and waiting times of steps; ``write`` gives their means since the line before.

    Numbers stay on the device until then, so that no step waits for them. A step whose gradient norm is not finite
    counts as skipped. Without a ``folder`` nothing is written. Lines of losses.csv beyond ``step`` are dropped, because
    a resumed run writes them again.
    """

    def __init__(self, folder: Path | None, step: int, parallel: SingleProcess, board: bool = True):
        self.parallel = parallel
        self.losses: list[Tensor] = []
        self.times: list[Tensor] = []
        self.norms: list[Tensor] = []
        self.names: tuple[str, ...] = ()
        self.began, self.waited, self.last = time.monotonic(), 0.0, step
        self._skipped_in_a_row = torch.zeros((), dtype=torch.int64, device=parallel.device)
        self.path: Path | None = None
        self.board = None
        if folder is not None and parallel.is_main:
            self.path = folder / "losses.csv"
            _drop_lines_after(self.path, step)
            self.board = _tensorboard(folder, step) if board else None

    def add(self, losses: dict[str, Tensor], t: Tensor) -> None:
        """Losses (B,) each at timesteps t (B,) in 0..1."""
        self.names = tuple(losses)
        self.losses.append(torch.stack([values.detach().float() for values in losses.values()], 1))
        self.times.append(t.detach().float())

    def add_norm(self, norm: Tensor) -> None:
        """The norm () of a step's gradient; one that is not finite says that the step was skipped."""
        self.norms.append(norm.detach().float().reshape(1))
        self._skipped_in_a_row = (self._skipped_in_a_row + 1).masked_fill_(norm.isfinite(), 0)

    def skipped_in_a_row(self) -> int:
        """How many of the newest steps were skipped without one between them that was not; waits for the device."""
        return int(self._skipped_in_a_row)

    def wait(self, seconds: float) -> None:
        """Add seconds that the loop waited for data."""
        self.waited += seconds

    def write(self, step: int, lr: float, batch: int) -> dict[str, float]:
        """Write one line; every process must call this. Returns the means over all processes, rates and memory.

        Losses and norms that are not finite are left out of the means; a mean of nothing is nan.
        """
        losses, t = self.parallel.gather(torch.cat(self.losses)), self.parallel.gather(torch.cat(self.times))
        norms = torch.cat(self.norms).cpu()
        means = self._means(losses.cpu(), t.cpu())
        means |= {"gradient_norm": float(norms[norms.isfinite()].mean()), "lr": lr}
        skipped = int(norms.isfinite().logical_not().sum())
        if skipped:
            means["skipped_steps"] = skipped
        seconds = max(time.monotonic() - self.began, 1e-9)
        means |= {
            "samples_a_second": (step - self.last) * batch / seconds,
            "waiting": self.waited / seconds,
            "memory_gb": memory(self.parallel.device),
        }
        self.losses, self.times, self.norms = [], [], []
        self.began, self.waited, self.last = time.monotonic(), 0.0, step
        if self.path is not None:
            self._write(self.path, step, means)
            if skipped:
                log.warning("step %d: skipped %d of %d steps, gradient not finite", step, skipped, len(norms))
        return means

    def _means(self, losses: Tensor, t: Tensor) -> dict[str, float]:
        finite = losses.isfinite().all(1)
        losses, quartile = losses[finite], (t[finite] * QUARTILES).long().clamp(max=QUARTILES - 1)
        means = {f"loss/{name}": float(losses[:, i].double().mean()) for i, name in enumerate(self.names)}
        for i, name in enumerate(self.names):
            means |= {
                f"loss_by_t/{name}_q{q}": float(losses[quartile == q, i].mean()) for q in quartile.unique().tolist()
            }
        return means

    def _write(self, path: Path, step: int, means: dict[str, float]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows((step, name, f"{value:.6g}") for name, value in means.items())
        with path.open("a", newline="") as file:
            file.write(text.getvalue())
        if self.board is not None:
            for name, value in means.items():
                self.board.add_scalar(name, value, step)
        log.info(
            "step %d  loss %.5f%s  %.1f samples/s  waiting %.0f%%  %.1f GB",
            step,
            means["loss/total"],
            f"  lip {means['loss/lip']:.5f}" if "loss/lip" in means else "",
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
        """Close TensorBoard's file."""
        if self.board is not None:
            self.board.close()


def memory(device: torch.device) -> float:
    """Gigabytes: on a GPU the most that PyTorch has allocated, elsewhere the size of the process now.

    0 without a GPU and without psutil.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        import psutil
    except ImportError:
        return 0.0
    return psutil.Process().memory_info().rss / 1e9


def _drop_lines_after(path: Path, step: int) -> None:
    """Rewrite losses.csv, or begin it, with the lines up to ``step`` and without one that was cut off."""
    rows: list[list[str]] = []
    if path.is_file():
        with path.open(newline="") as file:
            rows = [row for row in list(csv.reader(file))[1:] if len(row) == len(HEADER) and int(row[0]) <= step]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([HEADER, *rows])
    with atomic_path(path) as part:
        part.write_text(text.getvalue(), newline="")


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("tensorboard is not installed: losses are written only to losses.csv")
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
