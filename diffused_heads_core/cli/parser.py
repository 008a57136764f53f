"""What the sub-commands' modules share: the parser, and adding a command to it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

from ..errors import DiffusedHeadsError
from ..files import as_path


class Parser(argparse.ArgumentParser):
    """Reports a usage error in one line, keeps the line breaks of examples, takes no abbreviations.

    Arguments of type Path become what ``as_path`` makes of them.
    """

    def __init__(self, **settings: Any):
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False, **settings})
        self.register("type", Path, path)

    def error(self, message: str) -> NoReturn:
        """End the program with status 2 and the message."""
        self.exit(2, f"diffused-heads: error: {one_line(message)} (see `{self.prog} --help`)\n")


def path(text: str) -> Path:
    """A path as an argument, see ``as_path``."""
    try:
        return as_path(text)
    except DiffusedHeadsError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def one_line(text: str) -> str:
    """``text`` with its line breaks and runs of blanks as single blanks."""
    return " ".join(text.split())


def explain(error: Exception) -> str:
    """An exception as one line that a user can act on."""
    if isinstance(error, DiffusedHeadsError):
        return one_line(str(error))
    if isinstance(error, OSError) and error.strerror:
        return one_line(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    return one_line(f"unexpected {type(error).__name__}: {error} (--debug shows where)")


def examples(*lines: str) -> str:
    """Command lines as the end of a help text."""
    return "\n".join(("example:" if len(lines) == 1 else "examples:", *(f"  {line}" for line in lines)))


def add_command(
    commands: Any,
    name: str,
    perform: Callable[[argparse.Namespace], int | None],
    summary: str,
    description: str,
    *lines: str,
    aliases: Sequence[str] = (),
) -> Parser:
    """Add a sub-command that ``perform`` runs, with example ``lines``; returns its parser.

    ``perform`` returns the exit status; None stands for 0. aliases: other names of the command.
    """
    parser = commands.add_parser(name, aliases=aliases, help=summary, description=description, epilog=examples(*lines))
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )
    parser.set_defaults(perform=perform, usage_error=parser.error)
    return parser


def positive(text: str) -> int:
    """A whole number of 1 or more, as an argument."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return value


def frame_rate(text: str) -> Fraction:
    """Frames per second, a number or a fraction such as 30000/1001, as an argument."""
    from ..media.video import as_fps

    try:
        return as_fps(Fraction(text) if "/" in text else float(text))
    except DiffusedHeadsError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text}: expected frames per second, such as 25 or 30000/1001") from None


def add_threads(parser: Any) -> None:
    """Add the option that limits the threads that compute."""
    text = "threads that compute (default: one per processor); fewer leave processors to other programs"
    parser.add_argument("--threads", type=positive, metavar="N", help=text)


def add_trust(parser: Any) -> None:
    """Add the option that lets TorchScript audio encoders run."""
    parser.add_argument(
        "--trust-torchscript",
        action="store_true",
        help="run the code of a released TorchScript audio encoder; only for files from people you trust",
    )
