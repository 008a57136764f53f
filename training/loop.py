"""The training loop: setup, one linear loop, checkpoints. The same command again resumes where the last state ends.

Data order and all randomness follow from (seed, step), so a resumed run on the CPU equals an undisturbed one bit for bit.
"""
from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader

from ..diffused_heads_core.audio_encoder import AudioEncoder
from ..diffused_heads_core.checkpoints import Checkpoint, save
from ..diffused_heads_core.config import to_json
from ..diffused_heads_core.schedule import noise_schedule
from ..diffused_heads_core.unet import UNet
from .config import TrainConfig
from .dataset import FrameSamples, StepBatches
from .ema import Ema
from .journal import Journal
from .losses import Batch, Denoiser, training_losses
from .state import check_config, load_state, save_state, states

log = logging.getLogger(__name__)


@dataclass
class Run:
    """Everything that a training step needs."""

    config: TrainConfig
    folder: Path
    accelerator: Accelerator
    model: nn.Module
    ema: Ema
    optimizer: torch.optim.Optimizer
    step: int = 0
    summary: dict[str, object] = field(default_factory=dict)

    @property
    def plain(self) -> Denoiser:
        """The model without its parallel wrapper."""
        return self.accelerator.unwrap_model(self.model)

    def save(self) -> None:
        """Write the run's state and the EMA weights as a model that can be used at once."""
        if not self.accelerator.is_main_process:
            return
        save_state(self.folder, self.step, self.plain, self.ema.model, self.optimizer, to_json(self.config))
        save(self.folder / "model.safetensors", self.checkpoint())

    def checkpoint(self) -> Checkpoint:
        """The EMA weights as a model."""
        summary = {**self.summary, "steps": self.step, "samples": self.step * self.config.batch}
        return Checkpoint(self.config.model, dict(self.ema.model.state_dict()), str(self.summary.get("licence", "unknown")), summary)


def build_model(config: TrainConfig, audio_weights: dict[str, torch.Tensor] | None = None) -> Denoiser:
    """A freshly initialised network, its audio encoder from ``audio_weights`` where they are given."""
    set_seed(config.seed)
    encoder = AudioEncoder(config.model.audio)
    if audio_weights:
        encoder.load_state_dict(audio_weights)
    return Denoiser(UNet(config.model.unet), encoder, config.freeze_audio).to(memory_format=torch.channels_last)


def setup(config: TrainConfig, folder: Path, model: Denoiser, resume: str = "auto", cpu: bool = False) -> Run:
    """Prepare a run in ``folder``; with ``resume`` 'auto' the newest state there is restored, with 'never' it must be empty."""
    accelerator = Accelerator(mixed_precision=config.precision, cpu=cpu)
    ema = Ema(model, config.ema)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], config.lr, weight_decay=config.weight_decay)
    found = states(folder)
    step = 0
    if found and resume == "auto":
        check_config(found[-1], to_json(config))
        step = load_state(found[-1], model, ema.model, optimizer)
        log.info("resuming %s at step %d", folder, step)
    ema.model.to(accelerator.device)
    model, optimizer = accelerator.prepare(model, optimizer)
    return Run(config, folder, accelerator, model, ema, optimizer, step)


def train(run: Run, samples: FrameSamples, on_sample: Callable[[Run], None] | None = None, stop_at: float | None = None) -> None:
    """Train until ``config.steps`` (or the clock ``stop_at``), writing states, losses and sample clips on the way."""
    config, accelerator = run.config, run.accelerator
    device, main = accelerator.device, accelerator.is_main_process
    schedule = noise_schedule(config.model.schedule, config.model.timesteps)
    batches = StepBatches(run.step, config.steps, config.batch, accelerator.process_index, accelerator.num_processes)
    loader = DataLoader(samples, batch_sampler=batches, num_workers=config.workers, persistent_workers=config.workers > 0,
                        prefetch_factor=4 if config.workers else None, multiprocessing_context="spawn" if config.workers else None)
    began, first = time.monotonic(), run.step

    def predict_own(*args: torch.Tensor, **kwargs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        with accelerator.autocast():
            return run.ema.model(*args, **kwargs)

    run.folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(run.folder, run.step) if main else None
    run.model.train()
    for sample in loader:
        random = torch.Generator().manual_seed(_seed(config.seed, run.step, accelerator.process_index))
        torch.manual_seed(_seed(config.seed, run.step, accelerator.process_index + 1000))
        for group in run.optimizer.param_groups:
            group["lr"] = config.lr_at(run.step)
        batch = Batch.of({name: value.to(device) for name, value in sample.items()})
        with accelerator.autocast():
            found, index = training_losses(batch, config, schedule, run.model, predict_own, random)
        accelerator.backward(found["total"].mean())
        norm = accelerator.clip_grad_norm_(run.model.parameters(), config.clip_gradient)
        run.optimizer.step()
        run.optimizer.zero_grad()
        run.ema.update(run.plain, run.step)
        run.step += 1
        if journal is not None:
            journal.add(found, index / len(schedule), float(norm))
            if run.step % config.log_every == 0:
                speed = (run.step - first) * config.batch / (time.monotonic() - began)
                journal.write(run.step, config.lr_at(run.step - 1), speed)
        late = stop_at is not None and time.monotonic() >= stop_at
        if run.step % config.save_every == 0 or run.step == config.steps or late:
            run.save()
        if main and on_sample is not None and run.step % config.sample_every == 0:
            on_sample(run)
        if late:
            break


def _seed(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
