"""Dubbing a video on the command line: ``generate`` with a video in place of the portrait."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DiffusedHeadsError
from .parser import Parser
from .request import SAMPLING, check_output, request

if TYPE_CHECKING:
    from ..dubbing.dubbing import Dubbing

OF_PORTRAITS = {  # options that mean nothing for a video, and what they are if they are not given
    "--head-motion": None,
    "--blinks": None,
    "--motion-source": None,
    "--motion-kind": None,
    "--motion": None,
    "--motion-from": None,
    "--expression": None,
    "--fps": None,
    "--alpha": False,
    "--box": None,
    "--margin": 0.0,
    "--keep-tilt": False,
    "--frame": "picture",
    "--detail": 1.0,
    "--sampler": None,
    "--eta": 0.0,
    "--colour-lock": 0.0,
    "--motion-anchor": None,
    "--temperature": None,
}
LOOKED = "the face is looked for: {n_fmt} frames, {rate_noinv_fmt}"


def add_options(parser: Parser) -> None:
    """Add the options of dubbing."""
    add = parser.add_argument_group("dubbing (--identity is a video)").add_argument
    add(
        "--length",
        choices=("audio", "video", "shorter"),
        metavar="WHAT",
        help="how long the result is: as the audio (default), as the video (silence follows the audio), or as the "
        "shorter of the two",
    )
    add(
        "--when-short",
        choices=("ping-pong", "loop", "hold"),
        metavar="HOW",
        help="what a video shows that is shorter than the audio: it runs backwards and forwards (ping-pong, default), "
        "begins again (loop), or its last frame stays and speaks on (hold)",
    )


def is_asked(options: argparse.Namespace) -> bool:
    """Whether the identity is a video. Ends the program with a usage error for options that do not go with it."""
    from ..dubbing.source import is_video

    if not is_video(options.identity):
        wrong = [f"--{name.replace('_', '-')}" for name in ("length", "when_short") if getattr(options, name)]
        if wrong:
            options.usage_error(f"{' and '.join(wrong)}: expected a video as --identity, found {options.identity}")
        return False
    given = {name: getattr(options, name[2:].replace("-", "_")) for name in OF_PORTRAITS}
    wrong = [name for name, usual in OF_PORTRAITS.items() if given[name] != usual]
    wrong += ["--face whole"] if options.face == "whole" else []
    if wrong:
        options.usage_error(f"{options.identity}: a video is dubbed, expected no {' and no '.join(wrong)}")
    return True


def prepared(options: argparse.Namespace) -> Dubbing:
    """Check every argument and file, the cheap ones first, load them, and follow the face through the video."""
    from tqdm import tqdm

    from ..dubbing.dubbing import dub
    from ..dubbing.timeline import Extent

    check_output(options.output, False, options.identity, options.audio)
    asked = request(options)
    extent = Extent(options.length or "audio", options.when_short or "ping-pong")
    sampling = {name: asked[name] for name in SAMPLING if name in asked and name in ("preset", "steps", "guidance")}
    part = {name: asked[name] for name in ("start", "duration", "audio_track", "max_side", "placing", "voice_gate")}
    model = {"device": options.device, "trust_torchscript": options.trust_torchscript, "engine": options.engine}
    often = 0.1 if sys.stderr.isatty() else 5
    settings: dict[str, Any] = {"bar_format": LOOKED, "file": sys.stderr, "maxinterval": math.inf, "leave": False}
    with tqdm(mininterval=often, delay=1, unit=" frames", **settings) as bar:
        return dub(
            options.identity,
            options.audio,
            options.model,
            extent=extent,
            on_look=lambda done: bar.update(),
            **part,
            **sampling,
            **model,
        )


def refuse(identity: Path) -> None:
    """Raise DiffusedHeadsError if one of several identities is a video."""
    from ..dubbing.source import is_video

    if is_video(identity):
        raise DiffusedHeadsError(f"{identity}: a video is dubbed alone, with --identity, --audio and --output")
