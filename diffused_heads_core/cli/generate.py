"""``diffused-heads generate`` and ``demo``: everything is checked before the first frame is sampled."""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from contextlib import ExitStack
from typing import Any

from tqdm import tqdm

from ..assets import PORTRAITS, RECORDINGS, bundled_file
from ..errors import DiffusedHeadsError, raise_problems
from ..face.placing import Placing
from ..generator import SamplingOptions
from ..media.video import check_output
from ..motion import MotionOptions
from ..pipeline import Animation, animate
from ..talking_head import pick_device

SAMPLING = ("sampler", "steps", "seed", "guidance", "eta", "colour_lock", "motion_anchor", "temperature")
BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} frames, {rate_noinv_fmt}, {remaining} left"
_log = logging.getLogger(__name__)


def generate(options: argparse.Namespace) -> None:
    """Run ``generate``; raises DiffusedHeadsError for the first thing that is wrong."""
    print(_written(options, _prepared(options, _placing(options), options.frame == "picture", options.detail)))


def demo(options: argparse.Namespace) -> None:
    """Run ``demo`` with a bundled portrait and recording; raises DiffusedHeadsError where there is none."""
    options.identity = bundled_file(PORTRAITS, options.portrait)
    options.audio = bundled_file(RECORDINGS, options.speech)
    options.start = 0.0
    print(_written(options, _prepared(options, Placing("whole"))))
    print(f"the video is {options.output.resolve()}")


def _placing(options: argparse.Namespace) -> Placing:
    """Which head the command line means."""
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
    return Placing(**{"rule": rule, **given})


def _prepared(
    options: argparse.Namespace, placing: Placing, whole_picture: bool = True, detail: float = 1.0
) -> Animation:
    """Check every argument and file, the cheap ones first, and load them."""
    _check_output(options)
    raise_problems("--detail", {f"{detail}: expected 0 to 1": not 0 <= detail <= 1})
    asked = {name: getattr(options, name) for name in SAMPLING if getattr(options, name) is not None}
    SamplingOptions(**asked)
    given = {"head": options.head_motion, "blinks": options.blinks}
    motion = MotionOptions(**{name: value for name, value in given.items() if value is not None})
    pick_device(options.device)
    animation = animate(
        options.identity,
        options.audio,
        options.model,
        start=options.start,
        duration=options.duration,
        placing=placing,
        whole_picture=whole_picture,
        detail=detail,
        motion=motion,
        device=options.device,
        trust_torchscript=options.trust_torchscript,
        **asked,
    )
    if not animation.model.config.head_motion and any(value is not None for value in given.values()):
        _log.warning("--head-motion and --blinks have no effect: the model %s makes up its own motion", options.model)
    return animation


def _check_output(options: argparse.Namespace) -> None:
    check_output(options.output)
    for source in (options.identity, options.audio):
        if options.output.exists() and source.exists() and options.output.samefile(source):
            raise DiffusedHeadsError(f"{options.output}: the output must be another file than the inputs")


def _written(options: argparse.Namespace, animation: Animation) -> str:
    """Write the video; one line that says where it is and how long it took."""
    began, fps, often = time.monotonic(), animation.model.config.fps, 0.1 if sys.stderr.isatty() else 5
    settings: dict[str, Any] = {"unit": " frames", "bar_format": BAR, "file": sys.stderr, "maxinterval": math.inf}
    with ExitStack() as stack:  # the bar begins with the first frame, and an error's line comes after it
        bar = None

        def on_frame(done: int) -> None:
            nonlocal bar
            bar = bar or stack.enter_context(tqdm(total=len(animation), mininterval=often, **settings))
            bar.update()

        frames = animation.write(options.output, on_frame)
    spent = time.monotonic() - began
    return (
        f"{options.output}: {frames} frames, {frames / fps:.2f} s, generated in {spent:.1f} s "
        f"({frames / max(spent, 1e-3):.1f} frames/s)"
    )
