"""A training run as an object: open it, ``fit``, watch and stop it, sample from it.

``Trainer(job).fit(on_step)`` is what the command line and the trainer node call. The same job again goes on from the
last state. Data order and all randomness follow from (seed, position), so a run that was interrupted equals an
undisturbed one: bit for bit on the CPU in one process, up to the order of sums on any number of processes. Nothing
outside the run's folder and the caches beside the data is changed: no environment, no global random state, no signal
handlers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..diffused_heads_core.checkpoints import Checkpoint, save
from ..diffused_heads_core.config import to_json
from ..diffused_heads_core.data.shards import Dataset
from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.schedule import noise_schedule
from ..diffused_heads_core.talking_head import TalkingHead
from . import provenance, start
from .cache import cache_size, fits, open_store
from .config import TrainConfig
from .dataset import FrameSamples, StepBatches, Store, check_tracks
from .draws import BatchDraws, draw_batch
from .ema import Ema
from .features import FeatureRows, Hear, is_stored, store_features
from .journal import Journal
from .frame_augmentation import Batch
from .losses import Predict, training_losses
from .parallel import join, whole
from .state import check_config, clean, collect, load_state, restore_optimizer, save_state, states
from .streaming import ShardStore
from .validation import Scores, Validation, figures

AGREE_EVERY = 5  # steps after which many processes ask each other whether to stop
Notify = Callable[[str, int, int], None]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What to train, on what, and where it goes.

    data, run: a dataset and the run's folder. start: a bundled model's name or a checkpoint to begin with.
    audio_encoder: a checkpoint to take the audio encoder from. validation: a dataset for sample clips (default:
    ``data``).
    licence: of the trained model (default: that of ``start``). hear: the frozen speech model, where features are not
    stored yet. cache_gb: the most that decoded frames may take on the disk (default: what is free), beyond it they are
    decoded while training; 0 never caches. device: auto, cpu, cuda, mps. shard: cut the network up among processes.
    """

    data: Path
    run: Path
    config: TrainConfig
    preset: str = "own"
    start: str | Path | None = None
    audio_encoder: Path | None = None
    validation: Path | None = None
    licence: str | None = None
    hear: Hear | None = None
    cache_gb: float | None = None
    resume: str = "auto"
    device: str = "auto"
    shard: bool = False
    board: bool = True


@dataclass(frozen=True, eq=False)
class Progress:
    """After a step: ``step`` of ``steps`` are done. losses: total, simple, lip and, where it is learned, vlb of this
    step's samples (of this process), read from the device when they are asked for. figures and sheet: what a validation
    round found and showed, uint8 (H, W, 3); None after other steps.
    """

    step: int
    steps: int
    tensors: dict[str, Tensor]
    figures: dict[str, float] | None = None
    sheet: np.ndarray | None = None

    @property
    def losses(self) -> dict[str, float]:
        """Means of this step's losses."""
        return {name: float(value) for name, value in self.tensors.items()}


OnStep = Callable[[Progress], bool | None]


@dataclass(frozen=True)
class Prepared:
    """A part of a batch on the device: what FrameSamples gives, collated, and every random choice that it asks for."""

    sample: dict[str, Tensor]
    draws: BatchDraws


class Trainer:
    """A run, opened or taken up again. Raises DiffusedHeadsError for data, settings or states that do not fit together.

    notify(what, done, total) is called while the data are prepared ("decoding", "hearing") and at every frame of a
    validation round ("validating"); it may raise to interrupt.
    """

    def __init__(self, job: Job, notify: Notify | None = None):
        self.job, self.config, self.notify = job, job.config, notify or (lambda what, done, total: None)
        self.schedule = noise_schedule(self.config.model.schedule, self.config.model.timesteps)
        found = states(job.run)
        if job.resume == "never" and found:
            raise DiffusedHeadsError(f"{job.run}: expected an empty folder with resume 'never', found {found[-1].name}")
        self.dataset = Dataset(job.data)
        self._check(bool(found))
        self.parallel = join(job.device, self.config.precision, job.shard)
        self.validation_data = Dataset(job.validation) if job.validation else self.dataset
        with self.parallel.main_first():
            self.samples = self._samples(self.notify)
        with torch.inference_mode(False):
            self._restore(found)
        self.journal, self.scores = Journal(None, self.step, self.parallel), Scores(job.run, self.step)
        self._validation: Validation | None = None

    def _check(self, resumed: bool) -> None:
        job, data, model = self.job, self.dataset, self.config.model
        check_tracks(self.config, frozenset(data.header["annotations"]), job.data)
        wrong = [
            f"{name} is {found}, the model wants {wanted}"
            for name, found, wanted in (("size", data.size, model.unet.image_size), ("fps", data.fps, model.fps))
            if found != wanted
        ]
        if wrong:
            raise DiffusedHeadsError(f"{job.data}: " + "; ".join(wrong))
        if (
            "audio" in self.config.freeze
            and not (job.start or job.audio_encoder or resumed)
            and model.audio.kind != "torchscript"
        ):
            raise DiffusedHeadsError(
                "the audio encoder would stay frozen as it was drawn: give a pretrained one (--audio-encoder, as "
                "`pretrain-audio` writes it), start from a model, or train it too (--freeze without `audio`)"
            )

    def _samples(self, notify: Notify) -> FrameSamples:
        job, config, audio = self.job, self.config, self.config.model.audio
        limit = None if job.cache_gb is None else job.cache_gb * 1e9
        store: Store
        if fits(job.data, self.dataset, limit):
            store = open_store(job.data, audio, config.workers, lambda done, clips: notify("decoding", done, clips))
        else:
            log.info(
                "%s: %.0f GB decoded do not fit, frames are decoded while training",
                job.data,
                cache_size(self.dataset) / 1e9,
            )
            store = ShardStore(job.data, audio.mels)
        if audio.kind != "mel-conv":
            for folder in {Path(job.data), self.validation_data.path}:
                if job.hear is not None and not is_stored(folder, audio):
                    store_features(folder, audio, job.hear, lambda done, clips: notify("hearing", done, clips))
        return FrameSamples(store, config.model, config.seed, self._features(job.data), config.stability)

    def _features(self, folder: Path) -> FeatureRows | None:
        return None if self.config.model.audio.kind == "mel-conv" else FeatureRows(folder, self.config.model.audio)

    def _restore(self, found: list[Path]) -> None:
        """Network, average and optimiser: from the newest state, or as the job begins."""
        job, config = self.job, self.config
        self.plain = start.build(config.model, config.seed)
        self.origin = self._begin()
        start.freeze(self.plain, config.freeze)
        self.ema = Ema(self.plain, config.ema)
        self.step, saved = 0, None
        if found:
            check_config(found[-1], config.model)
            self.step, saved = load_state(found[-1], self.plain, self.ema.model)
            log.info("resuming %s at step %d", job.run, self.step)
        self.ema.model.to(self.parallel.device)
        self.model = self.parallel.wrap(self.plain)
        self.trained = [p for p in self.plain.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, config.lr, weight_decay=config.weight_decay)
        if saved is not None:
            restore_optimizer(self.optimizer, saved)

    def _begin(self) -> dict[str, object]:
        """Fill the network with the weights that the job names; says what the model comes from."""
        job, origin = self.job, provenance.origin(self.job.preset, self.dataset, self.config)
        licence = job.licence
        if job.start is not None:
            parent = start.begin_from(self.plain, job.start)
            origin["from"], licence = provenance.parent(str(job.start), parent), licence or parent.licence
        if job.audio_encoder is not None:
            start.take_audio_encoder(self.plain, job.audio_encoder)
        return {**origin, "licence": licence or "unknown"}

    def fit(self, on_step: OnStep | None = None, until: float | None = None) -> str:
        """Train to the end; returns "done", "stopped" or "early" (the validation score no longer rose).

        on_step is called in the main process after every step; when it returns True (or ``until``, by time.monotonic,
        is past) the run is saved and stops. It may raise as well, and so may the ``notify`` of the run within a
        validation round: in a single process the run is saved before that goes on. A round that was interrupted is made
        up for when the run goes on.
        """
        self.job.run.mkdir(parents=True, exist_ok=True)
        if self.parallel.main:
            clean(self.job.run)
        self.journal = Journal(self.job.run, self.step, self.parallel, self.job.board)
        try:
            with torch.inference_mode(False), torch.enable_grad(), self.parallel.own_randomness():
                return self._loop(on_step, until)
        finally:
            self.journal.close()

    def _loop(self, on_step: OnStep | None, until: float | None) -> str:
        config, wish = self.config, False
        if self.step and self._due() and self.parallel.main and not self.scores.known(self.step):
            self._validate()
        ended = "done" if self.step >= config.steps else "early" if self._stale() else ""
        if ended and not (self.job.run / "model.safetensors").is_file():
            self.save()
        for losses in [] if ended else self.train_steps():
            if self.step % config.log_every == 0:
                self.journal.write(self.step, config.lr_at(self.step - 1), config.batch)
            with self._saved_before_errors():
                found, sheet = self._validate() if self._due() and self.parallel.main else (None, None)
                wish |= self._told(on_step, Progress(self.step, config.steps, losses, found, sheet)) or (
                    until is not None and time.monotonic() >= until
                )
            ended = (
                "done"
                if self.step == config.steps
                else "early"
                if self._due() and self._stale()
                else "stopped"
                if self._agreed(wish)
                else ""
            )
            if ended or self.step % config.save_every == 0:
                self.save()
            if ended:
                break
        return ended

    def _due(self) -> bool:
        """Whether a validation round follows the last step."""
        return self.step == self.config.steps or self.step % self.config.sample_every == 0

    def _stale(self) -> bool:
        """Whether the main process's scores say that the run has stopped getting better."""
        patience = self.config.validation.patience
        return bool(patience) and bool(self.parallel.same(self.scores.stale(patience)))

    def _told(self, on_step: OnStep | None, progress: Progress) -> bool:
        return on_step is not None and self.parallel.main and bool(on_step(progress))

    @contextmanager
    def _saved_before_errors(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if self.parallel.processes == 1:
                self.save()
            raise

    def _agreed(self, wish: bool) -> bool:
        """Whether any process wants to stop; many processes ask each other now and then alone, as it makes them wait."""
        if self.parallel.processes == 1:
            return wish
        return self.step % AGREE_EVERY == 0 and self.parallel.total(wish) > 0

    def train_steps(self) -> Iterator[dict[str, Tensor]]:
        """Train to the end and give each step's mean losses, with nothing saved; ``fit`` is the one that saves."""
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
        values, config, device = dict(sample), self.config, self.parallel.device
        positions, size = values.pop("position").tolist(), values["frames"].shape[-1]
        draws = draw_batch(config, positions, size, len(self.schedule), device)
        return Prepared({name: value.to(device, non_blocking=True) for name, value in values.items()}, draws)

    def _train_step(self, parts: list[Prepared]) -> dict[str, Tensor]:
        """One optimiser step; returns its mean losses."""
        config, parallel = self.config, self.parallel
        parallel.reseed(_seed(config.seed, self.step, parallel.rank))
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr_at(self.step)
        total: dict[str, Tensor] = {}
        for number, part in enumerate(parts):
            with parallel.accumulating(self.model, number == len(parts) - 1):
                found = self.losses(part)
                (found["total"].mean() / len(parts)).backward()
            self.journal.add(found, part.draws.index / len(self.schedule))
            total = {name: total.get(name, 0) + value.detach().mean() / len(parts) for name, value in found.items()}
        norm = torch.nn.utils.clip_grad_norm_(self.trained, config.clip_gradient)
        self.journal.add_norm(whole(norm))
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.plain, self.step)
        return total

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
        """Write the EMA weights as a model that can be used at once, then the state; in many processes all must call
        this.
        """
        tensors = collect(self.plain, self.ema.model, self.optimizer)
        if self.parallel.main:
            self._write_model("model.safetensors")
            save_state(self.job.run, self.step, tensors, to_json(self.config))

    def _write_model(self, name: str) -> None:
        if self.config.model.audio.kind == "torchscript" and self.job.start is not None:
            start.keep_scripted_encoder(self.job.start, self.job.run / name)
        save(self.job.run / name, self.checkpoint())

    def checkpoint(self) -> Checkpoint:
        """The EMA weights as a model, with all that is known of where they come from."""
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
        """The run's EMA weights, ready to generate; they change as training goes on."""
        encoder = None if self.config.model.audio.kind == "torchscript" else self.ema.model.audio_encoder
        return TalkingHead(
            self.config.model, self.ema.model.unet, encoder, str(self.origin["licence"]), dict(self.origin)
        )

    def _validate(self) -> tuple[dict[str, float], np.ndarray]:
        """Generate and score the fixed clips, to be called in the main process; the best model so far is kept beside
        the newest.
        """
        self._validation = self._validation or Validation(
            self.validation_data, self.config.validation, self._features(self.validation_data.path)
        )
        pairs = self._validation.generate(
            self.talking_head(), self.config.seed, lambda done, frames: self.notify("validating", done, frames)
        )
        found = figures(pairs)
        sheet = self._validation.write(pairs, self.job.run / "samples", f"step-{self.step:09d}")
        best = self.scores.add(self.step, found)
        self.journal.figures(self.step, found)
        log.info(
            "validation  "
            + "  ".join(f"{name} {value:.3f}" for name, value in found.items())
            + ("  (best)" if best else "")
        )
        if best:
            self._write_model("best.safetensors")
        return found, sheet


def _seed(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
