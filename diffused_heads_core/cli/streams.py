"""Standard streams that may be closed, missing or cut off: the work goes on, and what cannot be written is dropped."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class _Stream:
    """A text stream whose errors are ignored; after the first one, what is written to its file goes nowhere."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write if that is possible; returns the length of ``text``."""
        with self._ignored():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if that is possible."""
        with self._ignored():
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether a terminal reads the stream."""
        with suppress(ValueError):  # it is closed
            return bool(self._stream.isatty())
        return False

    @contextmanager
    def _ignored(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # the reader has gone, the disk is full, the stream is closed
            with suppress(OSError, ValueError):  # the interpreter flushes what is left when it ends, and would fail
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


@contextmanager
def lenient_streams() -> Iterator[None]:
    """Within the block, standard output and error accept everything, whatever has become of their readers.

    Characters that a stream's encoding lacks are written as escapes.
    """
    _open_descriptors()
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        for stream in before:
            if hasattr(stream, "reconfigure"):
                with suppress(ValueError, OSError):  # it is closed
                    stream.reconfigure(errors="backslashreplace")
        sys.stdout, sys.stderr = (_Stream(nowhere if stream is None else stream) for stream in before)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            sys.stdout, sys.stderr = before


def _open_descriptors() -> None:
    """Open the descriptors 0 to 2 where they are closed: else the next file would get the number of a stream.

    Messages that libraries write to standard error would then land in a video.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
