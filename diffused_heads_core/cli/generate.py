"""``diffused-heads generate`` and ``demo``: everything is checked before the first frame is sampled."""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DiffusedHeadsError, raise_problems
from .parser import Parser, add_command, add_trust, frame_rate

if TYPE_CHECKING:
    from ..face.placing import Placing
    from ..media.signing import Signer
    from ..pipeline import Animation

SAMPLING = ("sampler", "steps", "seed", "guidance", "eta", "colour_lock", "motion_anchor", "temperature")
BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} frames, {rate_noinv_fmt}, {remaining} left"
NUMBER: dict[str, Any] = {"type": float, "metavar": "X"}
SECONDS: dict[str, Any] = {"type": float, "metavar": "S"}
_log = logging.getLogger(__name__)


def add_commands(commands: Any) -> None:
    """Add ``generate`` and ``demo``."""
    _add_generate(commands)
    _add_demo(commands)


def _add_generate(commands: Any) -> None:
    parser = add_command(
        commands,
        "generate",
        generate,
        "make a video of a head that speaks a recording",
        "Make a video in which the head of a portrait speaks a recording. The recording's own sound goes into the\n"
        "video, and the video says in its metadata that it is AI-generated. An existing video is replaced.",
        "diffused-heads generate --identity portrait.png --audio speech.wav --output talk.mp4",
        "diffused-heads generate --identity portrait.png --audio talk.mp3 --start 12 --duration 5 --seed 7 "
        "--output part.mp4",
    )
    files = {
        "--identity": "the portrait: any picture with a head that looks ahead (PNG, JPEG, WebP, BMP, TIFF)",
        "--audio": "the speech: any file with sound that FFmpeg reads, a video included",
        "--output": "the video to write: .mp4, .mov, .mkv (H.264, AAC) or .webm (VP9, Opus); "
        "with --alpha, .webm or .mov (ProRes 4444)",
    }
    for name, text in files.items():
        parser.add_argument(name, type=Path, required=True, metavar="FILE", help=text)
    add = parser.add_argument_group("part of the recording").add_argument
    add("--start", **SECONDS, default=0.0, help="begin at this second of the recording (default: 0)")
    add("--duration", **SECONDS, help="use this many seconds of it (default: to the end)")
    _add_head(parser)
    _add_video(parser)
    _add_sampling(parser)


def _add_video(parser: Parser) -> None:
    """How the video is written."""
    add = parser.add_argument_group("the video").add_argument
    add(
        "--fps",
        type=frame_rate,
        metavar="X",
        help="frames per second: 23.976, 30000/1001, 50 ... (default: the model's)",
    )
    add(
        "--alpha",
        action="store_true",
        help="a transparent video (.webm or .mov): with the portrait's alpha, or if it is opaque only the head",
    )
    add("--c2pa-cert", type=Path, metavar="FILE", help="sign a C2PA manifest with this certificate chain (PEM)")
    add("--c2pa-key", type=Path, metavar="FILE", help="and this private key (PEM); needs the extra c2pa")


def _add_head(parser: Parser) -> None:
    """Which head of the portrait is meant, and how much of the picture is shown."""
    add = parser.add_argument_group("which head, and what is shown").add_argument
    add(
        "--face",
        default="auto",
        choices=("auto", "largest", "left-to-right", "nearest", "whole"),
        metavar="RULE",
        help="largest face; left-to-right: number --face-index; nearest to --at; whole: the picture's middle square "
        "is the head, no face is looked for; auto (default): largest, but whole for bundled portraits and pictures "
        "of the model's size",
    )
    text = "number of the face in the order of --face, from 0 (default: 0)"
    add("--face-index", type=int, default=0, metavar="N", help=text)
    add(
        "--at",
        type=float,
        nargs=2,
        metavar=("X", "Y"),
        help="the face nearest to this point, fractions of width and height",
    )
    add(
        "--box",
        type=float,
        nargs=3,
        metavar=("X", "Y", "SIZE"),
        help="the head's square by hand, for cartoons and animals: its centre as fractions of width and height, "
        "its side as a fraction of the shorter side",
    )
    add("--margin", **NUMBER, default=0.0, help="more room around a face that was found, -0.3 to 2 (default: 0)")
    add("--keep-tilt", action="store_true", help="do not set a tilted head upright for the model")
    add(
        "--frame",
        default="picture",
        choices=("picture", "head"),
        metavar="WHAT",
        help="picture: the whole picture with the head moving in it; head: the model's square alone "
        "(default: %(default)s)",
    )
    add(
        "--detail",
        **NUMBER,
        default=1.0,
        help="how much of the picture's own fine detail the moving head keeps, 0 to 1 (default: %(default)g)",
    )


def _add_demo(commands: Any) -> None:
    parser = add_command(
        commands,
        "demo",
        demo,
        "make a video from the bundled portrait and speech",
        "Make a short video from a portrait and a speech recording that come with the program, and say where it is.",
        "diffused-heads demo",
        "diffused-heads demo --seed 3 --duration 2 --output short.mp4",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("diffused-heads-demo.mp4"),
        metavar="FILE",
        help="the video to write (default: %(default)s in the current folder)",
    )
    parser.add_argument("--portrait", metavar="NAME", help="which bundled portrait (default: the first)")
    parser.add_argument("--speech", metavar="NAME", help="which bundled recording (default: the first)")
    parser.add_argument("--duration", **SECONDS, default=4.0, help="at most this many seconds (default: %(default)g)")
    _add_sampling(parser)


def _add_sampling(parser: Parser) -> None:
    """Options of sampling, for generate and demo. None stands for the model's own value."""
    group = parser.add_argument_group("how frames are made")
    add = group.add_argument
    add(
        "--model",
        default="human",
        metavar="NAME_OR_PATH",
        help="a bundled model or a .safetensors checkpoint (default: %(default)s)",
    )
    add("--sampler", metavar="NAME", help="ancestral, ddim or dpm++2m (default: the model's own)")
    add("--steps", type=int, metavar="N", help="denoising steps per frame; fewer are faster (default: the model's own)")
    add("--seed", type=int, default=0, metavar="N", help="the same seed makes the same video (default: %(default)s)")
    add(
        "--guidance",
        **NUMBER,
        default=1.0,
        help="above 1 the mouth follows the sound more strongly, in twice the time (default: %(default)g)",
    )
    add("--eta", **NUMBER, default=0.0, help="randomness of ddim, 0 to 1 (default: %(default)g)")
    add(
        "--colour-lock",
        **NUMBER,
        default=0.0,
        help="hold a long clip to the identity's colours, 0 to 1 (default: %(default)g, off)",
    )
    add(
        "--motion-anchor",
        **NUMBER,
        help="the identity's share in the motion frames, 0 to 1; 0.1 to 0.3 stops damage that grows "
        "(default: the model's own)",
    )
    add(
        "--temperature",
        **NUMBER,
        help="scale of the noise that a frame starts from, 0 to 1; above 0 few steps make details boil "
        "(default: the model's own)",
    )
    add("--head-motion", **NUMBER, help="0 a still head, 1 natural, 2 strong (default: 1)")
    add("--blinks", **NUMBER, help="blinks per second, 0 to 2 (default: 0.28)")
    add("--no-voice-gate", action="store_true", help="let the mouth follow any sound, also if nobody speaks")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps (default: %(default)s)")
    add_trust(group)


def generate(options: argparse.Namespace) -> None:
    """Run ``generate``; raises DiffusedHeadsError for the first thing that is wrong."""
    signer = _signer(options)
    animation = _prepared(
        options, _placing(options), options.frame == "picture", options.detail, fps=options.fps, alpha=options.alpha
    )
    print(_written(options, animation, signer))


def _signer(options: argparse.Namespace) -> Signer | None:
    """Who signs the video, if anybody. Raises DiffusedHeadsError if it could not be signed."""
    from ..media.signing import Signer, check_signable

    if not (options.c2pa_cert or options.c2pa_key):
        return None
    if not (options.c2pa_cert and options.c2pa_key):
        raise DiffusedHeadsError("--c2pa-cert and --c2pa-key: expected both or none of the two")
    check_signable(options.output)
    return Signer(options.c2pa_cert, options.c2pa_key)


def demo(options: argparse.Namespace) -> None:
    """Run ``demo`` with a bundled portrait and recording; raises DiffusedHeadsError for names that are not bundled."""
    from ..assets import PORTRAITS, RECORDINGS, bundled_file
    from ..face.placing import Placing

    options.identity = bundled_file(PORTRAITS, options.portrait)
    options.audio = bundled_file(RECORDINGS, options.speech)
    options.start = 0.0
    print(_written(options, _prepared(options, Placing("whole"))))
    print(f"the video is {options.output.resolve()}")


def _placing(options: argparse.Namespace) -> Placing:
    """Which head the command line means."""
    from ..face.placing import Placing

    rule, (x, y), size = options.face.replace("-", " "), (0.5, 0.5), 0.0
    if options.at and options.box:
        raise DiffusedHeadsError("--at and --box: expected one of the two")
    if options.at:
        rule, (x, y) = "nearest", options.at
    elif options.box:
        rule, (x, y, size) = "box", options.box
    elif rule == "nearest":
        raise DiffusedHeadsError("--face nearest: expected the point as --at X Y")
    return Placing(rule, options.face_index, x, y, size, options.margin, level=not options.keep_tilt)


def _prepared(
    options: argparse.Namespace,
    placing: Placing,
    whole_picture: bool = True,
    detail: float = 1.0,
    fps: Fraction | None = None,
    alpha: bool = False,
) -> Animation:
    """Check every argument and file, the cheap ones first, and load them."""
    from ..generator import SamplingOptions
    from ..motion import MotionOptions
    from ..pipeline import animate
    from ..talking_head import pick_device

    _check_output(options, alpha)
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
        fps=fps,
        transparent=alpha,
        voice_gate=not options.no_voice_gate,
        device=options.device,
        trust_torchscript=options.trust_torchscript,
        **asked,
    )
    if not animation.model.config.head_motion and any(value is not None for value in given.values()):
        _log.warning("--head-motion and --blinks have no effect: the model %s makes up its own motion", options.model)
    return animation


def _check_output(options: argparse.Namespace, alpha: bool) -> None:
    from ..media.video import check_output

    check_output(options.output, alpha)
    for source in (options.identity, options.audio):
        if options.output.exists() and source.exists() and options.output.samefile(source):
            raise DiffusedHeadsError(f"{options.output}: the output must be another file than the inputs")


def _written(options: argparse.Namespace, animation: Animation, signer: Signer | None = None) -> str:
    """Write the video; returns one line that says where it is and how long it took."""
    from tqdm import tqdm

    began, fps, often = time.monotonic(), float(animation.rate), 0.1 if sys.stderr.isatty() else 5
    settings: dict[str, Any] = {"unit": " frames", "bar_format": BAR, "file": sys.stderr, "maxinterval": math.inf}
    with ExitStack() as stack:  # the bar begins with the first frame, and an error's line comes after it
        bar = None

        def on_frame(done: int) -> None:
            nonlocal bar
            bar = bar or stack.enter_context(tqdm(total=len(animation), mininterval=often, **settings))
            bar.update()

        frames = animation.write(options.output, on_frame, signer)
    spent = time.monotonic() - began
    return (
        f"{options.output}: {frames} frames, {frames / fps:.2f} s, generated in {spent:.1f} s "
        f"({frames / max(spent, 1e-3):.1f} frames/s)"
    )
