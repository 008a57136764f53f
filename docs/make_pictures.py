"""The moving pictures of the README and of the template browser, with the bundled model:

    python docs/make_pictures.py [--model NAME_OR_PATH]

writes docs/talking.webp and a thumbnail for each workflow; it needs the face networks. ComfyUI asks for thumbnails as
NAME.jpg. They hold an animated WebP under that name: browsers look at the content, not at the name.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from diffused_heads import animate, animate_several, dub, load_model
from diffused_heads.diffused_heads_core.assets import ASSETS, DEFAULT_MODEL
from diffused_heads.diffused_heads_core.dubbing.source import Pictures
from diffused_heads.diffused_heads_core.dubbing.timeline import Extent
from diffused_heads.diffused_heads_core.files import atomic_path
from diffused_heads.diffused_heads_core.media.audio import load_audio
from diffused_heads.diffused_heads_core.media.pictures import load_picture
from diffused_heads.diffused_heads_core.talking_head import TalkingHead

ROOT = Path(__file__).resolve().parents[1]
SECONDS, SEED, FPS = 2.6, 7, 25
HERO, THUMBNAIL = 400, 256  # pixels of the height
THUMBNAILS = {  # workflow: who is seen, side by side
    "talking-head-avatar-lip-sync": ["noah"],
    "text-to-speech-talking-avatar": ["kim"],
    "several-portraits-one-voice": ["noah", "lena", "mei"],
    "talking-head-step-by-step-with-each-node": ["mei"],
    "talking-head-upscale-and-paste-back": ["lena"],
    "talking-head-upscale-model-and-paste-back": ["rosa"],
    "talking-head-face-restore-and-paste-back": ["samira"],
    "train-on-your-clips": ["ada", "omar"],
    "talking-head-motion-from-a-video": ["rosa", "omar"],  # the same seed: the same motion
}
DIALOGUE = "two-people-in-one-picture-dialogue"
DUBBED = "dub-a-video-in-another-voice"
PAIR, BOXES = ("mei", "noah"), [(0.25, 0.5, 1.0), (0.75, 0.5, 1.0)]  # the halves of a picture of two squares


def portrait(name: str) -> np.ndarray:
    """A bundled portrait, uint8 (512, 512, 3)."""
    return load_picture(ASSETS / f"portrait-{name}.png")


def side_by_side(clips: Sequence[np.ndarray]) -> np.ndarray:
    """Clips (T, S, S, 3) in one, (T, S, W, 3). Of several, the middle is seen: W is S for two, and more for three."""
    side = clips[0].shape[2]
    wide = round(side * max(1 / len(clips), 0.45))
    left = (side - wide) // 2
    return np.concatenate([clip[:, :, left : left + wide] for clip in clips], 2)


def dialogue(model: TalkingHead) -> np.ndarray:
    """Two people in one picture, the left one speaks first: (T, 512, W, 3)."""
    picture = np.concatenate([portrait(name) for name in PAIR], 1)
    hello = load_audio(ASSETS / "speech-welcome.wav", 0.0, 1.2)
    weather = load_audio(ASSETS / "speech-weather.wav", 0.0, 1.6)
    silence = np.zeros((*weather.samples.shape[:-1], round(1.2 * weather.sample_rate)), weather.samples.dtype)
    later = type(weather)(np.concatenate([silence, weather.samples], -1), weather.sample_rate)
    frames = np.stack(list(animate_several(picture, {1: hello, 2: later}, model, boxes=BOXES, seed=SEED).frames()))
    return side_by_side(np.split(frames, 2, 2))


def dubbed(clip: np.ndarray, model: TalkingHead) -> np.ndarray:
    """A clip (T, S, S, 3), and beside it the same clip dubbed: (T, S, W, 3). Needs the face networks."""
    source = Pictures(clip.__getitem__, len(clip), Fraction(FPS))
    dubbing = dub(source, ASSETS / "speech-weather.wav", model, extent=Extent("video"))
    return side_by_side([clip, np.stack(list(dubbing.frames()))])


def save(path: Path, frames: np.ndarray, height: int, quality: int, every: int = 1) -> None:
    """Write frames (T, H, W, 3), or each of a number, as an animated WebP that repeats for ever."""
    size = (round(frames.shape[2] * height / frames.shape[1]), height)
    pictures = [Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS) for frame in frames[::every]]
    options = {"duration": every * 1000 // FPS, "quality": quality, "method": 4}
    with atomic_path(path) as part:
        pictures[0].save(part, "WEBP", save_all=True, append_images=pictures[1:], **options)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1000} kB", flush=True)


def main() -> None:
    """Make them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a bundled model's name or the path of a checkpoint")
    model = load_model(parser.parse_args().model)

    @cache
    def clip(name: str) -> np.ndarray:
        speaking = animate(portrait(name), ASSETS / "speech-welcome.wav", model, duration=SECONDS, seed=SEED)
        return np.stack(list(speaking.frames()))

    save(ROOT / "docs" / "talking.webp", np.concatenate([clip("noah"), clip("kim")], 2), HERO, 70)
    for workflow, names in THUMBNAILS.items():
        frames = side_by_side([clip(name) for name in names])
        save(ROOT / "workflows" / f"{workflow}.jpg", frames, THUMBNAIL, 50, 2)
    save(ROOT / "workflows" / f"{DIALOGUE}.jpg", dialogue(model), THUMBNAIL, 50, 2)
    save(ROOT / "workflows" / f"{DUBBED}.jpg", dubbed(clip("noah"), model), THUMBNAIL, 50, 2)


if __name__ == "__main__":
    main()
