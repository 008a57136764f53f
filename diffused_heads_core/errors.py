"""The one exception type that a user is meant to read."""


class DiffusedHeadsError(ValueError):
    """Bad input: the message is one line naming the input, what was expected and what was found."""
