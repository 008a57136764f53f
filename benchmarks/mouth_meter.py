"""The mouth meter: a small network that reads mouth opening, mouth width and lip box from a 128 px avatar frame.

    python benchmarks/mouth_meter.py train corpora/avatars benchmarks/mouth_meter.safetensors
    python benchmarks/mouth_meter.py check corpora/held-out

It measures generated frames, whose truth is unknown; ``check`` shows how well it reads frames whose truth is known.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from diffused_heads.diffused_heads_core.data.shards import Dataset
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.evaluation.metrics.faces import correlation
from diffused_heads.diffused_heads_core.files import atomic_path, readable_file

WEIGHTS = Path(__file__).with_name("mouth_meter.safetensors")
FORMAT = "diffused-heads-mouth-meter-1"
FRAME, CROP, LEFT, TOP = 128, 72, 28, 50  # px: the lower face at any pose of the corpus
SLACK = 5  # px by which training crops are shifted at most
READINGS = ("mouth_open", "mouth_width", "x0", "y0", "x1", "y1")
IMPORTANCE = (4.0, 2.0, 1.0, 1.0, 1.0, 1.0)


class MouthMeter(nn.Module):
    """Crops (B, 3, 72, 72) in [-1, 1] -> readings (B, 6) in the order of READINGS, the box in pixels of the crop."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 20, 5, 2, 2),
            nn.SiLU(),
            nn.Conv2d(20, 40, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(40, 64, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(64, 64, 3, 1, 1),
            nn.SiLU(),
            nn.Conv2d(64, 20, 1),
            nn.SiLU(),
        )
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(20 * (CROP // 8) ** 2, 48), nn.SiLU(), nn.Linear(48, len(READINGS))
        )
        self.register_buffer("mean", torch.zeros(len(READINGS)))
        self.register_buffer("scale", torch.ones(len(READINGS)))

    def forward(self, crops: Tensor) -> Tensor:
        return self.head(self.features(crops)) * self.scale + self.mean


@dataclass(frozen=True)
class Mouth:
    """Readings of T frames: open, width (T,) in eye distances; box (T, 4) x0, y0, x1, y1 in px of a 128 px frame."""

    open: np.ndarray
    width: np.ndarray
    box: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        """Mouth centres (T, 2) in pixels."""
        return (self.box[:, :2] + self.box[:, 2:]) / 2


@lru_cache(maxsize=2)
def load_meter(path: Path = WEIGHTS) -> MouthMeter:
    """The trained meter. Raises DiffusedHeadsError for another kind of file."""
    readable_file(path, "the mouth meter's weights")
    try:
        with safe_open(path, "pt") as file:
            found = (file.metadata() or {}).get("format")
            names = file.keys()
            tensors = {name: file.get_tensor(name).float() for name in names}
        if found != FORMAT:
            raise ValueError(f"format {found!r}")
        meter = MouthMeter()
        meter.load_state_dict(tensors)
    except Exception as error:  # safetensors and torch have no common class for damaged files
        raise DiffusedHeadsError(f"{path}: expected the mouth meter's weights ({FORMAT}), found {error}") from error
    return meter.eval().requires_grad_(False)


def to_128(frames: np.ndarray) -> np.ndarray:
    """Frames (T, S, S, 3) uint8 at 128 px. Raises DiffusedHeadsError for other shapes."""
    if frames.ndim != 4 or frames.dtype != np.uint8 or frames.shape[3] != 3 or frames.shape[1] != frames.shape[2]:
        raise DiffusedHeadsError(f"frames: expected (T, S, S, 3) uint8, found {frames.shape} {frames.dtype}")
    if frames.shape[1] == FRAME:
        return frames
    way = cv2.INTER_AREA if frames.shape[1] > FRAME else cv2.INTER_CUBIC
    return np.stack([cv2.resize(f, (FRAME, FRAME), interpolation=way) for f in frames])


def _model_values(crops: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def read_mouth(frames: np.ndarray, meter: MouthMeter | None = None) -> Mouth:
    """Read the mouths of frames (T, S, S, 3) uint8: the mean of the reading and of the mirrored frame's."""
    meter = meter or load_meter()
    crops = _model_values(to_128(frames)[:, TOP : TOP + CROP, LEFT : LEFT + CROP])
    plain, mirrored = (torch.cat([meter(part) for part in c.split(256)]).numpy() for c in (crops, crops.flip(-1)))
    mirrored[:, [2, 4]] = CROP - mirrored[:, [4, 2]]
    found = (plain + mirrored) / 2
    return Mouth(found[:, 0], found[:, 1], found[:, 2:] + (LEFT, TOP, LEFT, TOP))


def measure(frames: np.ndarray, meter: MouthMeter | None = None) -> np.ndarray:
    """Mouth opening (inner lip gap over eye distance) of frames (T, S, S, 3) uint8: (T,)."""
    return read_mouth(frames, meter).open


def gather(dataset: Dataset, clips: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Wider crops (n, 82, 82, 3) uint8 and readings (n, 6), box in pixels of the frame, of evenly spaced clips."""
    crops, readings = [], []
    for index in np.unique(np.linspace(0, len(dataset) - 1, min(clips, len(dataset))).round().astype(int)):
        clip, rows = dataset.clip(int(index)), slice(int(index) % stride, None, stride)
        truth = clip.annotations
        wide = clip.frames[rows, TOP - SLACK : TOP + CROP + SLACK, LEFT - SLACK : LEFT + CROP + SLACK]
        crops.append(wide.copy())
        readings.append(np.column_stack([truth["mouth_open"], truth["mouth_width"], truth["lip_box"]])[rows])
    return np.concatenate(crops), np.concatenate(readings).astype(np.float32)


def _blurred(crops: Tensor, rng: np.random.Generator) -> Tensor:
    """A Gaussian of up to 1.3 px, or half the resolution, over a whole batch; half of the batches stay sharp."""
    draw = rng.random()
    if draw < 0.5:
        return crops
    if draw < 0.6:
        return F.interpolate(F.avg_pool2d(crops, 2), size=crops.shape[-2:], mode="bilinear", align_corners=False)
    x = torch.arange(-3.0, 4.0)
    kernel = torch.exp(-0.5 * (x / rng.uniform(0.4, 1.3)) ** 2)
    kernel = (kernel / kernel.sum()).repeat(3, 1, 1, 1)
    padded = F.pad(crops, (3, 3, 3, 3), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)


def augmented(wide: np.ndarray, readings: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A batch of crops (B, 3, 72, 72) moved, mirrored, recoloured, blurred and noisy, and its readings in the crop."""
    shift = rng.integers(0, 2 * SLACK + 1, (len(wide), 2))
    crops = _model_values(np.stack([w[y : y + CROP, x : x + CROP] for w, (x, y) in zip(wide, shift)]))
    target = torch.from_numpy(readings.copy())
    target[:, 2:] -= torch.from_numpy(np.tile(shift + (LEFT - SLACK, TOP - SLACK), 2)).float()
    half = len(wide) // 2
    crops[:half] = crops[:half].flip(-1)
    target[:half, [2, 4]] = CROP - target[:half, [4, 2]]
    crops = _blurred(crops, rng)
    draw = torch.from_numpy(rng.standard_normal((5, len(wide), 3, 1, 1))).float()
    gain = 1 + 0.15 * draw[0, :, :1] + 0.08 * draw[1]
    noise = torch.randn(crops.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**31))))
    return crops * gain + 0.1 * draw[2] + 0.06 * draw[3, :, :1].abs() * noise, target


def fit(wide: np.ndarray, readings: np.ndarray, steps: int, batch: int = 96, seed: int = 0) -> MouthMeter:
    """Train a meter on crops as from ``gather``; prints the loss now and then."""
    torch.manual_seed(seed)
    meter, rng = MouthMeter().to(memory_format=torch.channels_last), np.random.default_rng(seed)
    spread = readings.std(0)
    meter.mean.copy_(torch.from_numpy(readings.mean(0) - [0, 0, LEFT, TOP, LEFT, TOP]))
    meter.scale.copy_(torch.from_numpy(spread))
    optimizer = torch.optim.AdamW(meter.parameters(), 2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    weight, recent = torch.tensor(IMPORTANCE), []
    for step in range(steps):
        rows = rng.integers(0, len(wide), batch)
        crops, target = augmented(wide[rows], readings[rows], rng)
        error = (meter(crops.contiguous(memory_format=torch.channels_last)) - target) / meter.scale
        loss = (F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none", beta=0.3) * weight).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        recent.append(loss.item())
        if (step + 1) % 200 == 0:
            print(f"step {step + 1}/{steps}  loss {np.mean(recent[-200:]):.4f}", flush=True)
    return meter.eval().requires_grad_(False)


def save_meter(path: Path, meter: MouthMeter, summary: dict[str, object]) -> None:
    """Write the weights as float16, atomically."""
    tensors = {name: t.half().contiguous() for name, t in meter.state_dict().items()}
    with atomic_path(path) as part:
        save_file(tensors, part, {"format": FORMAT, "licence": "Apache-2.0", "summary": json.dumps(summary)})


def agreement(dataset: Dataset, clips: int, blur: float = 0.0) -> dict[str, np.ndarray]:
    """How well the meter reads a dataset's frames, blurred by ``blur`` px: per clip, r of opening and width, error of
    the centre in px, bias of the opening.
    """
    rows: dict[str, list[float]] = {"open": [], "width": [], "centre": [], "bias": []}
    for index in range(min(clips, len(dataset))):
        clip = dataset.clip(index)
        frames = clip.frames if not blur else np.stack([cv2.GaussianBlur(f, (0, 0), blur) for f in clip.frames])
        found, truth = read_mouth(frames), clip.annotations
        centre = (truth["lip_box"][:, :2] + truth["lip_box"][:, 2:]) / 2
        rows["open"].append(correlation(found.open, truth["mouth_open"]))
        rows["width"].append(correlation(found.width, truth["mouth_width"]))
        rows["centre"].append(float(np.hypot(*(found.centre - centre).T).mean()))
        rows["bias"].append(float((found.open - truth["mouth_open"]).mean()))
    return {name: np.array(values) for name, values in rows.items()}


def train(options: argparse.Namespace) -> None:
    """Train on a dataset of training identities and write the weights."""
    dataset, began = Dataset(options.data), time.monotonic()
    if dataset.size != FRAME:
        raise DiffusedHeadsError(f"{options.data}: expected frames of {FRAME} px, found {dataset.size}")
    if dataset.header["info"].get("held_out"):
        raise DiffusedHeadsError(f"{options.data}: expected training identities, found held-out ones")
    wide, readings = gather(dataset, options.clips, options.stride)
    print(f"{len(wide):,} frames of {min(options.clips, len(dataset))} clips read in {time.monotonic() - began:.0f} s")
    meter = fit(wide, readings, options.steps)
    summary = {
        "data": "procedural avatars, training identities",
        "frames": len(wide),
        "steps": options.steps,
        "fingerprint": dataset.header["fingerprint"],
    }
    save_meter(options.out, meter, summary)
    print(f"wrote {options.out}: {options.out.stat().st_size / 1000:.0f} kB after {time.monotonic() - began:.0f} s")


def check(options: argparse.Namespace) -> None:
    """Print the meter's agreement with the truth, sharp and blurred."""
    dataset = Dataset(options.data)
    for blur in (0.0, 0.7, 1.2):
        found = agreement(dataset, options.clips, blur)
        if not blur and options.verbose:
            for key, r, width, centre, bias in zip(dataset.keys, *found.values()):
                print(f"{key}  r {r:.3f}  width {width:.3f}  centre {centre:.2f} px  bias {bias:+.3f}")
        mean = {name: values.mean() for name, values in found.items()}
        print(
            f"blur {blur} px, {len(found['open'])} clips: opening r mean {mean['open']:.3f} "
            f"min {found['open'].min():.3f}; width r {mean['width']:.3f}; centre off by {mean['centre']:.2f} px; "
            f"bias {mean['bias']:+.3f}"
        )


def main(argv: list[str] | None = None) -> int:
    """Command line; 0 on success, 2 after an error of the input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("train", help="train the meter on training identities")
    one.add_argument("data", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("--clips", type=int, default=1000, help="clips to read (default: %(default)s)")
    one.add_argument("--stride", type=int, default=3, help="every n-th frame (default: %(default)s)")
    one.add_argument("--steps", type=int, default=1600, help="optimiser steps (default: %(default)s)")
    one.set_defaults(run=train)
    one = commands.add_parser("check", help="compare the meter with a dataset's truth")
    one.add_argument("data", type=Path)
    one.add_argument("--clips", type=int, default=32, help="clips to read (default: %(default)s)")
    one.add_argument("--verbose", action="store_true", help="also print each clip")
    one.set_defaults(run=check)
    options = parser.parse_args(argv)
    try:
        options.run(options)
    except DiffusedHeadsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
