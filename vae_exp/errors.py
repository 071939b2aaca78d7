"""What a person did that cannot work, told in one line."""


class UserError(Exception):
    """A mistake in the input: one line with what was got, what was expected and what to do."""


class Damaged(UserError):
    """A file that was cut short or changed on the disk."""
