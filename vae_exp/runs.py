"""A run's folder: what is saved in it, how it is found and loaded again."""

import json
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from omegaconf import DictConfig, OmegaConf

from vae_exp.building import build
from vae_exp.errors import UserError
from vae_exp.model import VAE

SCHEMA = 1
ROOTS = ("outputs", "multirun")
WEIGHTS = "model.safetensors"
METRICS = "metrics.json"
CONFIG = Path(".hydra", "config.yaml")
CHECKPOINTS = "checkpoints"
FIGURES = "figures"


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, the config it was made with, and its model."""

    folder: Path
    config: DictConfig
    model: VAE


def find(spec: str) -> Path:
    """The folder or checkpoint that ``latest`` or a path names.

    ``latest`` is the newest run below ``outputs`` and ``multirun`` with saved weights. Raises
    UserError where there is none.
    """
    if spec != "latest":
        path = Path(spec)
        if path.is_file() or (path / CONFIG).is_file():
            return path
        raise UserError(
            f"run must be latest, a run's folder or a checkpoint, got {spec!r}, which "
            + ("is not a run's folder" if path.exists() else "does not exist")
        )
    found = [path for root in ROOTS for path in Path(root).glob(f"**/{WEIGHTS}")]
    if not found:
        raise UserError("run=latest found no finished run in outputs or multirun: train one first")
    return max(found, key=lambda path: path.stat().st_mtime_ns).parent


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
    config = OmegaConf.load(folder / CONFIG)
    assert isinstance(config, DictConfig)
    model: VAE = build(config.model)
    load_weights(model, weights)
    return Run(folder, config, model.eval())


def save_weights(model: VAE, path: Path) -> None:
    """The weights alone, as safetensors with the schema and latent_dim in the header."""
    metadata = {"schema": str(SCHEMA), "latent_dim": str(model.latent_dim)}
    tensors = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    write_atomically(path, safetensors.torch.save(tensors, metadata))


def load_weights(model: VAE, path: Path) -> None:
    """Put the weights of a .safetensors file or a checkpoint into a model.

    Raises UserError where the file is damaged or made for another architecture.
    """
    if path.suffix == ".safetensors":
        try:
            weights = safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise UserError(f"{path} is damaged: {error}") from error
    else:
        weights = {
            key.removeprefix("model."): tensor
            for key, tensor in load_checkpoint(path)["state_dict"].items()
            if key.startswith("model.")
        }
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
    """A Lightning checkpoint's contents, read without running any code in it."""
    try:
        contents: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is not a checkpoint that can be trusted: {reason}") from error
    return contents


def write_atomically(path: Path, contents: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_metrics(folder: Path) -> dict[str, Any]:
    """What metrics.json holds; empty where there is none."""
    path = folder / METRICS
    if not path.is_file():
        return {}
    contents: dict[str, Any] = json.loads(path.read_text())
    if contents.get("schema") != SCHEMA:
        raise UserError(f"{path} has schema {contents.get('schema')}, this version reads {SCHEMA}")
    return contents


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Replace metrics.json."""
    text = json.dumps({"schema": SCHEMA, **metrics}, indent=2, ensure_ascii=False)
    write_atomically(folder / METRICS, (text + "\n").encode())


def add_findings(folder: Path, name: str, numbers: dict[str, Any]) -> None:
    """Put an analysis's numbers into metrics.json under analyses.NAME."""
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
