"""SIGINT and SIGTERM as an exception that is raised where it does no harm."""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from vae_exp.shell import command

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHOW_CURSOR = "\x1b[?25h"


class Interrupted(BaseException):
    """A signal asked this process to stop; ``folder`` is the run that can go on later."""

    def __init__(self, signum: int, folder: Path | None = None):
        super().__init__(signum, folder)
        self.signum = signum
        self.folder = folder

    @property
    def exit_code(self) -> int:
        """What a shell reports for a process that the signal ended: 130 or 143."""
        return 128 + self.signum

    @property
    def stopped(self) -> str:
        """What happened, without how to go on."""
        return f"stopped by {signal.Signals(self.signum).name}"

    def __str__(self) -> str:
        if self.folder is None:
            return self.stopped
        return f"{self.stopped}; to go on: {command(f'resume={self.folder}')}"


class Interrupts:
    """While entered, SIGINT and SIGTERM raise Interrupted: at once, or in ``check`` if deferred.

    A second SIGINT ends the process at once.
    """

    def __init__(self) -> None:
        self.pending: int | None = None
        self.deferred = False
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # the only one that may
            self._before = {signum: signal.getsignal(signum) for signum in SIGNALS}
        self.install()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def install(self) -> None:
        """Take the signals again from a library that took them."""
        for signum in self._before:
            signal.signal(signum, self._receive)

    def check(self) -> None:
        """Raise Interrupted if a signal has come in the meantime."""
        if self.pending is not None:
            raise Interrupted(self.pending)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if self.pending is None:
            self.pending = signum
            if not self.deferred:
                raise Interrupted(signum)
        elif signum == signal.SIGINT:
            if sys.stdout.isatty():
                os.write(sys.stdout.fileno(), SHOW_CURSOR.encode())
            os._exit(128 + signum)


class Unheard(Interrupts):
    """While entered, no signal does anything: the process that started this one decides."""

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        return
