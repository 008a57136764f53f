"""The training objective: corrupt, predict, compare.

The paper's loss is L_simple + lambda_vlb * L_vlb + lambda_ls * L_ls; each is a mean per sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..diffused_heads_core.diffusion import (
    Estimate,
    estimate,
    gather,
    p_log_variance,
    posterior_mean,
    q_sample,
    training_target,
)
from ..diffused_heads_core.schedule import NoiseSchedule
from ..diffused_heads_core.unet import UNet
from .config import LossConfig, TrainConfig
from .draws import BatchDraws, Predicted
from .frame_augmentation import Batch, augmented

Predict = Callable[..., tuple[Tensor, Tensor | None]]


class Denoiser(nn.Module):
    """Network and audio encoder as one module, so that every way of parallel training wraps both.

    forward(x_t, t, spatial, sound, window, keep) -> (prediction, variance): sound as in FrameSamples; window
    (B, 2a + 1) tells which of its frames' embeddings are seen; keep (B,) is 0 if the audio is left out.
    """

    def __init__(self, unet: UNet, audio_encoder: nn.Module):
        super().__init__()
        self.unet, self.audio_encoder = unet, audio_encoder

    def forward(
        self, x_t: Tensor, t: Tensor, spatial: dict[str, Tensor], sound: Tensor, window: Tensor, keep: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        embeddings = self.audio_encoder(sound)
        seen = embeddings.gather(1, window[:, :, None].expand(-1, -1, embeddings.shape[-1]))
        return self.unet(x_t, t, spatial, {"audio": seen * keep[:, None, None]})


def training_losses(
    batch: Batch,
    config: TrainConfig,
    schedule: NoiseSchedule,
    predict: Predict,
    predict_ema: Predict,
    draws: BatchDraws,
) -> dict[str, Tensor]:
    """A batch's losses, (B,) each; all randomness but the network's dropout is in ``draws``.

    predict, predict_ema: the Denoiser in training, and the one of averaged weights that predicts motion frames.
    """
    batch = augmented(batch, draws)
    if draws.predicted is not None:
        batch = with_predictions(batch, config, schedule, predict_ema, draws.predicted)
    x0, model = batch.frames[:, -1], config.model
    x_t = q_sample(schedule, x0, draws.index, draws.noise)
    spatial = batch.spatial(model)
    for name, keep in draws.keep_spatial.items():
        spatial[name] = spatial[name] * keep[:, None, None, None]
    output, variance = predict(x_t, draws.index, spatial, batch.sound, batch.windows[:, 1], draws.keep_audio)
    prediction = model.unet.prediction
    return losses(config.loss, schedule, prediction, output, variance, x0, x_t, draws.noise, draws.index, batch.lip_box)


@torch.no_grad()
def with_predictions(
    batch: Batch, config: TrainConfig, schedule: NoiseSchedule, predict: Predict, drawn: Predicted
) -> Batch:
    """The newest motion frame of the drawn samples replaced by the model's own prediction (scheduled sampling)."""
    part = batch.rows(drawn.rows)
    index = torch.full_like(drawn.rows, len(schedule) - 1)
    keep = torch.ones_like(index, dtype=drawn.noise.dtype)
    spatial = part.spatial(config.model, back=1)
    output, variance = predict(drawn.noise, index, spatial, part.sound, part.windows[:, 0], keep)
    found = estimate(schedule, config.model.unet.prediction, output, drawn.noise, index, variance)
    newest = batch.frames[:, -2].index_copy(0, drawn.rows, found.x0)
    batch.frames = torch.cat([batch.frames[:, :-2], newest[:, None], batch.frames[:, -1:]], 1)
    return batch


def losses(
    loss: LossConfig,
    schedule: NoiseSchedule,
    prediction: str,
    output: Tensor,
    variance: Tensor | None,
    x0: Tensor,
    x_t: Tensor,
    noise: Tensor,
    index: Tensor,
    lip_box: Tensor,
) -> dict[str, Tensor]:
    """The losses per sample, (B,) each: simple, lip, vlb if the variance is learned, and their weighted total."""
    error = (output - training_target(schedule, prediction, x0, noise, index)).square()
    weight = snr_weight(schedule, prediction, index, loss.snr_weight)
    parts = {"simple": error.flatten(1).mean(1) * weight, "lip": lip_loss(error, lip_box, loss.lip_margin) * weight}
    total = loss.simple * parts["simple"] + loss.lip * parts["lip"]
    if variance is not None:
        found = estimate(schedule, prediction, output, x_t, index, variance)
        parts["vlb"] = vlb_loss(schedule, x0, x_t, index, found)
        total = total + loss.vlb * parts["vlb"]
    return {**parts, "total": total}


def snr_weight(schedule: NoiseSchedule, prediction: str, index: Tensor, limits: tuple[float, float]) -> Tensor:
    """Weight of a sample's squared error, (B,): clipped SNR for x0; the same in units of v's and eps' own error."""
    if prediction == "eps":
        return torch.ones(len(index), device=index.device)
    snr = gather(schedule, "snr", index).view(-1)
    weight = snr.clamp(*limits)
    return weight if prediction == "x0" else weight / (snr + 1)


def vlb_loss(schedule: NoiseSchedule, x0: Tensor, x_t: Tensor, index: Tensor, found: Estimate) -> Tensor:
    """The variational bound's term of one step, bits per dimension, (B,) (Nichol & Dhariwal 2021, eq. 4-6).

    The estimate's x0 is detached: this loss trains the variance alone. The step to the data (index 0) is the negative
    log likelihood of the discretised Gaussian.
    """
    mean = posterior_mean(schedule, found.x0.detach(), x_t, index)
    logvar = p_log_variance(schedule, found.variance, index, x_t.shape)
    true_mean = posterior_mean(schedule, x0, x_t, index)
    true_logvar = gather(schedule, "posterior_log_variance", index).expand_as(logvar)
    kl = normal_kl(true_mean, true_logvar, mean, logvar)
    nll = -discretised_log_likelihood(x0, mean, 0.5 * logvar)
    return torch.where((index == 0)[:, None, None, None], nll, kl).flatten(1).mean(1) / math.log(2)


def normal_kl(mean1: Tensor, logvar1: Tensor, mean2: Tensor, logvar2: Tensor) -> Tensor:
    """KL divergence of two diagonal Gaussians, elementwise, in nats."""
    return 0.5 * (logvar2 - logvar1 - 1 + (logvar1 - logvar2).exp() + (mean1 - mean2).square() * (-logvar2).exp())


def discretised_log_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Log likelihood of pixels on the grid of 1/127.5 in [-1, 1] under a Gaussian, elementwise, in nats."""

    def cdf(z: Tensor) -> Tensor:
        return 0.5 * (1 + torch.erf(z / math.sqrt(2)))

    inverse = (-log_scale).exp()
    upper, lower = cdf((x - mean + 1 / 255) * inverse), cdf((x - mean - 1 / 255) * inverse)
    mass = torch.where(x < -0.999, upper, torch.where(x > 0.999, 1 - lower, upper - lower))
    return mass.clamp(min=1e-12).log()


def lip_loss(squared_error: Tensor, boxes: Tensor, margin: float = 5.0) -> Tensor:
    """Mean squared error inside the mouth crop, per sample (paper, section 3.3): (B, 3, S, S), (B, 4) px -> (B,)."""
    mask = box_mask(boxes, squared_error.shape[-1], margin)
    return (squared_error.mean(1, keepdim=True) * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)


def box_mask(boxes: Tensor, size: int, margin: float) -> Tensor:
    """Boxes (B, 4) of x0, y0, x1, y1 px, grown by ``margin`` px and clipped to the frame, as masks (B, 1, S, S).

    1 inside, 0 outside. A pixel belongs to a box that covers its centre; a box always keeps at least one pixel inside
    the frame.
    """
    low = (boxes[:, :2] - margin).floor().clamp(0, size - 1)
    high = torch.maximum((boxes[:, 2:] + margin).ceil().clamp(0, size), low + 1)
    axis = torch.arange(size, device=boxes.device, dtype=boxes.dtype) + 0.5
    inside = (axis > low[..., None]) & (axis < high[..., None])
    return (inside[:, 1, :, None] & inside[:, 0, None, :]).float()[:, None]
