"""What a GPU makes of the networks: parity with the CPU, frames per second, training, memory; at most 8 minutes.

    python benchmarks/gpu.py [--write] [--model human]

``--write`` puts the figures into RESULTS.md. Without a GPU nothing is measured, and the part says so. ``--tiny`` runs
everything on the CPU with small networks, which shows that the script works and measures nothing of interest.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice, product

import numpy as np
import sections
import torch
from torch.utils.flop_counter import FlopCounterMode

from diffused_heads import load_model
from diffused_heads.diffused_heads_core.config import ModelConfig
from diffused_heads.diffused_heads_core.engines.graph import example_inputs
from diffused_heads.diffused_heads_core.talking_head import TalkingHead
from diffused_heads.diffused_heads_core.unet import UNet
from diffused_heads.training.presets import preset

PART, TITLE = "gpu", "## On a GPU"
LIMIT = 420.0  # seconds after which no new measurement begins, so that all end within 8 minutes
PARITY, HALF = 1e-3, 1.0  # largest difference in float32 of [-1, 1]; mean difference of half frames, of 255
STEPS, BATCHES, TRAINING = (1, 2, 4), (1, 4, 16), (16, 64, 128)
NOT_MEASURED = "not measured"


@dataclass
class Bench:
    """Where and how much is measured. least: seconds per measurement; side: of the matrices of the peak rate."""

    device: torch.device
    least: float = 1.0
    side: int = 8192
    began: float = 0.0

    def wait(self) -> None:
        """Wait until the device has finished."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def rate(self, work: Callable[[], object]) -> float | None:
        """Calls per second, after two that warm up; None if the time is over."""
        if time.monotonic() - self.began > LIMIT:
            return None
        for _ in range(2):
            work()
        self.wait()
        began, calls = time.perf_counter(), 0
        while calls < 2 or time.perf_counter() - began < self.least:
            work()
            self.wait()
            calls += 1
        return calls / (time.perf_counter() - began)

    def memory(self) -> str:
        """The most memory that PyTorch has held since the last call, in MB."""
        if self.device.type != "cuda":
            return NOT_MEASURED
        most = torch.cuda.max_memory_allocated(self.device) / 1e6
        torch.cuda.reset_peak_memory_stats(self.device)
        return f"{most:.0f}"

    def peak(self) -> float:
        """Operations per second of a large bfloat16 product of matrices, the practical peak."""
        a = torch.randn(self.side, self.side, device=self.device, dtype=torch.bfloat16)
        return 2 * self.side**3 * (self.rate(lambda: a @ a) or 0.0)


def number(value: float | None, digits: int = 1) -> str:
    """A figure of a table; a missing one is named."""
    return NOT_MEASURED if value is None else f"{value:,.{digits}f}"


def random_head(config: ModelConfig) -> TalkingHead:
    """A model with random weights, none of them zero, and without an audio encoder: speed does not depend on them."""
    torch.manual_seed(0)
    unet = UNet(config.unet)
    for parameter in unet.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    return TalkingHead(config, unet, None)


def tiny(config: ModelConfig) -> ModelConfig:
    """The same kind of model, small enough for any machine."""
    small = replace(config.unet, image_size=32, model_channels=32, channel_mult=(1, 2), res_blocks=1, head_channels=32)
    return replace(config, unet=small)


def clip(head: TalkingHead, batch: int, steps: int) -> Iterator[np.ndarray]:
    """Frames without an end of ``batch`` random identities."""
    rng, config = np.random.default_rng(0), head.config
    identity = rng.integers(0, 256, (batch, config.frame_size, config.frame_size, 3), dtype=np.uint8)
    audio = torch.from_numpy(rng.standard_normal((2000, config.audio.embedding), dtype=np.float32))
    return head.generate(identity, audio, head.options(steps=steps))


@torch.no_grad()
def parity(config: ModelConfig, reference: TalkingHead, head: TalkingHead) -> tuple[float, float]:
    """Differences from the CPU: largest of the network's output in float32; mean of 25 half frames, of 255."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    inputs = example_inputs(config.unet, 2)
    there = {name: tensor.to(head.device) for name, tensor in inputs.items()}
    expected = reference.unet(inputs["x_t"], inputs["t"], inputs, inputs)[0]
    found = head.unet(there["x_t"], there["t"], there, there)[0]
    frames = list(islice(clip(reference, 1, 2), 25))
    half = list(islice(clip(head.to(dtype=torch.float16), 1, 2), 25))
    apart = np.mean([np.abs(a.astype(float) - b).mean() for a, b in zip(frames, half)])
    return float((found.cpu() - expected).abs().max()), float(apart)


def operations(head: TalkingHead) -> float:
    """Floating-point operations of one denoising step of one frame."""
    unet = UNet(head.config.unet).to("meta")
    inputs = {name: tensor.to("meta") for name, tensor in example_inputs(head.config.unet).items()}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        unet(inputs["x_t"], inputs["t"], inputs, inputs)
    return float(counter.get_total_flops())


def launches(head: TalkingHead, steps: int) -> str:
    """Kernels that one frame launches."""
    if head.device.type != "cuda":
        return NOT_MEASURED
    frames = clip(head, 1, steps)
    next(frames)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        next(frames)
        torch.cuda.synchronize()
    return str(sum(event.count for event in profile.key_averages()))


def sampling(bench: Bench, heads: dict[str, TalkingHead], batches: tuple[int, ...]) -> str:
    """A table of frames per second, share of the peak, launches and memory."""
    rows, peak = [], bench.peak()
    for (name, head), steps, batch in product(heads.items(), STEPS, batches):
        bench.memory()
        frames = clip(head, batch, steps)
        rate = bench.rate(lambda frames=frames: next(frames))
        share = None if rate is None else 100 * rate * batch * steps * operations(head) / peak
        row = [number(None if rate is None else rate * batch), number(share, 2), launches(head, steps), bench.memory()]
        rows.append([name, str(steps), str(batch), *row])
    heading = ["network", "steps", "batch", "frames/s", "% of the bf16 peak", "launches per frame", "memory, MB"]
    return f"Practical bf16 peak: {peak / 1e12:.1f} TFLOP/s.\n\n" + sections.table(heading, rows)


def training_step(head: TalkingHead, batch: int) -> Callable[[], None]:
    """Forward, backward and AdamW of the network alone on random inputs, under bfloat16 autocast."""
    unet = UNet(head.config.unet).to(head.device).train()
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-5)
    inputs = {name: tensor.to(head.device) for name, tensor in example_inputs(head.config.unet, batch).items()}

    def step() -> None:
        with torch.autocast(head.device.type, torch.bfloat16):
            prediction, _ = unet(inputs["x_t"], inputs["t"], inputs, inputs)
        prediction.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def training(bench: Bench, heads: dict[str, TalkingHead], batches: tuple[int, ...]) -> str:
    """A table of training samples per second; batches that do not fit into memory are named."""
    rows = []
    for (name, head), batch in product(heads.items(), batches):
        bench.memory()
        try:
            rate = bench.rate(training_step(head, batch))
            found = number(None if rate is None else rate * batch)
        except torch.cuda.OutOfMemoryError:
            found = "out of memory"
        rows.append([name, str(batch), found, bench.memory()])
    return sections.table(["network", "batch", "samples/s", "memory, MB"], rows)


def report(bench: Bench, options: argparse.Namespace) -> tuple[str, bool]:
    """The part of RESULTS.md, and whether the figures of parity pass."""
    if options.tiny:
        configs = {name: tiny(preset(name).model) for name in ("avatar", "crema")}
        reference, bundled = (random_head(configs["avatar"]) for _ in range(2))
    else:
        reference, bundled = (load_model(options.model, "cpu", engine="pytorch") for _ in range(2))
        configs = {options.model: bundled.config, "crema": preset("crema").model}
    name, paper = configs
    single, half = parity(configs[name], reference, bundled.to(bench.device))
    heads = {name: bundled, f"{paper} (the paper's)": random_head(configs[paper]).to(bench.device, torch.float16)}
    batches = ((1, 2), (2, 4, 8)) if options.tiny else (BATCHES, TRAINING)
    passed = single <= PARITY and (half <= HALF or options.tiny)  # networks with random weights amplify rounding
    lines = [
        f"Written by `python benchmarks/gpu.py --write`: {device_name(bench.device)}, PyTorch {torch.__version__}.",
        f"Network `{name}` against the CPU: largest difference {single:.1e} in float32 (at most {PARITY:g} expected); "
        f"half frames {half:.2f} of 255 on average (at most {HALF:g}): {'PASS' if passed else 'FAIL'}.",
        f"**Frames**, half weights. {sampling(bench, heads, batches[0])}",
        "**Training**: forward, backward and AdamW of the network alone, bfloat16 autocast, without the loader.",
        training(bench, heads, batches[1]),
    ]
    return "\n\n".join([TITLE, *lines]), passed


def device_name(device: torch.device) -> str:
    """The card's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} (tiny networks)"


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; returns 1 if a figure of parity fails, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="portrait", help="bundled model or checkpoint (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="put the figures into RESULTS.md")
    parser.add_argument("--tiny", action="store_true", help="try the script on the CPU with small networks")
    options = parser.parse_args(argv)
    passed = True
    if options.tiny:
        body, passed = report(Bench(torch.device("cpu"), 0.0, 64, time.monotonic()), options)
    elif torch.cuda.is_available():
        body, passed = report(Bench(torch.device("cuda"), began=time.monotonic()), options)
    else:
        body = f"{TITLE}\n\nNot measured: no GPU was at hand. `python benchmarks/gpu.py --write` measures."
    print(body)
    measured_before = PART in sections.read() and not torch.cuda.is_available()
    if options.write and not options.tiny and not measured_before:
        sections.write(PART, body)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
