"""Files that may be damaged or somebody else's: read up to a limit, and held to a shape."""

import json
import math
import os
import reprlib
import stat
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import TypeAdapter, ValidationError

from vae_exp.errors import Damaged

T = TypeVar("T")

MIB = 1 << 20
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def opened(path: Path) -> BinaryIO:
    """A file to read; raises Damaged if it cannot be read or is anything but a file."""
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
        if kind != stat.S_IFREG:  # to open a pipe would wait for a writer
            raise Damaged(f"{path} is {KINDS.get(kind, 'something else')}, not a file")
        return path.open("rb")
    except OSError as error:
        raise Damaged(f"{path} cannot be read: {error.strerror}") from error


def read(path: Path, limit: int = 64 * MIB) -> bytes:
    """A file's bytes; raises Damaged as ``opened`` does, and if there are more than ``limit``."""
    with opened(path) as file:
        try:
            contents = file.read(limit + 1)
        except OSError as error:
            raise Damaged(f"{path} cannot be read: {error.strerror}") from error
    if len(contents) > limit:
        raise Damaged(f"{path} is damaged: it holds more than {limit:,} bytes")
    return contents


def parsed(contents: bytes | str, kind: TypeAdapter[T], what: str | Path) -> T:
    """JSON that has the shape ``kind``; raises Damaged, with ``what`` it is, if it has not."""
    try:
        return kind.validate_json(contents, strict=True)
    except ValidationError as error:
        raise Damaged(f"{what} is damaged: {_why(error)}") from error


def shaped(value: Any, kind: TypeAdapter[T], what: str | Path) -> T:
    """What was read, if it has the shape ``kind``; raises Damaged, with ``what`` it is, if not."""
    try:
        return kind.validate_python(value, strict=True)
    except ValidationError as error:
        raise Damaged(f"{what} is damaged: {_why(error)}") from error


def _why(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"])) or "it"
    if first["type"] == "missing":
        return f"{where} is missing"
    if first["type"] == "json_invalid":
        return str(first["msg"])
    got = " ".join(reprlib.repr(first["input"]).split())
    return f"{first['msg'].replace('Input', where, 1)}, got {got}"


def as_json(contents: Any) -> bytes:
    """Plain containers as JSON for people; numbers that are not finite become null."""
    text = json.dumps(_finite(contents), indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def _finite(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _finite(below) for key, below in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(below) for below in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node
