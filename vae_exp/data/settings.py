"""What can be chosen about the data, and what is refused; imports nothing heavy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from vae_exp.data.contracts import Source, checked
from vae_exp.data.sources import named
from vae_exp.errors import UserError

Word = Literal["auto", "mnist", "fashion_mnist", "kmnist", "binarized_mnist", "digits"]
Protocol = Literal["assignment", "standard"]
Binarization = Literal["threshold", "stochastic", "dynamic", "none"]


def check_data_settings(
    *,
    source: object = "auto",
    protocol: object = "assignment",
    train_size: object = 1,
    validation_size: object = 1,
    test_size: object = 1,
    test_from: object = None,
    binarization: object = "threshold",
    batch_size: object = 1,
    block_images: object = 1,
    seed: object = 0,
) -> None:
    """Refuse a setting of the wrong type or range, for those who call without a config.

    Raises UserError with one line that names the key, what was got and what is allowed.
    """
    if not isinstance(source, Source):
        _check_choice("data.source", source, get_args(Word))
    _check_choice("data.protocol", protocol, get_args(Protocol))
    _check_choice("data.binarization", binarization, get_args(Binarization))
    _check_integer("data.train_size", train_size, at_least=1)
    _check_integer("data.validation_size", validation_size, at_least=0)
    _check_integer("data.test_size", test_size, at_least=1)
    if test_from is not None:
        _check_integer("data.test_from", test_from, at_least=1)
    _check_integer("batch_size", batch_size, at_least=1)
    _check_integer("data.block_images", block_images, at_least=1)
    _check_integer("seed", seed, at_least=0)


def in_words(binarization: str) -> str:
    """How images were made binary, by the word that metrics.json has for it."""
    return "not binarised" if binarization == "none" else binarization.replace(">", " > ")


def source_of(source: Source | str, root: str | Path | None = None) -> Source:
    """A source, or the one that a word stands for, with its files below ``root`` if it is given."""
    found = checked(named(source) if isinstance(source, str) else source)
    if root is None:
        return found
    if not str(root):
        raise UserError("data.root must name a folder, got ''")
    return found.below(Path(root).expanduser())


def check_suits(binarization: str, likelihood: str, takes: str) -> None:
    """Raise UserError if a likelihood says nothing, or nothing sensible, of such images.

    likelihood: what to call it; takes: which images it has a mass or density of.
    """
    if takes == "binary" and binarization == "none":
        raise UserError(
            f"{likelihood} takes binary images and data.binarization is none: give "
            "data.binarization=threshold, or likelihood=gaussian or another of grey images"
        )
    if takes == "grey" and binarization != "none":
        raise UserError(
            f"{likelihood} is a density of grey images, which is unbounded if they are binary, and "
            f"data.binarization is {binarization}: give data.binarization=none, or "
            "likelihood=bernoulli"
        )


def refuse_idle(data: Mapping[str, Any], given: Sequence[str]) -> None:
    """Refuse settings that the source, if a word names it, would leave without effect.

    data: the group as plain containers; given: the keys that a person gave.
    """
    word, standard = data.get("source"), data.get("protocol") == "standard"
    if word not in get_args(Word) or not (standard or "data.root" in given):
        return
    source = named(str(word))
    if standard and "test" not in source.counts:
        raise UserError(
            f"data.protocol=standard needs MNIST's test file, which the {source.caption} do not "
            "have: give data.source=mnist, or data.protocol=assignment"
        )
    if "data.root" in given and not has_files(source):
        raise UserError(
            f"data.root is not read with data.source={word}, whose images lie in no folder"
        )


def has_files(source: Source) -> bool:
    """Whether a source's images lie in a folder, which data.root can name."""
    return source.below(Path()) is not source


def _check_choice(key: str, value: object, allowed: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise UserError(f"{key} must be one of {', '.join(allowed)}, got {value!r}")


def _check_integer(key: str, value: object, *, at_least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        kind = "a positive" if at_least == 1 else "a non-negative"
        raise UserError(f"{key} must be {kind} integer, got {value!r}")
