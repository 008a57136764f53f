"""Head motion that the prior samples from speech, against real people's, today's random motion and an autoregressive
model of the prior's size.

    python benchmarks/motion.py TRACKS/train TRACKS/test --seeds 16 --write

Both folders hold motion files (`diffused-heads motion measure`) with a sound of the same name beside each, a sub-folder
per person. The prior, `--prior` (default: the bundled one), and the autoregressive model, which is trained here, have
seen those of the first alone. All figures are means over people; ratios are to the real tracks of the second folder.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import motion_autoregressive as autoregressive
import motion_figures as figures
import numpy as np
import sections
import torch
from motion_figures import Shown, even

from diffused_heads import load_model
from diffused_heads.diffused_heads_core.motion import MotionOptions, sample_track
from diffused_heads.diffused_heads_core.motion.prior import MotionPrior, bundled_prior, load_prior
from diffused_heads.training.motion.clips import Clip, open_clips
from diffused_heads.training.motion.presets import MotionTrainConfig, new_prior

FPS = 25
BLINK_SEEDS = 100
Make = Callable[[Clip, int], np.ndarray]


def shown(clips: Sequence[Clip], make: Make, seed: int) -> list[Shown]:
    """A track made for each clip, about its usual position as the measured ones are."""
    found = []
    for number, clip in enumerate(clips):
        values = make(clip, 1000 * seed + number).astype(np.float64)
        values[:, figures.STATISTIC] -= np.median(values[:, figures.STATISTIC], 0)
        found.append(Shown(clip.person, values, clip.level))
    return found


def rows(sets: Sequence[Sequence[Shown]], real: Sequence[Shown]) -> list[str]:
    """The cells of one line of the table, from a set of tracks per seed."""
    pooled = [each for one in sets for each in one]
    pose, true = even(pooled, figures.pose_deviation), even(real, figures.pose_deviation)
    degrees = ", ".join(f"{np.degrees(value):.2f}" for value in pose[:3])
    ratios = ", ".join(f"{value:.2f}" for value in pose / true)
    rate = float(even(pooled, partial(figures.blinks_per_second, fps=FPS)))
    follows = float(even(pooled, partial(figures.speed_follows_level, fps=FPS)))
    far = [figures.distance(one, real, FPS) for one in sets]
    cells = [degrees, ratios, f"{rate:.2f}", f"{figures.blink_frames(pooled, FPS):.1f}", f"{np.mean(far):.2f}"]
    cells += [f"{follows:.2f}", f"{figures.locked(pooled, [1], FPS):.2f}"]
    return [*cells, f"{figures.locked(pooled, figures.BROWS, FPS):.2f}", f"{at_ends(pooled):.2f}"]


def at_ends(pooled: Sequence[Shown]) -> float:
    """``blinks_at_phrase_ends`` at 25 frames per second."""
    return figures.blinks_at_phrase_ends(pooled, FPS)


HEAD = (
    "tracks",
    "yaw, pitch, roll deviate (degrees)",
    "yaw, pitch, roll, tx, ty over real",
    "blinks/s",
    "frames shut",
    "Fréchet",
    "r speed, level",
    "nods",
    "brows",
    "blinks at ends",
)
LEGEND = """Deviations are those within a clip. Fréchet: distance of the statistics of 1 s windows (deviation and mean
speed of pose, size, gaze and brows) to the real tracks', the mean over seeds. r: of the head's speed with the level of
speech. nods, brows: how far pitch and brows go with stressed syllables, 1 is chance. blinks at ends: their rate around
the ends of phrases over that at other times."""


def spread(prior: MotionPrior, clip: Clip, seeds: int) -> np.ndarray:
    """Standard deviation of yaw, pitch and roll between the seeds of one recording, mean over frames, radians."""
    tracks = [prior.sample_motion(torch.from_numpy(clip.audio), FPS, seed).pose[:, :3] for seed in range(seeds)]
    return np.std(tracks, 0).mean(0)


def given_rate(prior: MotionPrior, clips: Sequence[Clip], asked: float) -> float:
    """Blinks per second in tracks of which ``asked`` were asked for."""
    counts = []
    for seed in range(BLINK_SEEDS):
        for number, clip in enumerate(clips):
            begins = prior.blink_onsets(torch.from_numpy(clip.audio), 1000 * seed + number, asked)
            counts.append(len(begins) / len(clip) * FPS)
    return float(np.mean(counts))


def cost(prior: MotionPrior, clip: Clip) -> float:
    """Milliseconds of one thread per frame of video."""
    audio = torch.from_numpy(np.tile(clip.audio, (4, 1)))
    prior.sample_motion(audio, FPS, 0)
    began = time.process_time()
    prior.sample_motion(audio, FPS, 1)
    return (time.process_time() - began) / len(audio) * 1e3


def compare(train: Sequence[Clip], test: Sequence[Clip], prior: MotionPrior, options: argparse.Namespace) -> str:
    """The table and what is said below it."""
    real = [Shown(clip.person, clip.values, clip.level) for clip in test]
    config: MotionTrainConfig = replace(new_prior(load_model("portrait").config), batch=options.batch)
    model = autoregressive.train(train, config, prior.config, options.steps)
    count = [sum(p.numel() for p in network.parameters()) for network in (prior.network, model)]
    makers: dict[str, Make] = {
        "the prior": lambda clip, seed: prior.sample_motion(torch.from_numpy(clip.audio), FPS, seed).values,
        "random motion": lambda clip, seed: sample_track(len(clip), FPS, seed).values,
        "autoregressive": lambda clip, seed: autoregressive.sample(model, prior.config, clip.audio, seed),
    }
    for label in prior.config.labels:
        chosen = MotionOptions(label=label)
        makers[f"the prior, {label}"] = lambda clip, seed, chosen=chosen: (
            prior.sample_motion(torch.from_numpy(clip.audio), FPS, seed, chosen).values
        )
    lines = [["real, held out", *rows([real], real)]]
    lines.append(["real, trained on", *rows([[Shown(c.person, c.values, c.level) for c in train]], real)])
    for name, make in makers.items():
        lines.append([name, *rows([shown(test, make, seed) for seed in range(options.seeds)], real)])
    asked = float(even(real, partial(figures.blinks_per_second, fps=FPS)))
    rate = given_rate(prior, test, asked)
    between = ", ".join(f"{np.degrees(value):.2f}" for value in spread(prior, test[0], options.seeds))
    people = len({clip.person for clip in test})
    return "\n\n".join(
        [
            f"## Head motion\n\n{len(test)} clips of {people} held-out people, {options.seeds} seeds each. {LEGEND}",
            sections.table(HEAD, lines),
            f"Asked for the {asked:.2f} blinks/s of the real tracks, the prior gives {rate:.2f}. Between the seeds of "
            f"one recording yaw, pitch and roll deviate by {between} degrees. The prior has {count[0]:,} parameters "
            f"(autoregressive: {count[1]:,}) and takes {cost(prior, test[0]):.2f} ms of one thread per frame.",
        ]
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--prior", type=Path, help="a trained prior (default: the bundled one)")
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1500, help="of the autoregressive model's training")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--write", action="store_true", help="write the section of RESULTS.md")
    options = parser.parse_args()
    encode = load_model("portrait").encode_mono
    train, test = (open_clips(folder, encode, FPS, lambda *_: None) for folder in (options.train, options.test))
    prior = load_prior(options.prior) if options.prior else bundled_prior()
    text = compare(train, test, prior, options)
    print(text)
    if options.write:
        sections.write("motion", text)


if __name__ == "__main__":
    main()
