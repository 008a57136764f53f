"""Losses of a run: a line a ``log_every`` in losses.csv and TensorBoard, each also by quartile of the timestep."""
from __future__ import annotations

import csv
import logging
from pathlib import Path

import torch
from torch import Tensor

log = logging.getLogger(__name__)
QUARTILES = 4


class Journal:
    """Collects losses between lines. ``losses.csv`` has step, name, value; lines beyond ``step`` are dropped when resuming."""

    def __init__(self, folder: Path, step: int):
        self.path = folder / "losses.csv"
        rows = self._kept(step)
        with self.path.open("w", newline="") as file:
            csv.writer(file).writerows([("step", "name", "value"), *rows])
        self.board = _tensorboard(folder)
        self.sums: dict[str, tuple[float, int]] = {}

    def _kept(self, step: int) -> list[list[str]]:
        if not self.path.is_file():
            return []
        with self.path.open(newline="") as file:
            return [row for row in list(csv.reader(file))[1:] if len(row) == 3 and int(row[0]) <= step]

    def add(self, losses: dict[str, Tensor], t: Tensor, gradient_norm: float) -> None:
        """Losses (B,) each at timesteps t (B,) in 0..1, and the norm of the gradient."""
        quartile = (t * QUARTILES).long().clamp(max=QUARTILES - 1)
        for name, values in losses.items():
            self._sum(f"loss/{name}", values)
            for q in quartile.unique().tolist():
                self._sum(f"loss_by_t/{name}_q{q}", values[quartile == q])
        self._sum("gradient_norm", torch.tensor([gradient_norm]))

    def _sum(self, name: str, values: Tensor) -> None:
        total, count = self.sums.get(name, (0.0, 0))
        self.sums[name] = (total + float(values.detach().float().sum()), count + len(values))

    def write(self, step: int, lr: float, speed: float) -> None:
        """One line: means since the last, learning rate and samples a second."""
        means = {name: total / count for name, (total, count) in self.sums.items()} | {"lr": lr, "samples_a_second": speed}
        self.sums = {}
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerows((step, name, f"{value:.6g}") for name, value in means.items())
        for name, value in means.items():
            if self.board is not None:
                self.board.add_scalar(name, value, step)
        log.info("step %d  loss %.5f  lip %.5f  %.1f samples/s", step, means["loss/total"], means.get("loss/lip", 0), speed)


def _tensorboard(folder: Path) -> object | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning("tensorboard is not installed: losses go to losses.csv alone")
        return None
    return SummaryWriter(str(folder / "tensorboard"))
