"""Drift of a model over a long clip, with and without what the sampler offers against it.

    python benchmarks/stabilisation.py --model runs/mine/model.safetensors --seconds 20

Bundled portraits speak the bundled recordings, one after the other until the time is full. It prints, for the first and
the last second: distance of the frames' mean colour to the identity frame's (0..255), mean squared error of the four
corners to the identity frame's (0..255 squared), and sharpness relative to it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import cycle

import numpy as np

from diffused_heads import load_model
from diffused_heads.diffused_heads_core.assets import ASSETS, PORTRAITS, RECORDINGS
from diffused_heads.diffused_heads_core.evaluation.metrics.pictures import (
    background_error,
    laplacian_variance,
    luminance,
)
from diffused_heads.diffused_heads_core.face.placing import Placing
from diffused_heads.diffused_heads_core.face.portrait import place_portrait
from diffused_heads.diffused_heads_core.media.audio import Audio, from_waveform, load_audio, to_mono_16k
from diffused_heads.diffused_heads_core.media.pictures import load_picture
from diffused_heads.diffused_heads_core.pipeline import embed_speech
from diffused_heads.diffused_heads_core.talking_head import TalkingHead

SETTINGS = (
    {"motion_anchor": 0.0},
    {},
    {"motion_anchor": 0.3},
    {"colour_lock": 1.0},
    {"colour_lock": 1.0, "motion_anchor": 0.3},
)


def speech(seconds: float) -> Audio:
    """The bundled recordings in turns, 16 kHz."""
    parts, rate = [], 16000
    for path in cycle(sorted(ASSETS.glob(RECORDINGS))):
        parts.append(to_mono_16k(load_audio(path)))
        if sum(map(len, parts)) >= seconds * rate:
            return from_waveform(np.concatenate(parts)[None, : round(seconds * rate)], rate, "speech")
    raise AssertionError("no recording is bundled")


def sharpness(frame: np.ndarray) -> float:
    """Variance of the Laplacian of a frame (S, S, 3)."""
    return laplacian_variance(luminance(frame))


FIGURES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {  # of a frame and the identity frame
    "colour": lambda made, identity: float(np.abs(made.mean((0, 1)) - identity.mean((0, 1))).mean()),
    "corners": lambda made, identity: background_error(made, identity) ** 2,
    "sharpness": lambda made, identity: sharpness(made) / sharpness(identity),
}


def drift(model: TalkingHead, identities: np.ndarray, audio: Audio, **options: float) -> dict[str, tuple[float, float]]:
    """Each figure in the first and the last second, mean over the identities (B, S, S, 3), sampled together."""
    frames = list(model.generate(identities, embed_speech(model, audio), model.options(**options)))

    def mean(figure: Callable[[np.ndarray, np.ndarray], float], batches: list[np.ndarray]) -> float:
        return float(np.mean([figure(*pair) for batch in batches for pair in zip(batch, identities)]))

    first, last = frames[: model.config.fps], frames[-model.config.fps :]
    return {name: (mean(figure, first), mean(figure, last)) for name, figure in FIGURES.items()}


def main() -> None:
    """Print one line per setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="human")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--steps", type=int)
    asked = parser.parse_args()
    model, audio = load_model(asked.model), speech(asked.seconds)
    pictures = (load_picture(path) for path in sorted(ASSETS.glob(PORTRAITS))[:3])
    identities = np.stack([place_portrait(p, model.config, Placing("whole")).frame for p in pictures])
    steps = {"steps": asked.steps} if asked.steps else {}
    print("setting, then first second -> last second of", ", ".join(FIGURES))
    for setting in SETTINGS:
        found = drift(model, identities, audio, **steps, **setting)
        name = ", ".join(f"{k} {v:g}" for k, v in setting.items()) or "the model's own"
        print(f"{name:36s}" + "   ".join(f"{first:8.2f} -> {last:8.2f}" for first, last in found.values()), flush=True)


if __name__ == "__main__":
    main()
