"""Runs of several seeds as one setting: means with intervals, and differences paired by seed."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import torch
from rich.table import Table

from vae_exp.evaluation.intervals import (
    ONE_SEED,
    TOO_FEW,
    Interval,
    critical,
    differences_from,
    interval,
)
from vae_exp.runs.contenders import QUANTITIES, Contender

Name = TypeVar("Name", bound=Hashable)
IMAGES = "sha256 of the test images"


@dataclass(frozen=True)
class Difference:
    """A setting's test ELBO less another one's, over the seeds that both have.

    ``over_seeds`` holds for all pairs of settings at once, so also if one was chosen; ``stderr`` is
    that of the mean over images, with the seeds held as they are.
    """

    over_seeds: Interval
    stderr: float

    def __str__(self) -> str:
        return f"{'+' if self.over_seeds.mean >= 0 else ''}{self.over_seeds}"


def differences(
    reference: Name, runs: Mapping[Name, Mapping[int, Contender]], *, chosen_from: int = 0
) -> dict[Name, Difference]:
    """Every setting's difference from the reference, by its name; ``runs``: by setting and seed.

    ``chosen_from``: settings that the reference was chosen from, if there were more.
    """
    means = {
        name: {seed: run.values["elbo"].double().mean().item() for seed, run in row.items()}
        for name, row in runs.items()
    }
    found = {}
    for name, over in differences_from(reference, means, chosen_from=chosen_from).items():
        common = [seed for seed in runs[reference] if seed in runs[name]]
        stderr = stderr_over_images([(runs[name][s], runs[reference][s]) for s in common])
        if over.count == 1:  # among two settings it is the normal interval, 1.96 standard errors
            over = replace(over, over_images=critical(max(len(runs), chosen_from)) * stderr)
        found[name] = Difference(over, stderr)
    return found


def stderr_over_images(pairs: Sequence[tuple[Contender, Contender]]) -> float:
    """The standard error over images of the mean over seeds of paired ELBO differences.

    If the seeds share their images, it is that of the seeds' mean difference image by image; if
    each has its own, they are independent.
    """
    per_image = [
        run.values["elbo"].double() - other.values["elbo"].double() for run, other in pairs
    ]
    if len({run.protocol[IMAGES] for run, _ in pairs}) == 1:
        per_image = [torch.stack(per_image).mean(0)]
    variances = [values.var().item() / len(values) for values in per_image]
    return math.sqrt(math.fsum(variances)) / len(variances)


@dataclass(frozen=True)
class Replicates:
    """Runs that differ in nothing but their seed: their numbers, and places in the first table.

    ``minus_first``: the ELBO less that of the first replicates, over common seeds and noise.
    """

    places: list[int]
    test: dict[str, Interval]
    minus_first: Difference | None

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return {
            "runs": self.places,
            "test": {name: asdict(each) for name, each in self.test.items()},
            "minus_first": None if self.minus_first is None else {"elbo": asdict(self.minus_first)},
        }


def replicated(contenders: Sequence[Contender]) -> list[Replicates]:
    """Runs by setting, in the order given; empty if no setting has two seeds."""
    grouped: dict[tuple[str, ...], dict[int, int]] = {}
    for place, run in enumerate(contenders):
        words = [word for word in run.settings.split(" ") if not word.startswith("seed=")]
        weights = run.path.name if run.path.suffix == ".ckpt" else ""
        if run.seed is not None:
            grouped.setdefault((*sorted(words), weights), {}).setdefault(run.seed, place)
    if all(len(seeds) == 1 for seeds in grouped.values()):
        return []
    runs = {
        setting: {seed: contenders[place] for seed, place in seeds.items()}
        for setting, seeds in grouped.items()
    }
    gains = differences(next(iter(runs)), runs)
    found = []
    for setting, seeds in grouped.items():
        tests = [run.test for run in runs[setting].values()]
        test = {
            name: interval([each[name].mean for each in tests], stderr=tests[0][name].stderr)
            for name in QUANTITIES
        }
        places = [place + 1 for place in seeds.values()]
        found.append(Replicates(places, test, gains.get(setting)))
    return found


def table_over_seeds(settings: Sequence[Replicates]) -> Table:
    """A row a setting; its error is over seeds, that of the table of runs is over images."""
    table = Table(
        title="Over seeds: runs that differ in nothing else",
        caption="mean ± 95 % over seeds (Student's t); differences on the same seeds and noise, "
        f"± 95 % for all pairs of settings at once (Tukey); {TOO_FEW} two seeds are too few; "
        f"{ONE_SEED} one seed: ± 95 % over images alone",
    )
    table.add_column("runs", justify="right")
    for label, _ in QUANTITIES.values():
        table.add_column(label, justify="right", no_wrap=True)
    table.add_column("ELBO − first's", justify="right", no_wrap=True)
    for each in settings:
        table.add_row(
            ",".join(map(str, each.places)),
            *map(str, each.test.values()),
            "" if each.minus_first is None else str(each.minus_first),
        )
    return table
