"""A run's folder: what is saved in it, how it is found and loaded again."""

import json
import platform
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import yaml  # type: ignore[import-untyped]
from filelock import FileLock
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vae_exp import parts
from vae_exp.atomic import write_atomically
from vae_exp.config import built
from vae_exp.errors import UserError
from vae_exp.folders import CHECKPOINTS, CONFIG, METRICS, METRICS_LOCK, WEIGHTS
from vae_exp.folders import find as find
from vae_exp.models.vae import VAE
from vae_exp.schema import SCHEMA, check_schema
from vae_exp.upgrade import upgraded_part, upgraded_weights

KEY = "vae_exp"  # of what is ours in a checkpoint and in the header of the weights


class Damaged(UserError):
    """A file that was cut short or changed on the disk."""


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, the config it was made with, and its model."""

    folder: Path
    config: DictConfig
    model: VAE


def load(spec: str) -> Run:
    """The run that ``spec`` names, with the weights of its end or of the checkpoint named.

    Nothing in the folder is executed: weights are read by safetensors or ``weights_only``, and
    the config builds only classes of this package. Raises UserError where it does not fit.
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
    model: VAE = built(config, "model")
    load_weights(model, weights)
    return Run(folder, config, model.eval())


def read_config(folder: Path, groups: Iterable[str]) -> DictConfig:
    """The config that a run was made with, whose ``groups`` fit this version's constructors.

    Raises UserError where it is no config, of a newer schema, or names what is not of this package.
    """
    path = folder / CONFIG
    try:
        config = OmegaConf.load(path)
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise Damaged(f"{path} is not a config: {_first_line(error)}") from error
    if not isinstance(config, DictConfig):
        raise Damaged(f"{path} is not a config: it holds a list")
    check_schema(path, config.get("schema"))
    for group in groups:
        try:
            node = OmegaConf.to_container(config[group], resolve=True, throw_on_missing=True)
            node = upgraded_part(node)
            wrong = parts.problems(node, group)
            if wrong:
                raise UserError(wrong[0])
            config[group] = node
        except (OmegaConfBaseException, ValueError, UserError) as error:
            raise UserError(f"{path}: {group}: {_first_line(error)}") from error
    return config


def save_weights(model: VAE, path: Path) -> None:
    """The weights alone, as safetensors with the schema and latent_dim in the header."""
    # One entry: safetensors writes several in an order that changes from one process to the next.
    metadata = {KEY: json.dumps({"schema": SCHEMA, "latent_dim": model.latent_dim})}
    tensors = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    write_atomically(path, safetensors.torch.save(tensors, metadata))


def load_weights(model: VAE, path: Path) -> None:
    """Put the weights of a .safetensors file or a checkpoint into a model.

    Raises UserError where the file is damaged or made for another architecture.
    """
    if path.suffix == ".safetensors":
        try:
            with safetensors.safe_open(path, "pt") as file:
                ours = json.loads((file.metadata() or {}).get(KEY, "{}"))
                check_schema(path, ours.get("schema"))
            weights = safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise Damaged(f"{path} is damaged: {error}") from error
    else:
        weights = {
            key.removeprefix("model."): tensor
            for key, tensor in load_checkpoint(path)["state_dict"].items()
            if key.startswith("model.")
        }
    weights = upgraded_weights(weights)
    expected = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: list(tensor.shape) for name, tensor in weights.items()}
    if expected != found:
        name = next(n for n in [*expected, *found] if expected.get(n) != found.get(n))
        raise UserError(
            f"{path} was made for another model: {name} is {found.get(name, 'absent')} in the "
            f"file and {expected.get(name, 'absent')} in the config"
        )
    model.load_state_dict(weights)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's contents, read without running any code in it.

    Raises Damaged where it is torn, and UserError where it holds code or is of a newer schema.
    """
    try:
        with zipfile.ZipFile(path) as records:  # torch.load does not look at their checksums
            torn = records.testzip()
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise Damaged(f"{path} is damaged: {_first_line(error)}") from error
    if torn is not None:
        raise Damaged(f"{path} is damaged: the checksum of {torn} is wrong")
    try:
        contents: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"{path} is not a checkpoint that can be trusted: {_first_line(error)}"
        ) from error
    if not isinstance(contents, dict) or "state_dict" not in contents:
        raise UserError(f"{path} is not a checkpoint: it has no state_dict")
    check_schema(path, contents.get(KEY, {}).get("schema"))
    return contents


def read_metrics(folder: Path) -> dict[str, Any]:
    """What metrics.json holds; empty where there is none."""
    path = folder / METRICS
    if not path.is_file():
        return {}
    try:
        contents: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise Damaged(f"{path} is damaged: {_first_line(error)}") from error
    check_schema(path, contents.get("schema"))
    return contents


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Replace metrics.json."""
    text = json.dumps({"schema": SCHEMA, **metrics}, indent=2, ensure_ascii=False)
    write_atomically(folder / METRICS, (text + "\n").encode())


def add_findings(folder: Path, name: str, numbers: dict[str, Any]) -> None:
    """Put an analysis's numbers into metrics.json under analyses.NAME, one process at a time."""
    with FileLock(folder / METRICS_LOCK):
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
        text=True,
        check=False,
    )
    return described.stdout.strip() or None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
