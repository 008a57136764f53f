"""Whether each of two people in one picture speaks with the own recording, and not with the other one's.

    python benchmarks/conversation.py [--model human] [--pairs 2] [--seconds 3] [--write]

Held-out avatars side by side, each with its sound. --write puts the table into RESULTS.md.
"""

from __future__ import annotations

import argparse

import numpy as np
import sections
from held_out import at_rest, held_out
from mouth_meter import measure

from diffused_heads import animate_several, load_model
from diffused_heads.diffused_heads_core.evaluation.metrics.faces import correlation
from diffused_heads.diffused_heads_core.media.audio import from_waveform
from diffused_heads.diffused_heads_core.talking_head import TalkingHead

SEED = 0
BOXES = [(0.25, 0.5, 1.0), (0.75, 0.5, 1.0)]  # the halves of a picture of two squares
HEAD = ("pair", "head", "r own", "r other")
TEXT = """## Two people in one picture

Written by `python benchmarks/conversation.py --model {model} --pairs {pairs} --seconds {seconds:g} --write`: held-out
avatars of seed {seed} side by side, each with its recording (`animate_several`), measured in the finished picture.
Pearson's r of a head's measured mouth opening with the true one of its own recording and of the other head's.

{table}
"""


def mouths(model: TalkingHead, pairs: int, seconds: float) -> list[tuple[list[np.ndarray], list[np.ndarray]]]:
    """For each pair of avatars the measured and the true mouth openings of both heads, (T,) each."""
    size, found = model.config.frame_size, []
    dataset = held_out(2 * pairs, seconds, SEED, size)
    identities = at_rest(2 * pairs, seconds, SEED, size)
    for pair in range(pairs):
        clips = [dataset.clip(2 * pair + head) for head in (0, 1)]
        recordings = {n: from_waveform(clip.audio[None], clip.sample_rate) for n, clip in enumerate(clips, 1)}
        picture = np.concatenate(identities[2 * pair : 2 * pair + 2], 1)
        frames = np.stack(list(animate_several(picture, recordings, model, boxes=BOXES).frames()))
        halves = frames[:, :, :size], frames[:, :, size:]
        truths = [clip.annotations["mouth_open"][: len(frames)] for clip in clips]
        found.append(([measure(np.ascontiguousarray(half)) for half in halves], truths))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="human")
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    rows = []
    for pair, (measured, true) in enumerate(mouths(load_model(asked.model, "cpu"), asked.pairs, asked.seconds), 1):
        for head, opening in enumerate(measured):
            own, other = (correlation(opening[: len(t)], t) for t in (true[head], true[1 - head]))
            rows.append((str(pair), str(head + 1), f"{own:.2f}", f"{other:+.2f}"))
    found = sections.table(HEAD, rows)
    text = TEXT.format(model=asked.model, pairs=asked.pairs, seconds=asked.seconds, seed=SEED, table=found)
    print(text)
    if asked.write:
        sections.write("conversation", text)


if __name__ == "__main__":
    main()
