"""A run's folder: what is saved in it, how it is found and loaded again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae_exp import parts
from vae_exp.errors import Damaged as Damaged
from vae_exp.errors import UserError
from vae_exp.folders import CHECKPOINTS, CONFIG, WEIGHTS
from vae_exp.folders import find as find
from vae_exp.knobs import KNOBS, check_knob
from vae_exp.models.vae import VAE
from vae_exp.parts import build
from vae_exp.runs import plain
from vae_exp.runs.metrics import read_metrics as read_metrics
from vae_exp.runs.metrics import write_metrics as write_metrics
from vae_exp.runs.upgrade import upgraded_config
from vae_exp.runs.weights import KEY as KEY
from vae_exp.runs.weights import load_checkpoint as load_checkpoint
from vae_exp.runs.weights import load_weights as load_weights
from vae_exp.runs.weights import save_weights as save_weights
from vae_exp.schema import check_schema

NEWER = ("figures", "prior", "likelihood", "posterior")  # groups that an older run has not
PATIENCE = 60.0  # seconds, for a process that adds its own numbers


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, the config it was made with, and its model.

    The config is plain containers in which nothing is left to resolve.
    """

    folder: Path
    config: dict[str, Any]
    model: VAE


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
    return Run(folder, config, model.eval())


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
