"""What a person did that cannot work, told in one line."""

from collections.abc import Iterable, Sequence


class UserError(Exception):
    """A mistake in the input: one line with what was got, what was expected and what to do."""


class Several(UserError):
    """All the mistakes of a command, a line each."""

    def __init__(self, errors: Sequence[UserError]):
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors


def all_of(errors: Iterable[UserError]) -> None:
    """Raise what there is to raise: nothing, an error, or Several."""
    found = list(errors)
    if len(found) == 1:
        raise found[0]
    if found:
        raise Several(found)


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
