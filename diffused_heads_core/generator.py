"""The autoregressive frame loop: one frame is denoised at a time and becomes a motion frame of the next.

Inside the loop nothing crosses between host and device but a frame's noise, in one upload, if its sampler needs any.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .conditioning import WholeFrame
from .config import ModelConfig
from .diffusion import Estimate, estimate
from .engines.engine import Network
from .errors import DiffusedHeadsError, raise_problems
from .motion import MotionTrack
from .mouth.lip_shape import row_times
from .mouth.scene import Mouths, lower_face
from .samplers import SAMPLERS, STOCHASTIC, batch_index, get_sampler
from .schedule import NoiseSchedule, noise_schedule

OnStep = Callable[[int, int, Tensor], None]  # (frame, denoising step from 0, x0 so far)
ANCHOR = 0.1  # default motion anchor of fully driven models
COLOUR_MEMORY = 1.0  # seconds over which a clip's colours are averaged: talking and blinking hardly change the average
LEAST_SPREAD = 0.02  # of a channel in [-1, 1]: a plain picture's noise is not stretched
CONTRAST = (0.8, 1.25)  # limits of the change of contrast in one frame


@dataclass(frozen=True)
class SamplingOptions:
    """How frames are sampled.

    guidance: 1 is the plain model; above it classifier-free guidance lets the mouth follow the audio more strongly.
    eta: of DDIM. colour_lock: 0 (off) .. 1, see ``ColourLock``. motion_anchor: 0 .. 1, the identity frame's share in
    the motion frames that the network sees, so that an error shrinks by 1 - motion_anchor from frame to frame; None is
    the model's default, 0 as in the paper, and 0.1 for fully driven models, whose frames hold no noise that could
    correct an error. temperature: 0 .. 1, scale of the noise x_T that a frame starts from; None is the model's default,
    1 as in the paper, and 0 for fully driven models: fresh noise in each frame would make details boil.
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
        shares = {name: getattr(self, name) for name in ("eta", "colour_lock", "motion_anchor", "temperature")}
        wrong = {
            f"sampler={self.sampler!r}: expected one of {sorted(SAMPLERS)}": self.sampler not in SAMPLERS,
            f"steps={self.steps}: expected at least 1": self.steps < 1,
            f"seed={self.seed}: expected 0..2**64-1": not 0 <= self.seed < 2**64,
            f"guidance={self.guidance}: expected 0..10": not 0 <= self.guidance <= 10,
            **{f"{n}={v}: expected 0..1": v is not None and not 0 <= v <= 1 for n, v in shares.items()},
        }
        raise_problems("sampling options", wrong)


class NoiseSource(Protocol):
    """Where a generator's randomness comes from."""

    def draw(self, frame: int, streams: Sequence[int]) -> Tensor:
        """Standard normal noise of a frame, (len(streams), B, 3, S, S), on the generator's device.

        Stream 0 is x_T, stream i + 1 the fresh noise of step ``i`` of the respaced schedule.
        """


class SeededNoise:
    """Noise keyed by (seed, frame, stream) alone: the same on any batch size, device and clip length."""

    def __init__(self, seeds: list[int], size: int | Sequence[int], device: torch.device | str = "cpu"):
        """size: the frames' side, or their height and width, in pixels."""
        self.seeds, self.device = seeds, device
        self.shape = (size, size) if isinstance(size, int) else tuple(size)

    def draw(self, frame: int, streams: Sequence[int]) -> Tensor:
        rows = {seed: torch.stack([self._row(seed, frame, stream) for stream in streams]) for seed in set(self.seeds)}
        return torch.stack([rows[seed] for seed in self.seeds], 1).to(self.device)

    def _row(self, seed: int, frame: int, stream: int) -> Tensor:
        state = int(np.random.SeedSequence([seed, frame, stream]).generate_state(1, np.uint64)[0] >> np.uint64(1))
        return torch.randn((3, *self.shape), generator=torch.Generator().manual_seed(state))


class ColourLock:
    """Holds the mean and the standard deviation of each channel to the identity frame's.

    identity: (B, 3, S, S), [-1, 1]; strength 0 (nothing) .. 1 (all of the difference). With running averages m, s of a
    clip's own mean and deviation (exponential, ``COLOUR_MEMORY`` seconds) a frame x becomes
    x + strength * ((x - m) * s_id / s + m_id - x). One frame's own change, such as an opening mouth, hardly moves the
    averages; a drift that is fed back does.
    """

    def __init__(self, identity: Tensor, strength: float, fps: float):
        self.strength, self.rate = strength, 1 / (COLOUR_MEMORY * fps)
        self.target = self.average = _colours(identity)

    def __call__(self, frame: Tensor) -> Tensor:
        """The corrected frame, (B, 3, S, S), [-1, 1]; to be called once per frame, in order."""
        (mean, spread), (mean_id, spread_id) = _colours(frame), self.target
        mean, spread = torch.lerp(self.average[0], mean, self.rate), torch.lerp(self.average[1], spread, self.rate)
        self.average = mean, spread
        gain = (spread_id.clamp(min=LEAST_SPREAD) / spread.clamp(min=LEAST_SPREAD)).clamp(*CONTRAST)
        return torch.lerp(frame, (frame - mean) * gain + mean_id, self.strength).clamp(-1, 1)


def _colours(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, (B, 3, 1, 1) each."""
    return pictures.mean((2, 3), keepdim=True), pictures.std((2, 3), keepdim=True)


class AudioWindows:
    """Which audio embeddings each frame of a clip sees, at any frame rate.

    audio: (B, N, C), ``model_fps`` rows per second, row k about the time (k + 0.5) / model_fps. A frame at the time t
    sees the embeddings at t + j / model_fps, j = -neighbours .. neighbours, linear between rows; beyond the ends the
    first and last count (paper). At the model's rate they are the rows themselves.
    """

    def __init__(self, audio: Tensor, neighbours: int, rows: Tensor):
        """rows: (frames,), where the frames' middles stand among the rows, as of ``row_times``."""
        around = rows[:, None] + torch.arange(-neighbours, neighbours + 1)
        around, last = around.clamp(0, audio.shape[1] - 1), audio.shape[1] - 1
        low = around.floor()
        self.audio, self.low = audio, low.long().to(audio.device)
        self.high = (self.low + 1).clamp(max=last)
        self.part = (around - low).to(audio)[..., None]

    def __getitem__(self, frame: int) -> Tensor:
        """The embeddings that a frame sees, (B, 2 neighbours + 1, C)."""
        return torch.lerp(self.audio[:, self.low[frame]], self.audio[:, self.high[frame]], self.part[frame])


class Scene(Protocol):
    """What is painted and what is made of it: ``conditioning.WholeFrame`` or ``mouth.scene.LowerFace``."""

    @property
    def first(self) -> Tensor: ...

    def spatial(self, frame: int, motion_frames: list[Tensor]) -> dict[str, Tensor]: ...

    def finished(self, frame: int, painted: Tensor) -> Tensor: ...


def sample_frames(
    unet: Network,
    config: ModelConfig,
    identity: Tensor,
    audio: Tensor,
    options: SamplingOptions,
    track: MotionTrack | None = None,
    noise: NoiseSource | None = None,
    on_step: OnStep | None = None,
    fps: Fraction | None = None,
    frames: int | None = None,
    mouths: Mouths | None = None,
) -> Iterator[Tensor]:
    """Yield a clip's frames one after the other, each (B, 3, S, S) in [-1, 1].

    identity: (B, 3, S, S), [-1, 1]; audio: (N, C) embeddings for all rows, or (B, N, C), at the model's rate. fps,
    frames: rate and number of the frames, by default the model's rate and N. Motion frames are the frames just before
    at any rate, which follows the sound best (benchmarks/output_rates.py); at the start they are copies of the identity
    frame (paper, section 3.2). track: the head's motion at that rate, which a model with ``head_motion`` needs and
    others ignore. mouths: what a model with ``config.mouth`` needs. noise: by default keyed by ``options.seed``.
    on_step is called at every denoising step; it may raise to stop. Raises DiffusedHeadsError if the track is missing
    or too short.
    """
    made = sample_scene(unet, config, identity, audio, options, track, noise, on_step, fps, frames, mouths)
    return (scene.finished(frame, painted) for scene, frame, painted in made)


@torch.no_grad()
def sample_scene(
    unet: Network,
    config: ModelConfig,
    identity: Tensor,
    audio: Tensor,
    options: SamplingOptions,
    track: MotionTrack | None,
    noise: NoiseSource | None,
    on_step: OnStep | None,
    fps: Fraction | None,
    frames: int | None,
    mouths: Mouths | None,
) -> Iterator[tuple[Scene, int, Tensor]]:
    """Yield the scene, each frame's number, and what the network painted; arguments as of ``sample_frames``."""
    schedule = noise_schedule(config.schedule, config.timesteps).respace(options.steps)
    sampler, batch, device = get_sampler(options.sampler), len(identity), identity.device
    audio = audio.expand(batch, -1, -1) if audio.dim() == 2 else audio
    frames, rate = audio.shape[1] if frames is None else frames, fps or Fraction(config.fps)
    windows = AudioWindows(audio, config.unet.audio_neighbours, row_times(frames, rate, config.fps))
    temperature = _default(options.temperature, 0.0 if config.fully_driven else 1.0)
    anchor = _default(options.motion_anchor, ANCHOR if config.fully_driven else 0.0)
    if config.head_motion and track is None:
        raise DiffusedHeadsError("head track: this model follows one, found none")
    states = track.states(frames, device) if track is not None and config.head_motion else None
    scene: Scene = WholeFrame(config, identity, states)
    if config.mouth is not None:
        scene = lower_face(config, identity, track if config.head_motion else None, mouths, frames, rate)
    noise = noise or SeededNoise([options.seed] * batch, scene.first.shape[-2:], device)
    lock = ColourLock(scene.first, options.colour_lock, float(rate)) if options.colour_lock else None
    start = [0] if temperature else []
    streams = start + (list(range(2, len(schedule) + 1)) if STOCHASTIC[options.sampler](options.eta) else [])
    motion = deque([scene.first] * config.motion_frames, maxlen=config.motion_frames)
    for frame in range(frames):
        spatial = scene.spatial(frame, list(motion))
        watch = None if on_step is None else partial(on_step, frame)
        denoiser = conditioned_denoiser(unet, schedule, spatial, {"audio": windows[frame]}, options.guidance, watch)
        drawn = dict(zip(streams, noise.draw(frame, streams))) if streams else {}
        x_t = temperature * drawn[0] if start else torch.zeros_like(scene.first)
        step_noise = {stream - 1: fresh for stream, fresh in drawn.items()}
        x0 = sampler(denoiser, schedule, x_t, step_noise.__getitem__, options.eta).clamp(-1, 1)
        x0 = x0 if lock is None else lock(x0)
        motion.append(torch.lerp(x0, spatial["identity"], anchor))
        yield scene, frame, x0


def _default(value: float | None, default: float) -> float:
    return default if value is None else value


def conditioned_denoiser(
    unet: Network,
    schedule: NoiseSchedule,
    spatial: dict[str, Tensor],
    features: dict[str, Tensor],
    guidance: float = 1.0,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Callable[[Tensor, int], Estimate]:
    """A denoiser (x_t, i) -> Estimate with its conditioning bound.

    Classifier-free guidance (Ho & Salimans 2022) extrapolates from the prediction without audio, whose embeddings are
    zero. on_step(denoising step from 0, x0 so far).
    """
    silence = {name: torch.zeros_like(feature) for name, feature in features.items()}

    def denoise(x_t: Tensor, i: int) -> Estimate:
        index = batch_index(x_t, i)
        t = schedule.tables(x_t.device)["timesteps"][index]
        output, variance = unet(x_t, t, spatial, features)
        if guidance != 1.0:
            unconditional, _ = unet(x_t, t, spatial, silence)
            output = unconditional + guidance * (output - unconditional)
        found = estimate(schedule, unet.config.prediction, output, x_t, index, variance)
        if on_step is not None:
            on_step(len(schedule) - 1 - i, found.x0)
        return found

    return denoise
