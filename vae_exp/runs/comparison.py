"""Test numbers of several runs side by side, with paired differences over their common images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor

from vae_exp import folders
from vae_exp.atomic import write_atomically
from vae_exp.data.settings import in_words
from vae_exp.errors import UserError
from vae_exp.evaluation.estimates import Estimate, elbo_terms, estimate
from vae_exp.files import as_json
from vae_exp.runs import loading, plain
from vae_exp.runs.looking import splits_of
from vae_exp.runs.metrics import read_metrics, scores_of

QUANTITIES = {
    "elbo": ("ELBO", "bound"),
    "log_likelihood": (r"E\[log p(x|z)]", "log_likelihood"),
    "kl": ("KL", "kl"),
}  # in metrics.json -> as printed, in Terms


@dataclass(frozen=True)
class Contender:
    """A run with its test numbers, and the same per image on noise that all contenders share."""

    path: Path
    protocol: dict[str, Any]
    settings: str
    latent_dim: int
    test: dict[str, Estimate]
    values: dict[str, Tensor]  # [N] each, in nats

    def minus(self, other: "Contender", quantity: str, seed: int) -> Estimate:
        """The mean of the difference image by image: its standard error is that of a pair."""
        difference = self.values[quantity].double() - other.values[quantity].double()
        samples = self.test[quantity].samples
        return estimate(
            difference,
            "paired difference, common noise",
            samples=samples,
            seed=None if samples is None else seed,
        )


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
        for number, run in enumerate(contenders, 1):
            console.print(f"{number}  {run.path}  {run.settings}", soft_wrap=True, highlight=False)
        if self.output is not None:
            path = Path(self.output).resolve()
            write_atomically(path.parent, path.name, as_json(numbers_of(contenders, seed)))


def contend(specs: Sequence[str], seed: int, root: str | None = None) -> list[Contender]:
    """Load what is to be compared; refuses differing protocols before anything is computed.

    root: the folder of the images, if not the first run's own.
    """
    paths = [folders.find(spec) for spec in specs]
    loaded = [loading.load(str(path)) for path in paths]
    metrics = [tested(run.folder) for run in loaded]
    protocols = [protocol_of(found) for found in metrics]
    for path, protocol in zip(paths[1:], protocols[1:], strict=True):
        refuse_differences(paths[0], protocols[0], path, protocol)
    images = splits_of(loaded[0], root).test.images
    contenders = []
    for path, run, found, protocol in zip(paths, loaded, metrics, protocols, strict=True):
        samples = found["test"]["elbo"]["samples"]
        terms = elbo_terms(run.model, images, samples=samples, seed=seed)
        values = {name: getattr(terms, term) for name, (_, term) in QUANTITIES.items()}
        recorded = {name: recorded_estimate(found["test"][name]) for name in QUANTITIES}
        if path.suffix == ".ckpt":  # metrics.json speaks of the final weights
            recorded = {
                name: estimate(
                    values[name],
                    own.estimator,
                    samples=own.samples,
                    seed=None if own.samples is None else seed,
                )
                for name, own in recorded.items()
            }
        contenders.append(
            Contender(
                path, protocol, settings_of(run.folder), run.model.latent_dim, recorded, values
            )
        )
    return contenders


def recorded_estimate(found: dict[str, Any]) -> Estimate:
    """An estimate as metrics.json has it."""
    return Estimate(**{key: found[key] for key in Estimate.__annotations__ if key in found})


def tested(folder: Path) -> dict[str, Any]:
    """A run's metrics.json with its test numbers; raises UserError if it has none."""
    metrics = read_metrics(folder)
    if not metrics.get("test", {}).keys() >= QUANTITIES.keys() or "data" not in metrics:
        raise UserError(f"{folder / folders.METRICS} has no test numbers: train the run to its end")
    return metrics


def protocol_of(metrics: dict[str, Any]) -> dict[str, Any]:
    """What numbers must have in common to stand in one column."""
    data, test = metrics["data"], metrics["test"]
    return {
        "data name": data["name"],
        "split": data["split"],
        "binarization": data["binarization"],
        "images": data["images"],
        "p(x | z)": scores_of(metrics),
        "sha256 of the test images": data["sha256"],
        **{f"estimator of {name}": test[name]["estimator"] for name in QUANTITIES},
        **{f"samples of {name}": test[name].get("samples") for name in QUANTITIES},
    }


def refuse_differences(
    one: Path, mine: dict[str, Any], other: Path, theirs: dict[str, Any]
) -> None:
    """Raise UserError naming the first difference between two protocols."""
    for key, value in mine.items():
        if value != theirs[key]:
            raise UserError(
                f"{one} and {other} cannot stand in one column: {key} is {value} in the "
                f"first and {theirs[key]} in the second"
            )


def settings_of(folder: Path) -> str:
    """The overrides that a run was made with, in one line."""
    path = folder / folders.CONFIG.with_name("overrides.yaml")
    if not path.is_file():
        return ""
    return " ".join(map(str, plain.read(path, list))) or "defaults"


def table_of(contenders: Sequence[Contender], seed: int) -> Table:
    """A row a run; the last column is its ELBO less the first run's, paired over images."""
    first = contenders[0]
    protocol = first.protocol
    table = Table(
        title=f"{protocol['split']} set: {protocol['images']:,} images of {protocol['data name']}, "
        f"{in_words(protocol['binarization'])}, nats per image",
        caption="mean ± standard error over images; the difference is taken image by image "
        f"with the same noise (seed {seed})",
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
    }
