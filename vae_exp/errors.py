"""What a person did that cannot work, told in one line."""

from collections.abc import Sequence


class UserError(Exception):
    """A mistake in the input: one line with what was got, what was expected and what to do."""


class Mistyped(UserError):
    """A key that does not exist, or a value that is none of some `choices`.

    line: what is wrong; there: what there is instead, for those to whom nothing can be suggested.
    """

    def __init__(self, key: str, line: str, there: str = "", choices: Sequence[str] = ()):
        super().__init__(line + there)
        self.key = key
        self.line = line
        self.there = there
        self.choices = choices
