"""How well a model speaks at other frame rates than its own.

    python benchmarks/output_rates.py [--model human] [--clips 4] [--seconds 3] [--write]

Held-out avatars speak their own sound; the head moves by the model's own track. --write puts the table into RESULTS.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import sections
from held_out import at_rest, held_out
from mouth_meter import measure
from torch import Tensor

from diffused_heads import load_model
from diffused_heads.diffused_heads_core.evaluation.metrics.faces import correlation
from diffused_heads.diffused_heads_core.media.audio import Audio, from_waveform
from diffused_heads.diffused_heads_core.media.video import as_fps, frame_count
from diffused_heads.diffused_heads_core.pipeline import embed_speech
from diffused_heads.diffused_heads_core.talking_head import TalkingHead

RATES = (24000 / 1001, 24, 25, 30000 / 1001, 30, 50, 60)
SEED = 0
HEAD = ("fps", "frames", "r", "r worst", "gain", "unsteady")
TEXT = """## Output rates

Written by `python benchmarks/output_rates.py --model {model} --clips {clips} --seconds {seconds:g} --write`: held-out
avatars of seed {seed}. `repeated`: frames of the model's rate, each shown until the next one is due. `made` (what the
program does): made at that rate, from sound and head motion at each frame's own time, after the frames just before.
`r`: Pearson's r of the measured mouth opening with the true one in the middle of each frame's time; `gain`: its
standard deviation over the true one's; `unsteady`: mean difference of the lower face to the mean of the frames before
and after, grey levels.

{table}
"""


@dataclass(frozen=True, eq=False)
class Case:
    """A held-out avatar at rest, its sound, true mouth opening (T,), and frames made at the model's rate."""

    identity: np.ndarray
    sound: Audio
    embeddings: Tensor
    truth: np.ndarray
    own: np.ndarray


def at_times(values: np.ndarray, fps: Fraction, model_fps: int, frames: int) -> np.ndarray:
    """Values (N,) of frames at the model's rate, linear at the middles of ``frames`` frames at another rate."""
    wanted = (np.arange(frames) + 0.5) / float(fps)
    return np.interp(wanted, (np.arange(len(values)) + 0.5) / model_fps, values)


def repeated(frames: np.ndarray, fps: Fraction, model_fps: int, count: int) -> np.ndarray:
    """Frames (N, S, S, 3) of the model's rate as a player shows them at another rate: ``count`` of them."""
    return frames[(np.arange(count) * model_fps / float(fps) + 1e-6).astype(int).clip(max=len(frames) - 1)]


def unsteadiness(frames: np.ndarray) -> float:
    """Mean difference of the lower face of (T, S, S, 3) to the mean of the frames before and after, 0..255."""
    size = frames.shape[1]
    face = frames[:, size // 2 : size * 7 // 8, size // 4 : size * 3 // 4].astype(np.float32)
    return float(np.abs(face[1:-1] - (face[:-2] + face[2:]) / 2).mean())


def figures(model: TalkingHead, cases: Sequence[Case], fps: Fraction) -> dict[str, np.ndarray]:
    """r, gain and unsteadiness (3, cases) of frames that are repeated and that are made at a rate."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for case in cases:
        count = frame_count(case.sound, fps)
        truth = at_times(case.truth, fps, model.config.fps, count)
        ways = {"made": np.stack(list(model.generate(case.identity, case.embeddings, fps=fps, frames=count)))}
        if fps != model.config.fps:
            ways["repeated"] = repeated(case.own, fps, model.config.fps, count)
        for way, frames in ways.items():
            opening = measure(frames)
            found = correlation(opening, truth), float(opening.std() / truth.std()), unsteadiness(frames)
            rows.setdefault(way, []).append(found)
    return {way: np.array(found).T for way, found in rows.items()}


def prepared(model: TalkingHead, clips: int, seconds: float) -> list[Case]:
    """The held-out clips, and each spoken at the model's rate."""
    size = model.config.frame_size
    dataset, cases = held_out(clips, seconds, SEED, size), []
    for index, identity in enumerate(at_rest(clips, seconds, SEED, size)):
        clip = dataset.clip(index)
        sound = from_waveform(clip.audio[None], clip.sample_rate, "speech")
        embeddings = embed_speech(model, sound)
        own = np.stack(list(model.generate(identity, embeddings)))
        cases.append(Case(identity, sound, embeddings, clip.annotations["mouth_open"], own))
    return cases


def main() -> None:
    """Print the table, line by line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="human")
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    model, rows = load_model(asked.model, "cpu"), []
    cases = prepared(model, asked.clips, asked.seconds)
    for fps in map(as_fps, RATES):
        for way, (r, gain, unsteady) in sorted(figures(model, cases, fps).items(), reverse=True):
            values = f"{r.mean():.3f}", f"{r.min():.3f}", f"{gain.mean():.2f}", f"{unsteady.mean():.2f}"
            rows.append((f"{float(fps):.3f}", way, *values))
            print(*rows[-1], flush=True)
    found = sections.table(HEAD, rows)
    text = TEXT.format(model=asked.model, clips=asked.clips, seconds=asked.seconds, seed=SEED, table=found)
    print(text)
    if asked.write:
        sections.write("rates", text)


if __name__ == "__main__":
    main()
