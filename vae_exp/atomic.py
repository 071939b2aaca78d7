"""Files that a reader sees whole or not at all, also after a kill or a power cut."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from vae_exp.folders import UNFINISHED


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of ``path`` once it is whole and on the disk.

    Its folder is made, the folder's own parent is not. Raises OSError naming ``path``.
    """
    try:
        path.parent.mkdir(exist_ok=True)
        descriptor, name = tempfile.mkstemp(UNFINISHED, f".{path.name}.", path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _keep_entry(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_atomically(path: Path, contents: bytes) -> None:
    """Replace a file's contents."""
    with replacing(path) as file:
        file.write(contents)


def copy_atomically(source: Path, path: Path) -> None:
    """Let ``path`` be what ``source`` is now, without a second copy where the disk can do that."""
    name = path.with_name(f".{path.name}.link{UNFINISHED}")
    name.unlink(missing_ok=True)
    try:
        os.link(source, name)
    except OSError:
        with source.open("rb") as original, replacing(path) as copy:
            shutil.copyfileobj(original, copy)
    else:
        os.replace(name, path)
        _keep_entry(path)


def _keep_entry(path: Path) -> None:
    """Bring a renamed file's entry in its folder to the disk, where the system can do that."""
    with contextlib.suppress(PermissionError):  # Windows opens no folders
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
