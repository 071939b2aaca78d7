"""Test numbers of several runs side by side, with paired differences over their common images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vae_exp.atomic import write_atomically
from vae_exp.data.settings import in_words
from vae_exp.errors import UserError
from vae_exp.files import as_json
from vae_exp.runs.contenders import QUANTITIES, Contender, contend
from vae_exp.runs.over_seeds import replicated, table_over_seeds


class Compare:
    """Prints the test numbers of several runs in one table, if one table can hold them.

    ``output`` names a JSON file for the same numbers. Called with the whole config.
    """

    def __init__(self, *, runs: Sequence[str], output: str | None = None) -> None:
        if len(runs) < 2:
            raise UserError(f"runs must name two runs or more, got {list(runs)}")
        self.runs = runs
        self.output = output

    def __call__(self, config: dict[str, Any]) -> None:
        """Raises UserError if protocols differ, or if a run or its images are not there."""
        seed = config["seed"]
        contenders = contend(self.runs, seed, config["data"].get("root"))
        console = Console()
        console.print(table_of(contenders, seed))
        settings = replicated(contenders)
        if settings:
            console.print(table_over_seeds(settings))
        for number, run in enumerate(contenders, 1):
            console.print(f"{number}  {run.path}  {run.settings}", soft_wrap=True, highlight=False)
        if self.output is not None:
            path = Path(self.output).resolve()
            write_atomically(path.parent, path.name, as_json(numbers_of(contenders, seed)))


def table_of(contenders: Sequence[Contender], seed: int) -> Table:
    """A row a run; the last column is its ELBO less the first run's, paired over images."""
    first = contenders[0]
    protocol = first.protocol
    table = Table(
        title=f"{protocol['split']} set: {protocol['images']:,} images of {protocol['data name']}, "
        f"{in_words(protocol['binarization'])}, nats per image",
        caption="each run: mean ± standard error over images, the weights as they are; the "
        f"difference is taken image by image with the same noise (seed {seed})",
    )
    table.add_column("run", justify="right")
    table.add_column("Z", justify="right")
    for label, _ in QUANTITIES.values():
        table.add_column(label, justify="right", no_wrap=True)
    table.add_column("ELBO − run 1's", justify="right", no_wrap=True)
    for number, run in enumerate(contenders, 1):
        gain = run.minus(first, "elbo", seed)
        table.add_row(
            str(number),
            str(run.latent_dim),
            *(str(run.test[name]) for name in QUANTITIES),
            "" if run is first else f"{gain.mean:+.3f} ± {gain.stderr:.3f}",
        )
    return table


def numbers_of(contenders: Sequence[Contender], seed: int) -> dict[str, Any]:
    """The same numbers for a JSON file, with differences of every quantity."""
    first = contenders[0]
    return {
        "protocol": first.protocol,
        "seed": seed,
        "runs": [
            {
                "run": str(run.path),
                "settings": run.settings,
                "test": {name: number.as_dict() for name, number in run.test.items()},
                "minus_first": {
                    name: run.minus(first, name, seed).as_dict() for name in QUANTITIES
                },
            }
            for run in contenders
        ],
        "over_seeds": [each.as_dict() for each in replicated(contenders)],
    }
