"""The ``diffused-heads`` command: it finds the sub-command, and ends in one clear line for whatever goes wrong."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..processes import Stopped, limit_threads, stopped_by_signals, wait_passively
from . import evaluate, generate, live, models, motion
from .parser import Parser, add_command, examples, explain
from .streams import lenient_streams

INTERRUPTED = 130  # 128 + SIGINT, as shells report it
AddCommand = Callable[[Any, bool], None]  # (sub-parsers, whether this command was chosen)


def main(argv: Sequence[str] | None = None, more: Mapping[str, AddCommand] | None = None) -> int:
    """Run one command line (default: this program's) and return its exit status.

    more: further sub-commands by name, of packages above this one. Status: 0 done, 1 bad input, 2 bad usage (as
    SystemExit), 128 + the number of the signal that ended it (130: interrupted). Errors are one line on stderr;
    ``--debug`` lets them through with their traceback.
    """
    if argv is None:  # this process is the program's, not one that calls this function
        wait_passively()
    with lenient_streams():
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        return _run(list(sys.argv[1:] if argv is None else argv), more or {})


def _run(argv: list[str], more: Mapping[str, AddCommand]) -> int:
    """``main`` without its care for the standard streams."""
    debug = False
    try:
        with stopped_by_signals():
            options = build_parser(argv, more).parse_args(argv)
            debug = options.debug
            limit_threads(getattr(options, "threads", None))
            return options.perform(options) or 0
    except KeyboardInterrupt as interrupt:
        if debug:
            raise
        by = f" by {interrupt}" if isinstance(interrupt, Stopped) and interrupt.status != INTERRUPTED else ""
        print(f"diffused-heads: interrupted{by}", file=sys.stderr)
        return getattr(interrupt, "status", INTERRUPTED)
    except Exception as error:
        if debug or "--debug" in argv:
            raise
        print(f"diffused-heads: error: {explain(error)}", file=sys.stderr)
        return 1


def build_parser(argv: Sequence[str], more: Mapping[str, AddCommand]) -> Parser:
    """The parser for the command line ``argv``; of ``more``, only the chosen command loads its options."""
    parser = Parser(
        prog="diffused-heads",
        epilog=examples(
            "diffused-heads demo",
            "diffused-heads generate --identity portrait.png --audio speech.wav --output talk.mp4",
        ),
        description="Talking heads from one portrait and one speech recording.\n\n"
        "`diffused-heads COMMAND --help` explains a command.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and stop")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for room in (generate, live, motion, models, evaluate):
        room.add_commands(commands)
    _add_join(commands)
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
