"""Every random choice of a training batch, drawn before the step so that the step itself never waits for the host.

Each sample draws from a generator of its own, keyed by (seed, position in the run) alone. How samples are spread over
processes, machines and parts of a batch therefore changes no number, and neither does an interruption.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .config import TrainConfig

STREAM = 3  # the dataset's order and choices have streams of their own
REFRAMED = (0.05, 0.05, 0.02, 0.02)  # deviations: turn (radians), log of scale, shift across and down (frame fractions)


class SampleGenerators:
    """One generator per sample at ``positions``. Numbers are drawn on the CPU, whole frames of noise on ``device``."""

    def __init__(self, seed: int, positions: Sequence[int], device: torch.device | str = "cpu"):
        keys = [np.random.SeedSequence([seed, STREAM, int(p)]).generate_state(1, np.uint64)[0] for p in positions]
        seeds = [int(key >> np.uint64(1)) for key in keys]
        self.device = torch.device(device)
        self.rows = [torch.Generator().manual_seed(s) for s in seeds]
        on_device = self.device.type == "cuda"  # where many normal numbers are cheapest made in place
        self.normal = [torch.Generator(self.device).manual_seed(s) for s in seeds] if on_device else self.rows

    def __len__(self) -> int:
        return len(self.rows)

    def uniform(self, *shape: int) -> Tensor:
        """(B, *shape), uniform in 0..1, on the CPU."""
        return torch.stack([torch.rand(shape, generator=g) for g in self.rows])

    def integers(self, high: int) -> Tensor:
        """(B,) of 0 .. high - 1, on the CPU."""
        return torch.stack([torch.randint(high, (), generator=g) for g in self.rows])

    def gaussian(self, *shape: int) -> Tensor:
        """(B, *shape) standard normal, on the CPU."""
        return torch.stack([torch.randn(shape, generator=g) for g in self.rows])

    def frames(self, *shape: int, rows: Sequence[int] | None = None) -> Tensor:
        """(B, *shape) standard normal on the device; with ``rows``, only for these, the others draw nothing."""
        chosen = self.normal if rows is None else [self.normal[row] for row in rows]
        drawn = [torch.randn(shape, generator=g, device=g.device) for g in chosen]
        return (torch.stack(drawn) if drawn else torch.empty(0, *shape)).to(self.device)


@dataclass(frozen=True)
class Recolouring:
    """x -> gain * x + shift, (B, 3, 1, 1) each; 1 and 0 for samples that keep their colours."""

    gain: Tensor
    shift: Tensor


@dataclass(frozen=True)
class Reframing:
    """Which samples (B,) are seen in another framing: the grid's affine map (B, 2, 3), and the way back for points.

    Points p about the frame's centre, in frame fractions, move to back @ p + shift; back (B, 2, 2), shift (B, 2).
    """

    chosen: Tensor
    theta: Tensor
    back: Tensor
    shift: Tensor


@dataclass(frozen=True)
class Patch:
    """A rectangle of a sample's motion frames: its place (y, x, height, width) px, and what is laid over it.

    ``other`` is where another part of the picture is copied from (y, x), or None for the sample's patch colour.
    """

    row: int
    place: tuple[int, int, int, int]
    other: tuple[int, int] | None
    opacity: float


@dataclass(frozen=True)
class Degradation:
    """What is done to the motion frames: noise (n, m + 1, 3, S, S) added to ``noisy`` rows (n,), patches, and copies.

    copies: (B,) whether the identity frame replaces them. colours: (B, 3, 1, 1) of the patches.
    """

    noisy: Tensor
    noise: Tensor
    patches: tuple[Patch, ...]
    colours: Tensor
    copies: Tensor


@dataclass(frozen=True)
class Predicted:
    """Rows (n,) whose newest motion frame becomes the model's own prediction, made from ``noise`` (n, 3, S, S)."""

    rows: Tensor
    noise: Tensor


@dataclass(frozen=True)
class BatchDraws:
    """All random choices of a batch, on its device; None where the training does not ask for one.

    flip (B,): whether a sample is mirrored. index (B,), noise (B, 3, S, S): of the diffusion. keep_audio (B,): 0 if the
    audio is left out. keep_spatial: name -> (B,), 0 if a spatial input is left out.
    """

    index: Tensor
    noise: Tensor
    keep_audio: Tensor
    keep_spatial: Mapping[str, Tensor]
    flip: Tensor | None = None
    recolouring: Recolouring | None = None
    reframing: Reframing | None = None
    degradation: Degradation | None = None
    predicted: Predicted | None = None


def draw_batch(
    config: TrainConfig, positions: Sequence[int], size: int, timesteps: int, device: torch.device | str = "cpu"
) -> BatchDraws:
    """Draw everything for the samples at ``positions``, frames of ``size`` px, and move it to ``device``."""
    rows, stability, frame = SampleGenerators(config.seed, positions, device), config.stability, (3, size, size)
    found: dict[str, object] = {}
    if config.mirror:
        found["flip"] = rows.uniform() < 0.5
    if config.colour:
        found["recolouring"] = _recolouring(rows, config.colour)
    if config.reframe:
        found["reframing"] = _reframing(rows, config.reframe)
    if stability.noise or stability.identity or stability.patch:
        found["degradation"] = _degradation(rows, config, frame)
    if stability.predicted:
        chosen = (rows.uniform() < stability.predicted).nonzero()[:, 0]
        if len(chosen) and config.model.motion_frames:
            found["predicted"] = Predicted(chosen, rows.frames(*frame, rows=chosen.tolist()))
    found["index"] = rows.integers(timesteps)
    found["noise"] = rows.frames(*frame)
    found["keep_audio"] = (rows.uniform() >= config.audio_dropout).float()
    dropped = [entry for entry in config.model.unet.spatial if entry.dropout]
    found["keep_spatial"] = {entry.name: (rows.uniform() >= entry.dropout).float() for entry in dropped}
    return to_device(BatchDraws(**found), device)


def _recolouring(rows: SampleGenerators, probability: float) -> Recolouring:
    """Another light: contrast, brightness and a tint."""
    chosen = (rows.uniform() < probability).view(-1, 1, 1, 1)
    normal = rows.gaussian(7)[:, :, None, None]
    return Recolouring(1 + chosen * 0.3 * (0.4 * normal[:, :3] + 0.5 * normal[:, 3:4]), chosen * 0.15 * normal[:, 4:7])


def _reframing(rows: SampleGenerators, probability: float) -> Reframing:
    """Another framing: turned, scaled and shifted a little about the frame's centre, as by a poorer alignment."""
    chosen = rows.uniform() < probability
    drawn = rows.gaussian(4) * torch.tensor(REFRAMED)
    turn, scale, *shift = (chosen.float()[:, None] * drawn).unbind(1)
    rotation = torch.stack([torch.stack([turn.cos(), -turn.sin()], -1), torch.stack([turn.sin(), turn.cos()], -1)], -2)
    linear, moved = rotation / scale.exp()[:, None, None], torch.stack(shift, -1)
    theta = torch.cat([linear, -2 * (linear @ moved[:, :, None])], -1)
    return Reframing(chosen, theta, torch.linalg.inv(linear), moved)


def _degradation(rows: SampleGenerators, config: TrainConfig, frame: tuple[int, int, int]) -> Degradation:
    stability, draw = config.stability, rows.uniform(4)
    noisy = (draw[:, 0] < stability.noise).nonzero()[:, 0]
    level = (draw[noisy, 2] * stability.noise_level).view(-1, 1, 1, 1, 1).to(rows.device)
    noise = level * rows.frames(config.model.motion_frames + 1, *frame, rows=noisy.tolist())
    patch = rows.uniform(11)
    patched = (draw[:, 3] < stability.patch).nonzero()[:, 0].tolist()
    patches = tuple(_patch(row, patch[row].tolist(), frame[-1]) for row in patched)
    colours = (patch[:, 4:7] * 2.4 - 1.2)[:, :, None, None]
    return Degradation(noisy, noise, patches, colours, draw[:, 1] < stability.identity)


def _patch(row: int, draw: list[float], size: int) -> Patch:
    height, width, top, left, _, _, _, opacity, kind, other_top, other_left = draw
    h, w = (max(2, int(size * (0.05 + 0.35 * side**2))) for side in (height, width))
    y, x, other_y, other_x = (
        int(at * (size - side)) for at, side in ((top, h), (left, w), (other_top, h), (other_left, w))
    )
    return Patch(row, (y, x, h, w), (other_y, other_x) if kind < 0.3 else None, 0.3 + 0.7 * opacity)


def to_device(value: object, device: torch.device | str) -> object:
    """Tensors in dataclasses and mappings moved to a device, anything else as it is."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {name: to_device(each, device) for name, each in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        moved = {field.name: to_device(getattr(value, field.name), device) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **moved)
    return value
