"""The one exception type that a user is meant to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class DiffusedHeadsError(ValueError):
    """Bad input: the message is one line naming the input, what was expected and what was found."""

    __module__ = "builtins"  # ComfyUI shows users the class of an exception, with the path of its module if it has one

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its message: the class itself cannot be found in ``builtins``."""
        return error_of, (str(self),)


def error_of(message: str) -> DiffusedHeadsError:
    """A DiffusedHeadsError with this message, for pickle."""
    return DiffusedHeadsError(message)


def raise_problems(name: str, problems: Mapping[str, object]) -> None:
    """Raise one DiffusedHeadsError about ``name`` that lists every problem whose value is true, if there are any."""
    found = [problem for problem, wrong in problems.items() if wrong]
    if found:
        raise DiffusedHeadsError(f"{name}: " + "; ".join(found))
