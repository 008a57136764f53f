"""``diffused-heads motion``: measure, make, edit and show the motion of a head."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DiffusedHeadsError
from .parser import Parser, add_command, add_threads, frame_rate, positive
from .request import NUMBER, SECONDS

if TYPE_CHECKING:
    from ..motion import MotionClip

FILES = "a .json, .csv or .npz file"
MEASURED = "measured: {n_fmt} frames, {rate_noinv_fmt}"
ENDS = ("ping-pong", "loop", "hold", "rest")  # of motion.clip, which takes a while to import


def add_commands(commands: Any) -> None:
    """Add ``motion`` and the commands below it."""
    parser = add_command(
        commands,
        "motion",
        lambda options: options.usage_error("expected measure, from-audio, edit or show"),
        "measure, make, edit and show the motion of a head",
        "The motion of a head as a file that people can read and edit: pose, size, lids, gaze, brows and expression,\n"
        "a row for each frame. JSON and CSV have angles in degrees; docs/MOTION.md describes the columns.",
        "diffused-heads motion measure actor.mp4 nod.json",
        "diffused-heads motion edit nod.json calm.json --scale pose=0.5 --smooth pose=0.2",
        "diffused-heads generate --identity a.png --audio a.wav --motion calm.json --output a.mp4",
    )
    below = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_measure(below)
    _add_from_audio(below)
    _add_edit(below)
    _add_show(below)


def _add_measure(commands: Any) -> None:
    parser = add_command(
        commands,
        "measure",
        measure,
        "measure the motion of the head in a video",
        "Measure how a head moves in a video of any frame rate. 0 is the head in the first frame that shows it well,\n"
        "or its usual position. Frames without a face are filled in from those around them, and counted.",
        "diffused-heads motion measure actor.mp4 motion.json",
        "diffused-heads motion measure interview.mp4 motion.csv --zero usual --face-index 1",
    )
    parser.add_argument("video", type=Path, metavar="VIDEO", help="a video of one head, or of several")
    _add_output(parser)
    text = "what is 0: the head in the first frame that shows it well, or its usual (median) position"
    parser.add_argument(
        "--zero", choices=("first", "usual"), default="first", metavar="WHAT", help=f"{text}: %(choices)s"
    )
    text = "which of several heads, counted from the left from 0 (default: the largest)"
    parser.add_argument("--face-index", type=int, metavar="N", help=text)
    parser.add_argument("--raw", action="store_true", help="without smoothing")
    add_threads(parser)


def _add_from_audio(commands: Any) -> None:
    parser = add_command(
        commands,
        "from-audio",
        from_audio,
        "make a natural motion as long as a recording",
        "Make a natural motion of a head that speaks a recording, as `generate` makes one, to edit it or to use it\n"
        "again.",
        "diffused-heads motion from-audio speech.wav motion.json --seed 3",
    )
    parser.add_argument("audio", type=Path, metavar="SPEECH", help="the speech: any file with sound that FFmpeg reads")
    _add_output(parser)
    add = parser.add_argument
    add("--seed", type=int, default=0, metavar="N", help="another seed makes another motion (default: %(default)s)")
    add("--fps", type=frame_rate, default=Fraction(25), metavar="X", help="frames per second (default: 25)")
    add("--head-motion", **NUMBER, help="0 a still head, 1 natural, 2 strong (default: 1)")
    add("--gaze", **NUMBER, help="how far the eyes wander, 0 to 2 (default: 1)")
    add("--brows", **NUMBER, help="how much the brows move, 0 to 2 (default: 1)")
    add("--blinks", **NUMBER, help="blinks per second, 0 to 2 (default: 0.28)")
    text = "what the motion follows: speech (default), or random motion that knows nothing of the sound"
    add("--motion-source", choices=("speech", "random"), help=text)
    add("--motion-kind", choices=("calm", "lively"), help="of motion from speech: as the calmest or liveliest talkers")
    add("--temperature", **NUMBER, help="of motion from speech: 0 the likeliest, 1 as varied as people's (default: 1)")


def _add_edit(commands: Any) -> None:
    parser = add_command(
        commands,
        "edit",
        edit,
        "change a motion",
        "Change a motion. The changes are made in the order of the list below. COLUMNS are names of columns (yaw,\n"
        "smile ...) or groups (pose, turn, place, lids, gaze, brows, expression, all), with commas between them;\n"
        "angles are in degrees. A number alone means all columns. Keyframes are a CSV file: a line such as\n"
        "time,yaw,smile, then a line for each key.",
        "diffused-heads motion edit nod.json calm.json --scale pose=0.5 gaze=0 --smooth pose=0.2",
        "diffused-heads motion edit nod.json turned.json --offset yaw=15 --keyframes keys.csv --add",
        "diffused-heads motion edit short.json long.json --length 60 --end loop",
    )
    parser.add_argument("source", type=Path, metavar="IN", help=f"the motion to change, {FILES}")
    _add_output(parser)
    add = parser.add_argument
    add("--start", **SECONDS, default=0.0, help="begin at this second")
    add("--duration", **SECONDS, help="take this many seconds")
    add("--scale", **_CHANGES, help="multiply columns: pose=0.5 halves all movement of the head")
    add("--offset", **_CHANGES, help="add to columns: yaw=10 turns the head to the image's right")
    add("--hold", **_CHANGES, help="keep the value that columns have at this second: gaze=1.5")
    add("--smooth", **_CHANGES, help="average columns over about this many seconds: pose=0.2")
    add("--keyframes", type=Path, metavar="FILE", help="set columns by keys, smoothly between them")
    add("--linear", action="store_true", help="go straight from key to key")
    add("--add", action="store_true", help="add the keys' columns to the motion in place of setting them")
    add("--mix", type=Path, metavar="FILE", help="another motion that takes a --share of the --mix-columns")
    add("--share", **NUMBER, default=0.5, help="of the other motion, 0 to 1 (default: %(default)g)")
    add("--mix-columns", default="all", metavar="COLUMNS", help="columns that are mixed (default: all)")
    add("--plus", type=Path, metavar="FILE", help="another motion that is added")
    add("--fps", type=frame_rate, metavar="X", help="frames per second of the result (default: as it is)")
    add("--length", **SECONDS, help="cut or continue it to this many seconds")
    add(
        "--end",
        choices=ENDS,
        default=ENDS[0],
        metavar="HOW",
        help="how a longer one goes on: ping-pong (back and forth, the default), loop, hold, rest (back to 0)",
    )


def _add_show(commands: Any) -> None:
    parser = add_command(
        commands,
        "show",
        show,
        "say what is in a motion file, and draw its curves",
        "Say how long a motion is and how far each column goes, and draw its curves into a picture.",
        "diffused-heads motion show motion.json --plot motion.png",
    )
    parser.add_argument("source", type=Path, metavar="FILE", help=f"the motion, {FILES}")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="the picture to write")
    parser.add_argument("--width", type=positive, default=1000, metavar="PX", help="of the picture (default: 1000)")


def _add_output(parser: Parser) -> None:
    parser.add_argument("output", type=Path, metavar="OUT", help=f"the motion to write, {FILES}")


def _change(text: str) -> tuple[str, float]:
    """COLUMNS=X as an argument; X alone means all columns."""
    columns, _, value = text.rpartition("=")
    try:
        return columns or "all", float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: expected COLUMNS=NUMBER, such as pose=0.5") from None


_CHANGES: dict[str, Any] = {"type": _change, "nargs": "+", "default": (), "metavar": "COLUMNS=X"}


def measure(options: argparse.Namespace) -> None:
    """Run ``motion measure``; raises DiffusedHeadsError for a file that is no video, or shows no face."""
    from tqdm import tqdm

    from ..face.motion import SMOOTHING, measure_video
    from ..motion.files import check_motion_output, write_motion

    check_motion_output(options.output)
    smoothing = 0.0 if options.raw else SMOOTHING
    often = 0.1 if sys.stderr.isatty() else 5
    settings: dict[str, Any] = {"bar_format": MEASURED, "file": sys.stderr, "maxinterval": math.inf, "leave": False}
    with tqdm(mininterval=often, delay=1, unit=" frames", **settings) as bar:
        how = options.zero, options.face_index, smoothing
        found = measure_video(options.video, *how, on_frame=lambda done: bar.update())
    write_motion(options.output, found.clip)
    print(f"{options.output}: {found.summary()}")


def from_audio(options: argparse.Namespace) -> None:
    """Run ``motion from-audio``; raises DiffusedHeadsError for a file without sound and values out of range."""
    from ..media.audio import load_audio
    from ..media.video import frame_count
    from ..motion import MotionOptions
    from ..motion.files import check_motion_output, write_motion
    from ..pipeline import motion_for

    check_motion_output(options.output)
    given = {"head": options.head_motion, "gaze": options.gaze, "brows": options.brows, "blinks": options.blinks}
    given |= {"source": options.motion_source, "label": options.motion_kind, "temperature": options.temperature}
    liveliness = MotionOptions(**{name: value for name, value in given.items() if value is not None})
    speech = load_audio(options.audio)
    clip = motion_for(frame_count(speech, options.fps), options.fps, options.seed, liveliness, speech)
    write_motion(options.output, clip)
    print(f"{options.output}: {_length(clip)}")


def edit(options: argparse.Namespace) -> None:
    """Run ``motion edit``; raises DiffusedHeadsError for files that are no motion and values out of range."""
    from ..files import readable_file
    from ..motion import editing
    from ..motion.files import check_motion_output, read_motion, write_motion

    check_motion_output(options.output)
    clip = read_motion(options.source)
    if options.start or options.duration is not None:
        clip = editing.cut(clip, options.start, options.duration)
    changes: list[tuple[Any, Callable[..., MotionClip]]] = [
        (options.scale, editing.scale),
        (options.offset, editing.offset),
        (options.hold, editing.hold),
        (options.smooth, editing.smooth),
    ]
    for pairs, change in changes:
        for columns, value in pairs:
            clip = change(clip, value, columns)
    if options.keyframes:
        file = readable_file(options.keyframes, "keyframes as CSV")
        try:
            keys = editing.parse_keyframes(file.read_text(encoding="utf-8-sig"))
        except (DiffusedHeadsError, UnicodeDecodeError) as error:
            raise DiffusedHeadsError(f"{file}: {error}") from error
        clip = editing.with_keyframes(clip, keys, "linear" if options.linear else "smooth", options.add)
    if options.mix:
        clip = editing.mix(clip, read_motion(options.mix), options.share, options.mix_columns)
    if options.plus:
        clip = editing.add(clip, read_motion(options.plus))
    write_motion(options.output, editing.lengthened(clip, options.fps, options.length, options.end))
    print(f"{options.output}: {_length(read_motion(options.output))}")


def show(options: argparse.Namespace) -> None:
    """Run ``motion show``; raises DiffusedHeadsError for a file that is no motion."""
    from ..media.pictures import save_picture
    from ..motion.files import read_motion
    from ..motion.plot import plot, summary

    clip = read_motion(options.source)
    print(f"{options.source}: " + "\n".join(summary(clip)))
    if options.plot:
        save_picture(options.plot, plot(clip, options.width))
        print(f"{options.plot}: the curves")


def _length(clip: MotionClip) -> str:
    return f"{len(clip)} frames at {float(clip.fps):g} frames/s, {clip.seconds:.2f} s"
