"""What the command line was started in: its streams, its working folder, its variables."""

import gc
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from vae_exp.errors import UserError

NARROW = 40  # columns: tables of fewer cannot be read
# Each of these makes Lightning take this process for one of several that share a run.
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
LIGHTNINGS = "PL_"  # PL_TRAINER_MAX_STEPS would be an argument of the Trainer that no config shows


def settle() -> None:
    """Let no stream and no variable stop a run; raises UserError if the working folder is gone."""
    sys.stdout = _lasting(sys.stdout, 1)
    sys.stderr = _lasting(sys.stderr, 2)
    try:
        os.getcwd()
    except OSError as error:
        reason = f"the working folder cannot be used: {error.strerror}"
        raise UserError(f"{reason}; change to another folder") from error
    for name in list(os.environ):
        if name in RANKS or name.startswith(LIGHTNINGS):
            del os.environ[name]
    os.environ["MPLBACKEND"] = "agg"  # figures are drawn into files; a notebook asks for its own
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) < NARROW:
        del os.environ["COLUMNS"]


@contextmanager
def sparing_searches() -> Iterator[None]:
    """Search for garbage no more often than is of use, from a process's first line to its last.

    Imports make many objects and little garbage, so nobody searches while they are made, and what
    was there when ``imported`` is called is never searched. Python searches all the rest several
    times when it ends: once is enough. Together that saves 2 s of a command (docs/performance.md).
    """
    gc.disable()
    try:
        yield
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def imported() -> None:
    """Search for garbage from now on, among what will be made."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


class _Stream(io.FileIO):
    """A standard stream that nobody needs to read, on a disk that may be full."""

    def write(self, data: Any) -> int:
        """Write to it, or from the first failure on to nowhere."""
        try:
            while (written := super().write(data)) is None:  # a terminal that is busy
                select.select([], [self], [])
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if self.fileno() == 1:
                print(f"going on without output: {error.strerror}", file=sys.stderr, flush=True)
            return len(data)
        return written


def _lasting(stream: TextIO | None, descriptor: int) -> TextIO:
    """A standard stream as one that never fails, in whatever encoding; any other as it is."""
    if stream is None:  # it was closed, and the next file to be opened would take its place
        return open(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    if all(stream is not own for own in (sys.__stdout__, sys.__stderr__)):
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Stream(descriptor, "wb", closefd=False)),
        encoding=stream.encoding,
        errors="replace" if descriptor == 1 else stream.errors,
        line_buffering=stream.isatty() or descriptor == 2,
    )
