"""A training run of a model that paints the mouth alone; it works as ``training.trainer.Trainer`` does, in one process.

The lip shape is fitted when a new run is opened; then the painter and its critic are trained in turns.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from ...diffused_heads_core import checkpoints
from ...diffused_heads_core.checkpoints import Checkpoint
from ...diffused_heads_core.data.shards import Dataset
from ...diffused_heads_core.diffusion import q_sample
from ...diffused_heads_core.errors import DiffusedHeadsError
from ...diffused_heads_core.mouth.lip_shape import LipShape, new_lip_shape
from ...diffused_heads_core.pretrained_audio import find_weights, new_encoder
from ...diffused_heads_core.schedule import noise_schedule
from ...diffused_heads_core.talking_head import TalkingHead, load_tensors, pick_device
from ...diffused_heads_core.unet import UNet
from .. import provenance
from ..ema import Ema
from ..gradients import clip_gradients
from ..job import Job, Notify
from ..journal import Journal
from ..loop import Run
from ..parallel import SingleProcess
from ..state import check_config, collect, load_state, restore_optimizer, states
from ..validation import Scores
from .clips import Corpus, open_corpus
from .lip_shapes import fit_lip_shape
from .losses import Critic, balance, critic_loss, inside, matching_loss, painting_losses
from .presets import MouthTrainConfig
from .samples import MouthSamples

BETAS, CRITIC_BETAS = (0.9, 0.99), (0.5, 0.99)  # of Adam
LICENCES = "; "


@dataclass(frozen=True)
class MouthJob(Job):
    """A job of ``train-mouth``. others: more datasets. weights: how often each dataset is sampled, relative to the
    others (default: equally). fit_lips: whether the lip shape is fitted to the data; else it is that of ``start``.
    audio_encoder: any checkpoint that has one; by default ``start``'s is used.
    """

    config: MouthTrainConfig
    others: tuple[Path, ...] = ()
    weights: tuple[float, ...] = ()
    fit_lips: bool = True


class MouthTrainer(Run):
    """A new or resumed run. Raises DiffusedHeadsError for data, settings or states that do not fit together.

    notify(what, done, total) is called while the data are prepared and at every frame of a validation round.
    """

    job: MouthJob
    config: MouthTrainConfig

    def __init__(self, job: MouthJob, notify: Notify | None = None):
        self.job, self.config, self.notify = job, job.config, notify or (lambda what, done, total: None)
        config = job.config
        self.schedule = noise_schedule(config.model.schedule, config.model.timesteps)
        found = states(job.run)
        if job.resume == "never" and found:
            raise DiffusedHeadsError(f"{job.run}: expected an empty folder with resume 'never', found {found[-1].name}")
        self.parallel = SingleProcess(pick_device(job.device), config.precision)
        datasets = [Dataset(path) for path in (job.data, *job.others)]
        weights = job.weights or (1.0,) * len(datasets)
        if len(weights) != len(datasets) or min(weights) <= 0:
            raise DiffusedHeadsError(f"weights={weights}: expected one above 0 for each of {len(datasets)} datasets")
        self.validation_data = Dataset(job.validation) if job.validation else datasets[0]
        with torch.inference_mode(False):
            self._load_audio_encoder()
            corpora = [self._corpus(dataset) for dataset in datasets]
            self.samples = MouthSamples(corpora, weights, config)
            self._restore(found, corpora)
        self.origin = self._origin(datasets)
        self.journal, self.scores = Journal(None, self.step, self.parallel), Scores(job.run, self.step)

    def _load_audio_encoder(self) -> None:
        """The frozen encoder, and what turns sound into embeddings as sampling does."""
        job, audio = self.job, self.config.model.audio
        if job.audio_encoder is None and job.start is None:
            raise DiffusedHeadsError("expected a model to take the audio encoder from (--audio-encoder), found none")
        path = job.audio_encoder or checkpoints.find_model(job.start)
        checkpoint = checkpoints.load(path)
        if checkpoint.config.audio != audio:
            raise DiffusedHeadsError(
                f"{path}: expected a {audio.describe()}, found {checkpoint.config.audio.describe()}"
            )
        self.encoder = new_encoder(audio).eval().requires_grad_(False)
        load_tensors(self.encoder, checkpoint.tensors, "audio_encoder.", path)
        self.speech_weights = find_weights(audio.source, path) if audio.kind == "features" else None
        self.encode = self._head(UNet(self.config.model.unet), None).encode_mono

    def _corpus(self, dataset: Dataset) -> Corpus:
        job, config = self.job, self.config
        tensors = {name: tensor.contiguous() for name, tensor in self.encoder.state_dict().items()}
        digest = hashlib.sha256(to_bytes(tensors)).hexdigest()
        return open_corpus(
            dataset, config.model, self.encode, digest, job.run, job.cache_gb, config.workers, self.notify
        )

    def _restore(self, found: list[Path], corpora: list[Corpus]) -> None:
        """Painter, critic, average, optimisers and lip shape: from the newest state, or as the job begins."""
        config, device = self.config, self.parallel.device
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(config.seed)
            self.painter, self.critic = UNet(config.model.unet), Critic(config.sharpness.critic_channels)
        for network in (self.painter, self.critic):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.lip_shape = new_lip_shape(config.model)
        self.parent = None if self.job.start is None else self._load_parent(self.job.start)
        self.model = nn.ModuleDict({"painter": self.painter, "critic": self.critic, "lip_shape": self.lip_shape})
        self.ema, self.step = Ema(self.painter, config.ema), 0
        saved: dict[int, dict[str, Tensor]] = {}
        if found:
            check_config(found[-1], config.model)
            self.step, saved = load_state(found[-1], self.model, self.ema.model)
        elif self.job.fit_lips:
            fitted = fit_lip_shape(corpora, config.model, config.lips, self.job.weights or None)
            self.lip_shape.load_state_dict(fitted.state_dict())
        self.saved_step = self.step
        self.model.to(device)
        self.ema.model.to(device)
        painted, judged = list(self.painter.parameters()), list(self.critic.parameters())
        self.optimizer = torch.optim.AdamW(painted, config.lr, BETAS, weight_decay=config.weight_decay)
        self.critic_optimizer = torch.optim.Adam(judged, config.sharpness.critic_lr, CRITIC_BETAS)
        restore_optimizer(self.optimizer, {n: values for n, values in saved.items() if n < len(painted)})
        of_critic = {n - len(painted): values for n, values in saved.items() if n >= len(painted)}
        restore_optimizer(self.critic_optimizer, of_critic)

    def _load_parent(self, name: str | Path) -> Checkpoint:
        path = checkpoints.find_model(name)
        parent = checkpoints.load(path)
        load_tensors(self.painter, parent.tensors, "unet.", path)
        load_tensors(self.lip_shape, parent.tensors, "lip_shape.", path)
        return parent

    def _origin(self, datasets: list[Dataset]) -> dict[str, object]:
        """Where the model comes from, for its summary: what is text of several datasets is joined."""
        rows = [provenance.origin(self.job.preset, dataset, self.config) for dataset in datasets]
        origin = dict(rows[0])
        for name in ("data", "data_licence", "fingerprint"):
            origin[name] = LICENCES.join(dict.fromkeys(str(row[name]) for row in rows))
        origin |= {name: round(sum(row[name] for row in rows), 3) for name in ("clips", "hours")}
        licence = self.job.licence
        if self.parent is not None:
            origin["from"] = provenance.parent(str(self.job.start), self.parent)
            licence = licence or self.parent.licence
        return {**origin, "licence": licence or "unknown"}

    def prepared(self, sample: dict[str, Tensor]) -> dict[str, Tensor]:
        """A collated batch on the device."""
        return {name: value.to(self.parallel.device, non_blocking=True) for name, value in sample.items()}

    def _train_step(self, parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """One step of the painter and, once it has begun, of the critic."""
        (batch,), config = parts, self.config
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr_at(self.step)
        painted = torch.lerp(batch["identity"], self._paint(batch), batch["around"])
        losses = painting_losses(painted, batch["target"], batch["around"])
        weights = {"simple": config.loss.simple, "lip": config.loss.lip, "gradient": config.sharpness.gradient}
        total = torch.stack([weight * losses[name] for name, weight in weights.items()]).sum(0)
        losses |= self._judge(total, painted, batch)
        losses["total"] = total + losses["adversarial"] + losses["matching"]
        losses["total"].mean().backward()
        self.journal.add(losses, batch["index"] / len(self.schedule))
        self.journal.add_norm(clip_gradients(list(self.painter.parameters()), config.clip_gradient))
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.painter, self.step)
        return {name: value.detach().mean() for name, value in losses.items()}

    def _paint(self, batch: dict[str, Tensor]) -> Tensor:
        """What the painter makes of a batch, (B, 3, H, W)."""
        noisy = q_sample(self.schedule, batch["target"], batch["index"], batch["noise"])
        spatial = {entry.name: batch[entry.name] for entry in self.config.model.unet.spatial}
        audio = batch["audio"] * batch["keep_audio"][:, None, None]
        with self.parallel.autocast():
            x_t = batch["noisy"][:, None, None, None] * noisy
            painted, _ = self.painter(x_t, batch["index"], spatial, {"audio": audio})
        return painted.float()

    def _judge(self, total: Tensor, painted: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A step of the critic, and the painter's weighted losses by it, (B,): of samples painted from no noise alone.

        total: the painter's other losses, (B,).
        """
        zero, sharp = torch.zeros_like(total), self.config.sharpness
        rows = (batch["noisy"] == 0).nonzero()[:, 0]
        if self.step < sharp.after or not len(rows):
            return {"adversarial": zero, "matching": zero, "critic": zero}
        given = tuple(batch[name][rows] for name in ("identity", "lips", "teeth"))
        real, made = batch["target"][rows], painted[rows]
        around = batch["around"][rows]
        loss = self._train_critic(real, made.detach(), given, around)
        with self.parallel.autocast():
            with torch.no_grad():
                wanted = self.critic(real, *given)[1]
            verdict, features = self.critic(made, *given)
        adversarial = -inside(verdict.float(), around)
        weight = sharp.adversarial * balance(total.mean(), adversarial.mean(), painted)
        matching = sharp.matching * matching_loss(wanted, features, around).float()
        share = len(painted) / len(rows)  # the mean over the batch is then that over the rows
        parts = {"adversarial": weight * adversarial, "matching": matching}
        found = {name: share * zero.index_copy(0, rows, value) for name, value in parts.items()}
        return found | {"critic": loss.expand(len(painted))}

    def _train_critic(self, real: Tensor, made: Tensor, given: tuple[Tensor, ...], around: Tensor) -> Tensor:
        """One step of the critic, which is frozen again afterwards; returns its loss ()."""
        self.critic.requires_grad_(True)
        with self.parallel.autocast():
            verdicts = [self.critic(each, *given)[0].float() for each in (real, made)]
        loss = critic_loss(*verdicts, around)
        loss.backward()
        self.critic_optimizer.step()
        self.critic_optimizer.zero_grad()
        self.critic.requires_grad_(False)
        return loss.detach()

    def _state_tensors(self) -> dict[str, Tensor]:
        tensors = collect(self.model, self.ema.model, self.optimizer, keep=True)
        first = len(list(self.painter.parameters()))
        for number, values in self.critic_optimizer.state_dict()["state"].items():
            named = {f"optimizer.{first + number}.{name}": torch.as_tensor(value) for name, value in values.items()}
            tensors |= {name: value.detach().cpu().contiguous().clone() for name, value in named.items()}
        return tensors

    def weights(self) -> dict[str, Tensor]:
        """The averaged painter, the audio encoder and the lip shape by their names in a checkpoint."""
        parts = {"unet": self.ema.model, "audio_encoder": self.encoder, "lip_shape": self.lip_shape}
        return {f"{part}.{name}": t for part, module in parts.items() for name, t in module.state_dict().items()}

    def talking_head(self) -> TalkingHead:
        """The averaged painter, ready to generate; it changes as training goes on."""
        return self._head(self.ema.model, self.lip_shape)

    def _head(self, painter: UNet, lip_shape: LipShape | None) -> TalkingHead:
        weights = self.speech_weights
        return TalkingHead(self.config.model, painter, self.encoder, speech_weights=weights, lip_shape=lip_shape)
