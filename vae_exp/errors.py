"""What a person did that cannot work, told in one line."""

from collections.abc import Sequence


class UserError(Exception):
    """A mistake in the input: one line with what was got, what was expected and what to do."""


class Damaged(UserError):
    """A file that was cut short or changed on the disk, or that is not what its name says."""


class Torn(Damaged):
    """A file of which a part is missing or changed, so that an older one may take its place."""


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or the name of its class."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


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


def check_positive(name: str, value: int) -> None:
    """Refuse anything but a positive integer, naming the argument."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{name} must be a positive integer, got {value!r}")
