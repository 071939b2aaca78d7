"""Runs that can be compared: their test numbers, and the same image by image on common noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vae_exp import folders
from vae_exp.errors import UserError
from vae_exp.evaluation.estimates import Estimate, elbo_terms, estimate
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
    seed: int | None
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
        own_seed = found.get("run", {}).get("seed")
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
                path,
                own_seed,
                protocol,
                settings_of(run.folder),
                run.model.latent_dim,
                recorded,
                values,
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
