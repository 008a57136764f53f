"""The ``diffused-heads`` command: its arguments, and one clear line for whatever goes wrong.

Only the standard library is imported here. A sub-command's module, and with it PyTorch, is imported
when that sub-command runs.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..errors import DiffusedHeadsError

INTERRUPTED = 130  # 128 + SIGINT, as shells report it
AddCommand = Callable[[Any, bool], None]  # (sub-parsers, whether this command was chosen)


class Parser(argparse.ArgumentParser):
    """Reports a usage error in one line, keeps the line breaks of examples, takes no abbreviations."""

    def __init__(self, **settings: Any):
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"diffused-heads: error: {one_line(message)} (see `{self.prog} --help`)\n")


def main(argv: Sequence[str] | None = None, more: Mapping[str, AddCommand] | None = None) -> int:
    """Run one command line (default: this program's) and return its exit status.

    more: further sub-commands by name, of packages above this one. 0 done, 1 bad input, 2 bad usage (as SystemExit), 130 interrupted. Errors are one line on stderr; ``--debug``
    lets them through with their traceback.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file's name may hold what the terminal cannot show
    argv, debug = list(sys.argv[1:] if argv is None else argv), False
    try:
        options = build_parser(argv, more or {}).parse_args(argv)
        debug = options.debug
        options.perform(options)
        return 0
    except KeyboardInterrupt:
        if debug:
            raise
        print("diffused-heads: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if debug or "--debug" in argv:
            raise
        print(f"diffused-heads: error: {explain(error)}", file=sys.stderr)
        return 1


def explain(error: Exception) -> str:
    """An exception as one line that a user can act on."""
    if isinstance(error, DiffusedHeadsError):
        return one_line(str(error))
    if isinstance(error, OSError) and error.strerror:
        return one_line(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    return one_line(f"unexpected {type(error).__name__}: {error} (--debug shows where)")


def one_line(text: str) -> str:
    """``text`` with its line breaks and runs of blanks as single blanks."""
    return " ".join(text.split())


def build_parser(argv: Sequence[str], more: Mapping[str, AddCommand]) -> Parser:
    """The parser of the command line ``argv``; of ``more``, the chosen command alone loads its options."""
    parser = Parser(
        prog="diffused-heads",
        epilog=_examples(
            "diffused-heads demo",
            "diffused-heads generate --identity portrait.png --audio speech.wav --output talk.mp4",
        ),
        description="Talking heads from one portrait and one speech recording.\n\n`diffused-heads COMMAND --help` tells more about a command.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and stop")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_generate, _add_demo, _add_info, _add_convert, _add_join, _add_evaluate):
        add(commands)
    chosen = next((word for word in argv if not word.startswith("-")), None)
    for name, add_more in more.items():
        add_more(commands, name == chosen)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib import metadata

        try:
            found = metadata.version("diffused-heads")
        except metadata.PackageNotFoundError:
            found = "(not installed, run from its folder)"
        print(f"diffused-heads {found}")
        parser.exit()


def _examples(*lines: str) -> str:
    return "\n".join(("example:" if len(lines) == 1 else "examples:", *(f"  {line}" for line in lines)))


def add_command(
    commands: Any,
    name: str,
    perform: Callable[[argparse.Namespace], None],
    summary: str,
    description: str,
    *examples: str,
) -> Parser:
    """Add a sub-command that ``perform`` runs; returns its parser."""
    parser = commands.add_parser(name, help=summary, description=description, epilog=_examples(*examples))
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )
    parser.set_defaults(perform=perform)
    return parser


def _later(module: str, function: str) -> Callable[[argparse.Namespace], None]:
    """A function of a module beside this one that is imported when it is called."""
    return lambda options: getattr(importlib.import_module(f".{module}", __package__), function)(options)


def positive(text: str) -> int:
    """A whole number of 1 or more, as an argument."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return value


def _add_generate(commands: Any) -> None:
    parser = add_command(
        commands,
        "generate",
        _later("generate", "generate"),
        "make a video of a head that speaks a recording",
        "Make a video in which the head of a portrait speaks a recording. The recording's own sound goes into the\n"
        "video, and the video says in its metadata that it is AI-generated. An existing video is replaced.",
        "diffused-heads generate --identity portrait.png --audio speech.wav --output talk.mp4",
        "diffused-heads generate --identity portrait.png --audio talk.mp3 --start 12 --duration 5 --seed 7 --output part.mp4",
    )
    parser.add_argument(
        "--identity",
        type=Path,
        required=True,
        metavar="FILE",
        help="the portrait: any picture with a head that looks ahead (PNG, JPEG, WebP, BMP, TIFF)",
    )
    parser.add_argument(
        "--audio",
        type=Path,
        required=True,
        metavar="FILE",
        help="the speech: any file with sound that FFmpeg reads, a video included",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="the video to write: .mp4, .mov, .mkv (H.264, AAC) or .webm (VP9, Opus)",
    )
    part = parser.add_argument_group("part of the recording")
    part.add_argument(
        "--start", type=float, default=0.0, metavar="S", help="begin at this second of the recording (default: 0)"
    )
    part.add_argument("--duration", type=float, metavar="S", help="use this many seconds of it (default: to the end)")
    _head(parser)
    _sampling(parser)


def _head(parser: Parser) -> None:
    """Which head of the portrait is meant, and how much of the picture comes back."""
    group = parser.add_argument_group("which head, and what is shown")
    group.add_argument(
        "--face",
        default="auto",
        choices=("auto", "largest", "left-to-right", "nearest", "whole"),
        metavar="RULE",
        help="largest face; left-to-right: number --face-index; nearest to --at; whole: the picture's middle square is the "
        "head, no face is looked for; auto (default): largest, but whole for bundled portraits and pictures of the model's size",
    )
    group.add_argument(
        "--face-index",
        type=int,
        default=0,
        metavar="N",
        help="number of the face in the order of --face, from 0 (default: 0)",
    )
    group.add_argument(
        "--at",
        type=float,
        nargs=2,
        metavar=("X", "Y"),
        help="the face nearest to this point, fractions of width and height",
    )
    group.add_argument(
        "--box",
        type=float,
        nargs=3,
        metavar=("X", "Y", "SIZE"),
        help="the head's square by hand, for cartoons and animals: its centre as fractions of width and height, "
        "its side as a fraction of the shorter side",
    )
    group.add_argument(
        "--margin",
        type=float,
        default=0.0,
        metavar="X",
        help="more room around a face that was found, -0.3 to 2 (default: 0)",
    )
    group.add_argument("--keep-tilt", action="store_true", help="do not set a tilted head upright for the model")
    group.add_argument(
        "--frame",
        default="picture",
        choices=("picture", "head"),
        metavar="WHAT",
        help="picture: the whole picture with the head moving in it; head: the model's square alone (default: %(default)s)",
    )
    group.add_argument(
        "--detail",
        type=float,
        default=1.0,
        metavar="X",
        help="how much of the picture's own fine detail the moving head keeps, 0 to 1 (default: %(default)g)",
    )


def _add_demo(commands: Any) -> None:
    parser = add_command(
        commands,
        "demo",
        _later("generate", "demo"),
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
    parser.add_argument(
        "--duration", type=float, default=4.0, metavar="S", help="at most this many seconds (default: %(default)g)"
    )
    _sampling(parser)


def _sampling(parser: Parser) -> None:
    """Options of how frames are made, for generate and demo. None stands for the model's own value."""
    group = parser.add_argument_group("how frames are made")
    group.add_argument(
        "--model",
        default="human",
        metavar="NAME_OR_PATH",
        help="a bundled model or a .safetensors checkpoint (default: %(default)s)",
    )
    group.add_argument("--sampler", metavar="NAME", help="ancestral, ddim or dpm++2m (default: the model's own)")
    group.add_argument(
        "--steps", type=int, metavar="N", help="denoising steps a frame; fewer are faster (default: the model's own)"
    )
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same seed makes the same video (default: %(default)s)"
    )
    group.add_argument(
        "--guidance",
        type=float,
        default=1.0,
        metavar="X",
        help="above 1 the mouth follows the sound more strongly, in twice the time (default: %(default)g)",
    )
    group.add_argument(
        "--eta", type=float, default=0.0, metavar="X", help="randomness of ddim, 0 to 1 (default: %(default)g)"
    )
    group.add_argument(
        "--colour-lock",
        type=float,
        default=0.0,
        metavar="X",
        help="hold a long clip to the identity's colours, 0 to 1 (default: %(default)g, off)",
    )
    group.add_argument(
        "--motion-anchor",
        type=float,
        metavar="X",
        help="the identity's share in the motion frames, 0 to 1; 0.1 to 0.3 stops damage that grows (default: the model's own)",
    )
    group.add_argument(
        "--temperature",
        type=float,
        metavar="X",
        help="scale of the noise that a frame starts from, 0 to 1; above 0 few steps make details boil (default: the model's own)",
    )
    group.add_argument(
        "--head-motion", type=float, metavar="X", help="0 a still head, 1 natural, 2 strong (default: 1)"
    )
    group.add_argument("--blinks", type=float, metavar="X", help="blinks a second, 0 to 2 (default: 0.28)")
    group.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps (default: %(default)s)")
    _trust(group)


def _trust(parser: Any) -> None:
    parser.add_argument(
        "--trust-torchscript",
        action="store_true",
        help="run the code of a released TorchScript audio encoder; only for files from people you trust",
    )


def _add_info(commands: Any) -> None:
    parser = add_command(
        commands,
        "info",
        _later("models", "info"),
        "tell what a model is",
        "Tell what a model is: its size, configuration, licence and training.",
        "diffused-heads info avatar",
        "diffused-heads info runs/avatar/model.safetensors",
    )
    parser.add_argument(
        "model",
        nargs="?",
        default="human",
        metavar="FILE_OR_NAME",
        help="a checkpoint or a bundled model (default: %(default)s)",
    )


def _add_convert(commands: Any) -> None:
    parser = add_command(
        commands,
        "convert",
        _later("models", "convert"),
        "turn a released checkpoint into a .safetensors file",
        "Turn a checkpoint of the authors' release (TorchScript archive or Lightning checkpoint) into a .safetensors\n"
        "file for `generate --model`. The architecture is read from names and shapes; nothing in the file is run.",
        "diffused-heads convert released.pt crema.safetensors --audio-encoder audio_encoder.pt",
        "diffused-heads generate --model crema.safetensors --trust-torchscript --identity a.png --audio a.wav --output a.mp4",
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="the released checkpoint")
    parser.add_argument("target", type=Path, metavar="TARGET.safetensors", help="the file to write")
    parser.add_argument(
        "--audio-encoder", type=Path, metavar="FILE", help="the released audio encoder; a copy is kept beside TARGET"
    )
    _trust(parser)
    untold = parser.add_argument_group("what names and shapes may not tell")
    untold.add_argument(
        "--image-size", type=positive, metavar="N", help="pixels of a side (default: as the file says, or 128)"
    )
    untold.add_argument(
        "--head-channels",
        type=positive,
        metavar="N",
        help="channels of an attention head (default: as the file says, or 64)",
    )
    untold.add_argument(
        "--audio-embedding",
        type=positive,
        metavar="N",
        help="width of one audio embedding (default: 256 where that fits)",
    )
    untold.add_argument(
        "--motion-gray", action=argparse.BooleanOptionalAction, default=None, help="whether motion frames are gray"
    )


def _add_join(commands: Any) -> None:
    parser = add_command(
        commands,
        "join",
        _join,
        "make one training corpus of several",
        "Make one corpus of several of the same size and frame rate, without copying them.",
        "diffused-heads join corpora/both corpora/people corpora/avatars",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the joined corpus")
    parser.add_argument("corpora", type=Path, nargs="+", metavar="CORPUS", help="folders of the corpora")


def _join(options: argparse.Namespace) -> None:
    from ..data.join import join

    made = join(options.out, options.corpora)
    print(f"{options.out}: {len(made)} clips at {made.size} px and {made.fps:g} frames/s")


def _add_evaluate(commands: Any) -> None:
    from . import evaluate as cli_evaluate

    cli_evaluate.arguments(
        add_command(
            commands,
            "evaluate",
            cli_evaluate.evaluate,
            "measure clips or a model, and write a report",
            cli_evaluate.DESCRIPTION,
            *cli_evaluate.EXAMPLES,
        )
    )
