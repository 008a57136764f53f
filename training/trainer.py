"""A training run as an object: open it, ``fit``, watch and stop it, sample from it.

``Trainer(job).fit(on_step)`` is what the command line and the trainer node call. The same job again resumes from the
newest state. Data order and all randomness follow from (seed, position), so an interrupted run equals an undisturbed
one: bit for bit on the CPU in one process, up to the order of sums on any number of processes. Only the run's folder
and the caches in the datasets' folders are written. Environment, global random state and signal handlers stay as they
are.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..diffused_heads_core.checkpoints import Checkpoint, save, to_json
from ..diffused_heads_core.data.shards import Dataset
from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.processes import signals_held_back
from ..diffused_heads_core.schedule import noise_schedule
from ..diffused_heads_core.talking_head import TalkingHead
from . import provenance, start
from .batches import Prepared, prepare
from .dataset import StepBatches
from .ema import Ema
from .frame_augmentation import Batch
from .gradients import clip_gradients
from .job import Job, Notify, OnStep, Progress
from .journal import Journal
from .losses import Predict, training_losses
from .parallel import join
from .samples import check_dataset, open_features, open_samples, prepare_features
from .state import check_config, clean, collect, load_state, restore_optimizer, save_state, states
from .validation import Scores, Validation, figures

STOP_CHECK_EVERY = 5  # steps after which many processes ask each other whether to stop
LEAST_SKIPPED = 5  # skipped steps in a row below which a run never counts as diverged
log = logging.getLogger(__name__)


class Trainer:
    """A new or resumed run. Raises DiffusedHeadsError for data, settings or states that do not fit together.

    notify(what, done, total) is called while the data are prepared ("decoding", "speech features") and at every frame
    of a validation round ("validating"); it may raise to interrupt.
    """

    def __init__(self, job: Job, notify: Notify | None = None):
        self.job, self.config, self.notify = job, job.config, notify or (lambda what, done, total: None)
        self.schedule = noise_schedule(self.config.model.schedule, self.config.model.timesteps)
        found = states(job.run)
        if job.resume == "never" and found:
            raise DiffusedHeadsError(f"{job.run}: expected an empty folder with resume 'never', found {found[-1].name}")
        self.dataset = Dataset(job.data)
        check_dataset(self.dataset, self.config)
        start.check_audio_weights(self.config, bool(job.start or job.audio_encoder or found))
        self.parallel = join(job.device, self.config.precision, job.shard)
        self.validation_data = Dataset(job.validation) if job.validation else self.dataset
        with self.parallel.main_first():
            folders = {self.dataset.path, self.validation_data.path}
            prepare_features(folders, self.config.model.audio, job.embed_speech, self.notify)
            self.samples = open_samples(self.dataset, self.config, job.cache_gb, self.notify)
        with torch.inference_mode(False):
            self._restore(found)
        self.journal, self.scores = Journal(None, self.step, self.parallel), Scores(job.run, self.step)
        self._validation: Validation | None = None

    def _restore(self, found: list[Path]) -> None:
        """Network, average and optimiser: from the newest state, or as the job begins."""
        job, config = self.job, self.config
        self.denoiser = start.build(config.model, config.seed)
        self.origin = self._load_start()
        start.freeze(self.denoiser, config.freeze)
        self.ema = Ema(self.denoiser, config.ema)
        self.step, optimizer_state = 0, None
        if found:
            check_config(found[-1], config.model)
            self.step, optimizer_state = load_state(found[-1], self.denoiser, self.ema.model)
            log.info("resuming %s at step %d", job.run, self.step)
        self.saved_step = self.step
        self.model = self.parallel.wrap(self.denoiser)
        if self.parallel.sharded:
            self.ema.shard(self.denoiser)
        else:
            self.ema.model.to(self.parallel.device)
        self.trained = [p for p in self.denoiser.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, config.lr, weight_decay=config.weight_decay)
        if optimizer_state is not None:
            restore_optimizer(self.optimizer, optimizer_state)

    def _load_start(self) -> dict[str, object]:
        """Load the weights that the job begins with; returns where the model comes from, for its summary."""
        job, origin = self.job, provenance.origin(self.job.preset, self.dataset, self.config)
        licence = job.licence
        if job.start is not None:
            parent = start.load_model_weights(self.denoiser, job.start)
            origin["from"], licence = provenance.parent(str(job.start), parent), licence or parent.licence
        if job.audio_encoder is not None:
            start.load_audio_encoder_weights(self.denoiser, job.audio_encoder)
        return {**origin, "licence": licence or "unknown"}

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

    def _batches(self) -> Iterator[list[Prepared]]:
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

    def prepared(self, sample: dict[str, Tensor]) -> Prepared:
        """A collated batch on the device, with all its random choices."""
        return prepare(sample, self.config, len(self.schedule), self.parallel.device)

    def _train_step(self, parts: list[Prepared]) -> dict[str, Tensor]:
        """One optimiser step; returns its mean losses. A gradient that is not finite counts as zero."""
        self.parallel.reseed(_seed(self.config.seed, self.step, self.parallel.rank))
        losses = self.backward(parts)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr_at(self.step)
        self.journal.add_norm(clip_gradients(self.trained, self.config.clip_gradient))
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.denoiser, self.step)
        return losses

    def backward(self, parts: list[Prepared]) -> dict[str, Tensor]:
        """Add the gradients of the parts of a batch; returns its mean losses. Every process must call this."""
        means: dict[str, Tensor] = {}
        for number, part in enumerate(parts):
            with self.parallel.gradient_sync(self.model, last=number == len(parts) - 1):
                with self._callable_ema():
                    losses = self.losses(part)
                (losses["total"].mean() / len(parts)).backward()
            self.journal.add(losses, part.draws.index / len(self.schedule))
            means = {name: means.get(name, 0) + value.detach().mean() / len(parts) for name, value in losses.items()}
        return means

    def _callable_ema(self) -> AbstractContextManager[None]:
        """Around ``losses``, in which some processes and not others may let the average predict motion frames."""
        return self.ema.gathered() if self.config.stability.predicted else nullcontext()

    def losses(self, part: Prepared) -> dict[str, Tensor]:
        """The losses of a part of a batch, (B,) each."""

        def in_precision(network: torch.nn.Module) -> Predict:
            def predict(*inputs: object) -> tuple[Tensor, Tensor | None]:
                with self.parallel.autocast():  # around the network alone: poses and warps stay float32, as in sampling
                    return network(*inputs)

            return predict

        predict, predict_ema = in_precision(self.model), in_precision(self.ema.model)
        return training_losses(Batch.of(part.sample), self.config, self.schedule, predict, predict_ema, part.draws)

    def save(self) -> None:
        """Write the EMA weights as a model ready to use, then the state. Every process must call this."""
        with self.ema.gathered():
            tensors = collect(self.denoiser, self.ema.model, self.optimizer, keep=self.parallel.is_main)
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
        return Checkpoint(self.config.model, dict(self.ema.model.state_dict()), str(self.origin["licence"]), summary)

    @property
    def best_step(self) -> int:
        """The step of the best validation score so far; 0 without any."""
        return int(self.scores.best["step"]) if self.scores.rows else 0

    def talking_head(self) -> TalkingHead:
        """The EMA weights, ready to generate; they change as training goes on.

        If they are sharded, the talking head works only inside ``ema.gathered()``.
        """
        model = self.ema.model
        encoder = None if self.config.model.audio.kind == "torchscript" else model.audio_encoder
        return TalkingHead(self.config.model, model.unet, encoder, str(self.origin["licence"]), dict(self.origin))

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


def _seed(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
