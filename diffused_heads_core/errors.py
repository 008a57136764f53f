"""The one exception type that a user is meant to read."""

from collections.abc import Mapping


class DiffusedHeadsError(ValueError):
    """Bad input: the message is one line naming the input, what was expected and what was found."""


def raise_problems(name: str, problems: Mapping[str, object]) -> None:
    """Raise one DiffusedHeadsError about ``name`` that lists every problem whose value is true, if there are any."""
    found = [problem for problem, wrong in problems.items() if wrong]
    if found:
        raise DiffusedHeadsError(f"{name}: " + "; ".join(found))
