"""Questions put to a model from Python, by the names that ``task=NAME`` knows them under."""

import copy
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from vae_exp.analysis.base import Analysis, Findings, Origin, look_at
from vae_exp.data import Splits
from vae_exp.errors import UserError
from vae_exp.knobs import KNOBS
from vae_exp.models.vae import VAE
from vae_exp.parts import CONF, build, choice
from vae_exp.runs import plain


def look(name: str, /, model: VAE, splits: Splits, *, seed: int = 0, **settings: Any) -> Findings:
    """Put a question of ``conf/task``, such as "samples" or "scatter", to a trained model.

    ``settings`` are the keys of the question's file. In a notebook the figures and tables of what
    is found are shown. Raises UserError for an unknown name or setting, or if the question does
    not suit the model.
    """
    analysis = analysis_named(name, settings)
    reason = analysis.unsuited(model, splits)
    if reason is not None:
        raise UserError(f"{name} says nothing about this model: {reason}")
    return look_at(analysis, model, splits, seed, Origin(seed)).findings


def analysis_named(name: str, settings: Mapping[str, Any]) -> Analysis:
    """The analysis of ``conf/task/NAME.yaml``, with settings in place of those of the file."""
    known = names()
    if name not in known:
        raise UserError(f"a look must be one of {', '.join(known)}, got {name!r}")
    knobs = {key: declared.default for key, declared in KNOBS.items()}
    knobs = {key: list(v) if isinstance(v, tuple) else v for key, v in knobs.items()}
    node = plain.resolved({**knobs, "task": {**copy.deepcopy(_file(name)), **settings}})["task"]
    analysis: Analysis = build(node, "task", Analysis)
    return analysis


def names() -> list[str]:
    """The tasks that are a question to one trained model."""
    files = sorted((CONF / "task").glob("*.yaml"))
    return [file.stem for file in files if _is_analysis(_file(file.stem)["_target_"])]


def _file(name: str) -> dict[str, Any]:
    node: dict[str, Any] = choice("task", name)
    return node


def _is_analysis(target: str) -> bool:
    module, _, kind = target.rpartition(".")
    return hasattr(getattr(import_module(module), kind), "unsuited")
