"""What is put down in a run's folder beside its weights: its config, its numbers, their origin."""

import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from vae_exp.atomic import write_atomically
from vae_exp.folders import CONFIG, METRICS, METRICS_LOCK, locked
from vae_exp.parts import PACKAGE
from vae_exp.runs.metrics import read_metrics, write_metrics

PATIENCE = 60.0  # seconds, for a process that adds its own numbers


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Put down what a run is made with, free of anything that only this process could resolve."""
    write_atomically(folder, CONFIG, config_text(config).encode())


def config_text(config: dict[str, Any]) -> str:
    """A config as YAML."""
    return OmegaConf.to_yaml(OmegaConf.create(config))


def add_findings(folder: Path, name: str, numbers: dict[str, Any]) -> None:
    """Put an analysis's numbers into metrics.json under analyses.NAME."""
    with _changing(folder) as metrics:
        metrics.setdefault("analyses", {})[name] = numbers


def add_skipped(folder: Path, name: str, reason: str) -> None:
    """Put down under run.skipped.NAME why training has no numbers of an analysis."""
    with _changing(folder) as metrics:
        metrics["run"]["skipped"][name] = reason


@contextmanager
def _changing(folder: Path) -> Iterator[dict[str, Any]]:
    """What metrics.json holds; what became of it is written, one process at a time."""
    taken = f"{folder / METRICS} is being written by another process"
    with locked(folder, METRICS_LOCK, taken, PATIENCE):
        metrics = read_metrics(folder)
        yield metrics
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
    """The commit of the package's source, with + if it was changed; None outside a checkout."""
    if shutil.which("git") is None or not (PACKAGE.parent / ".git").exists():
        return None
    described = subprocess.run(
        ["git", "-C", str(PACKAGE), "describe", "--always", "--dirty=+", "--abbrev=12"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return described.stdout.strip() or None
