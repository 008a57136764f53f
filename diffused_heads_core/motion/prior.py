"""The motion prior: head motion sampled from speech by diffusion (after Yu et al. 2022, arXiv:2212.04248).

A window of a track is denoised as a whole. The first frames of a window are the last ones of the window before, so
tracks of any length have no seams, need the memory of one window, and can be made while the speech goes on. Blinks are
events whose rate can be chosen; when they come depends on the speech (``blinks``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from ..assets import MOTION_PRIOR
from ..checkpoints import STORED, from_json, load_tensors, to_json
from ..diffusion import Estimate, estimate
from ..errors import DiffusedHeadsError, raise_problems
from ..files import atomic_path, readable_file
from ..mouth.lip_shape import at_rate
from ..pose import POSE
from ..samplers import SAMPLERS, batch_index
from ..schedule import noise_schedule
from .blinks import BlinkModel, blink_closure, onsets
from .posture import posture
from .prior_network import Given, MotionNetwork, PriorConfig
from .random_motion import MotionOptions
from .track import COLUMNS, EXPRESSION, SIZE, MotionTrack

FORMAT = "diffused-heads-motion-prior-1"
PREFIX = "motion_prior."
ANGLES = POSE[:3]
WINDOW_STREAM, BLINK_STREAM = 0x7072696F, 0x626C696E  # beside the seed, which random numbers


class MotionPrior(nn.Module):
    """A trained prior. licence, summary: of the weights, with the data that they were learned from."""

    deviations: Tensor

    def __init__(self, config: PriorConfig, licence: str = "unknown", summary: Mapping[str, Any] | None = None):
        super().__init__()
        self.config, self.licence, self.summary = config, licence, dict(summary or {})
        self.network, self.blinks = MotionNetwork(config), BlinkModel(config.embedding)
        self.register_buffer("deviations", torch.tensor(config.deviations), persistent=False)
        self.schedule = noise_schedule(config.schedule, config.timesteps)

    def sample_motion(
        self,
        embeddings: Tensor,
        fps: Fraction | float | None = None,
        seed: int = 0,
        options: MotionOptions = MotionOptions(),
        frames: int | None = None,
        own_pose: np.ndarray | None = None,
    ) -> MotionTrack:
        """A track for speech, which begins near the portrait's own pose and is the same for the same seed.

        embeddings: (N, E), one per frame at ``config.fps``. fps, frames: rate and number of the track's frames, by
        default that rate and N. own_pose: yaw, pitch, roll in radians of the portrait's head, None if it is not known.
        Raises DiffusedHeadsError for other embeddings and for a label that the prior does not know.
        """
        self._check(embeddings, options)
        rate = Fraction(self.config.fps)
        wanted = rate if fps is None else Fraction(fps).limit_denominator(1001)
        count = len(embeddings) if frames is None else frames
        if not len(embeddings) or not count:
            return MotionTrack.still(count)
        rows = torch.from_numpy(np.concatenate(list(self.chunks(embeddings, seed, options, own_pose))))
        sampled = at_rate(rows, count, wanted, self.config.fps).numpy()
        values = np.zeros((count, len(COLUMNS)), np.float32)
        values[:, [COLUMNS.index(name) for name in self.config.columns]] = sampled * self._gains(options)
        turn = [COLUMNS.index(name) for name in ANGLES]
        values[:, turn] += options.head * posture(count, float(wanted), seed)
        lids = [COLUMNS.index(name) for name in ("blink_left", "blink_right")]
        values[:, lids] = self._lids(embeddings, count, float(wanted), seed, options.blinks)[:, None]
        return MotionTrack.of_values(values).limited()

    def chunks(
        self, embeddings: Tensor, seed: int, options: MotionOptions, own_pose: np.ndarray | None = None
    ) -> Iterator[np.ndarray]:
        """The prior's columns (n, C) float32 piece by piece, N frames at ``config.fps`` in all; lids are not in it."""
        config = self.config
        step, frames = config.window - config.past, len(embeddings)
        tail = torch.zeros(1, len(config.columns), 1, config.past, device=embeddings.device)
        known = torch.zeros(1, 1, 1, config.window, device=embeddings.device)
        known[..., config.past - 1] = 1  # of the time before the clip only the portrait itself is known
        for number, first in enumerate(range(0, frames, step)):
            around = torch.arange(first - config.past, first + step).clamp(0, frames - 1)
            given = self._given(embeddings[around][None].float(), tail, known, options, own_pose)
            window = self._window(given, seed, number, options)
            tail = window[..., -config.past :]
            known = torch.zeros_like(known)
            known[..., : config.past] = 1
            new = window[0, :, 0, config.past : config.past + min(step, frames - first)]
            yield (new * self.deviations[:, None]).T.cpu().numpy()

    def _check(self, embeddings: Tensor, options: MotionOptions) -> None:
        expected, labels = f"(N, {self.config.embedding})", " or ".join(map(repr, self.config.labels)) or "none"
        fits = embeddings.ndim == 2 and embeddings.shape[1] == self.config.embedding
        wrong = {
            f"audio embeddings {tuple(embeddings.shape)}: expected {expected}": not fits,
            f"label={options.label!r}: expected {labels}": bool(options.label)
            and options.label not in self.config.labels,
        }
        raise_problems("motion prior", wrong)

    def _given(
        self, audio: Tensor, tail: Tensor, known: Tensor, options: MotionOptions, own_pose: np.ndarray | None
    ) -> Given:
        past = nn.functional.pad(tail, (0, self.config.window - self.config.past)) * known
        own = torch.zeros(1, 4, device=audio.device)
        if own_pose is not None:
            own[0] = torch.tensor([*np.asarray(own_pose, np.float32).tolist(), 1.0])
        label = self.config.labels.index(options.label) + 1 if options.label else 0
        numbers = torch.tensor([label], device=audio.device)
        return Given(audio, torch.ones_like(audio[..., 0]), past, known, own, numbers)

    @torch.no_grad()
    def _window(self, given: Given, seed: int, number: int, options: MotionOptions) -> Tensor:
        """One window (1, C, 1, window) in deviations."""
        config, schedule = self.config, self.schedule.respace(self.config.steps)
        rng = np.random.default_rng([seed, WINDOW_STREAM, number])
        shape, scale = tuple(given.past.shape), np.float32(options.temperature * config.noise)
        guidance = config.guidance if options.guidance is None else options.guidance
        both = given.with_unconditional()

        def noise(step: int) -> Tensor:
            drawn = scale * rng.standard_normal(shape, np.float32)
            return torch.from_numpy(drawn).to(given.past.device)

        def denoiser(x: Tensor, i: int) -> Estimate:
            index = batch_index(x, i)
            steps = schedule.tables(x.device)["timesteps"][index]
            if guidance == 1:
                output = self.network(x, steps, given)
            else:
                output, plain = self.network(x.repeat(2, 1, 1, 1), steps.repeat(2), both).chunk(2)
                output = plain + guidance * (output - plain)
            found = estimate(schedule, config.prediction, output, x, index, clamp=False)
            x0 = torch.lerp(found.x0, given.past, given.known)
            return estimate(schedule, "x0", x0, x, index, clamp=False)

        return SAMPLERS[config.sampler](denoiser, schedule, noise(-1), noise, 0.0)

    def _gains(self, options: MotionOptions) -> np.ndarray:
        """By what the options multiply the columns, (C,)."""
        gains = {"gaze_x": options.gaze, "gaze_y": options.gaze, SIZE: options.head}
        gains |= dict.fromkeys(("brow_left", "brow_right", *EXPRESSION), options.brows)
        return np.array([gains.get(name, options.head) for name in self.config.columns], np.float32)

    def blink_onsets(self, embeddings: Tensor, seed: int, rate: float) -> np.ndarray:
        """Times (k,) in seconds at which blinks begin in speech (N, E), ``rate`` per second on average."""
        likelihood = self.blinks.likelihood(self.blinks.speech_level(embeddings.float()), self.config.fps)
        return onsets(likelihood, self.config.fps, rate, np.random.default_rng([seed, BLINK_STREAM]))

    def _lids(self, embeddings: Tensor, frames: int, fps: float, seed: int, rate: float) -> np.ndarray:
        rng, durations = np.random.default_rng([seed, BLINK_STREAM, 1]), self.blinks.durations.double().cpu().numpy()
        return blink_closure(self.blink_onsets(embeddings, seed, rate), durations, frames, fps, rng)


def save_prior(path: Path, prior: MotionPrior, dtype: str = "float16") -> None:
    """Write a prior atomically, its tensors as ``dtype``."""
    tensors = {PREFIX + n: t.to(STORED[dtype]).contiguous().cpu() for n, t in prior.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "config": to_json(prior.config),
        "licence": prior.licence,
        "summary": json.dumps(prior.summary),
    }
    with atomic_path(path) as part:
        part.write_bytes(to_bytes(tensors, metadata))


def load_prior(path: Path = MOTION_PRIOR) -> MotionPrior:
    """Read a prior, ready to sample. Raises DiffusedHeadsError if the file is missing, damaged or something else."""
    file = readable_file(path, "a motion prior")
    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name).float() for name in opened.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise DiffusedHeadsError(f"{path}: expected a motion prior, cannot read it ({error})") from error
    if metadata.get("format") != FORMAT:
        raise DiffusedHeadsError(f"{path}: expected a motion prior of format {FORMAT}, found another file")
    summary = json.loads(metadata.get("summary", "{}"))
    prior = MotionPrior(from_json(PriorConfig, metadata.get("config", "")), metadata.get("licence", "unknown"), summary)
    load_tensors(prior, tensors, PREFIX, file)
    return prior.eval()


@cache
def bundled_prior() -> MotionPrior:
    """The prior that comes with the package, loaded once."""
    return load_prior()
