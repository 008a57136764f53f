"""The picture strip of the README: ``python benchmarks/strip.py docs/strip.png`` makes it with the bundled model and
inputs.
"""

from __future__ import annotations

import sys
from itertools import cycle
from pathlib import Path

import numpy as np

from diffused_heads.diffused_heads_core.assets import ASSETS
from diffused_heads.diffused_heads_core.media.audio import load_audio
from diffused_heads.diffused_heads_core.media.pictures import load_picture, save_picture, square_crop_resize
from diffused_heads.diffused_heads_core.talking_head import load_model

SECONDS, COLUMNS = 4.0, 8


def main(target: Path, model_name: str = "avatar") -> None:
    """One row a bundled portrait: the portrait, then frames evenly spaced over four seconds of speech."""
    model = load_model(model_name)
    voices = cycle(sorted(ASSETS.glob("speech-*.wav")))
    rows = []
    for seed, (path, voice) in enumerate(zip(sorted(ASSETS.glob("portrait-*.png")), voices)):
        identity = square_crop_resize(load_picture(path), model.config.unet.image_size)
        speech = model.encode_audio(load_audio(voice, duration=SECONDS))
        frames = list(model.generate(identity, speech, model.options(seed=seed)))
        shown = np.linspace(len(frames) * 0.08, len(frames) - 1, COLUMNS - 1).round().astype(int)
        rows.append(np.concatenate([identity, *(frames[i] for i in shown)], 1))
    save_picture(target, np.concatenate(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
