"""A run's folder: what is saved in it, how it is found and loaded again."""

import platform
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from vae_exp import plain, signatures
from vae_exp.atomic import write_atomically
from vae_exp.building import build
from vae_exp.errors import Damaged as Damaged
from vae_exp.errors import UserError
from vae_exp.folders import CHECKPOINTS, CONFIG, METRICS, METRICS_LOCK, WEIGHTS, locked
from vae_exp.folders import find as find
from vae_exp.knobs import KNOBS, check_knob
from vae_exp.metrics import read_metrics as read_metrics
from vae_exp.metrics import write_metrics as write_metrics
from vae_exp.models.vae import VAE
from vae_exp.schema import check_schema
from vae_exp.upgrade import upgraded_config
from vae_exp.weights import KEY as KEY
from vae_exp.weights import load_checkpoint as load_checkpoint
from vae_exp.weights import load_weights as load_weights
from vae_exp.weights import save_weights as save_weights

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


def load(spec: str) -> Run:
    """The run that ``spec`` names, with the weights of its end or of the checkpoint named.

    Nothing in the folder is executed: weights are read by safetensors or ``weights_only``, the
    config is plain YAML, and it builds only parts. Raises UserError if it does not fit.
    """
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
        for name in needed:
            if name in NEWER and name not in config:
                continue
            if name not in config:
                raise UserError(f"{name} is missing")
            if name not in KNOBS:
                signatures.check(config[name], name)
        for name in KNOBS:
            if name in config:
                check_knob(name, config[name])
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return config


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Put down what a run is made with, free of anything that only this process could resolve."""
    write_atomically(folder, CONFIG, config_text(config).encode())


def config_text(config: dict[str, Any]) -> str:
    """A config as YAML."""
    return OmegaConf.to_yaml(OmegaConf.create(config))


def add_findings(folder: Path, name: str, numbers: dict[str, Any]) -> None:
    """Put an analysis's numbers into metrics.json under analyses.NAME, one process at a time."""
    taken = f"{folder / METRICS} is being written by another process"
    with locked(folder, METRICS_LOCK, taken, PATIENCE):
        metrics = read_metrics(folder)
        metrics.setdefault("analyses", {})[name] = numbers
        write_metrics(folder, metrics)


def provenance() -> dict[str, Any]:
    """Which code and which machine's software made a number."""
    return {
        "git": git_revision(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }


def git_revision() -> str | None:
    """The commit of the package's source, with + where it was changed; None outside a checkout."""
    source = Path(__file__).resolve().parent
    if shutil.which("git") is None or not (source.parent / ".git").exists():
        return None
    described = subprocess.run(
        ["git", "-C", str(source), "describe", "--always", "--dirty=+", "--abbrev=12"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return described.stdout.strip() or None
