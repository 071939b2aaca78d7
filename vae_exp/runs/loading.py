"""A run's folder: what is saved in it, how it is found and loaded again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from vae_exp import folders, parts
from vae_exp.data.settings import in_words
from vae_exp.data.splits import SplitName
from vae_exp.errors import UserError
from vae_exp.evaluation.evidence import Evidence, evidence
from vae_exp.folders import CHECKPOINTS, CONFIG, WEIGHTS, find
from vae_exp.knobs import KNOBS, check_knob
from vae_exp.models.vae import VAE
from vae_exp.parts import build
from vae_exp.probability.distributions import Posterior
from vae_exp.runs import plain
from vae_exp.runs.metrics import read_metrics
from vae_exp.runs.upgrade import upgraded_config
from vae_exp.runs.weights import load_weights
from vae_exp.schema import check_schema

if TYPE_CHECKING:
    from vae_exp.analysis.base import Findings
    from vae_exp.data import Splits

NEWER = (
    "figures",
    "prior",
    "likelihood",
    "posterior",
    "callbacks",
    "logger",
)  # groups that an older run has not


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A finished run: its folder, the config it was made with, its model and its images.

    The config is plain containers in which nothing is left to resolve. ``weights`` is the file
    that the model's weights were read from.
    """

    folder: Path
    config: dict[str, Any]
    model: VAE
    weights: Path

    @property
    def metrics(self) -> dict[str, Any]:
        """What metrics.json holds now: every number with its provenance."""
        return read_metrics(self.folder)

    @property
    def name(self) -> str:
        """The name that the run was given, else its folder."""
        return self.metrics.get("run", {}).get("name") or folders.shown(self.folder)

    @cached_property
    def splits(self) -> Splits:
        """The run's training, validation and test images, loaded when they are first asked for.

        Raises UserError if they are not at hand.
        """
        from vae_exp.runs.looking import splits_of  # which imports matplotlib

        return splits_of(self)

    def over(self, splits: Splits) -> Run:
        """The same run with its images at hand, which are then not loaded."""
        run = replace(self)
        vars(run)["splits"] = splits
        return run

    def images(self, split: SplitName = "test") -> Tensor:
        """The binary images of a split: [N, D], float32."""
        self._check(split)
        return self.splits.named(split).images

    def labels(self, split: SplitName = "test") -> Tensor | None:
        """The classes of a split's images: [N], int64; None if they have none."""
        self._check(split)
        return self.splits.named(split).labels

    def evidence(self, x: Tensor, *, tolerance: float | None = None, seed: int = 0) -> Evidence:
        """log p(x) of images x [B, D] with its error, by the best method that the model allows."""
        return evidence(self.model, x, tolerance=tolerance, seed=seed)

    @torch.no_grad()
    def posterior(self, x: Tensor) -> Posterior:
        """The encoder's q(z | x) of images x [B, D]."""
        return self.model.posterior(self.model.checked(x))

    def look(self, name: str, /, *, seed: int | None = None, **settings: Any) -> Findings:
        """Put a question of ``conf/task`` to the run, as ``task=NAME run=...`` does.

        Nothing is saved: in a notebook the figures and tables are shown. The seed is the run's if
        none is given. Raises UserError for an unknown name or setting, or if the question does not
        suit the model.
        """
        from vae_exp.runs.asking import analysis_named  # which imports every analysis
        from vae_exp.runs.looking import own_seed, put

        seed = own_seed(self) if seed is None else seed
        return put(analysis_named(name, settings), self, seed).findings

    def _check(self, split: str) -> None:
        if split not in get_args(SplitName):
            raise UserError(f"split must be one of {', '.join(get_args(SplitName))}, got {split!r}")

    def __repr__(self) -> str:
        parameters = sum(weight.numel() for weight in self.model.parameters())
        ends = self.weights == self.folder / WEIGHTS
        parts = [f"Run {folders.shown(self.folder if ends else self.weights)}"]
        parts.append(f"latent dimension {self.model.latent_dim}, {parameters:,} parameters")
        try:
            parts += _told(self.metrics)
        except UserError as error:
            parts.append(str(error))
        return "\n  ".join(parts)


def _told(metrics: dict[str, Any]) -> list[str]:
    """Lines about a run: its name, its images and its test ELBO, if they are known."""
    name, data = metrics.get("run", {}).get("name"), metrics.get("data")
    elbo = metrics.get("test", {}).get("elbo", {})
    lines = [name] if name else []
    if data:
        how = in_words(data["binarization"])
        lines.append(f"{data['name']}, {how}, {data.get('trained_on', '')}")
    if data and "stderr" in elbo:
        mean, stderr = elbo["mean"], elbo["stderr"]
        lines.append(f"ELBO of {data['images']:,} test images: {mean:.2f} ± {stderr:.2f} nats")
    return lines


def load(spec: str, plugins: Sequence[str] = ()) -> Run:
    """The run that ``spec`` names, with the weights of its end or of the checkpoint named.

    Nothing in the folder is executed: weights are read by safetensors or ``weights_only``, the
    config is plain YAML, and it builds only parts: those of the package, and of ``plugins``, the
    modules of your own that the run was made with. Raises UserError if it does not fit.
    """
    parts.trust(plugins)
    path = find(spec)
    folder = path if path.is_dir() else path.parent
    if folder.name == CHECKPOINTS:
        folder = folder.parent
    if not (folder / CONFIG).is_file():
        raise UserError(f"{path} does not lie in a run's folder: {folder / CONFIG} is missing")
    weights = path if path.is_file() else folder / WEIGHTS
    if not weights.is_file():
        raise UserError(f"{folder} has no {WEIGHTS}: the run did not finish; resume={folder}")
    config = read_config(folder, ["model"])
    model: VAE = build(config["model"], "model", VAE)
    load_weights(model, weights)
    return Run(folder, config, model.eval(), weights)


def read_config(folder: Path, needed: Iterable[str]) -> dict[str, Any]:
    """The config that a run was made with: plain containers in which nothing is left to resolve.

    Raises UserError if it is no config, of a newer schema, or if a knob, or what is
    ``needed`` of the groups, does not fit this version.
    """
    path = folder / CONFIG
    contents = plain.read(path, dict)
    check_schema(path, contents.get("schema"))
    try:
        config = upgraded_config(plain.resolved(contents))
        parts.refuse_unnamed("the run", config.get("plugins"))
        for name in needed:
            if name in NEWER and name not in config:
                continue
            if name not in config:
                raise UserError(f"{name} is missing")
            if name not in KNOBS:
                parts.check(config[name], name)
        for name in KNOBS:
            if name in config:
                check_knob(name, config[name])
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return config
