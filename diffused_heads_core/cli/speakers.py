"""``generate`` for several people in one picture: who says what, and what does not go together with that."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DiffusedHeadsError
from .parser import Parser, path
from .request import check_output, request, warn_of_motion

if TYPE_CHECKING:
    from ..conversation.animation import Conversation

_log = logging.getLogger(__name__)


def add_options(parser: Parser) -> None:
    """Options of several people in one picture."""
    add = parser.add_argument_group("several people in one picture").add_argument
    add(
        "--speaker",
        type=_speaker,
        action="append",
        metavar="N:FILE",
        help="head number N (1: the leftmost) says this recording; once for each speaker. N alone: it listens",
    )
    text = "one recording with a channel for each head: left and right, or more"
    add("--speakers-from", type=Path, metavar="FILE", help=text)
    text = "heads without a recording listen, with their mouth shut, or stay still (default: %(default)s)"
    add("--others", default="listen", choices=("listen", "still"), help=text)
    add(
        "--speaker-box",
        type=float,
        nargs=3,
        action="append",
        metavar=("X", "Y", "SIZE"),
        help="the square of a head by hand, as --box; once for each head, number 1 first",
    )
    add(
        "--show-numbers",
        type=Path,
        metavar="FILE",
        help="write the picture with the number of each head drawn into it, and make a video only if --output is given",
    )


def _speaker(text: str) -> tuple[int, Path | None]:
    number, _, file = text.partition(":")
    if not number.strip().isdecimal() or int(number) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected N:FILE, such as 1:ada.wav for the leftmost head")
    return int(number), path(file) if file else None


def are_asked(options: argparse.Namespace) -> bool:
    """Whether the options of ``generate`` ask for several people in one picture."""
    return bool(options.speaker or options.speakers_from or options.speaker_box or options.show_numbers)


def prepared(options: argparse.Namespace) -> Conversation:
    """Check every argument and file, the cheap ones first, and load them."""
    from ..conversation.animation import animate_several

    recordings = options.speakers_from or dict(options.speaker)
    files = [options.speakers_from] if options.speakers_from else [file for file in recordings.values() if file]
    (picture,) = options.identity
    check_output(options.output, False, picture, *files)
    asked = request(options)
    placing = asked.pop("placing")
    for name in ("whole_picture", "transparent"):
        del asked[name]
    conversation = animate_several(
        picture,
        recordings,
        options.model,
        others=options.others,
        boxes=[tuple(box) for box in options.speaker_box or ()],
        margin=placing.margin,
        level=placing.level,
        device=options.device,
        trust_torchscript=options.trust_torchscript,
        engine=options.engine,
        **asked,
    )
    warn_of_motion(options, conversation.model)
    for line in conversation.roles():
        _log.info("%s", line)
    return conversation


def show_numbers(options: argparse.Namespace) -> None:
    """Write the picture with the number of each head drawn into it."""
    from ..conversation.heads import find_heads, numbered, position
    from ..media.pictures import load_picture, save_picture, shrink
    from ..talking_head import load_model

    (source,) = options.identity
    picture = load_picture(source)
    picture = picture if options.max_side is None else shrink(picture, options.max_side)
    config = load_model(options.model, "cpu").config
    boxes = [tuple(box) for box in options.speaker_box or ()]
    heads = find_heads(picture, config, boxes, name=str(source), margin=options.margin, level=not options.keep_tilt)
    if options.show_numbers.exists() and options.show_numbers.samefile(source):
        raise DiffusedHeadsError(f"{options.show_numbers}: the output must be another file than the inputs")
    save_picture(options.show_numbers, numbered(picture, heads))
    there = ", ".join(f"{head.number} at {position(head, picture)}" for head in heads)
    print(f"{options.show_numbers}: {len(heads)} heads, {there} (fractions of width and height)")


def check_usage(options: argparse.Namespace) -> None:
    """End the program with a usage error if options do not go together, or one is missing."""
    _check_pictures(options)
    if not options.output and not options.show_numbers:
        options.usage_error("the following arguments are required: --output")
    if options.output and bool(options.speaker) == bool(options.speakers_from):
        options.usage_error("expected either --speaker N:FILE for each speaker, or --speakers-from FILE")
    numbers = [number for number, _ in options.speaker or ()]
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    if twice:
        options.usage_error(f"--speaker: head {twice[0]} is named more than once")


def _check_pictures(options: argparse.Namespace) -> None:
    """End the program with a usage error unless there is one picture, and no option of one head or many videos."""
    beside: dict[str, Any] = {
        "--audio": options.audio,
        "--table": options.table,
        "--output-folder": options.output_folder,
        "--all-pairs": options.all_pairs,
        "--face": options.face != "auto",
        "--face-index": options.face_index,
        "--at": options.at,
        "--box (--speaker-box)": options.box,
        "--frame head": options.frame == "head",
        "--alpha": options.alpha,
        "--motion": options.motion,
        "--motion-from": options.motion_from,
        "--expression": options.expression,
    }
    wrong = [name for name, value in beside.items() if value]
    if wrong:
        options.usage_error(f"several people in one picture: expected no {' and no '.join(wrong)}")
    if len(options.identity or ()) != 1:
        options.usage_error(f"--identity: expected one picture, found {len(options.identity or ())}")
