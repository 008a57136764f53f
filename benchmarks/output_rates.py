"""How well a model speaks at other frame rates than its own, and which previous frames it should see there.

    python benchmarks/output_rates.py [--model human] [--clips 4] [--seconds 3]

Held-out avatars speak their own sound. ``repeated``: frames of the model's rate, each shown until the next one is due.
``previous``: frames made at the asked rate, the motion frames are the frames just before. ``spaced`` (what the program
does): made at the asked rate, the motion frames lie about 1, 2, ... of the model's frame times back. r: Pearson's r of
the measured mouth opening with the true one at each frame's own time; gain: its standard deviation over the true one's;
flicker: mean difference of the lower face to the mean of the frames before and after, grey levels.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from unittest import mock

import numpy as np
from held_out import at_rest, held_out
from mouth_meter import measure

from diffused_heads import load_model
from diffused_heads.diffused_heads_core import generator
from diffused_heads.diffused_heads_core.evaluation.metrics.faces import correlation
from diffused_heads.diffused_heads_core.media.audio import from_waveform
from diffused_heads.diffused_heads_core.media.video import as_fps, frame_count
from diffused_heads.diffused_heads_core.pipeline import embed_speech
from diffused_heads.diffused_heads_core.talking_head import TalkingHead

RATES = (24000 / 1001, 24, 25, 30000 / 1001, 30, 50, 60)
SEED = 0


def at_times(values: np.ndarray, fps: Fraction, model_fps: int, frames: int) -> np.ndarray:
    """Values (N,) of frames at the model's rate, linear at the middles of ``frames`` frames at another rate."""
    wanted = (np.arange(frames) + 0.5) / float(fps)
    return np.interp(wanted, (np.arange(len(values)) + 0.5) / model_fps, values)


def made(model: TalkingHead, way: str, identity: np.ndarray, embeddings, fps: Fraction, frames: int) -> np.ndarray:
    """Frames (frames, S, S, 3) uint8 at ``fps``, made in one of the three ways."""
    if way == "repeated":
        own = np.stack(list(model.generate(identity, embeddings)))
        shown = (np.arange(frames) * model.config.fps / float(fps) + 1e-6).astype(int)
        return own[shown.clip(max=len(own) - 1)]
    just_before = mock.patch.object(generator, "motion_offsets", lambda count, *_: list(range(1, count + 1)))
    with just_before if way == "previous" else mock.MagicMock():
        return np.stack(list(model.generate(identity, embeddings, fps=fps, frames=frames)))


def flicker(frames: np.ndarray) -> float:
    """Mean difference of the lower face of (T, S, S, 3) to the mean of the frames before and after, 0..255."""
    size = frames.shape[1]
    face = frames[:, size // 2 : size * 7 // 8, size // 4 : size * 3 // 4].astype(np.float32)
    return float(np.abs(face[1:-1] - (face[:-2] + face[2:]) / 2).mean())


def main() -> None:
    """Print one line per rate and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="human")
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3.0)
    asked = parser.parse_args()
    model = load_model(asked.model, "cpu")
    size, own = model.config.unet.image_size, model.config.fps
    dataset = held_out(asked.clips, asked.seconds, SEED, size)
    identities = at_rest(asked.clips, asked.seconds, SEED, size)
    clips = [dataset.clip(index) for index in range(asked.clips)]
    sounds = [from_waveform(clip.audio[None], clip.sample_rate, "speech") for clip in clips]
    embeddings = [embed_speech(model, sound) for sound in sounds]
    print("| fps | frames | r | r worst | gain | flicker |\n|---|---|---|---|---|---|")
    for fps in map(as_fps, RATES):
        for way in ("spaced",) if fps == own else ("repeated", "previous", "spaced"):
            rows = []
            for clip, identity, sound, rows_of_sound in zip(clips, identities, sounds, embeddings):
                count = frame_count(sound, fps)
                frames = made(model, way, identity, rows_of_sound, fps, count)
                truth = at_times(clip.annotations["mouth_open"], fps, own, count)
                opening = measure(frames)
                rows.append((correlation(opening, truth), opening.std() / truth.std(), flicker(frames)))
            r, gain, unsteady = np.array(rows).T
            print(
                f"| {float(fps):.2f} | {way} | {r.mean():.3f} | {r.min():.3f} | {gain.mean():.2f} "
                f"| {unsteady.mean():.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
