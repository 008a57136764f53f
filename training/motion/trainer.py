"""A training run of the motion prior; it works as ``training.trainer.Trainer`` does, in one process."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from ...diffused_heads_core.checkpoints import DEFAULT_MODEL, pick_device
from ...diffused_heads_core.diffusion import gather, q_sample
from ...diffused_heads_core.errors import DiffusedHeadsError
from ...diffused_heads_core.motion.natural import encoder_digest
from ...diffused_heads_core.motion.prior import MotionPrior, save_prior
from ...diffused_heads_core.motion.prior_network import Given, PriorConfig
from ...diffused_heads_core.talking_head import TalkingHead, load_model
from .. import provenance
from ..ema import Ema
from ..gradients import clip_gradients
from ..job import Job, Notify
from ..journal import Journal
from ..loop import Run
from ..parallel import SingleProcess
from ..state import collect, load_state, restore_optimizer, states
from ..validation import Scores
from .blinks import blink_rate, fit_blinks
from .clips import Clip, by_person, deviations, open_clips
from .presets import LABELS, MotionTrainConfig
from .samples import MotionSamples

BETAS = (0.9, 0.99)  # of Adam
LEVELS = 8  # timesteps at which a validation round measures the error


@dataclass(frozen=True)
class MotionJob(Job):
    """A job of ``train-motion``: ``data`` and ``others`` are folders of motion files with their sounds. terms: what the
    data are, and under which terms.
    """

    config: MotionTrainConfig
    others: tuple[Path, ...] = ()
    terms: str = "unknown"


class MotionTrainer(Run):
    """A new or resumed run. Raises DiffusedHeadsError for data, settings or states that do not fit together."""

    job: MotionJob
    config: MotionTrainConfig
    samples: MotionSamples

    def __init__(self, job: MotionJob, notify: Notify | None = None):
        self.job, self.config, self.notify = job, job.config, notify or (lambda what, done, total: None)
        found = states(job.run)
        if job.resume == "never" and found:
            raise DiffusedHeadsError(f"{job.run}: expected an empty folder with resume 'never', found {found[-1].name}")
        self.parallel = SingleProcess(pick_device(job.device), "no")
        self.head = load_model(job.audio_encoder or DEFAULT_MODEL, "cpu", engine="pytorch")
        if self.head.audio_encoder is None:
            raise DiffusedHeadsError(f"{job.audio_encoder}: expected a model with an audio encoder in its checkpoint")
        self.encoder = encoder_digest(self.head.audio_encoder)
        with torch.inference_mode(False):
            clips = [clip for folder in (job.data, *job.others) for clip in self._open(folder)]
            self.held_out = self._open(job.validation) if job.validation else clips
            self._restore(found, clips)
        prior = self.prior.config
        self.samples = MotionSamples(clips, self.config, prior)
        self.rounds = default_collate(list(self._fixed(self.held_out)))
        self.origin = self._origin(clips)
        self.journal, self.scores = Journal(None, self.step, self.parallel), Scores(job.run, self.step)

    def _open(self, folder: Path) -> list[Clip]:
        return open_clips(folder, self.head.encode_mono, self.config.model.fps, self.notify)

    def _restore(self, found: list[Path], clips: Sequence[Clip]) -> None:
        """Network, average and optimiser from the newest state, or new ones; what is counted is counted again."""
        config = self.config
        prior = PriorConfig(
            config.columns,
            deviations(clips, config.columns),
            LABELS,
            config.model.fps,
            config.model.audio.embedding,
            config.window,
            config.past,
            config.channels,
        )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(config.seed)
            self.prior = MotionPrior(prior)
        self.prior.blinks = fit_blinks(clips, prior.embedding, prior.fps)
        self.rate = blink_rate(clips, prior.fps)
        self.model, self.schedule = self.prior.network, self.prior.schedule
        self.ema, self.step = Ema(self.model, config.ema), 0
        saved: dict[int, dict[str, Tensor]] = {}
        if found:
            self.step, saved = load_state(found[-1], self.model, self.ema.model)
        self.saved_step = self.step
        self.model.to(self.parallel.device)
        self.ema.model.to(self.parallel.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), config.lr, BETAS, weight_decay=config.weight_decay)
        restore_optimizer(self.optimizer, saved)

    def _fixed(self, clips: Sequence[Clip]) -> list[dict[str, Tensor]]:
        """The windows of a validation round, the same in every round: each clip at several timesteps."""
        steps = np.linspace(0, self.prior.config.timesteps - 1, LEVELS + 2)[1:-1].astype(int)
        samples, rows = MotionSamples(clips, self.config, self.prior.config), []
        for number, clip in enumerate(clips):
            rng = np.random.default_rng([number, 1])
            rows += [{**samples.sample(clip, rng), "index": torch.tensor(int(step))} for step in steps]
        return rows

    def _origin(self, clips: Sequence[Clip]) -> dict[str, object]:
        """Where the prior comes from, for its summary."""
        digest = hashlib.sha256(b"".join(clip.values.tobytes() for clip in clips)).hexdigest()
        return {
            "data": self.job.terms,
            "clips": len(clips),
            "people": len(by_person(clips)),
            "hours": round(sum(map(len, clips)) / self.prior.config.fps / 3600, 3),
            "fingerprint": digest[:16],
            "audio_encoder": self.encoder,
            "blinks_per_second": round(self.rate, 3),
            **provenance.code(),
            "licence": self.job.licence or "unknown",
        }

    def prepared(self, sample: dict[str, Tensor]) -> dict[str, Tensor]:
        """A collated batch on the device."""
        return {name: value.to(self.parallel.device, non_blocking=True) for name, value in sample.items()}

    def _train_step(self, parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        (batch,), config = parts, self.config
        self.parallel.reseed(config.seed * 1_000_003 + self.step)  # for dropout
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr_at(self.step)
        losses = self._losses(self.model, batch)
        losses["total"].mean().backward()
        self.journal.add(losses, batch["index"] / len(self.schedule))
        self.journal.add_norm(clip_gradients(list(self.model.parameters()), config.clip_gradient))
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.model, self.step)
        return {name: value.detach().mean() for name, value in losses.items()}

    def _losses(self, network: torch.nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses (B,): the squared error of the track and of its differences, weighted by the signal-to-noise ratio."""
        noisy = q_sample(self.schedule, batch["target"], batch["index"], batch["noise"])
        given = Given(*(batch[name] for name in ("audio", "heard", "past", "known", "own", "label")))
        steps = self.schedule.tables(noisy.device)["timesteps"][batch["index"]]
        found = network(noisy, steps, given)
        found = torch.lerp(found, given.past, given.known)
        error, learned = found - batch["target"], batch["learned"]
        pairs = (learned[..., 1:] + learned[..., :-1]).clamp(max=1) * batch["learned"][..., 1:]
        simple = _masked_mean(error.square(), learned)
        velocity = _masked_mean(error.diff(dim=-1).square(), pairs)
        weight = gather(self.schedule, "snr", batch["index"]).flatten().clamp(*self.config.loss.snr_weight)
        total = weight * (self.config.loss.simple * simple + self.config.velocity * velocity)
        return {"simple": simple, "velocity": velocity, "total": total}

    @torch.no_grad()
    def _score(self) -> tuple[dict[str, float], np.ndarray]:
        """The error on fixed windows of the validation clips; the score is its negative."""
        losses = self._losses(self.ema.model, self.prepared(self.rounds))
        score = -float(losses["simple"].mean())
        if self.scores.add(self.step, {"score": score}):
            self._write_model("best.safetensors")
        self.journal.figures(self.step, {"score": score})
        return {"score": score}, np.zeros((1, 1, 3), np.uint8)

    def _state_tensors(self) -> dict[str, Tensor]:
        return collect(self.model, self.ema.model, self.optimizer, keep=True)

    def weights(self) -> dict[str, Tensor]:
        """The averaged network's weights."""
        return self.ema.model.state_dict()

    def talking_head(self) -> TalkingHead:
        """The model whose audio encoder the prior follows."""
        return self.head

    def averaged(self) -> MotionPrior:
        """The prior with the averaged weights, ready to sample."""
        summary = {**self.origin, "steps": self.step, "samples": self.step * self.config.batch}
        made = MotionPrior(self.prior.config, str(self.origin["licence"]), summary)
        made.network.load_state_dict(self.weights())
        made.blinks.load_state_dict(self.prior.blinks.state_dict())
        return made.eval()

    def _write_model(self, name: str) -> None:
        save_prior(self.job.run / name, self.averaged())


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of (B, C, 1, N) over what the mask (B, 1, 1, N) has, (B,)."""
    return (values * mask).mean(1).sum((1, 2)) / mask.sum((1, 2, 3)).clamp(min=1)
