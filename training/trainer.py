"""A training run as an object: open it, ``fit``, watch and stop it, sample from it.

``Trainer(job).fit(on_step)`` is what the command line and the trainer node call. The same job again resumes from the
newest state. Data order and all randomness follow from (seed, position), so an interrupted run equals an undisturbed
one: bit for bit on the CPU in one process, up to the order of sums on any number of processes. Only the run's folder
and the caches in the datasets' folders are written. Environment, global random state and signal handlers stay as they
are.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..diffused_heads_core.data.shards import Dataset
from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.schedule import noise_schedule
from ..diffused_heads_core.talking_head import TalkingHead
from . import provenance, start
from .batches import Prepared, prepare
from .dataset import FrameSamples
from .ema import Ema
from .frame_augmentation import Batch
from .gradients import clip_gradients
from .job import Job, Notify
from .journal import Journal
from .loop import Run
from .losses import Predict, training_losses
from .parallel import join
from .samples import check_dataset, open_samples, prepare_features
from .state import check_config, collect, load_state, restore_optimizer, states
from .validation import Scores

log = logging.getLogger(__name__)


class Trainer(Run):
    """A new or resumed run. Raises DiffusedHeadsError for data, settings or states that do not fit together.

    notify(what, done, total) is called while the data are prepared ("decoding", "speech features") and at every frame
    of a validation round ("validating"); it may raise to interrupt.
    """

    samples: FrameSamples

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

    def _state_tensors(self) -> dict[str, Tensor]:
        return collect(self.denoiser, self.ema.model, self.optimizer, keep=self.parallel.is_main)

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights by their names in a checkpoint."""
        return dict(self.ema.model.state_dict())

    def talking_head(self) -> TalkingHead:
        """The EMA weights, ready to generate; they change as training goes on.

        If they are sharded, the talking head works only inside ``ema.gathered()``.
        """
        model = self.ema.model
        encoder = None if self.config.model.audio.kind == "torchscript" else model.audio_encoder
        return TalkingHead(self.config.model, model.unet, encoder, str(self.origin["licence"]), dict(self.origin))


def _seed(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
