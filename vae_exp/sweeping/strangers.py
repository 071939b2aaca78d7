"""Words of a sweep's files, which may be anybody's: what a job may set, and what is repeated."""

import re
from collections.abc import Iterable

from hydra.core.override_parser.types import ChoiceSweep, Override

from vae_exp import config
from vae_exp.errors import UserError
from vae_exp.knobs import KNOBS

KEY = re.compile(r"\w+(\.[\w-]+)*")
CHOICE = re.compile(r"[\w-]+")  # a path would lead out of conf/
LAUNCHER = re.compile(r"hydra/launcher=\w+|hydra\.launcher(\.[a-z]\w*)+=[\w.-]+")


def of_a_job(words: Iterable[str], origin: object) -> list[Override]:
    """Words as overrides of a job. Nothing is composed yet, which would resolve what they hold.

    Raises UserError, naming their ``origin``, for a word for Hydra itself in any spelling, for one
    that Hydra would resolve, and for a choice that is no name.
    """
    overrides = config.parse(words)
    for override in overrides:
        if not _is_of_a_job(override):
            raise UserError(f"{origin} holds {override.input_line!r}, which no job may set")
    return overrides


def _is_of_a_job(override: Override) -> bool:
    key, value = override.key_or_group, override.value()
    places = (key, override.package or key)
    given = value.list if isinstance(value, ChoiceSweep) else [value]
    names = [str(getattr(each, "text", each)) for each in given if not isinstance(each, dict)]
    return (
        all(KEY.fullmatch(place) for place in places)
        and {place.partition(".")[0] for place in places} <= {*KNOBS, *config.all_groups()}
        and "${" not in str(override.input_line).replace("\\", "")
        and (key not in config.all_groups() or all(CHOICE.fullmatch(name) for name in names))
    )


def to_repeat(words: Iterable[str]) -> list[str]:
    """Of a plan's words for Hydra those that a command to copy may hold: launchers, by name."""
    return [word for word in words if LAUNCHER.fullmatch(word)]
