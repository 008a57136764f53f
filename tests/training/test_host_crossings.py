"""What crosses between host and device inside the frame loop and a training step: nothing but the named inputs.

The device is PyTorch's "meta" device, which every machine has. Its tensors have shapes and no values, so that whatever
needs a value on the host (``.item()``, ``.cpu()``, ``bool(tensor)``) or mixes in a host tensor fails at once; tensors
that are uploaded to it are counted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import default_collate

from diffused_heads.diffused_heads_core.generator import SamplingOptions, sample_frames
from diffused_heads.diffused_heads_core.motion import sample_track
from diffused_heads.diffused_heads_core.schedule import noise_schedule
from diffused_heads.diffused_heads_core.unet import UNet
from diffused_heads.training.cache import open_store
from diffused_heads.training.config import StabilityConfig, TrainConfig
from diffused_heads.training.dataset import FrameSamples
from diffused_heads.training.draws import draw_batch
from diffused_heads.training.ema import Ema
from diffused_heads.training.frame_augmentation import Batch
from diffused_heads.training.gradients import clip_gradients
from diffused_heads.training.journal import Journal
from diffused_heads.training.losses import training_losses
from diffused_heads.training.parallel import SingleProcess
from diffused_heads.training.presets import avatar_model
from diffused_heads.training.start import build

sys.path.insert(0, str(Path(__file__).parent))
from small_run import small_config

META = torch.device("meta")


class Copies(TorchDispatchMode):
    """Counts host tensors that are copied to the device, and refuses float64 there, which some devices lack."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        found = function(*args, **(kwargs or {}))
        from_host = any(isinstance(a, Tensor) and a.device != META for a in args)
        for made in found if isinstance(found, (tuple, list)) else [found]:
            if isinstance(made, Tensor) and made.device == META:
                assert made.dtype != torch.float64, f"{function} makes float64 on the device"
                self.count += from_host
        return found


class Calls(TorchFunctionMode):
    """Counts calls that upload or wait without a copy that ``Copies`` sees: values and lists from the host."""

    made = (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)
    waiting = (torch.linalg.inv, torch.linalg.solve, torch.linalg.cholesky, torch.inverse)

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.count += function in self.made or function in self.waiting
        if function in (Tensor.__getitem__, Tensor.__setitem__):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            self.count += any(isinstance(each, (list, np.ndarray)) for each in index)
        return function(*args, **(kwargs or {}))


class Uploads:
    """Both counters at once."""

    def __enter__(self) -> Uploads:
        self.modes = Copies(), Calls()
        for mode in self.modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self.modes):
            mode.__exit__(*error)

    @property
    def count(self) -> int:
        return sum(mode.count for mode in self.modes)


CROSSINGS: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "cpu": lambda x: x.cpu(),
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "bool": lambda x: bool(x.sum()),
    "float": lambda x: float(x.sum()),
    "rows chosen on the device": lambda x: x[x > 0],
    "nonzero": lambda x: x.nonzero().tolist(),
    "a host tensor in the sum": lambda x: x + torch.ones(3),
    "new_tensor": lambda x: x * x.new_tensor([1.0, 2.0, 3.0]),
    "tensor": lambda x: x * torch.tensor([1.0, 2.0, 3.0], device=x.device),
    "from_numpy": lambda x: x * torch.from_numpy(np.ones(3, np.float32)).to(x.device),
    "a list as index": lambda x: x[[0, 2]],
    "float64": lambda x: x.double() * 2,
    "checked inverse": lambda x: torch.linalg.inv(x.expand(3, 3)),
}


@pytest.mark.parametrize("name", CROSSINGS)
def test_the_guard_sees_every_kind_of_crossing(name: str) -> None:
    seen = Uploads()
    try:
        with seen:
            CROSSINGS[name](torch.zeros(3, device=META))
    except (RuntimeError, NotImplementedError, AssertionError, TypeError):
        return
    assert seen.count > 0


def on_meta(module: torch.nn.Module) -> torch.nn.Module:
    return module.to(META)


@pytest.mark.parametrize(
    ("options", "uploads"),
    [
        (SamplingOptions("ddim", 4), 0),
        (SamplingOptions("dpm++2m", 3, guidance=2.0, colour_lock=0.5), 0),
        (SamplingOptions("ancestral", 5, temperature=1.0), 1),
    ],
    ids=lambda value: getattr(value, "sampler", str(value)),
)
def test_a_frame_crosses_nothing_but_its_noise(options: SamplingOptions, uploads: int) -> None:
    """The bundled models' architecture, whose inputs are warped to a head track."""
    config = avatar_model()
    unet, identity = on_meta(UNet(config.unet).eval()), torch.empty(2, 3, 128, 128, device=META)
    audio, track, steps = torch.empty(4, config.audio.embedding, device=META), sample_track(4, 25), []
    frames = sample_frames(unet, config, identity, audio, options, track, on_step=lambda *at: steps.append(at[:2]))
    next(frames)  # the schedule's tables and the track have been uploaded
    for _ in range(3):
        seen = Uploads()
        with seen:
            frame = next(frames)
        assert frame.device == META and seen.count == uploads
    assert len(steps) == 4 * options.steps


def training() -> TrainConfig:
    """Everything that a training may do to its samples, at once."""
    stability = StabilityConfig(noise=0.5, patch=0.5, identity=0.2, predicted=0.5, other_moment=0.3, swapped_mouth=0.3)
    return replace(small_config(), stability=stability, colour=0.5, reframe=0.5, audio_dropout=0.1, mirror=True)


def test_a_training_step_crosses_nothing(corpus: Path) -> None:
    config = training()
    samples = FrameSamples(open_store(corpus, config.model.audio), config.model, stability=config.stability)
    rows = default_collate([samples[i] for i in range(8)])
    model = build(config.model, 0)
    schedule = noise_schedule(config.model.schedule, config.model.timesteps)
    network = on_meta(model.train())
    ema, journal = Ema(network, 0.9), Journal(None, 0, SingleProcess(META, "no"))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    schedule.tables(META)
    positions = rows.pop("position").tolist()
    draws = draw_batch(config, positions, samples.store.frames.shape[1], len(schedule), META)
    assert draws.predicted is not None and draws.degradation.patches and len(draws.degradation.noisy)
    batch = {name: value.to(META) for name, value in rows.items()}

    def step() -> dict[str, Tensor]:
        found = training_losses(Batch.of(batch), config, schedule, network, network, draws)
        found["total"].mean().backward()
        journal.add(found, draws.index / len(schedule))
        journal.add_norm(clip_gradients(list(network.parameters()), 1.0))
        optimizer.step()
        optimizer.zero_grad()
        ema.update(network, 0)
        return found

    step()  # the optimiser makes its state
    seen = Uploads()
    with seen:
        found = step()
    assert seen.count == 0 and found["total"].shape == (8,)
