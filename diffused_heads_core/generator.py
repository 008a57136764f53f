"""The autoregressive frame loop: one frame is denoised at a time and becomes a motion frame of the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .conditioning import HeadState, feature_window, spatial_inputs
from .config import ModelConfig, raise_problems
from .diffusion import Estimate, estimate
from .motion import MotionTrack
from .samplers import SAMPLERS, get_sampler
from .schedule import NoiseSchedule, noise_schedule
from .stabilisation import ColourLock
from .unet import UNet

OnStep = Callable[[int, int, Tensor], None]  # (frame, denoising step, x0 so far)
ANCHOR = 0.1  # of a model whose motion is given


@dataclass(frozen=True)
class SamplingOptions:
    """How frames are sampled. ``guidance`` 1 is the plain model; above 1 the mouth follows the audio more strongly.

    Against drift, both 0 (off) .. 1: ``colour_lock`` holds frames to the identity frame's colours, see
    ``stabilisation.ColourLock``; ``motion_anchor`` is the identity frame's share in the motion frames that the network
    sees, so that an error shrinks by 1 - motion_anchor from frame to frame. None is the model's own: 0, as in the
    paper, and
    0.1 for a model that predicts x0 and is given the head's motion. Its frames hold no noise to be corrected by, and a
    mouth that is painted a little off where the head turns would be off by more in each further frame.

    ``temperature``, 0 .. 1, scales the noise x_T that a frame starts from; None is the model's own: 1, as in the paper,
    and 0 for a model that predicts x0 and is given the head's motion: its first step then gives the mean of all frames
    that fit, and every frame's details the same way. With fresh noise for each frame a few-step sampler paints them
    anew, which is seen as boiling. A model that makes up its own motion needs the noise for it.
    """

    sampler: str = "ancestral"
    steps: int = 100
    seed: int = 0
    guidance: float = 1.0
    eta: float = 0.0
    colour_lock: float = 0.0
    motion_anchor: float | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        raise_problems(
            "sampling options",
            [
                *(
                    [f"sampler={self.sampler!r}: expected one of {sorted(SAMPLERS)}"]
                    if self.sampler not in SAMPLERS
                    else []
                ),
                *([f"steps={self.steps}: expected at least 1"] if self.steps < 1 else []),
                *([f"seed={self.seed}: expected 0..2**64-1"] if not 0 <= self.seed < 2**64 else []),
                *([f"guidance={self.guidance}: expected 0..10"] if not 0 <= self.guidance <= 10 else []),
                *[
                    f"{name}={value}: expected 0..1"
                    for name, value in (
                        ("eta", self.eta),
                        ("colour_lock", self.colour_lock),
                        ("motion_anchor", self.motion_anchor),
                        ("temperature", self.temperature),
                    )
                    if value is not None and not 0 <= value <= 1
                ],
            ],
        )


class Noise(Protocol):
    """Where a generator's randomness comes from."""

    def start(self, frame: int) -> Tensor:
        """x_T of a frame, (B, 3, S, S)."""

    def step(self, frame: int, index: int) -> Tensor:
        """Fresh noise for respaced step ``index`` of a frame, (B, 3, S, S)."""


class SeededNoise:
    """Standard normal noise keyed by (seed, frame, step) alone: the same on any batch size, device and clip length."""

    def __init__(self, seeds: list[int], size: int, device: torch.device | str = "cpu"):
        self.seeds, self.size, self.device = seeds, size, device

    def start(self, frame: int) -> Tensor:
        return self._draw(frame, 0)

    def step(self, frame: int, index: int) -> Tensor:
        return self._draw(frame, index + 1)

    def _draw(self, frame: int, stream: int) -> Tensor:
        rows = {seed: self._row(seed, frame, stream) for seed in set(self.seeds)}
        return torch.stack([rows[seed] for seed in self.seeds]).to(self.device)

    def _row(self, seed: int, frame: int, stream: int) -> Tensor:
        state = int(np.random.SeedSequence([seed, frame, stream]).generate_state(1, np.uint64)[0] >> np.uint64(1))
        return torch.randn((3, self.size, self.size), generator=torch.Generator().manual_seed(state))


@torch.no_grad()
def generate(
    unet: UNet,
    config: ModelConfig,
    identity: Tensor,
    audio: Tensor,
    options: SamplingOptions,
    track: MotionTrack | None = None,
    noise: Noise | None = None,
    on_step: OnStep | None = None,
) -> Iterator[Tensor]:
    """Yield a clip's frames one after the other, each (B, 3, S, S) in [-1, 1].

    identity: (B, 3, S, S), [-1, 1]; audio: (N, C) embeddings for all rows, or (B, N, C); N is the number of frames.
    track: the head's motion, needed by a model with ``head_motion``. noise: by default keyed by ``options.seed``.
    on_step(frame, denoising step, x0 so far) is called at every denoising step; it may raise to stop.
    Missing motion frames at the start are copies of the identity frame (paper, section 3.2).
    """
    schedule = noise_schedule(config.schedule, config.timesteps).respace(options.steps)
    sampler, batch, device = get_sampler(options.sampler), len(identity), identity.device
    audio = audio.expand(batch, -1, -1) if audio.dim() == 2 else audio
    noise = noise or SeededNoise([options.seed] * batch, identity.shape[-1], device)
    window = next(g for g in config.unet.features if g.name == "audio").neighbours
    temperature = own_temperature(config) if options.temperature is None else options.temperature
    anchor = own_anchor(config) if options.motion_anchor is None else options.motion_anchor
    lock = ColourLock(identity, options.colour_lock, config.fps) if options.colour_lock else None
    rest = HeadState.neutral(batch, device)
    past = deque([(identity, rest.pose)] * config.motion_frames, maxlen=config.motion_frames)
    for frame in range(audio.shape[1]):
        state = track.at(frame, batch, device) if track is not None else rest
        spatial = spatial_inputs(config, identity, [f for f, _ in past], state, rest.pose, [p for _, p in past])
        features = {"audio": feature_window(audio, frame, window)}
        denoise = bind(
            unet, schedule, spatial, features, options.guidance, lambda i, x0, n=frame: on_step and on_step(n, i, x0)
        )
        x0 = sampler(
            denoise, schedule, temperature * noise.start(frame), lambda i, n=frame: noise.step(n, i), options.eta
        )
        x0 = x0.clamp(-1, 1) if lock is None else lock(x0.clamp(-1, 1))
        past.append((torch.lerp(x0, spatial["identity"], anchor), state.pose))
        yield x0


def own_temperature(config: ModelConfig) -> float:
    """The scale of x_T that suits a model: see ``SamplingOptions``."""
    return 0.0 if _is_led(config) else 1.0


def own_anchor(config: ModelConfig) -> float:
    """The identity frame's share in the motion frames that suits a model: see ``SamplingOptions``."""
    return ANCHOR if _is_led(config) else 0.0


def _is_led(config: ModelConfig) -> bool:
    """Whether sound and head track leave a frame nothing to make up by itself."""
    return config.unet.prediction == "x0" and config.head_motion


def bind(
    unet: UNet,
    schedule: NoiseSchedule,
    spatial: dict[str, Tensor],
    features: dict[str, Tensor],
    guidance: float = 1.0,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Callable[[Tensor, int], Estimate]:
    """A denoiser (x_t, i) -> Estimate with its conditioning bound.

    Classifier-free guidance (Ho & Salimans 2022) extrapolates from the prediction without audio, where the
    embeddings are zero.
    """
    kept = torch.from_numpy(schedule.timesteps)

    def denoise(x_t: Tensor, i: int) -> Estimate:
        index = torch.full((len(x_t),), i, device=x_t.device)
        t = kept.to(x_t.device)[index]
        output, v = unet(x_t, t, spatial, features)
        if guidance != 1.0:
            silent, _ = unet(x_t, t, spatial, {name: torch.zeros_like(f) for name, f in features.items()})
            output = silent + guidance * (output - silent)
        found = estimate(schedule, unet.config.prediction, output, x_t, index, v)
        if on_step is not None:
            on_step(len(schedule) - 1 - i, found.x0)
        return found

    return denoise
