"""Drift of a model over a long clip, with and without what the sampler offers against it.

    python benchmarks/stabilisation.py --model runs/mine/model.safetensors --seconds 20

Bundled portraits speak bundled recordings, one after the other until the time is full. Printed for the first and the
last second: distance of the frames' mean colour to the identity's (0..255), mean squared error of the four corners to
the identity's (0..255 squared), and sharpness relative to it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import cycle

import cv2
import numpy as np
from numpy.typing import NDArray

from diffused_heads.diffused_heads_core.assets import ASSETS, PORTRAITS, RECORDINGS
from diffused_heads.diffused_heads_core.media.audio import from_waveform, load_audio, to_mono_16k
from diffused_heads.diffused_heads_core.media.pictures import load_picture, square_crop_resize
from diffused_heads.diffused_heads_core.talking_head import TalkingHead, load_model

Frames = NDArray[np.uint8]
CORNER = 0.1  # of the frame's side
SETTINGS = (
    {"motion_anchor": 0.0},
    {},
    {"motion_anchor": 0.3},
    {"colour_lock": 1.0},
    {"colour_lock": 1.0, "motion_anchor": 0.3},
)


def speech(seconds: float) -> np.ndarray:
    """Mono 16 kHz: the bundled recordings in turns."""
    parts, rate = [], 16000
    for path in cycle(sorted(ASSETS.glob(RECORDINGS))):
        parts.append(to_mono_16k(load_audio(path)))
        if sum(map(len, parts)) >= seconds * rate:
            return np.concatenate(parts)[: round(seconds * rate)]
    raise AssertionError("no recording is bundled")


def corners(frames: Frames) -> np.ndarray:
    """The four corners of (..., S, S, 3) as (..., n, 3) float."""
    side = max(1, round(CORNER * frames.shape[-2]))
    edge = np.r_[:side, -side:0]
    return frames[..., edge, :, :][..., edge, :].reshape(*frames.shape[:-3], -1, 3).astype(np.float32)


def sharpness(frames: Frames) -> float:
    """Mean variance of the Laplacian of frames (N, S, S, 3)."""
    return float(
        np.mean(
            [cv2.Laplacian(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY).astype(np.float32), cv2.CV_32F).var() for f in frames]
        )
    )


FIGURES: dict[str, Callable[[Frames, Frames], float]] = {
    "colour": lambda made, identity: float(np.abs(made.mean((1, 2)) - identity.mean((0, 1))).mean()),
    "corners": lambda made, identity: float(np.square(corners(made) - corners(identity)).mean()),
    "sharpness": lambda made, identity: sharpness(made) / sharpness(identity[None]),
}


def drift(
    model: TalkingHead, identities: Frames, audio: np.ndarray, steps: int | None, **options: float
) -> dict[str, tuple[float, float]]:
    """Each figure in the first and the last second, mean over the identities (B, S, S, 3)."""
    asked = model.options(**options, **({"steps": steps} if steps else {}))
    clip = np.stack(
        list(model.generate(identities, model.encode_audio(from_waveform(audio[None], 16000, "speech")), asked))
    )
    second = model.config.fps
    return {
        name: tuple(
            float(np.mean([figure(part[:, b], row) for b, row in enumerate(identities)]))
            for part in (clip[:second], clip[-second:])
        )
        for name, figure in FIGURES.items()
    }


def main() -> None:
    """Print one line a setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="human")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--steps", type=int)
    asked = parser.parse_args()
    model, audio = load_model(asked.model), speech(asked.seconds)
    paths = sorted(ASSETS.glob(PORTRAITS))[:3]
    identities = np.stack([square_crop_resize(load_picture(p), model.config.unet.image_size) for p in paths])
    print("setting, then first second -> last second of", ", ".join(FIGURES))
    for setting in SETTINGS:
        found = drift(model, identities, audio, asked.steps, **setting)
        name = ", ".join(f"{k} {v:g}" for k, v in setting.items()) or "the model's own"
        print(f"{name:36s}" + "   ".join(f"{first:8.2f} -> {last:8.2f}" for first, last in found.values()), flush=True)


if __name__ == "__main__":
    main()
