"""The version of what a run leaves behind: config, checkpoints, weights and metrics."""

import reprlib
from pathlib import Path

from vae_exp.errors import UserError

SCHEMA = 1


def check_schema(path: Path, schema: object) -> None:
    """Refuse what a newer version wrote; a file without a schema is of the first."""
    if schema is not None and (type(schema) is not int or schema != SCHEMA):
        raise UserError(f"{path} has schema {reprlib.repr(schema)}, this version reads {SCHEMA}")
