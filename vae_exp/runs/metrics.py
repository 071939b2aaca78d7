"""metrics.json: every number of a run, in a shape that is checked whenever it is read."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from vae_exp import files
from vae_exp.atomic import write_atomically
from vae_exp.folders import METRICS
from vae_exp.schema import SCHEMA, check_schema

MASS = "mass"
# JSON has no NaN: what is not finite is written as null.
Number = Annotated[int | float, BeforeValidator(lambda value: math.nan if value is None else value)]
Count = Annotated[int, Field(ge=0)]
# What is printed in tables holds no markup of theirs and no control characters.
Words = Annotated[str, Field(max_length=200, pattern=r"^[^\[\]\x00-\x1f\x7f]*$")]
Name = Annotated[str, Field(max_length=100, pattern=r"^\w[\w.-]*$")]


class _Open(TypedDict):
    """A part of the file; what else lies in it is kept and not looked at."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]


class _Estimate(_Open):
    """A mean over images with its standard error."""

    mean: Number
    stderr: NotRequired[Number]
    images: NotRequired[Count]
    samples: NotRequired[Count | None]
    seed: NotRequired[int | None]


class _Tested(_Estimate):
    """An estimate that may stand in a column with another run's: it tells how it was made."""

    estimator: Words


class _Run(_Open):
    seed: NotRequired[int]
    wall_seconds: NotRequired[Number]


class _Data(_Open):
    name: Name
    split: Name
    images: Count
    binarization: Words
    sha256: Words


class _Model(_Open):
    scores: NotRequired[Words]


class _Validation(_Open):
    best_elbo: NotRequired[Number]
    elbo: NotRequired[_Estimate]


class _Test(_Open):
    elbo: NotRequired[_Tested]
    kl: NotRequired[_Tested]
    log_likelihood: NotRequired[_Tested]


class _Metrics(_Open):
    """The whole file."""

    run: NotRequired[_Run]
    data: NotRequired[_Data]
    model: NotRequired[_Model]
    validation: NotRequired[_Validation]
    test: NotRequired[_Test]
    analyses: NotRequired[dict[str, dict[str, Any]]]


def scores_of(metrics: Mapping[str, Any]) -> str:
    """What a run's log p(x | z) is the log of: a mass, before there was anything else."""
    return str(metrics.get("model", {}).get("scores", MASS))


_ANY = TypeAdapter(dict[str, Any])
_METRICS: TypeAdapter[dict[str, Any]] = TypeAdapter(_Metrics)


def read_metrics(folder: Path) -> dict[str, Any]:
    """What a run's metrics.json holds, empty if there is none; numbers that are null are nan.

    Raises Damaged if it is no such file, and UserError if it is of a newer schema.
    """
    path = folder / METRICS
    if not os.path.lexists(path):
        return {}
    contents = files.parsed(files.read(path), _ANY, path)
    check_schema(path, contents.get("schema"))
    return files.shaped(contents, _METRICS, path)


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Replace metrics.json."""
    write_atomically(folder, METRICS, files.as_json({"schema": SCHEMA, **metrics}))
