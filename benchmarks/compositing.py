"""Speed and memory of pasting heads back: many frames into one picture, of which none is kept.

    python benchmarks/compositing.py [--frames 1000] [--size 1024] [--head 600] [--threads 1]

First --frames frames are pasted with all settings on; the growth of the process's peak memory counts, the picture
included. Then the settings take turns, so that the ratios hold on a busy machine too; processor time is counted.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
import sections

from diffused_heads.diffused_heads_core.face.alignment import Placement, crop, head_mask, square_placement
from diffused_heads.diffused_heads_core.face.compositing import Compositor, paste_back

SLOWEST, MEMORY = 20.0, 1.5  # the bars: frames/s on one core, additional GB
SETTINGS = {
    "all": {},
    "no detail": {"detail": 0.0},
    "no colours": {"match_colour": False},
    "neither": {"detail": 0.0, "match_colour": False},
}


def scene(size: int, head: float) -> tuple[np.ndarray, Placement]:
    """A picture (size, size, 3) with fine grain, and a frame in it whose head's mask is ``head`` pixels wide."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 216, (12, 12, 3)).astype(np.float32)
    picture = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC) + rng.normal(0, 6, (size, size, 3))
    picture = np.clip(picture, 0, 255).astype(np.uint8)
    width = np.flatnonzero(head_mask(square_placement(0, 0, 1000), 3000, 3000).any(0)).size / 1000
    side = min(head / width, size - 2.0)
    return picture, square_placement((size - side) / 2, (size - side) / 2, side)


def talking(picture: np.ndarray, placement: Placement, size: int) -> list[np.ndarray]:
    """Twelve frames (size, size, 3) of a head that sways and opens its mouth."""
    still, frames = crop(picture, placement, size), []
    for phase in np.linspace(0, 2 * np.pi, 12, endpoint=False):
        sway = cv2.getRotationMatrix2D((size / 2, 0.75 * size), 2 * np.sin(phase), 1.0)
        frame = cv2.warpAffine(still, sway, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        mouth, radii = (size // 2, int(0.69 * size)), (size // 10, 1 + int(size / 20 * abs(np.sin(phase))))
        cv2.ellipse(frame, mouth, radii, 0, 0, 360, (60, 20, 25), -1)
        frames.append(frame)
    return frames


def measure(
    picture: np.ndarray, placement: Placement, frame_sizes: list[int], rounds: int
) -> dict[tuple[int, str], float]:
    """Least processor seconds per frame for each frame size and setting."""
    clips = {size: talking(picture, placement, size) for size in frame_sizes}
    taken: dict[tuple[int, str], float] = {}
    for _ in range(rounds):
        for size, clip in clips.items():
            for name, options in SETTINGS.items():
                compositor = Compositor(picture, placement, **options)
                compositor.paste(clip[0])
                began = time.process_time()
                for frame in clip:
                    compositor.paste(frame)
                seconds = (time.process_time() - began) / len(clip)
                taken[size, name] = min(seconds, taken.get((size, name), np.inf))
    return taken


def memory() -> tuple[float, float] | None:
    """Memory of this process now and at its peak, GB; None if the system does not report it."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
    pages = Path("/proc/self/statm")
    return (int(pages.read_text().split()[1]) * resource.getpagesize() / 1e9 if pages.exists() else peak), peak


def main(argv: list[str] | None = None) -> int:
    """0 if the bars are passed, 1 if they are not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--frames", type=int, default=1000, help="frames of the memory run (default: %(default)s)")
    add("--size", type=int, default=1024, help="pixels per side of the picture (default: %(default)s)")
    add("--head", type=float, default=600, help="width of the head's mask, pixels (default: %(default)s)")
    add("--rounds", type=int, default=5, help="of which the best counts (default: %(default)s)")
    add("--threads", type=int, default=1, help="of OpenCV (default: %(default)s)")
    options = parser.parse_args(argv)
    cv2.setNumThreads(options.threads)
    before = memory()
    picture, placement = scene(options.size, options.head)
    clip = talking(picture, placement, 128)
    began = time.process_time()
    count = sum(1 for _ in paste_back(islice(cycle(clip), options.frames), picture, placement))
    after, seconds = memory(), time.process_time() - began
    grown = None if before is None or after is None else after[1] - before[0]
    taken = measure(picture, placement, [128, 512], max(options.rounds, 1))
    return show(taken, placement, options, (count, seconds, grown))


def show(
    taken: dict[tuple[int, str], float],
    placement: Placement,
    options: argparse.Namespace,
    run: tuple[int, float, float | None],
) -> int:
    """Print; 0 if the bars are passed."""
    count, seconds, grown = run
    print(f"picture {options.size} x {options.size}, head's mask {options.head:g} px wide, ", end="")
    print(f"frame's side {placement.side:.0f} px; OpenCV {cv2.__version__}, {options.threads} threads\n")
    usual = taken[128, "all"]
    cells = [[str(size), name, f"{1 / each:.1f}", f"{each / usual:.2f}"] for (size, name), each in taken.items()]
    print(sections.table(["frames", "settings", "frames/s", "to all of 128 px"], cells))
    memory_of_run = "not reported by this system" if grown is None else f"{grown:.3f} GB"
    print(f"\n{count} frames: {count / seconds:.1f} frames/s, additional peak memory {memory_of_run}")
    passed = 1 / usual >= SLOWEST and (grown is None or grown <= MEMORY)
    bars = f"at least {SLOWEST:g} expected; memory at most {MEMORY:g} GB"
    print(f"{1 / usual:.1f} frames/s, {bars}: {'PASS' if passed else 'FAIL'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
