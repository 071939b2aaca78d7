"""Objects from configs, of this package's classes only: a config from elsewhere runs nothing."""

import importlib
import inspect
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from vae_exp.errors import UserError

PACKAGE = __name__.partition(".")[0]


def build(node: DictConfig) -> Any:
    """The object that a ``_target_`` node describes, and all that lie below it.

    Raises UserError where any ``_target_`` is not a class that this package defines.
    """
    plain = OmegaConf.to_container(node, resolve=True)
    check_targets(plain)
    return instantiate(plain, _convert_="all")


def check_targets(node: Any) -> None:
    """Refuse every ``_target_`` at or below a node that is not one of this package's classes."""
    if isinstance(node, list):
        for item in node:
            check_targets(item)
    elif isinstance(node, dict):
        if "_target_" in node:
            _check_target(node["_target_"])
        for item in node.values():
            check_targets(item)


def _check_target(target: Any) -> None:
    module_name, _, name = str(target).rpartition(".")
    refusal = UserError(f"_target_ must be a class of {PACKAGE}, got {target!r}")
    if module_name.partition(".")[0] != PACKAGE or not name.isidentifier():
        raise refusal
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except ModuleNotFoundError:
        raise refusal from None
    if not inspect.isclass(found) or found.__module__.partition(".")[0] != PACKAGE:
        raise refusal
