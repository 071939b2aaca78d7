"""Which images of a source's files train, validate and test."""

from vae_exp.data.contracts import Found, Images, Source
from vae_exp.errors import UserError


def check_fits(source: Source, protocol: str, sizes: dict[str, int]) -> None:
    """Refuse more images than the source is known to have, naming the keys."""
    if not source.counts:
        return
    training, test = source.counts["training"], source.counts.get("test", 0)
    standard = protocol == "standard" and test > 0
    drawn = ("train", "validation") if standard else ("train", "test", "validation")
    total = sum(sizes[name] for name in drawn)
    if total > training:
        keys = " + ".join(f"data.{name}_size" for name in drawn)
        raise UserError(
            f"{keys} must be at most {training:,} ({source.caption}'s training file), got {total:,}"
        )
    if standard and sizes["test"] > test:
        raise UserError(
            f"data.test_size must be at most {test:,} (the test file), got {sizes['test']:,}"
        )


def cut_images(
    found: Found, protocol: str, sizes: dict[str, int], test_from: int | None = None
) -> tuple[dict[str, tuple[Images, list[slice]]], str | None]:
    """Which images of which file make a split of each name in ``sizes``, and a notice.

    With the protocol "assignment" the test images begin at image ``test_from`` of the file if it
    has enough, followed by those that validate, and the first others train: so neither moves with
    the number that train. Else, and without ``test_from``, they follow those that train.
    The notice tells if there are fewer than were asked for. Raises UserError if there are fewer
    images than splits, or if test images have another shape.
    """
    training, test = found.training, found.test
    if test is None or protocol == "assignment":
        fitted = fit_sizes(sizes, len(training))
        held = fitted["test"] + fitted["validation"]
        first = fitted["train"]
        if test_from is not None and test_from + held <= len(training):
            first = test_from
        second, third = first + fitted["test"], first + held
        beyond = max(0, fitted["train"] - first)
        cut = {
            "train": (training, [slice(0, fitted["train"] - beyond), slice(third, third + beyond)]),
            "validation": (training, [slice(second, third)]),
            "test": (training, [slice(first, second)]),
        }
    else:
        if test.shape != training.shape:
            raise UserError(
                f"{test.what} must have the shape of {training.what}, {_times(training.shape)}, "
                f"got {_times(test.shape)}"
            )
        own = {name: sizes[name] for name in ("train", "validation")}
        fitted = {**fit_sizes(own, len(training)), "test": min(sizes["test"], len(test))}
        last = len(training)
        cut = {
            "train": (training, [slice(0, fitted["train"])]),
            "validation": (training, [slice(last - fitted["validation"], last)]),
            "test": (test, [slice(0, fitted["test"])]),
        }
    told = []
    if test is None and protocol == "standard" and found.notice is None:
        told.append(f"no test images are set apart: they follow the {training.what} that train")
    if fitted != sizes:
        there = len(training) + (len(test) if test is not None and protocol == "standard" else 0)
        told.append(
            f"{sum(sizes.values()):,} images were asked for and there are {there:,}: sizes "
            f"cut to {', '.join(f'{name} {fitted[name]:,}' for name in sizes)}"
        )
    for name, size in fitted.items():
        if size < min(1, sizes[name]):
            raise UserError(f"{training.what}: {len(training)} are too few for three splits")
    return cut, "; ".join(told) or None


def fit_sizes(sizes: dict[str, int], available: int) -> dict[str, int]:
    """`sizes` if they fit into `available`, else cut in proportion, each but a 0 at least 1."""
    wanted, left, fitted = sum(sizes.values()), available, dict(sizes)
    if wanted <= available:
        return fitted
    for name in sorted(sizes, key=lambda name: sizes[name]):
        fitted[name] = min(left, max(min(1, sizes[name]), sizes[name] * available // wanted))
        left -= fitted[name]
    return fitted


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
