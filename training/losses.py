"""One training sample's loss: corrupt, predict, compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..diffused_heads_core.conditioning import HeadState, spatial_inputs
from ..diffused_heads_core.diffusion import Estimate, estimate, gather, lip_loss, q_sample, target_of, vlb_loss
from ..diffused_heads_core.schedule import NoiseSchedule
from ..diffused_heads_core.unet import UNet
from .config import LossConfig, StabilityConfig, TrainConfig
from .draws import Draws

Predict = Callable[..., tuple[Tensor, Tensor | None]]
REFRAMED = (
    0.05,
    0.05,
    0.02,
    0.02,
)  # standard deviations: turn (radians), log of scale, shift across and down (frame fractions)


class Denoiser(torch.nn.Module):
    """Network and audio encoder as one module, so that every way of parallel training wraps both.

    forward(x_t, t, spatial, sound, keep) -> (prediction, v): sound as in FrameSamples, of which ``shift`` 1 takes the
    window of the target and 0 that of the frame before; keep (B,) is 0 where the audio is left out.
    """

    def __init__(self, unet: UNet, audio_encoder: torch.nn.Module):
        super().__init__()
        self.unet, self.audio_encoder = unet, audio_encoder

    def forward(
        self, x_t: Tensor, t: Tensor, spatial: dict[str, Tensor], sound: Tensor, keep: Tensor, shift: int = 1
    ) -> tuple[Tensor, Tensor | None]:
        group = next(g for g in self.unet.config.features if g.name == "audio")
        first = self.audio_encoder.config.reach + shift
        embeddings = self.audio_encoder(sound)[:, first : first + group.window]
        return self.unet(x_t, t, spatial, {"audio": embeddings * keep[:, None, None]})


@dataclass
class Batch:
    """A collated batch in model values: frames (B, m + 2, 3, S, S) and identity in [-1, 1], the rest as in
    FrameSamples.
    """

    frames: Tensor
    identity: Tensor
    sound: Tensor
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

    box = torch.stack(
        [size - batch.lip_box[:, 2], batch.lip_box[:, 1], size - batch.lip_box[:, 0], batch.lip_box[:, 3]], -1
    )
    out = Batch(
        chosen(batch.frames.flip(-1), batch.frames),
        chosen(batch.identity.flip(-1), batch.identity),
        batch.sound,
        chosen(box, batch.lip_box),
    )
    if batch.poses is not None:
        turn = sign([-1.0, 1, -1, -1, 1])
        faces = batch.faces[..., [1, 0, 2, 3, 5, 4]] * sign([1.0, 1, -1, 1, 1, 1])
        out.poses, out.identity_pose = (
            chosen(batch.poses * turn, batch.poses),
            chosen(batch.identity_pose * turn, batch.identity_pose),
        )
        out.faces = chosen(faces, batch.faces)
    return out


def recolour(batch: Batch, probability: float, draws: Draws) -> Batch:
    """Another light for whole samples: contrast, brightness and a tint, the same for every frame of a sample."""
    chosen = (draws.uniform() < probability).to(batch.identity.device).view(-1, 1, 1, 1)
    normal = draws.gaussian(7)[:, :, None, None]
    gain = 1 + chosen * 0.3 * (0.4 * normal[:, :3] + 0.5 * normal[:, 3:4])
    shift = chosen * 0.15 * normal[:, 4:7]
    batch.identity = (batch.identity * gain + shift).clamp(-1, 1)
    batch.frames = (batch.frames * gain[:, None] + shift[:, None]).clamp(-1, 1)
    return batch


def reframe(batch: Batch, probability: float, draws: Draws) -> Batch:
    """Another framing for whole samples, the same for every frame of a sample: turned, scaled and shifted a little
    about the frame's centre, as a portrait is that was aligned less well. Poses stay: they tell one frame from another.
    """
    size, device = batch.identity.shape[-1], batch.identity.device
    chosen = (draws.uniform() < probability).float().to(device)
    turn, scale, *shift = (chosen[:, None] * draws.gaussian(4) * batch.identity.new_tensor(REFRAMED)).unbind(1)
    scale = scale.exp()
    linear = (
        torch.stack([torch.stack([turn.cos(), -turn.sin()], -1), torch.stack([turn.sin(), turn.cos()], -1)], -2)
        / scale[:, None, None]
    )
    shift = torch.stack(shift, -1)
    grid = F.affine_grid(
        torch.cat([linear, -2 * (linear @ shift[:, :, None])], -1), list(batch.identity.shape), align_corners=False
    )
    pictures = torch.cat([batch.frames, batch.identity[:, None]], 1).flatten(1, 2)
    moved = F.grid_sample(pictures, grid, mode="bicubic", padding_mode="border", align_corners=False).clamp(-1, 1)
    moved = torch.where(chosen.bool()[:, None, None, None], moved, pictures).unflatten(1, (-1, 3))
    batch.frames, batch.identity = moved[:, :-1], moved[:, -1]
    corners = batch.lip_box[:, [[0, 1], [2, 1], [2, 3], [0, 3]]] / size - 0.5
    corners = (torch.linalg.inv(linear)[:, None] @ corners[..., None])[..., 0] + shift[:, None] + 0.5
    boxes = torch.cat([corners.amin(1), corners.amax(1)], -1) * size
    batch.lip_box = torch.where(chosen.bool()[:, None], boxes, batch.lip_box)
    return batch


def worsen(batch: Batch, config: StabilityConfig, draws: Draws) -> Batch:
    """Motion frames with noise or a patch, or replaced by the identity frame; the target stays."""
    b, device = len(batch.identity), batch.identity.device
    draw = draws.uniform(4)
    motion = batch.frames[:, :-1].clone()
    noisy = (draw[:, 0] < config.noise).nonzero()[:, 0]
    level = (draw[noisy, 2] * config.noise_level).view(-1, 1, 1, 1, 1).to(device)
    motion[noisy.to(device)] += level * draws.gaussian(*motion.shape[1:], rows=noisy.tolist())
    motion = patched(motion, draw[:, 3] < config.patch, draws)
    copies = (draw[:, 1] < config.identity).to(device)
    motion = torch.where(copies.view(b, 1, 1, 1, 1), batch.identity[:, None], motion)
    batch.frames = torch.cat([motion, batch.frames[:, -1:]], 1)
    if batch.poses is not None:
        poses = torch.where(copies.view(b, 1, 1), batch.identity_pose[:, None], batch.poses[:, :-1])
        batch.poses = torch.cat([poses, batch.poses[:, -1:]], 1)
    return batch


def patched(motion: Tensor, chosen: Tensor, draws: Draws) -> Tensor:
    """Frames (B, m, 3, S, S) of the ``chosen`` samples (B,) overlaid with one rectangle of a colour or of another
    place.
    """
    size, draw = motion.shape[-1], draws.uniform(11).tolist()
    for row in chosen.nonzero()[:, 0].tolist():
        height, width, top, left, red, green, blue, opacity, kind, other_top, other_left = draw[row]
        h, w = (max(2, int(size * (0.05 + 0.35 * side**2))) for side in (height, width))
        y, x, other_y, other_x = (
            int(at * (size - side)) for at, side in ((top, h), (left, w), (other_top, h), (other_left, w))
        )
        part = motion[row, :, :, y : y + h, x : x + w]
        colour = motion.new_tensor([red, green, blue]).mul(2.4).sub(1.2).view(3, 1, 1)
        other = motion[row, :, :, other_y : other_y + h, other_x : other_x + w] if kind < 0.3 else colour
        part.lerp_(other.expand_as(part).clone(), 0.3 + 0.7 * opacity)
    return motion


@torch.no_grad()
def own_motion(batch: Batch, config: TrainConfig, schedule: NoiseSchedule, predict: Predict, draws: Draws) -> Batch:
    """The newest motion frame replaced, in a share of the samples, by the model's own one-step prediction of it."""
    device = batch.identity.device
    rows = (draws.uniform() < config.stability.own).nonzero()[:, 0]
    if not len(rows) or batch.frames.shape[1] < 3:
        return batch
    noise = draws.gaussian(*batch.identity.shape[1:], rows=rows.tolist())
    rows = rows.to(device)
    part = Batch(*(None if v is None else v[rows] for v in vars(batch).values()))
    index = torch.full((len(rows),), len(schedule) - 1, device=device)
    output, v = predict(
        noise, index, part.spatial(config, back=1), part.sound, torch.ones(len(rows), device=device), shift=0
    )
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
    loss: LossConfig,
    schedule: NoiseSchedule,
    prediction: str,
    output: Tensor,
    v: Tensor | None,
    x0: Tensor,
    x_t: Tensor,
    noise: Tensor,
    index: Tensor,
    lip_box: Tensor,
) -> dict[str, Tensor]:
    """The losses a sample, (B,) each: simple, lip, vlb where the variance is learned, and their weighted total."""
    error = (output - target_of(schedule, prediction, x0, noise, index)).square()
    weight = snr_weight(schedule, prediction, index, loss.snr_weight)
    parts = {"simple": error.flatten(1).mean(1) * weight, "lip": lip_loss(error, lip_box, loss.lip_margin) * weight}
    total = loss.simple * parts["simple"] + loss.lip * parts["lip"]
    if v is not None:
        found: Estimate = estimate(schedule, prediction, output, x_t, index, v)
        parts["vlb"] = vlb_loss(schedule, x0, x_t, index, found)
        total = total + loss.vlb * parts["vlb"]
    return {**parts, "total": total}


def training_losses(
    batch: Batch, config: TrainConfig, schedule: NoiseSchedule, predict: Predict, predict_own: Predict, draws: Draws
) -> tuple[dict[str, Tensor], Tensor]:
    """A batch's losses, (B,) each, and its timesteps; all randomness but the network's dropout comes from ``draws``."""
    device = batch.identity.device
    if config.mirror:
        batch = mirror(batch, (draws.uniform() < 0.5).to(device))
    if config.colour:
        batch = recolour(batch, config.colour, draws)
    if config.reframe:
        batch = reframe(batch, config.reframe, draws)
    if config.stability.noise or config.stability.identity or config.stability.patch:
        batch = worsen(batch, config.stability, draws)
    if config.stability.own:
        batch = own_motion(batch, config, schedule, predict_own, draws)
    index = draws.integers(len(schedule)).to(device)
    noise = draws.gaussian(*batch.identity.shape[1:])
    keep = (draws.uniform() >= config.audio_dropout).float().to(device)
    x0 = batch.frames[:, -1]
    x_t = q_sample(schedule, x0, index, noise)
    spatial = dropped(batch.spatial(config), config, draws)
    output, v = predict(x_t, index, spatial, batch.sound, keep)
    found = losses(config.loss, schedule, config.model.unet.prediction, output, v, x0, x_t, noise, index, batch.lip_box)
    return found, index


def dropped(spatial: dict[str, Tensor], config: TrainConfig, draws: Draws) -> dict[str, Tensor]:
    """Spatial inputs zeroed, a sample at a time, with their own dropout."""
    for entry in config.model.unet.spatial:
        if entry.dropout:
            keep = (draws.uniform() >= entry.dropout).float().to(spatial[entry.name].device)
            spatial[entry.name] = spatial[entry.name] * keep[:, None, None, None]
    return spatial
