"""One training sample's loss: corrupt, predict, compare."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffused_heads_core.audio_encoder import AudioEncoder
from ..diffused_heads_core.conditioning import HeadState, spatial_inputs
from ..diffused_heads_core.diffusion import Estimate, estimate, gather, lip_loss, q_sample, target_of, vlb_loss
from ..diffused_heads_core.schedule import NoiseSchedule
from ..diffused_heads_core.unet import UNet
from .config import LossConfig, StabilityConfig, TrainConfig

Predict = Callable[..., tuple[Tensor, Tensor | None]]


class Denoiser(torch.nn.Module):
    """Network and audio encoder as one module, so that every way of parallel training wraps both.

    forward(x_t, t, spatial, mel, keep) -> (prediction, v): mel as in FrameSamples, of which ``shift`` 1 takes the
    window of the target and 0 that of the frame before; keep (B,) is 0 where the audio is left out.
    """

    def __init__(self, unet: UNet, audio_encoder: AudioEncoder, freeze_audio: bool = False):
        super().__init__()
        self.unet, self.audio_encoder = unet, audio_encoder
        self.audio_encoder.requires_grad_(not freeze_audio)

    def forward(self, x_t: Tensor, t: Tensor, spatial: dict[str, Tensor], mel: Tensor, keep: Tensor, shift: int = 1) -> tuple[Tensor, Tensor | None]:
        group = next(g for g in self.unet.config.features if g.name == "audio")
        first = self.audio_encoder.config.context + shift
        embeddings = self.audio_encoder(mel)[:, first : first + group.window]
        return self.unet(x_t, t, spatial, {"audio": embeddings * keep[:, None, None]})


@dataclass
class Batch:
    """A collated batch in model values: frames (B, m + 2, 3, S, S) and identity in [-1, 1], the rest as in FrameSamples."""

    frames: Tensor
    identity: Tensor
    mel: Tensor
    lip_box: Tensor
    poses: Tensor | None = None
    identity_pose: Tensor | None = None
    faces: Tensor | None = None

    @classmethod
    def of(cls, sample: dict[str, Tensor]) -> Batch:
        scaled = {name: sample[name].float() / 127.5 - 1 for name in ("frames", "identity")}
        return cls(**{**sample, **scaled})

    def state(self, back: int) -> HeadState | None:
        """Head state of the frame ``back`` before the target."""
        return None if self.poses is None else HeadState(self.poses[:, -1 - back], self.faces[:, -1 - back])

    def spatial(self, config: TrainConfig, back: int = 0) -> dict[str, Tensor]:
        """Spatial inputs for predicting the frame ``back`` (0 or 1) before the target."""
        m, last = config.model.motion_frames, self.frames.shape[1] - 1 - back
        motion = list(self.frames[:, last - m : last].unbind(1))
        poses = None if self.poses is None else list(self.poses[:, last - m : last].unbind(1))
        return spatial_inputs(config.model, self.identity, motion, self.state(back), self.identity_pose, poses)


def mirror(batch: Batch, flip: Tensor) -> Batch:
    """Samples of ``flip`` (B,) seen in a mirror: pictures, yaw, roll, tx, gaze and left and right exchanged."""
    size = batch.frames.shape[-1]
    sign = batch.lip_box.new_tensor

    def chosen(mirrored: Tensor, plain: Tensor) -> Tensor:
        return torch.where(flip.view(-1, *[1] * (plain.dim() - 1)), mirrored, plain)

    box = torch.stack([size - batch.lip_box[:, 2], batch.lip_box[:, 1], size - batch.lip_box[:, 0], batch.lip_box[:, 3]], -1)
    out = Batch(chosen(batch.frames.flip(-1), batch.frames), chosen(batch.identity.flip(-1), batch.identity), batch.mel,
                chosen(box, batch.lip_box))
    if batch.poses is not None:
        turn = sign([-1.0, 1, -1, -1, 1])
        faces = batch.faces[..., [1, 0, 2, 3, 5, 4]] * sign([1.0, 1, -1, 1, 1, 1])
        out.poses, out.identity_pose = chosen(batch.poses * turn, batch.poses), chosen(batch.identity_pose * turn, batch.identity_pose)
        out.faces = chosen(faces, batch.faces)
    return out


def recolour(batch: Batch, probability: float, random: torch.Generator) -> Batch:
    """Another light for whole samples: contrast, brightness and a tint, the same for every frame of a sample."""
    b = len(batch.identity)
    chosen = (torch.rand(b, generator=random) < probability).float().view(b, 1, 1, 1)
    gain = 1 + chosen * (0.3 * torch.randn(b, 3, 1, 1, generator=random).mul(0.4).add(torch.randn(b, 1, 1, 1, generator=random).mul(0.5)))
    shift = chosen * (0.15 * torch.randn(b, 3, 1, 1, generator=random))
    gain, shift = gain.to(batch.identity.device), shift.to(batch.identity.device)
    batch.identity = (batch.identity * gain + shift).clamp(-1, 1)
    batch.frames = (batch.frames * gain[:, None] + shift[:, None]).clamp(-1, 1)
    return batch


def worsen(batch: Batch, config: StabilityConfig, random: torch.Generator) -> Batch:
    """Motion frames with noise or a patch, or replaced by the identity frame; the target stays."""
    b, device = len(batch.identity), batch.identity.device
    draw = torch.rand(4, b, generator=random)
    motion = batch.frames[:, :-1].clone()
    noisy = (draw[0] < config.noise).nonzero()[:, 0]
    noise = torch.randn((len(noisy), *motion.shape[1:]), generator=random)
    motion[noisy] += ((draw[2] * config.noise_level)[noisy].view(-1, 1, 1, 1, 1) * noise).to(device)
    motion = patched(motion, draw[3] < config.patch, random)
    copies = (draw[1] < config.identity).to(device)
    motion = torch.where(copies.view(b, 1, 1, 1, 1), batch.identity[:, None], motion)
    batch.frames = torch.cat([motion, batch.frames[:, -1:]], 1)
    if batch.poses is not None:
        poses = torch.where(copies.view(b, 1, 1), batch.identity_pose[:, None], batch.poses[:, :-1])
        batch.poses = torch.cat([poses, batch.poses[:, -1:]], 1)
    return batch


def patched(motion: Tensor, chosen: Tensor, random: torch.Generator) -> Tensor:
    """Frames (B, m, 3, S, S) of the ``chosen`` samples (B,) overlaid with one rectangle of a colour or of another sample."""
    size = motion.shape[-1]
    for row in chosen.nonzero()[:, 0].tolist():
        height, width, top, left, red, green, blue, opacity, kind = torch.rand(9, generator=random).tolist()
        h, w = (max(2, int(size * (0.05 + 0.35 * side**2))) for side in (height, width))
        y, x = int(top * (size - h)), int(left * (size - w))
        part = motion[row, :, :, y : y + h, x : x + w]
        colour = motion.new_tensor([red, green, blue]).mul(2.4).sub(1.2).view(3, 1, 1)
        other = motion[row - 1, :, :, y : y + h, x : x + w] if kind < 0.3 else colour
        part.lerp_(torch.as_tensor(other).expand_as(part).clone(), 0.3 + 0.7 * opacity)
    return motion


@torch.no_grad()
def own_motion(batch: Batch, config: TrainConfig, schedule: NoiseSchedule, predict: Predict, random: torch.Generator) -> Batch:
    """The newest motion frame replaced, in a share of the samples, by the model's own one-step prediction of it."""
    b, device = len(batch.identity), batch.identity.device
    rows = (torch.rand(b, generator=random) < config.stability.own).nonzero()[:, 0].to(device)
    noise = torch.randn(batch.identity.shape, generator=random)[rows].to(device)
    if not len(rows) or batch.frames.shape[1] < 3:
        return batch
    part = Batch(*(None if v is None else v[rows] for v in vars(batch).values()))
    index = torch.full((len(rows),), len(schedule) - 1, device=device)
    output, v = predict(noise, index, part.spatial(config, back=1), part.mel, torch.ones(len(rows), device=device), shift=0)
    found = estimate(schedule, config.model.unet.prediction, output, noise, index, v)
    batch.frames = batch.frames.clone()
    batch.frames[rows, -2] = found.x0
    return batch


def snr_weight(schedule: NoiseSchedule, prediction: str, index: Tensor, limits: tuple[float, float]) -> Tensor:
    """Weight of a sample's squared error, (B,): clipped SNR for x0; the same in units of v's and eps' own error."""
    if prediction == "eps":
        return torch.ones(len(index), device=index.device)
    weight = gather(schedule.snr.clip(*limits), index).view(-1)
    return weight if prediction == "x0" else weight / gather(schedule.snr + 1, index).view(-1)


def losses(
    loss: LossConfig, schedule: NoiseSchedule, prediction: str, output: Tensor, v: Tensor | None,
    x0: Tensor, x_t: Tensor, noise: Tensor, index: Tensor, lip_box: Tensor,
) -> dict[str, Tensor]:
    """The losses a sample, (B,) each: simple, lip, vlb where the variance is learned, and their weighted total."""
    error = (output - target_of(schedule, prediction, x0, noise, index)).square()
    weight = snr_weight(schedule, prediction, index, loss.snr_weight)
    parts = {"simple": error.flatten(1).mean(1) * weight, "lip": lip_loss(error, lip_box, loss.lip_margin) * weight}
    total = parts["simple"] + loss.lip * parts["lip"]
    if v is not None:
        found: Estimate = estimate(schedule, prediction, output, x_t, index, v)
        parts["vlb"] = vlb_loss(schedule, x0, x_t, index, found)
        total = total + loss.vlb * parts["vlb"]
    return {**parts, "total": total}


def training_losses(batch: Batch, config: TrainConfig, schedule: NoiseSchedule, predict: Predict, predict_own: Predict,
                    random: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
    """A batch's losses, (B,) each, and its timesteps; all randomness comes from ``random`` (on the CPU)."""
    b, device = len(batch.identity), batch.identity.device
    if config.mirror:
        batch = mirror(batch, (torch.rand(b, generator=random) < 0.5).to(device))
    if config.colour:
        batch = recolour(batch, config.colour, random)
    if config.stability.noise or config.stability.identity or config.stability.patch:
        batch = worsen(batch, config.stability, random)
    if config.stability.own:
        batch = own_motion(batch, config, schedule, predict_own, random)
    index = torch.randint(len(schedule), (b,), generator=random).to(device)
    noise = torch.randn(batch.identity.shape, generator=random).to(device)
    keep = (torch.rand(b, generator=random) >= config.audio_dropout).float().to(device)
    x0 = batch.frames[:, -1]
    x_t = q_sample(schedule, x0, index, noise)
    spatial = dropped(batch.spatial(config), config, random)
    output, v = predict(x_t, index, spatial, batch.mel, keep)
    found = losses(config.loss, schedule, config.model.unet.prediction, output, v, x0, x_t, noise, index, batch.lip_box)
    return found, index


def dropped(spatial: dict[str, Tensor], config: TrainConfig, random: torch.Generator) -> dict[str, Tensor]:
    """Spatial inputs zeroed, a sample at a time, with their own dropout."""
    for entry in config.model.unet.spatial:
        if entry.dropout:
            keep = (torch.rand(len(spatial[entry.name]), generator=random) >= entry.dropout).float()
            spatial[entry.name] = spatial[entry.name] * keep.to(spatial[entry.name].device)[:, None, None, None]
    return spatial
