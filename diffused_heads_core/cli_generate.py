"""``diffused-heads generate`` and ``demo``: everything is checked before the first frame is sampled."""
from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from .audio import Audio, check_speech, load_audio
from .alignment import Placement, crop
from .checkpoints import ASSETS
from .compositing import paste_back
from .config import report
from .errors import DiffusedHeadsError
from .face import FaceFinder
from .generator import SamplingOptions
from .mixing import mix_channels
from .motion import MotionOptions
from .pictures import load_picture
from .placing import PORTRAITS, Placing, place
from .talking_head import TalkingHead, load_model, pick_device
from .video import AI_GENERATED, check_output, write_video

MOST_CHANNELS = 8  # of a video's sound
SPEECH = "speech-*.wav"
BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} frames, {rate_noinv_fmt}, {remaining} left"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A checked request: nothing but sampling and encoding is left to do.

    identity: the model's square of the portrait; scene: the portrait and the square's place in it, for pasting back, or
    None where the square alone is shown; audio: the part to speak; speech: (N, C).
    """

    output: Path
    model: TalkingHead
    identity: np.ndarray
    scene: tuple[np.ndarray, Placement] | None
    detail: float
    audio: Audio
    speech: Tensor
    options: SamplingOptions
    motion: MotionOptions
    metadata: dict[str, str]


@dataclass(frozen=True)
class Framing:
    """Which head of the portrait is meant, whether the whole picture is shown, and its share of fine detail, 0..1."""

    placing: Placing = Placing()
    whole_picture: bool = True
    detail: float = 1.0

    def __post_init__(self) -> None:
        report("--detail", [f"{self.detail}: expected 0 to 1"] if not 0 <= self.detail <= 1 else [])


def generate(options: argparse.Namespace) -> None:
    """Run ``generate``; raises DiffusedHeadsError for the first thing that is wrong."""
    print(_perform(_prepare(options, _framing(options))))


def demo(options: argparse.Namespace) -> None:
    """Run ``demo`` with a bundled portrait and recording; raises DiffusedHeadsError where there is none."""
    options.identity, options.audio = bundled(PORTRAITS, options.portrait), bundled(SPEECH, options.speech)
    options.start = 0.0
    print(_perform(_prepare(options, Framing(Placing("whole")))))
    print(f"the video is {options.output.resolve()}")


def bundled(pattern: str, name: str | None = None) -> Path:
    """The bundled file of that name (without suffix), or the first; DiffusedHeadsError names what there is."""
    kind, there = pattern.split("-")[0], {path.stem: path for path in sorted(ASSETS.glob(pattern))}
    if not there:
        raise DiffusedHeadsError(f"no {kind} is bundled here ({ASSETS / pattern}): use `diffused-heads generate` with files of your own")
    if name is not None and name not in there:
        raise DiffusedHeadsError(f"{kind} {name!r}: expected one of {', '.join(there)}")
    return there[name] if name is not None else next(iter(there.values()))


def _framing(options: argparse.Namespace) -> Framing:
    given = {"index": options.face_index, "margin": options.margin, "level": not options.keep_tilt}
    rule = options.face.replace("-", " ")
    if options.at and options.box:
        raise DiffusedHeadsError("--at and --box: expected one of the two")
    if options.at:
        given |= {"rule": "nearest", "x": options.at[0], "y": options.at[1]}
    elif options.box:
        given |= {"rule": "box", "x": options.box[0], "y": options.box[1], "size": options.box[2]}
    elif rule == "nearest":
        raise DiffusedHeadsError("--face nearest: expected the point as --at X Y")
    return Framing(Placing(**{"rule": rule, **given}), options.frame == "picture", options.detail)


def _prepare(options: argparse.Namespace, framing: Framing) -> Job:
    """Check every argument and file, the cheap ones first, and load them."""
    _check_output(options)
    names = ("sampler", "steps", "seed", "guidance", "eta", "colour_lock", "motion_anchor", "temperature")
    asked = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    SamplingOptions(**asked)
    given = {"head": options.head_motion, "blinks": options.blinks}
    motion = MotionOptions(**{name: value for name, value in given.items() if value is not None})
    pick_device(options.device)
    picture = load_picture(options.identity)
    audio = load_audio(options.audio, options.start, options.duration)
    check_speech(audio)
    model = load_model(options.model, options.device, options.trust_torchscript)
    sampling = model.options(**asked)
    if not model.config.head_motion and any(value is not None for value in given.values()):
        _log.warning("--head-motion and --blinks have no effect: the model %s makes up its own motion", options.model)
    size, geometry = model.config.unet.image_size, model.config.geometry
    placement = place(picture, framing.placing, size, geometry, FaceFinder, str(options.identity))
    scene = (picture, placement) if framing.whole_picture else None
    return Job(options.output, model, crop(picture, placement, size), scene, framing.detail, audio, model.encode_audio(audio), sampling,
               motion, _metadata(options, sampling))


def _check_output(options: argparse.Namespace) -> None:
    check_output(options.output)
    for source in (options.identity, options.audio):
        if options.output.exists() and source.exists() and options.output.samefile(source):
            raise DiffusedHeadsError(f"{options.output}: the output must be another file than the inputs")


def _metadata(options: argparse.Namespace, sampling: SamplingOptions) -> dict[str, str]:
    """Tags of the video: what made it, and how to make it again. Names only, no folders."""
    name = Path(options.model).stem
    how = {"model": name, "sampler": sampling.sampler, "steps": str(sampling.steps), "seed": str(sampling.seed)}
    said = ", ".join(f"{key} {value}" for key, value in how.items())
    return {"title": f"Talking head of {options.identity.stem}", "comment": f"{AI_GENERATED} ({said})", **how}


def _perform(job: Job) -> str:
    """Write the video; one line that says where it is and how long it took."""
    began = time.monotonic()
    with closing(_with_progress(job)) as pictures:  # an error's line comes after the bar's, not within it
        frames = write_video(job.output, pictures, job.model.config.fps, _soundtrack(job.audio), metadata=job.metadata)
    spent = time.monotonic() - began
    return (f"{job.output}: {frames} frames, {frames / job.model.config.fps:.2f} s, generated in {spent:.1f} s "
            f"({frames / max(spent, 1e-3):.1f} frames/s)")


def _with_progress(job: Job) -> Iterator[np.ndarray]:
    frames = job.model.generate(job.identity, job.speech, job.options, motion=job.motion)
    settings: dict[str, Any] = {"total": len(job.speech), "unit": " frames", "bar_format": BAR, "file": sys.stderr}
    with tqdm(frames, mininterval=0.1 if sys.stderr.isatty() else 5, maxinterval=math.inf, **settings) as bar:
        yield from bar if job.scene is None else paste_back(
            bar, *job.scene, geometry=job.model.config.geometry, detail=job.detail, fps=job.model.config.fps)


def _soundtrack(audio: Audio) -> Audio:
    """The recording as it is, or mixed to one channel where it has more than a video takes."""
    if audio.channels <= MOST_CHANNELS:
        return audio
    mixed = np.concatenate(list(mix_channels(audio.samples, audio.sample_rate)))
    return Audio(mixed[None], audio.sample_rate, audio.name)
