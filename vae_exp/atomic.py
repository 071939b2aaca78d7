"""Files that a reader sees whole or not at all, also after a kill or a power cut."""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from vae_exp.folders import UNFINISHED, within

NO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}  # of a file system that cannot do it


@contextmanager
def replacing(folder: Path, name: str | Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of ``folder/name`` once it is whole and on the disk.

    The folder that it lies in is made, that one's parent is not. Raises OSError naming the file,
    and UserError if it would lie outside of ``folder``.
    """
    path = within(folder, name)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        path.parent.mkdir(exist_ok=True)
        try:
            with unfinished.open("xb") as file:
                yield file
                file.flush()
                sync(file.fileno())
            os.replace(unfinished, path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        _keep_entry(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_atomically(folder: Path, name: str | Path, contents: bytes) -> None:
    """Replace a file's contents; raises as ``replacing`` does."""
    with replacing(folder, name) as file:
        file.write(contents)


def copy_atomically(folder: Path, source: Path, name: Path) -> None:
    """Let ``folder/name`` be what ``folder/source`` is, without a second copy if the disk can."""
    original, path = within(folder, source), within(folder, name)
    link = path.with_name(f".{path.name}.link{UNFINISHED}")
    link.unlink(missing_ok=True)
    try:
        os.link(original, link)
    except OSError:
        with original.open("rb") as contents, replacing(folder, name) as copy:
            shutil.copyfileobj(contents, copy)
    else:
        os.replace(link, path)
        link.unlink(missing_ok=True)  # if both were one file, nothing was renamed
        _keep_entry(path)


def sync(descriptor: int) -> None:
    """Bring a file or a folder to the disk, if its file system can do that."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise


def _keep_entry(path: Path) -> None:
    """Bring a renamed file's entry in its folder to the disk, if the system can do that."""
    with contextlib.suppress(PermissionError):  # Windows opens no folders
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            sync(descriptor)
        finally:
            os.close(descriptor)
