"""The options that describe one video, and what they ask for: the arguments of ``animate``."""

from __future__ import annotations

import argparse
import logging
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..assets import DEFAULT_MODEL
from ..errors import DiffusedHeadsError, raise_problems
from .parser import Parser, add_threads, add_trust, frame_rate, positive

if TYPE_CHECKING:
    from ..face.placing import Placing
    from ..media.signing import Signer
    from ..motion import MotionClip
    from ..talking_head import TalkingHead

SAMPLING = ("preset", "sampler", "steps", "seed", "guidance", "eta", "colour_lock", "motion_anchor", "temperature")
NUMBER: dict[str, Any] = {"type": float, "metavar": "X"}
SECONDS: dict[str, Any] = {"type": float, "metavar": "S"}
_log = logging.getLogger(__name__)


def add_part(parser: Parser) -> None:
    """Options of the part of the recording that is used."""
    add = parser.add_argument_group("part of the recording").add_argument
    add("--start", **SECONDS, default=0.0, help="begin at this second of the recording (default: 0)")
    add("--duration", **SECONDS, help="use this many seconds of it (default: to the end)")
    text = "which sound track of a file with several, from 1 (default: the one that players choose)"
    add("--audio-track", type=positive, metavar="N", help=text)


def add_video(parser: Parser) -> None:
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


def add_head(parser: Parser) -> None:
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
    text = "make a portrait with a longer side smaller before anything else"
    add("--max-side", type=positive, metavar="PX", help=text)
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


def add_sampling(parser: Parser) -> None:
    """Options of sampling, for generate and demo. None stands for the model's own value."""
    group = parser.add_argument_group("how frames are made")
    add = group.add_argument
    add(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME_OR_PATH",
        help="a bundled model or a .safetensors checkpoint (default: %(default)s)",
    )
    text = "half (fast), all (balanced, the default) or twice (reference) of the model's denoising steps per frame"
    add(
        "--preset",
        choices=("fast", "balanced", "reference"),
        metavar="NAME",
        help=f"fast, balanced or reference: {text}",
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
    text = "what the head's motion follows: speech (default), or random motion that knows nothing of the sound"
    add("--motion-source", choices=("speech", "random"), help=text)
    add("--motion-kind", choices=("calm", "lively"), help="of motion from speech: as the calmest or liveliest talkers")
    add(
        "--motion", type=Path, metavar="FILE", help="the head's motion, a .json, .csv or .npz file: see `motion --help`"
    )
    text = "the motion of the head in this video: its pose, blinks, gaze, brows and expression"
    add("--motion-from", type=Path, metavar="VIDEO", help=text)
    add(
        "--expression",
        type=assignments,
        metavar="NAME=X,...",
        help="held all the time, besides the motion: smile=0.4, frown, furrow, squint, brows=0.2, gaze_x, yaw=5 ...",
    )
    add("--no-voice-gate", action="store_true", help="let the mouth follow any sound, also if nobody speaks")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps (default: %(default)s)")
    add(
        "--engine",
        default="auto",
        metavar="NAME",
        help="what computes the network: pytorch, or on a CPU openvino or onnxruntime, which are two to three times as "
        "fast; auto (default) takes the fastest that is installed (extra cpu)",
    )
    add_threads(group)
    add_trust(group)


def request(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of ``animate`` but for portrait, speech and model, from the options of ``generate``.

    Raises DiffusedHeadsError for values out of range.
    """
    from ..checkpoints import pick_device
    from ..generator import SamplingOptions
    from ..motion import MotionOptions
    from ..motion.editing import constant

    raise_problems("--detail", {f"{options.detail}: expected 0 to 1": not 0 <= options.detail <= 1})
    sampling = {name: getattr(options, name) for name in SAMPLING if getattr(options, name) is not None}
    SamplingOptions(**{name: value for name, value in sampling.items() if name != "preset"})
    motion = MotionOptions(**_motion(options))
    expression = constant(options.expression) if options.expression else None
    pick_device(options.device)
    return {
        "start": options.start,
        "duration": options.duration,
        "audio_track": options.audio_track,
        "max_side": options.max_side,
        "placing": _placing(options),
        "whole_picture": options.frame == "picture",
        "detail": options.detail,
        "motion": motion,
        "fps": options.fps,
        "transparent": options.alpha,
        "voice_gate": not options.no_voice_gate,
        **_given_motion(options),
        **({} if expression is None else {"expression": expression}),
        **sampling,
    }


def _given_motion(options: argparse.Namespace) -> dict[str, Any]:
    """The motion that the options name, as ``track``, if they name one."""
    from ..motion import read_motion

    if options.motion and options.motion_from:
        raise DiffusedHeadsError("--motion and --motion-from: expected one of the two")
    if options.motion:
        return {"track": read_motion(options.motion)}
    return {"track": _measured(options.motion_from)} if options.motion_from else {}


@lru_cache(maxsize=4)
def _measured(video: Path) -> MotionClip:
    """The motion of the head in a video, which is measured once for all that it is given to."""
    from ..face.motion import measure_video

    found = measure_video(video)
    _log.info("%s: %s", video, found.summary())
    return found.clip


def assignments(text: str) -> dict[str, float]:
    """Names and numbers such as ``smile=0.4,frown=0``, as an argument."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text}: expected NAME=NUMBER, such as smile=0.4,brows=0.2") from None
    return found


def warn_of_motion(options: argparse.Namespace, model: TalkingHead) -> None:
    """Say so if the model makes up its own motion and the options ask for another."""
    if not model.config.head_motion and _motion(options):
        _log.warning("--head-motion and --blinks have no effect: the model %s makes up its own motion", options.model)


def _motion(options: argparse.Namespace) -> dict[str, Any]:
    """What the options say about the head's motion."""
    given = {
        "head": options.head_motion,
        "blinks": options.blinks,
        "source": options.motion_source,
        "label": options.motion_kind,
    }
    return {name: value for name, value in given.items() if value is not None}


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


def signer(options: argparse.Namespace, output: Path) -> Signer | None:
    """Who signs the video, if anybody. Raises DiffusedHeadsError if it could not be signed."""
    from ..media.signing import Signer, check_signable

    if not (options.c2pa_cert or options.c2pa_key):
        return None
    if not (options.c2pa_cert and options.c2pa_key):
        raise DiffusedHeadsError("--c2pa-cert and --c2pa-key: expected both or none of the two")
    check_signable(output)
    return Signer(options.c2pa_cert, options.c2pa_key)


def check_output(output: Path, alpha: bool, *inputs: Path) -> None:
    """Raise DiffusedHeadsError if the video cannot be written to ``output``, or would replace one of its inputs.

    alpha: whether it is transparent.
    """
    from ..media.video import check_output as check_video_output

    check_video_output(output, alpha)
    for source in inputs:
        if output.exists() and source.exists() and output.samefile(source):
            raise DiffusedHeadsError(f"{output}: the output must be another file than the inputs")
