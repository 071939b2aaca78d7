"""The jobs of a sweep, from its words."""

import itertools
import math
import sys
from collections.abc import Iterable

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from omegaconf import DictConfig

from vae_exp.config.composing import initialized, resolved
from vae_exp.config.reading import refuse_repeated
from vae_exp.config.words import line, parse
from vae_exp.errors import UserError

SHARED = "vae_exp.training.distributed.Processes"
MANY_JOBS, MOST_JOBS = 100, 10_000  # of a sweep


def jobs(cfg: DictConfig, overrides: list[Override]) -> list[list[Override]]:
    """Each job's overrides in a sweep; a search draws its own, so only what is fixed is known.

    cfg: composed from what is fixed. Raises UserError if the overrides make no job.
    """
    refuse_shared(cfg)
    refuse_repeated(overrides)
    sweeper = resolved(cfg, "hydra.sweeper") or {}
    if not str(sweeper.get("_target_")).endswith(".BasicSweeper"):
        return [[override for override in overrides if not override.is_sweep_override()]]
    params = parse(f"{key}={value}" for key, value in (sweeper["params"] or {}).items())
    own = [override for override in overrides if override.is_hydra_override()]
    _refuse_fixed_twice(overrides, params)
    swept = [*params, *(override for override in overrides if not override.is_hydra_override())]
    count = math.prod(map(_count, swept))
    if count > MOST_JOBS:
        raise UserError(f"the sweep has {count:,} jobs, more than {MOST_JOBS:,}: give fewer values")
    if count > MANY_JOBS:
        print(f"the sweep has {count:,} jobs, each is checked first", file=sys.stderr, flush=True)
    with initialized():
        for override in swept:
            override.config_loader = GlobalHydra.instance().config_loader()  # for glob(*)
        batch = [*itertools.product(*map(_values, swept))]
    if not batch:
        raise UserError("the sweep has no job: " + " ".join(line(swept)))
    return [[*own, *parse(words)] for words in batch]


def _values(override: Override) -> list[str]:
    """A word for each value that an override has in a sweep."""
    key = override.get_key_element()
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    if not override.is_discrete_sweep():
        raise UserError(
            f"{override.input_line} is {getattr(override.value_type, 'name', 'no list')}, from "
            "which only a search draws: give values, or add search=optuna"
        )
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def _count(override: Override) -> int:
    """How many values a word gives its key in a sweep."""
    value = override.value()
    if isinstance(value, RangeSweep) and value.start is not None and value.stop is not None:
        if value.step == 0:
            raise UserError(f"{override.input_line} has a step of 0")
        return max(0, math.ceil((value.stop - value.start) / value.step))
    return len(value.list) if isinstance(value, ChoiceSweep) else 1


def _refuse_fixed_twice(overrides: Iterable[Override], params: Iterable[Override]) -> None:
    """Raise UserError if a word gives a key that `hydra.sweeper.params` holds too."""
    held = {each.key_or_group: each for each in params}
    for override in overrides:
        if each := held.get(override.key_or_group):
            raise UserError(
                f"{override.key_or_group} is given twice, by {each.input_line} in "
                f"hydra.sweeper.params and by {override.input_line}: leave one of them out"
            )


def refuse_shared(cfg: DictConfig) -> None:
    """Raise UserError if a config is of a run that several processes share."""
    if cfg.trainer.get("_target_") == SHARED:
        raise UserError(
            f"trainer={cfg.hydra.runtime.choices.trainer} shares one run among all devices: start "
            "its runs one by one, without -m; a sweep shares its jobs by hydra/launcher"
        )
