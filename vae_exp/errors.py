"""What a person did that cannot work, told in one line."""


class UserError(Exception):
    """A mistake in the input: one line with what was got, what was expected and what to do."""


def check_positive(name: str, value: int) -> None:
    """Refuse anything but a positive integer, naming the argument."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{name} must be a positive integer, got {value!r}")
