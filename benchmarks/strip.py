"""The picture strip of the README: ``python benchmarks/strip.py docs/strip.png`` makes it with what is bundled."""

from __future__ import annotations

import sys
from itertools import cycle
from pathlib import Path

import numpy as np

from diffused_heads import animate, load_model
from diffused_heads.diffused_heads_core.assets import ASSETS, PORTRAITS, RECORDINGS
from diffused_heads.diffused_heads_core.face.placing import Placing
from diffused_heads.diffused_heads_core.media.pictures import save_picture

SECONDS, COLUMNS = 4.0, 8


def main(target: Path, model_name: str = "avatar") -> None:
    """One row per bundled portrait: the portrait, then frames evenly spaced over four seconds of speech."""
    model, rows = load_model(model_name), []
    voices = cycle(sorted(ASSETS.glob(RECORDINGS)))
    for seed, (path, voice) in enumerate(zip(sorted(ASSETS.glob(PORTRAITS)), voices)):
        head = animate(path, voice, model, duration=SECONDS, placing=Placing("whole"), whole_picture=False, seed=seed)
        frames = list(head.frames())
        shown = np.linspace(len(frames) * 0.08, len(frames) - 1, COLUMNS - 1).round().astype(int)
        rows.append(np.concatenate([head.portrait.frame, *(frames[i] for i in shown)], 1))
    save_picture(target, np.concatenate(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
