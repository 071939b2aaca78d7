"""What can be chosen about the data, and what is refused; imports nothing heavy."""

from collections.abc import Sequence

from vae_exp.errors import UserError

SOURCES = ("auto", "mnist", "digits")
PROTOCOLS = ("assignment", "standard")
BINARIZATIONS = ("threshold", "stochastic", "dynamic")


def check_data_settings(
    *,
    source: object = "auto",
    protocol: object = "assignment",
    train_size: object = 1,
    validation_size: object = 1,
    test_size: object = 1,
    binarization: object = "threshold",
    batch_size: object = 1,
    block_images: object = 1,
    seed: object = 0,
) -> None:
    """Refuse a setting of the wrong type or range.

    Raises UserError with one line that names the key, what was got and what is allowed.
    """
    _check_choice("data.source", source, SOURCES)
    _check_choice("data.protocol", protocol, PROTOCOLS)
    _check_choice("data.binarization", binarization, BINARIZATIONS)
    _check_integer("data.train_size", train_size, at_least=1)
    _check_integer("data.validation_size", validation_size, at_least=1)
    _check_integer("data.test_size", test_size, at_least=1)
    _check_integer("batch_size", batch_size, at_least=1)
    _check_integer("data.block_images", block_images, at_least=1)
    _check_integer("seed", seed, at_least=0)


def check_source(what: str, name: object) -> None:
    """Refuse the name of images that no source has; raises UserError saying ``what`` it is."""
    _check_choice(what, name, [source for source in SOURCES if source != "auto"])


def _check_choice(key: str, value: object, allowed: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise UserError(f"{key} must be one of {', '.join(allowed)}, got {value!r}")


def _check_integer(key: str, value: object, *, at_least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        kind = "a positive" if at_least == 1 else "a non-negative"
        raise UserError(f"{key} must be {kind} integer, got {value!r}")
