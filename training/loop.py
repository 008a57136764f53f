"""The loop of a run: batches, journal, states, when to validate and when to stop."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset as Samples

from ..diffused_heads_core.checkpoints import Checkpoint, save, to_json
from ..diffused_heads_core.data.shards import Dataset
from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.processes import signals_held_back
from ..diffused_heads_core.talking_head import TalkingHead
from . import start
from .config import TrainConfig
from .dataset import StepBatches
from .ema import Ema
from .job import Job, Notify, OnStep, Progress
from .journal import Journal
from .parallel import SingleProcess
from .samples import open_features
from .state import clean, save_state, states
from .validation import Scores, Validation, figures

STOP_CHECK_EVERY = 5  # steps after which many processes ask each other whether to stop
LEAST_SKIPPED = 5  # skipped steps in a row below which a run never counts as diverged
log = logging.getLogger(__name__)


class Run(ABC):
    """A new or resumed run that ``fit`` finishes; a trainer opens it and says what a step does and what is saved.

    step: optimiser steps that are done; saved_step: those that the newest state has. samples: position in the run ->
    sample. model: the network in training. origin: the first part of the model's summary.
    """

    job: Job
    config: TrainConfig
    parallel: SingleProcess
    journal: Journal
    scores: Scores
    samples: Samples[dict[str, Tensor]]
    model: torch.nn.Module
    ema: Ema
    origin: dict[str, object]
    validation_data: Dataset
    notify: Notify
    step: int
    saved_step: int
    _validation: Validation | None = None

    @abstractmethod
    def prepared(self, sample: dict[str, Tensor]) -> Any:
        """A collated batch on the device, as a step takes it."""

    @abstractmethod
    def _train_step(self, parts: list[Any]) -> dict[str, Tensor]:
        """One optimiser step; returns its mean losses."""

    @abstractmethod
    def _state_tensors(self) -> dict[str, Tensor]:
        """What ``save_state`` writes, in the main process."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """The averaged weights by their names in a checkpoint."""

    @abstractmethod
    def talking_head(self) -> TalkingHead:
        """The averaged weights, ready to generate."""

    def fit(self, on_step: OnStep | None = None, until: float | None = None) -> str:
        """Train to the end; returns "done", "stopped" or "early" (the validation score no longer rose).

        on_step is called in the main process after every step. If it returns True, or ``until`` (by time.monotonic) is
        past, the run is saved and stops. It may raise, and so may ``notify`` within a validation round: in a single
        process the run is saved before the exception leaves. An interrupted round is repeated when the run resumes.
        Raises DiffusedHeadsError if training diverges; the newest states are then from before.
        """
        self.job.run.mkdir(parents=True, exist_ok=True)
        if self.parallel.is_main:
            clean(self.job.run)
        self.journal = Journal(self.job.run, self.step, self.parallel, self.job.board)
        try:
            with torch.inference_mode(False), torch.enable_grad(), self.parallel.isolated_rng():
                return self._loop(on_step, until)
        finally:
            self.journal.close()

    def _loop(self, on_step: OnStep | None, until: float | None) -> str:
        config, stop = self.config, False
        if self.step and self._validation_due() and not self.parallel.broadcast(self.scores.known(self.step)):
            self._validate()
        ended = "done" if self.step >= config.steps else "early" if self._is_stale() else ""
        if ended and not (self.job.run / "model.safetensors").is_file():
            self.save()
        for losses in [] if ended else self.train_steps():
            if self.step % config.log_every == 0:
                self.journal.write(self.step, config.lr_at(self.step - 1), config.batch)
                self._raise_if_diverged()
            with self._saved_before_errors():
                found, sheet = self._validate() if self._validation_due() else (None, None)
                if on_step is not None and self.parallel.is_main:
                    stop |= bool(on_step(Progress(self.step, config.steps, losses, found, sheet)))
                stop |= until is not None and time.monotonic() >= until
            ended = self._ending(stop)
            if ended:
                self._raise_if_diverged()
            if ended or (self.step % config.save_every == 0 and self._changed_since_save()):
                self.save()
            if ended:
                break
        return ended

    def _ending(self, stop: bool) -> str:
        """Why the run ends after this step, as ``fit`` returns it; "" if it continues."""
        if self.step == self.config.steps:
            return "done"
        if self._validation_due() and self._is_stale():
            return "early"
        return "stopped" if self._any_process(stop) else ""

    def _validation_due(self) -> bool:
        """Whether a validation round follows the last step."""
        return self.step == self.config.steps or self.step % self.config.sample_every == 0

    def _is_stale(self) -> bool:
        """Whether the main process's scores say that the run no longer gets better."""
        patience = self.config.validation.patience
        return bool(patience) and bool(self.parallel.broadcast(self.scores.stale(patience)))

    def _any_process(self, stop: bool) -> bool:
        """Whether any process wants to stop. Asking makes processes wait, so they do it every few steps."""
        if self.parallel.processes == 1:
            return stop
        return self.step % STOP_CHECK_EVERY == 0 and self.parallel.sum(stop) > 0

    @contextmanager
    def _saved_before_errors(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if self.parallel.processes == 1:
                self.save()
            raise

    def _raise_if_diverged(self) -> None:
        """Raise DiffusedHeadsError if all steps of the last ``log_every`` were skipped."""
        config, skipped = self.config, self.journal.skipped_in_a_row()
        if skipped >= max(LEAST_SKIPPED, min(config.log_every, config.steps)):
            kept = states(self.job.run)
            raise DiffusedHeadsError(
                f"{self.job.run}: training diverged at step {self.step - skipped + 1}: no gradient has been finite "
                f"since. Try a lower learning rate than {config.lr:g}, or float32 (precision no); "
                f"{f'the newest state is {kept[-1].name}' if kept else 'no state was saved'}"
            )

    def _changed_since_save(self) -> bool:
        """Whether any step since the last save was not skipped. Otherwise saving would only replace older states."""
        return self.journal.skipped_in_a_row() < self.step - self.saved_step

    def train_steps(self) -> Iterator[dict[str, Tensor]]:
        """Train to the end and yield each step's mean losses; nothing is saved, unlike in ``fit``."""
        self.model.train()
        for parts in self._batches():
            losses = self._train_step(parts)
            self.step += 1
            yield losses

    def _batches(self) -> Iterator[list[Any]]:
        """The parts of each step's share of the batch, on the device."""
        config, parallel = self.config, self.parallel
        batches = StepBatches(
            self.step, config.steps, config.batch, parallel.rank, parallel.processes, config.accumulate
        )
        workers = config.workers
        with signals_held_back():  # from workers for ever: a closing terminal must not end them before the run is saved
            loader = iter(
                DataLoader(
                    self.samples,
                    batch_sampler=batches,
                    num_workers=workers,
                    prefetch_factor=4 if workers else None,
                    multiprocessing_context="spawn" if workers else None,
                    pin_memory=parallel.device.type == "cuda",
                )
            )
        while self.step < config.steps:
            began = time.monotonic()
            parts = [self.prepared(part) for part in islice(loader, config.accumulate)]
            self.journal.wait(time.monotonic() - began)
            yield parts

    def save(self) -> None:
        """Write the EMA weights as a model ready to use, then the state. Every process must call this."""
        with self.ema.gathered():
            tensors = self._state_tensors()
            if self.parallel.is_main:
                self._write_model("model.safetensors")
                save_state(self.job.run, self.step, tensors, to_json(self.config))
        self.saved_step = self.step

    def _write_model(self, name: str) -> None:
        if self.config.model.audio.kind == "torchscript" and self.job.start is not None:
            start.copy_scripted_encoder(self.job.start, self.job.run / name)
        save(self.job.run / name, self.checkpoint())

    def checkpoint(self) -> Checkpoint:
        """The EMA weights as a model, with its provenance; if they are sharded, only inside ``ema.gathered()``."""
        rounds = {"validation": self.scores.rows[-1], "best": self.scores.best} if self.scores.rows else {}
        scores = {name: {n: round(value, 4) for n, value in row.items()} for name, row in rounds.items()}
        summary = {
            **self.origin,
            "steps": self.step,
            "samples": self.step * self.config.batch,
            **({"figures": scores} if scores else {}),
        }
        return Checkpoint(self.config.model, self.weights(), str(self.origin["licence"]), summary)

    @property
    def best_step(self) -> int:
        """The step of the best validation score so far; 0 without any."""
        return int(self.scores.best["step"]) if self.scores.rows else 0

    def _validate(self) -> tuple[dict[str, float], np.ndarray] | tuple[None, None]:
        """Generate and score the fixed clips in the main process, which keeps the best model so far.

        Every process must call this.
        """
        with self.ema.gathered():
            return self._score() if self.parallel.is_main else (None, None)

    def _score(self) -> tuple[dict[str, float], np.ndarray]:
        if self._validation is None:
            features = open_features(self.validation_data.path, self.config.model.audio)
            self._validation = Validation(self.validation_data, self.config.validation, features)
        pairs = self._validation.generate(
            self.talking_head(), self.config.seed, lambda done, frames: self.notify("validating", done, frames)
        )
        found = figures(pairs)
        sheet = self._validation.write(pairs, self.job.run / "samples", f"step-{self.step:09d}")
        best = self.scores.add(self.step, found)
        self.journal.figures(self.step, found)
        text = "  ".join(f"{name} {value:.3f}" for name, value in found.items())
        log.info("validation  %s%s", text, "  (best)" if best else "")
        if best:
            self._write_model("best.safetensors")
        return found, sheet
