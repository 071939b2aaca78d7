"""Processes of ``python -m vae_exp`` that begin at once: forks of one that has imported it all.

What such a process does from its first line on is what a fresh one does: its own folder, variables,
streams, signals and exit code. Only the imports are not repeated, which take 5 s of a core.
"""

import atexit
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import IO, Any

IMPORTED = ("vae_exp.training.tasks", "vae_exp.sweeping.command", "sklearn.datasets")
DIED = -1  # the exit code of what nobody could wait for
allowed = True  # conftest.py says whether the test at hand is marked slow


class Forked:
    """A fork with pipes for its output; its status comes through another pipe."""

    def __init__(self, pid: int, stdout: IO[str], stderr: IO[str], status: IO[bytes]) -> None:
        self.pid = pid
        self.stdout, self.stderr = stdout, stderr
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """Its exit code, −n if signal n ended it; None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """The same, once it has ended."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._status, selectors.EVENT_READ)
                if not selector.select(timeout):
                    return None
            told = self._status.readline()
            self._status.close()
            self.returncode = os.waitstatus_to_exitcode(int(told)) if told else DIED
        return self.returncode

    def send_signal(self, signum: int) -> None:
        """As os.kill, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(self) -> tuple[str, str]:
        """All that was written to stdout and stderr, once nobody holds them and it has ended."""
        told: list[str] = []
        reader = threading.Thread(target=lambda: told.append(self.stderr.read()))
        reader.start()
        out = self.stdout.read()
        reader.join()
        self.stdout.close()
        self.stderr.close()
        self.wait()
        return out, told[0]


@cache
def parent() -> socket.socket:
    """The other end of the process that forks."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, __file__, str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def start(cwd: Path, *words: str) -> Forked:
    """``python -m vae_exp`` in a folder, on MNIST if it is at hand, else on the digits."""
    assert allowed, "a test that starts a process is marked slow"
    variables = {"VAE_EXP_DATA": str(cwd / "none"), **os.environ, "OMP_NUM_THREADS": "1"}
    asked = {"cwd": str(cwd), "words": words, "env": variables}
    pipes = [os.pipe() for _ in range(3)]
    line = json.dumps(asked).encode()
    socket.send_fds(parent(), [len(line).to_bytes(4, "big")], [write for _, write in pipes])
    parent().sendall(line)
    for _, write in pipes:
        os.close(write)
    out, err, status = (read for read, _ in pipes)
    told = os.fdopen(status, "rb", buffering=0)
    pid = int(told.readline())
    return Forked(pid, os.fdopen(out, encoding="utf-8"), os.fdopen(err, encoding="utf-8"), told)


def serve(asks: socket.socket) -> list[str] | None:
    """Fork for each request; returns its words in the fork, and None in the end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the monitors
    while True:
        size, pipes, _, _ = socket.recv_fds(asks, 4, 3)
        if not size:
            return None
        asked = json.loads(asks.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
        words = fork(asked, *pipes) if os.fork() == 0 else None
        if words is not None:
            asks.close()
            return words
        for pipe in pipes:
            os.close(pipe)


def fork(asked: dict[str, Any], out: int, err: int, status: int) -> list[str]:
    """In a process that tells the pid and the status of another one, which this returns in."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid:
        os.close(out)
        os.close(err)
        os.write(status, f"{pid}\n".encode())
        os.write(status, f"{os.waitpid(pid, 0)[1]}\n".encode())
        os._exit(0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    for pipe in (out, err, status):
        os.close(pipe)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    words: list[str] = asked["words"]
    return words


def run(words: list[str]) -> int:
    """What ``python -m vae_exp`` does with some words, and the code that it exits with."""
    sys.argv[1:] = words
    try:
        runpy.run_module("vae_exp", run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001  told as an interpreter tells of it
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def main() -> None:
    """Import, serve, and in each fork do what ``python -m vae_exp`` does."""
    for name in IMPORTED:
        __import__(name)
    gc.freeze()  # a collection would write to every page that the forks share
    words = serve(socket.socket(fileno=int(sys.argv[1])))
    if words is None:
        return
    code = run(words)
    # The end of an interpreter, but for taking each module apart, which takes a second.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
